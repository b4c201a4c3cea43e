"""Attacks in Flower: a mod that turns clients into traitors, and the collusion of those that see what others send."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from turncoat.attacks import Attack, View
from turncoat.attacks import attack as make_attack
from turncoat.errors import HiddenError, SpecError
from turncoat.flower.replies import LOG, Model, Received, only, receive
from turncoat.rules.base import entropy


@dataclass
class Poisoning:
    """An attack on data that is on while a traitor trains, and whether the training asked for its data."""

    attack: Attack
    asked: bool = False


_poisoning: ContextVar[Poisoning | None] = ContextVar("poisoning", default=None)


def attacking(attack: str | Attack | Callable[..., Any], clients: Collection[int], *, seed: int | None = None) -> Mod:
    """A client mod under which some clients send what an attack makes of their update: `attacking("sign_flip", {0})`.

    `clients` are partition ids, as the simulation sets them and SuperNodes take them (`--node-config "partition-id=0
    num-partitions=10"`). All others, and all messages but those to train, pass as they are. The attack sees this
    client's own update, the model and, of the others, their number: n = num-partitions and f = len(clients).
    It replaces the arrays that are voted on; integers and BatchNorm's statistics stay the client's own. Attacks on data
    (label_flip, badnets) change what the training function passes through `poison`. Random attacks draw from `seed`,
    the client and the round; from the system's entropy where it is None.

    No client sees what honest ones send. For an attack that asks for it (alie, ipm, min_max, ..) the traitors pool
    their data: each trains once as every one of them, under that one's partition id, and their f updates stand for the
    honest ones. Where all training is seeded by the partition and the round, they send what they agreed on.

    Raises HiddenError for an attack that looks ahead or is made for the server's rule: use `Omniscient`.
    """
    made = make_attack(attack)
    if made.needs_run or made.needs_rule:
        raise HiddenError(f"{made} needs the server's rule or looks ahead, which no client can: use Omniscient")
    traitors = sorted(set(clients))

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if message.metadata.message_type.partition(".")[0] != MessageType.TRAIN:
            return call_next(message, context)
        try:
            client, n = (int(context.node_config[key]) for key in ("partition-id", "num-partitions"))
        except KeyError as error:
            raise SpecError(f"attacking(...) tells clients apart by their node config, which has no {error}") from None
        if client not in traitors:
            return call_next(message, context)
        poisoning = Poisoning(made)
        token = _poisoning.set(poisoning)
        try:
            model = Model(only(message.content.array_records, "ArrayRecord"))
            reply = call_next(message, context)
            pooled = traitors if made.knowledge == "omniscient" else [client]
            replies = [reply if one == client else call_next(message, _as(one, context)) for one in pooled]
        finally:
            _poisoning.reset(token)
        if failed := next((one for one in replies if one.has_error()), None):
            return failed
        if made.manipulates == "data" and not poisoning.asked:
            raise SpecError(f"{made} poisons data: pass each batch of the training through turncoat.flower.poison")
        round = _round(message)
        own = np.empty((len(replies), model.d), dtype=model.work)
        for row, one in zip(own, replies, strict=True):
            model.read(only(one.content.array_records, "ArrayRecord"), row)
        rows = torch.from_numpy(own).expand(len(traitors), -1)
        view = View(
            n=n,
            f=len(traitors),
            honest_rows=rows if made.knowledge == "omniscient" else None,
            own_rows=rows,
            round=round,
            parameters=torch.from_numpy(model.base),
            generator=_generator(seed, client, round),
        )
        return _sending(reply, model, made.craft(view)[traitors.index(client)])

    return mod


def poison(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """A batch of training data as this client trains on it: changed in traitors under an attack on data, else as it is.

    One line in the training function of an experiment; outside an attack it costs nothing.
    """
    poisoning = _poisoning.get()
    if poisoning is None:
        return x, y
    poisoning.asked = True
    return poisoning.attack.poison(x, y, classes)


class Omniscient(Strategy):
    """Put an attack that sees all updates before a strategy: `Omniscient(strategy, "alie(z=8)", f=2)`.

    No client sees what others send, so such an attack is staged where the replies arrive. It sees, in each round, the
    whole honest replies' updates, the traitors' own, the model that was sent and, where the strategy has one, its
    rule: more than traitors in a deployment would. It does not see the server's random numbers. The f traitors are
    the nodes with the lowest ids, which Flower draws at random; they train honestly, then their arrays that are voted
    on are replaced. For experiments alone; works in the simulation and in deployments.

    Raises HiddenError for attacks that look ahead (which takes `turncoat.train`), poison data (use `attacking`) or need
    a rule that the strategy does not have.
    """

    def __init__(
        self, strategy: Strategy, attack: str | Attack | Callable[..., Any], f: int, *, seed: int | None = None
    ) -> None:
        self.strategy, self.attack, self.f, self.seed = strategy, make_attack(attack), f, seed
        self.rule = getattr(strategy, "rule", None)
        if self.attack.needs_run:
            raise HiddenError(f"{self.attack} looks ahead, which takes turncoat.train")
        if self.attack.manipulates == "data":
            raise HiddenError(f"{self.attack} poisons data, which only clients have: use attacking(...)")
        if self.attack.needs_rule and self.rule is None:
            raise HiddenError(f"{self.attack} is made for a rule, and {type(strategy).__name__} has none")
        self.traitors: list[int] = []
        self._state: Any = None
        self._model: Model | None = None
        self._asked: list[int] = []

    def summary(self) -> None:
        """Log the attack and the strategy's own settings."""
        LOG.info("\t├──> Attack: %s, f = %d", self.attack, self.f)
        self.strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The strategy's own messages; the traitors are chosen among the nodes of the first round."""
        self._model = Model(arrays)
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self._asked = [message.metadata.dst_node_id for message in messages]
        self.traitors = self.traitors or sorted(grid.get_node_ids())[: self.f]
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the strategy makes of the replies, those of the traitors replaced."""
        replies = list(replies)
        if self._model is not None:
            replies = self._attacked(server_round, replies, receive(replies, self._asked, self._model), self._model)
        return self.strategy.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The strategy's own messages."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """What the strategy makes of the replies."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def _attacked(self, round: int, replies: list[Message], received: Received, model: Model) -> list[Message]:
        nodes = list(received.messages)
        theirs = [i for i, node in enumerate(nodes) if node in self.traitors]
        honest = [i for i in range(len(nodes)) if i not in theirs]
        if not theirs or not honest:
            return replies
        rows = torch.from_numpy(received.rows)
        view = View(
            n=len(nodes),
            f=len(theirs),
            honest_rows=rows[honest],
            own_rows=rows[theirs],
            round=round,
            parameters=torch.from_numpy(model.base),
            rule=self.rule if self.rule is None else self.rule.with_f(len(theirs)),
            generator=_generator(self.seed, round),
        )
        state = self.attack.init(view.honest) if self._state is None else self._state
        crafted, self._state = self.attack.step(view, state)
        sent = {id(received.messages[nodes[i]]): row for i, row in zip(theirs, crafted, strict=True)}
        return [_sending(reply, model, sent[id(reply)]) if id(reply) in sent else reply for reply in replies]


def _as(client: int, context: Context) -> Context:
    """The context as another client would have it, to be used once."""
    other = copy(context)
    other.node_config = {**context.node_config, "partition-id": client}
    other.state = deepcopy(context.state)
    return other


def _sending(reply: Message, model: Model, row: Tensor) -> Message:
    """The same reply with another update in it."""
    name, arrays = next(iter(reply.content.array_records.items()))
    forged = {key: Array(array) for key, array in model.moved(row.numpy()).items()}
    sent = copy(reply)
    sent.content = RecordDict({**reply.content, name: ArrayRecord({**arrays, **forged})})
    return sent


def _round(message: Message) -> int:
    """The round that a message belongs to, as Flower's strategies number them; 0 where they do not."""
    numbers = [config.get("server-round") for config in message.content.config_records.values()]
    return next((number for number in numbers if isinstance(number, int)), 0)


def _generator(seed: int | None, *names: int) -> torch.Generator:
    """The adversary's random stream for one use."""
    if seed is None:
        return entropy()
    (drawn,) = np.random.SeedSequence([seed, *names]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(drawn) >> 1)
