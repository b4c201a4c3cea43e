"""FedAvg with a rule in the place of the average."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from turncoat.errors import InputError, SpecError, TurncoatError
from turncoat.flower.replies import (
    LOG,
    Ledger,
    MalformedError,
    Model,
    Received,
    examples,
    median_metrics,
    middle,
    one_each,
    receive,
)
from turncoat.rules import MoNNA, Rule
from turncoat.rules import rule as make_rule


class RobustFedAvg(FedAvg):
    """Federated averaging with any rule or chain in the place of the average: `RobustFedAvg("krum", f=2)`.

    In each round every client trains, for as many local steps as it takes, and the rule aggregates the clients'
    *updates*: what they sent less what they were sent. Integers, booleans, BatchNorm's running statistics and the
    arrays that `buffers` names are no gradients: they become the clients' coordinate-wise median.

    Args:
        rule: its name, such as "nnm >> trimmed_mean", a rule, or a callable from (n, d) to (d,).
        f: how many of the connected clients may be Byzantine, or which share of them; a rule's own f where left out.
        risk: 0 takes all of those to be among the clients that a round samples; more takes the smallest number that
            the random sample exceeds with at most this probability.
        trust_examples: let the clients say how many examples they trained on, and scale each update by its share of
            them times n, as FedAvg does; who claims 10^9 then silences all others.
        buffers: names of further arrays that stand apart.
        loss: the server's own loss of a model, on data of its own, for rules that ask for it (zeno).
        **sampling: what Flower's FedAvg takes, such as `fraction_train`.

    A reply that no honest client sends (a layer missing, extra, of another shape or kind, not finite, a negative
    variance, a second reply) is excluded and counts as one of the f. A client that does not reply, or with an error, is
    missing, which shows nothing: f stays. Where the rule cannot hold with what is left, or more than f were excluded,
    the model stays as it is for that round, with a warning and `robust/refused` in the metrics.

    The metrics of a round are medians of those that the clients report, the counts `robust/f`, `robust/replies`,
    `robust/missing`, `robust/excluded` and `robust/suspects`, and `suspicion/<node id>` for each client that ever came
    under any: the share of its replies for which it was excluded or suspect.

    Raises SpecError for a rule or an f that does not exist, and ToleranceError, before anything is sent, for an f that
    the rule cannot tolerate among the clients of a round.
    """

    def __init__(
        self,
        rule: str | Rule | Callable[..., Any],
        f: int | float | None = None,
        *,
        risk: float = 0.0,
        trust_examples: bool = False,
        buffers: Collection[str] = (),
        loss: Callable[[ArrayRecord], float] | None = None,
        **sampling: Any,
    ) -> None:
        defaults: dict[str, Any] = {"train_metrics_aggr_fn": median_metrics, "evaluate_metrics_aggr_fn": median_metrics}
        super().__init__(**(defaults | sampling))
        self.rule = make_rule(rule)
        self.f = self.rule.f if f is None else f
        if self.f is None:
            raise SpecError(f"give f, how many clients may be Byzantine: RobustFedAvg({str(self.rule)!r}, f=...)")
        if isinstance(self.f, bool) or self.f < 0 or (isinstance(self.f, float) and not self.f < 0.5):
            raise SpecError(f"f is a number of clients from 0 up, or a share below 0.5, got {self.f!r}")
        if self.rule.f not in (None, self.f):
            raise SpecError(f"{self.rule} was built with f = {self.rule.f} but used with f = {self.f}")
        if not 0 <= risk < 1:
            raise SpecError(f"risk is a probability, got {risk!r}")
        if isinstance(self.rule.parts()[-1], MoNNA):
            raise SpecError("monna trusts one row, and the server has none of its own: take another rule")
        if self.rule.trusts and loss is None:
            raise SpecError(f"{self.rule} asks the server for a loss on data of its own: give loss=...")
        self.risk, self.trust_examples, self.buffers, self.loss = risk, trust_examples, buffers, loss
        self._ledger = Ledger()
        self._state: Any = None
        self._model: Model | None = None
        self._asked: list[int] = []
        self._evaluating: list[int] = []
        self._tolerated = 0

    @property
    def suspicion(self) -> dict[int, float]:
        """By client, the share of its replies for which it was excluded or suspect."""
        return self._ledger.suspicion

    def summary(self) -> None:
        """Log the rule and Flower's own settings."""
        LOG.info("\t├──> Rule: %s, f = %s", self.rule, self.f)
        super().summary()

    def tolerated(self, sampled: int, connected: int) -> int:
        """How many Byzantine clients a round has to tolerate."""
        assert self.f is not None
        among = math.ceil(round(self.f * connected, 6)) if isinstance(self.f, float) else self.f
        among = min(among, connected)
        if self.risk == 0:
            return min(among, sampled)
        from scipy.stats import hypergeom  # takes longer to import than most rounds do

        return int(hypergeom.ppf(1 - self.risk, connected, among, sampled))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The messages to the sampled clients; raises ToleranceError where the rule cannot hold among so many."""
        self._model = Model(arrays, self.buffers)
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self._asked = [message.metadata.dst_node_id for message in messages]
        if messages:
            self._tolerated = self.tolerated(len(messages), max(len(messages), len(list(grid.get_node_ids()))))
            self.rule.with_f(self._tolerated).check(len(messages))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The model after the aggregate of the clients' updates, None where it stays, and the metrics."""
        if self._model is None or not self._asked:
            return None, None
        received = receive(replies, self._asked, self._model)
        weights = self._weights(received)
        suspects: tuple[int, ...] = ()
        arrays = None
        try:
            arrays, suspects = self._aggregate(self._model, received, weights)
        except TurncoatError as error:
            LOG.warning("round %d: the model stays as it is: %s", server_round, error)
        self._ledger.enter(server_round, received, suspects)
        metrics = self.train_metrics_aggr_fn(
            [message.content for message in received.messages.values()], self.weighted_by_key
        )
        ours = {"f": self._tolerated, "suspects": len(suspects), "refused": int(arrays is None)}
        return arrays, MetricRecord({**metrics, **self._ledger.metrics(received, **ours)})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The messages to the sampled clients."""
        messages = list(super().configure_evaluate(server_round, arrays, config, grid))
        self._evaluating = [message.metadata.dst_node_id for message in messages]
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The medians of the metrics that the clients report; None where none did."""
        received = Received(len(self._evaluating))
        contents = [message.content for _, message in one_each(replies, self._evaluating, received)]
        return self.evaluate_metrics_aggr_fn(contents, self.weighted_by_key) if contents else None

    def _weights(self, received: Received) -> np.ndarray | None:
        """The clients' shares of all examples times n, where their counts are trusted."""
        if not self.trust_examples:
            return None
        counts, reasons = [], {}
        for node, message in received.messages.items():
            try:
                counts.append(examples(message, self.weighted_by_key))
            except MalformedError as error:
                reasons[node] = str(error)
        received.exclude(reasons)
        return np.array(counts) / np.mean(counts) if counts else None

    def _aggregate(
        self, model: Model, received: Received, weights: np.ndarray | None
    ) -> tuple[ArrayRecord, tuple[int, ...]]:
        """The next model, and the suspects; raises what says why there is none."""
        excluded, n = len(received.excluded), len(received.messages)
        if excluded > self._tolerated:
            raise InputError(f"{excluded} replies are excluded, more than the {self._tolerated} that may be Byzantine")
        rule = self.rule.with_f(self._tolerated - excluded)
        rule.check(n)
        if rule.trusts:
            rule = rule.trusting(lambda update: self._loss(model, received, update))
        rows = received.rows if weights is None else received.rows * weights[:, None].astype(model.work)
        X = torch.from_numpy(rows)
        aggregation, following = rule.step(X, rule.init(X) if self._state is None else self._state)
        arrays = model.moved(aggregation.vector.numpy()) | self._apart(received)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise InputError(f"what {rule} made of the updates is not finite")
        self._state = following
        nodes = list(received.messages)
        return model.record(arrays), tuple(nodes[i] for i in aggregation.suspects)

    def _apart(self, received: Received) -> dict[str, np.ndarray]:
        return {name: middle([apart[name] for apart in received.apart]) for name in received.apart[0]}

    def _loss(self, model: Model, received: Received, update: Tensor) -> float:
        assert self.loss is not None
        return float(self.loss(model.record(model.moved(update.numpy()) | self._apart(received))))
