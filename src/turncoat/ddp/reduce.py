"""From one tensor on every rank to a robust aggregate that all ranks have: who sends what to whom, who aggregates."""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from turncoat.ddp.group import DIGEST, Group, Pending, digest
from turncoat.errors import InputError, SpecError
from turncoat.linalg.rows import Rows, examine
from turncoat.linalg.shards import Crew, Shards
from turncoat.rules.base import Aggregation, Rule
from turncoat.rules.median import average_of_ranks
from turncoat.rules.own import OwnRule

REDUCING = "in a robust all-reduce"
ADDRESS = re.compile(" at 0x[0-9a-f]+")  # of a function among a rule's parameters: another on every rank
SEED = 7  # bytes: a generator takes 63 bits


@dataclass
class Parcel:
    """A flat tensor of every rank, on its way: this rank's columns of all n of them."""

    numel: int
    """Of the whole tensor."""
    first: int
    """The whole tensor's number of the first column."""
    columns: Tensor
    """(n, c), to be read once it has arrived."""
    into: Tensor
    """What becomes the aggregate of the whole tensor."""
    pending: Pending


@dataclass(frozen=True)
class Gap:
    """Columns of a parcel's whole tensor that some rows have nothing to say on."""

    parcel: int
    columns: slice
    absent: list[int]


Gaps = Callable[[Tensor], Sequence[Gap]]
"""From what each rank had to note (n, bytes) to the gaps in what it sent."""


def no_gaps(notes: Tensor) -> Sequence[Gap]:
    return ()


def absentees(gaps: Sequence[Gap]) -> tuple[int, ...]:
    return tuple(sorted({row for gap in gaps for row in gap.absent}))


@dataclass(frozen=True)
class Finished:
    """What came of the tensors that were sent."""

    found: Aggregation
    """What the rule says of the ranks; its vector is this rank's part."""
    absent: tuple[int, ...] = ()
    """Ranks that had no say on some columns."""


class Reducer(ABC):
    """A rule over the ranks of a group, with its memory: `send` tensors, then `finish` them together as one vector."""

    mode: str

    def __init__(self, rule: Rule, group: Group) -> None:
        rule.check(group.n)
        self.rule, self.group = rule, group
        self.state: Any = None
        """The rule's memory: of the columns that this rank aggregates, in the order in which they were sent."""

    def __call__(self, tensor: Tensor, out: Tensor | None = None) -> Aggregation:
        """The aggregate of the ranks' tensors, in their shape; the rule remembers the call before.

        `out` is what it is to be written to, such as the tensor itself.
        """
        sent = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": str(tuple(tensor.shape))}
        self.group.agree_on(sent | self.described(), REDUCING)
        flat = tensor.detach().reshape(-1).contiguous()
        if not flat.dtype.is_floating_point:
            raise InputError(f"a tensor of {flat.dtype} cannot be aggregated; convert it to floating point")
        if flat.is_cpu and self.group.device.type != "cpu":
            raise InputError("the group's backend sends what is on a GPU only: move the tensor there, or take gloo")
        if not flat.numel():
            raise InputError(f"there is nothing to aggregate in shape {tuple(tensor.shape)}")
        out = torch.empty_like(flat).view(tensor.shape) if out is None else out.detach()
        if (out.dtype, out.shape, out.device) != (tensor.dtype, tensor.shape, tensor.device) or not out.is_contiguous():
            raise InputError(f"out has to be contiguous, of the tensor's dtype and shape, {flat.dtype} {tensor.shape}")
        return replace(self.finish([self.send(flat, out.view(-1))]).found, vector=out)

    @abstractmethod
    def send(self, flat: Tensor, into: Tensor) -> Parcel:
        """Begin to send a flat contiguous tensor, which must stay as it is until it is finished.

        `into` becomes the aggregate, and may be the same.
        """

    @abstractmethod
    def finish(self, parcels: Sequence[Parcel], note: Tensor | None = None, gaps: Gaps = no_gaps) -> Finished:
        """Aggregate all that was sent, and write to each parcel's `into`.

        `note` (bytes) goes to all ranks, `gaps` makes of all ranks' notes which rows have no say on which columns.
        """

    @abstractmethod
    def collect(self, part: Tensor, wholes: Sequence[Tensor]) -> None:
        """Fill flat tensors with what each rank has of their columns, side by side; the other way round: `own`."""

    @abstractmethod
    def own(self, wholes: Sequence[Tensor]) -> Tensor:
        """This rank's columns of whole tensors, side by side."""

    def rearrange(self, numels: Sequence[int], moved: Callable[[list[Tensor]], list[Tensor]]) -> None:
        """Carry the rule's memory over to tensors that will be sent in another arrangement than those so far."""

        def carried(memory: Any) -> Any:
            if memory is None:
                return None
            if isinstance(memory, dict):
                return {key: carried(one) for key, one in memory.items()}
            if isinstance(memory, Tensor):
                wholes = [memory.new_empty(numel) for numel in numels]
                self.collect(memory, wholes)
                return self.own(moved(wholes))
            raise SpecError(
                f"{self.rule} remembers a {type(memory).__name__}: only tensors can follow their parameters"
            )

        self.state = carried(self.state)

    def described(self) -> dict[str, str]:
        """What has to be the same on all ranks."""
        return {"mode": self.mode, "f": str(self.rule.f), "rule": ADDRESS.sub("", str(self.rule))}

    def _step(self, rows: Rows, parcels: Sequence[Parcel], gaps: Sequence[Gap], seed: bytes) -> Aggregation:
        """One round of the rule on the columns of this rank."""
        fill(rows, parcels, gaps, self.rule.f if self.rule.robust else self.rule.f or 0)
        generator = torch.Generator().manual_seed(int.from_bytes(seed)) if self.rule.draws else None
        if self.state is None:
            self.state = self.rule.init(rows)
        found, self.state = self.rule.step(rows, self.state, generator)
        return found


class Sharded(Reducer):
    """Each rank aggregates one slice of the columns: the bytes of a ring all-reduce, and n x n numbers."""

    mode = "sharded"

    def __init__(self, rule: Rule, group: Group) -> None:
        super().__init__(rule, group)
        if rule.trusts or any(isinstance(part, OwnRule) for part in rule.parts()):
            raise SpecError(f'{rule} looks at whole vectors, and each rank holds a slice: use mode="server"')
        self.slices, self.slice = group.n, group.rank
        self.crew: Crew = group
        self._spare: list[Tensor] = []

    def send(self, flat: Tensor, into: Tensor) -> Parcel:
        sizes = self._sizes(flat.numel())
        columns = self._room(flat)
        into_sizes = [columns.shape[1]] * self.group.n
        pending = self.group.exchange(flat, columns.view(-1), sizes, into_sizes, REDUCING)
        return Parcel(flat.numel(), sum(sizes[: self.slice]), columns, into, pending)

    def _room(self, flat: Tensor) -> Tensor:
        """Memory for this rank's columns: the last step's, where they fit, as fresh pages cost as much as messages."""
        shape = self.group.n, self._sizes(flat.numel())[self.slice]
        for number, spare in enumerate(self._spare):
            if (spare.shape, spare.dtype, spare.device) == (shape, flat.dtype, flat.device):
                return self._spare.pop(number)
        return flat.new_empty(shape)

    def finish(self, parcels: Sequence[Parcel], note: Tensor | None = None, gaps: Gaps = no_gaps) -> Finished:
        absent = () if note is None else gaps(self.group.tell(note, REDUCING))
        found = self.reduce(parcels, absent)
        self.collect(found.vector, [parcel.into for parcel in parcels])
        return Finished(found, absentees(absent))

    def reduce(self, parcels: Sequence[Parcel], gaps: Sequence[Gap] = ()) -> Aggregation:
        """The aggregate of what was sent, whose vector is this rank's part."""
        for parcel in parcels:
            parcel.pending.wait()
        self._spare = [parcel.columns for parcel in parcels]
        return self._step(self._shards(parcels), parcels, gaps, self._seed() if self.rule.draws else b"")

    def collect(self, part: Tensor, wholes: Sequence[Tensor]) -> None:
        pending, start = [], 0
        for whole in wholes:
            sizes = self._sizes(len(whole))
            own = part[start : start + sizes[self.slice]].to(whole.dtype)
            pending.append(self.group.gather(own, whole, sizes, REDUCING))
            start += len(own)
        for one in pending:
            one.wait()

    def own(self, wholes: Sequence[Tensor]) -> Tensor:
        return torch.cat([whole.split(self._sizes(len(whole)))[self.slice] for whole in wholes])

    def _sizes(self, numel: int) -> list[int]:
        """How many columns each slice has: all the same, but for the last ones."""
        most = -(-numel // self.slices)
        return [max(0, min(most, numel - i * most)) for i in range(self.slices)]

    def _shards(self, parcels: Sequence[Parcel]) -> Shards:
        rows = Rows.of(*(parcel.columns for parcel in parcels))
        before = sum(sum(self._sizes(parcel.numel)[: self.slice]) for parcel in parcels)
        return Shards.among(rows, before, sum(parcel.numel for parcel in parcels), self.crew)

    def _seed(self) -> bytes:
        """Of numbers that each rank draws when the gradients have arrived."""
        own = torch.frombuffer(bytearray(secrets.token_bytes(DIGEST)), dtype=torch.uint8)
        return digest(bytes(self.group.tell(own, REDUCING).flatten().tolist()))[:SEED]


def fill(rows: Rows, parcels: Sequence[Parcel], gaps: Sequence[Gap], f: int | None) -> None:
    """Let rows that have no say on some columns say there what the others say, f highest and f lowest left out.

    Where no more than 2f others are left, nobody can tell which of them are Byzantine: the columns become 0. With an f
    of None the rows say the median of the others. Rows that are not finite have no say.
    """
    if not gaps:
        return
    _, bad = examine(rows)
    finite = [i for i in range(rows.n) if i not in bad]
    for gap in gaps:
        parcel = parcels[gap.parcel]
        first, last = (at - parcel.first for at in (gap.columns.start, gap.columns.stop))
        part = parcel.columns[:, max(0, first) : max(0, last)]
        said = [i for i in finite if i not in gap.absent]
        if not part.numel():
            continue
        out = max(0, len(said) - 1) // 2 if f is None else max(0, f - len(bad))
        if len(said) > 2 * out:
            values = average_of_ranks(len(said), out, len(said) - out - 1)(part[said].to(rows.work))
            part[[i for i in finite if i in gap.absent]] = values.to(part.dtype)
        else:
            part[finite] = 0


def make_reducer(
    rule: str | Rule | Callable[..., Any], group: dist.ProcessGroup | None, mode: str, server: int
) -> Reducer:
    """The reducer of a mode: "sharded", "server" or "replicated"."""
    from turncoat.ddp.replicas import Replicated
    from turncoat.ddp.server import Server
    from turncoat.rules.build import rule as build

    made, ranks = build(rule), Group(group)
    if mode == "sharded":
        return Sharded(made, ranks)
    if mode == "server":
        return Server(made, ranks, server)
    if mode == "replicated":
        return Replicated(made, ranks)
    raise SpecError(f'mode is "sharded", "server" or "replicated", got {mode!r}')


def robust_all_reduce(
    tensor: Tensor,
    rule: str | Rule | Callable[..., Any],
    group: dist.ProcessGroup | None = None,
    mode: str = "sharded",
    *,
    server: int = 0,
    out: Tensor | None = None,
) -> Aggregation:
    """What a rule makes of the tensors of all ranks: the same `vector`, in the tensor's shape, on each of them.

    Every rank of the group has to call it, with a tensor of the same shape and floating dtype, which stays as it is
    unless it is `out`, what the aggregate is to be written to.
    Row numbers in the aggregation are ranks. `mode="sharded"`: each rank aggregates a slice of the coordinates; it
    sends what it would in a ring all-reduce, and n x n numbers. `mode="server"`: rank `server` gathers, aggregates and
    sends the result to each. `mode="replicated"`: every slice is aggregated by at least 2f+1 ranks and what they say
    is voted on, so f ranks may lie in any message; needs n > 3f and a rule that draws nothing. A rule with memory
    starts afresh: `Reducer`, which `make_reducer` makes, remembers.

    Raises NonFiniteError where more rows than f are not finite, ToleranceError for an f too large, and GroupError where
    a rank sends something of another shape or dtype, dies, or stalls past the group's time-out.
    """
    return make_reducer(rule, group, mode, server)(tensor, out)
