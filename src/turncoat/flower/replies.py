"""What clients send back, read as rows. Nothing in a reply is believed before it has been looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from logging import getLogger
from math import prod
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from numpy.lib import format as npy

from turncoat.errors import InputError

LOG = getLogger("flwr")
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
STATISTICS = ("running_mean", "running_var")
LARGEST = 1e300  # of a metric: more is no measurement, and might not fit a float
Arrays = dict[str, np.ndarray]


class MalformedError(Exception):
    """A reply that no honest client sends; the message says in what."""


class Model:
    """The model that a round starts from, and which of its arrays are voted on.

    Floating point arrays are; the rule sees their updates, side by side in one row. BatchNorm's statistics, buffers
    that are named, and all arrays of integers or booleans stand apart: an update of them is no gradient.

    Raises InputError for a model that no update can be added to.
    """

    def __init__(self, arrays: ArrayRecord, buffers: Collection[str] = ()) -> None:
        self.arrays: Arrays = {name: array.numpy() for name, array in arrays.items()}
        if missing := set(buffers) - set(self.arrays):
            raise InputError(f"buffers that the model does not have: {', '.join(sorted(missing))}")
        for name, array in self.arrays.items():
            if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
                raise InputError(f"layer {name!r} is of {array.dtype}: no rule can aggregate it")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(f"layer {name!r} of the model that is sent is not finite")
        self.voted: dict[str, slice] = {}
        """Where in a row each array that is voted on stands."""
        self.d = 0
        for name, array in self.arrays.items():
            if array.dtype.kind == "f" and name.rpartition(".")[2] not in STATISTICS and name not in buffers:
                self.voted[name] = slice(self.d, self.d + array.size)
                self.d += array.size
        if self.d == 0:
            raise InputError("the model has no floating point arrays to aggregate")
        layers = [self.arrays[name] for name in self.voted]
        self.work = np.result_type(np.float32, *layers)
        self.base = np.concatenate([layer.ravel() for layer in layers], dtype=self.work)

    def read(self, record: Mapping[str, Array], row: np.ndarray) -> Arrays:
        """Write the update into a row (d,) and return the arrays apart; raises MalformedError."""
        for names, word in (
            (self.arrays.keys() - record.keys(), "missing"),
            (record.keys() - self.arrays.keys(), "extra"),
        ):
            if names:
                raise MalformedError(f"layer {min(names)!r} is {word}")
        apart = {}
        with np.errstate(all="ignore"):  # what does not fit the model's own dtype is not finite, and found below
            for name, like in self.arrays.items():
                values = _values(name, record[name], like)
                if name in self.voted:
                    row[self.voted[name]] = values.astype(like.dtype, copy=False).ravel()
                else:
                    apart[name] = _checked(name, values.astype(like.dtype))
            np.subtract(row, self.base, out=row)
        if not np.isfinite(row).all():
            raise MalformedError("the update is not finite")
        return apart

    def moved(self, update: np.ndarray) -> Arrays:
        """The arrays that are voted on after an update (d,); not finite where it does not fit their dtype."""
        with np.errstate(over="ignore"):
            after = self.base + update
            return {
                name: after[where].astype(self.arrays[name].dtype).reshape(self.arrays[name].shape)
                for name, where in self.voted.items()
            }

    def record(self, arrays: Arrays) -> ArrayRecord:
        """All arrays as Flower sends them, in the order in which they came."""
        return ArrayRecord({name: Array(np.asarray(arrays[name])) for name in self.arrays})


@dataclass
class Received:
    """What came back of a round, in the order of the clients' ids."""

    asked: int
    messages: dict[int, Message] = field(default_factory=dict)
    """Whole replies by client."""
    excluded: dict[int, str] = field(default_factory=dict)
    """Clients whose reply no honest client sends, and why."""
    missing: dict[int, str] = field(default_factory=dict)
    """Clients that did not reply, or with an error."""
    rows: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    """(n, d) the updates of the whole replies."""
    apart: list[Arrays] = field(default_factory=list)
    """Their arrays that are not voted on."""

    def exclude(self, reasons: dict[int, str]) -> None:
        """Leave out replies that were whole so far."""
        keep = [i for i, node in enumerate(self.messages) if node not in reasons]
        self.messages = {node: message for node, message in self.messages.items() if node not in reasons}
        self.rows, self.apart = self.rows[keep], [self.apart[i] for i in keep]
        self.excluded |= reasons


def receive(replies: Iterable[Message], asked: Collection[int], model: Model) -> Received:
    """The replies of the clients that were asked, one each."""
    received = Received(len(asked))
    rows = np.empty((len(asked), model.d), dtype=model.work)
    for node, message in one_each(replies, asked, received):
        try:
            apart = model.read(only(message.content.array_records, "ArrayRecord"), rows[len(received.messages)])
        except MalformedError as error:
            received.excluded[node] = str(error)
        else:
            received.messages[node] = message
            received.apart.append(apart)
    received.rows = rows[: len(received.messages)]
    return received


def one_each(replies: Iterable[Message], asked: Collection[int], received: Received) -> Iterator[tuple[int, Message]]:
    """The clients that replied with content, and their replies; those that did otherwise are noted."""
    by_node: dict[int, list[Message]] = {}
    for message in replies:
        by_node.setdefault(message.metadata.src_node_id, []).append(message)
    for stranger in sorted(set(by_node) - set(asked)):
        LOG.warning("node %d was not asked: its reply is left out", stranger)
    for node in sorted(asked):
        messages = by_node.get(node, [])
        if not messages:
            received.missing[node] = "no reply"
        elif len(messages) > 1:
            received.excluded[node] = f"{len(messages)} replies"
        elif messages[0].has_error():
            received.missing[node] = f"error {messages[0].error.reason!r}"
        elif not messages[0].has_content():
            received.excluded[node] = "no content"
        else:
            yield node, messages[0]


def only(records: Mapping[str, Any], kind: str) -> Any:
    """The one record of its kind; raises MalformedError where there are none or more."""
    if len(records) != 1:
        raise MalformedError(f"{len(records)} records of kind {kind} instead of one")
    return next(iter(records.values()))


def measured(value: Any) -> bool:
    """Whether a metric is one finite number."""
    return isinstance(value, int | float) and -LARGEST < value < LARGEST


def examples(message: Message, key: str) -> float:
    """How many examples a client claims to have trained on; raises MalformedError unless that is a count."""
    count = only(message.content.metric_records, "MetricRecord").get(key)
    if not measured(count) or count <= 0:
        raise MalformedError(f"{key} is {count!r}")
    return float(count)


def median_metrics(records: list, weighted_by_key: str) -> MetricRecord:
    """The median of each metric that more than half of the clients report as one finite number."""
    found: dict[str, list[float]] = {}
    for record in records:
        reported = {key: value for metrics in record.metric_records.values() for key, value in metrics.items()}
        for key, value in reported.items():  # one for each client, in however many records it has it
            if measured(value) and key != weighted_by_key:
                found.setdefault(key, []).append(float(value))
    return MetricRecord(
        {key: float(np.median(values)) for key, values in found.items() if 2 * len(values) > len(records)}
    )


class Ledger:
    """How often each client replied, and how often it was then excluded or suspect."""

    def __init__(self) -> None:
        self._replied: Counter[int] = Counter()
        self._marked: Counter[int] = Counter()

    def enter(self, round: int, received: Received, suspects: Collection[int] = ()) -> None:
        """Count a round, and say who was left out."""
        self._replied.update([*received.messages, *received.excluded])
        self._marked.update([*suspects, *received.excluded])
        for node, reason in (received.excluded | received.missing).items():
            word = "excluded" if node in received.excluded else "missing"
            LOG.warning("round %d: node %d is %s: %.200s", round, node, word, reason)

    @property
    def suspicion(self) -> dict[int, float]:
        """The share of its replies for which a client was excluded or suspect, by client."""
        return {node: self._marked[node] / count for node, count in sorted(self._replied.items())}

    def metrics(self, received: Received, **more: float) -> dict[str, float]:
        """Counts of this round, and the suspicion of those clients that ever came under any."""
        counts = {
            "replies": len(received.messages),
            "missing": len(received.missing),
            "excluded": len(received.excluded),
        }
        marked = {f"suspicion/{node}": share for node, share in self.suspicion.items() if share}
        return {f"robust/{name}": value for name, value in (counts | more).items()} | marked


def middle(values: list[np.ndarray]) -> np.ndarray:
    """The coordinate-wise median: of integers and booleans the lower one, which somebody sent."""
    ordered = np.sort(np.stack(values), axis=0)
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]
    return low / 2 + high / 2 if low.dtype.kind == "f" else low


def _values(name: str, array: Array, like: np.ndarray) -> np.ndarray:
    """An array as it was sent, without a copy, and without making anything that its length does not warrant."""
    try:
        stream = BytesIO(array.data)
        shape, fortran, dtype = HEADERS[npy.read_magic(stream)](stream)
    except Exception as error:  # whatever the parser makes of bytes that somebody chose
        raise MalformedError(f"layer {name!r} is no array: {error!r}") from None
    if array.stype != "numpy.ndarray" or shape != like.shape:
        raise MalformedError(f"layer {name!r} has shape {shape}, expected {like.shape}")
    floats = dtype.kind == like.dtype.kind == "f" and dtype.itemsize <= 8
    if not floats and dtype != like.dtype:
        raise MalformedError(f"layer {name!r} is of {dtype}, expected {like.dtype}")
    if len(array.data) - stream.tell() != prod(shape) * dtype.itemsize:
        raise MalformedError(f"layer {name!r} is cut short or too long")
    flat = np.frombuffer(array.data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _checked(name: str, values: np.ndarray) -> np.ndarray:
    """An array apart as it is, if a client's training can have left it so."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise MalformedError(f"layer {name!r} is not finite")
    if name.rpartition(".")[2] == "running_var" and (values < 0).any():
        raise MalformedError(f"layer {name!r} has negative variances")
    return values
