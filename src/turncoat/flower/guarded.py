"""Any of Flower's strategies, with the replies looked at before it sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import copy

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from turncoat.flower.replies import (
    LOG,
    Ledger,
    MalformedError,
    Model,
    Received,
    examples,
    measured,
    one_each,
    only,
    receive,
)


class Guarded(Strategy):
    """Keep replies that no honest client sends from a strategy: `Guarded(FedAvg())`.

    Excluded are replies with a layer missing or extra, of another shape or kind, or not finite, with negative
    variances, with metrics that are not finite or other ones than most clients report, and second replies: any of them
    ends a run of Flower's own strategies or its model. Example counts count as 1 each unless `trust_examples`. What the
    strategy returns comes back in the dtypes of the model that was sent.

    This guards against the form of a reply, not its values: a strategy that averages still averages what is finite.
    Where fewer than half of the replies are left, or what the strategy returns is not finite, the model stays as it is
    for that round, with a warning and `robust/refused` in the metrics.
    """

    def __init__(self, strategy: Strategy, *, trust_examples: bool = False) -> None:
        self.strategy, self.trust_examples = strategy, trust_examples
        self._key = getattr(strategy, "weighted_by_key", "num-examples")
        self._ledger = Ledger()
        self._model: Model | None = None
        self._asked: list[int] = []
        self._evaluating: list[int] = []

    @property
    def suspicion(self) -> dict[int, float]:
        """By client, the share of its replies that were excluded."""
        return self._ledger.suspicion

    def summary(self) -> None:
        """Log the strategy's own settings."""
        LOG.info("\t├──> Guarded: %s", type(self.strategy).__name__)
        self.strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The strategy's own messages."""
        self._model = Model(arrays)
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self._asked = [message.metadata.dst_node_id for message in messages]
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the strategy makes of the replies that are whole; None where the model stays."""
        if self._model is None or not self._asked:
            return None, None
        received = receive(replies, self._asked, self._model)
        received.exclude(self._unlike(received.messages))
        self._ledger.enter(server_round, received)
        arrays, metrics = None, None
        if len(received.messages) <= len(received.excluded):
            LOG.warning("round %d: the model stays as it is: no majority of the replies is whole", server_round)
        else:
            clean = [self._clean(message, self._model) for message in received.messages.values()]
            arrays, metrics = self.strategy.aggregate_train(server_round, clean)
            arrays = None if arrays is None else _as_sent(arrays, self._model)
            if arrays is None:
                LOG.warning("round %d: the model stays as it is: no finite one came of the replies", server_round)
        ours = self._ledger.metrics(received, refused=int(arrays is None))
        return arrays, MetricRecord({**(metrics or {}), **ours})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The strategy's own messages."""
        messages = list(self.strategy.configure_evaluate(server_round, arrays, config, grid))
        self._evaluating = [message.metadata.dst_node_id for message in messages]
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """What the strategy makes of the replies whose metrics are whole."""
        messages = dict(one_each(replies, self._evaluating, Received(len(self._evaluating))))
        unlike = self._unlike(messages)
        clean = [self._clean(message) for node, message in messages.items() if node not in unlike]
        return self.strategy.aggregate_evaluate(server_round, clean)

    def _unlike(self, messages: dict[int, Message]) -> dict[int, str]:
        """The clients whose metrics a strategy could not average with those of most others, and why."""
        found, reasons = {}, {}
        for node, message in messages.items():
            try:
                found[node] = _shape(message, self._key)
                if self.trust_examples:
                    examples(message, self._key)
            except MalformedError as error:
                reasons[node] = str(error)
        usual = Counter(found.values()).most_common(1)
        return reasons | {node: "other metrics than most" for node, shape in found.items() if shape != usual[0][0]}

    def _clean(self, message: Message, model: Model | None = None) -> Message:
        """The same reply with nothing in it but its arrays, in the model's dtypes, and its metrics."""
        metrics = dict(only(message.content.metric_records, "MetricRecord"))
        records: dict = {"metrics": MetricRecord(metrics if self.trust_examples else {**metrics, self._key: 1})}
        if model is not None:
            arrays = only(message.content.array_records, "ArrayRecord")
            records["arrays"] = ArrayRecord({name: _cast(arrays[name], like) for name, like in model.arrays.items()})
        clean = copy(message)
        clean.content = RecordDict(records)
        return clean


def _shape(message: Message, key: str) -> frozenset[tuple[str, int | None]]:
    """The names of a reply's metrics, of lists also their lengths; raises MalformedError where one is not finite."""
    metrics = only(message.content.metric_records, "MetricRecord")
    for name, value in metrics.items():
        if name != key and not all(map(measured, value if isinstance(value, list) else [value])):
            raise MalformedError(f"metric {name!r} is not finite")
    return frozenset(
        (name, len(value) if isinstance(value, list) else None) for name, value in metrics.items() if name != key
    )


def _cast(array: Array, like: np.ndarray) -> Array:
    """An array that was found whole, in the model's dtype."""
    values = array.numpy()
    return array if values.dtype == like.dtype else Array(np.asarray(values.astype(like.dtype)))


def _as_sent(arrays: ArrayRecord, model: Model) -> ArrayRecord | None:
    """Arrays in the dtypes of the model that was sent, integers rounded; None unless all are finite."""
    after = {}
    for name, array in arrays.items():
        values = array.numpy()
        like = model.arrays.get(name, values)
        rounded = np.rint(values) if like.dtype.kind in "iu" and values.dtype.kind == "f" else values
        with np.errstate(all="ignore"):  # what does not fit the model's own dtype is not finite, and found below
            after[name] = rounded.astype(like.dtype, copy=False)
        if not (np.isfinite(values).all() and np.isfinite(after[name]).all()):
            return None
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in after.items()})
