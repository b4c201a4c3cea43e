"""Every slice aggregated by a committee of at least 2f+1 ranks, and everything that they say voted on.

Nothing here passes through a third rank, and nothing is believed that fewer than f+1 ranks say. A rank that sends
unlike gradients to unlike ranks is found out by what they say that they received (`agreement`) and has no part in the
round.
What is left to f hostile ranks is to stop the group: by silence, or by messages of the wrong size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from turncoat.ddp.agreement import AGREEING, agree, as_bytes, supported
from turncoat.ddp.group import DIGEST, Group, digest
from turncoat.ddp.reduce import REDUCING, Finished, Gaps, Parcel, Sharded, absentees, no_gaps
from turncoat.errors import GroupError, SpecError, ToleranceError
from turncoat.rules.base import Rule


class Replicated(Sharded):
    """Committees of consecutive ranks, one a slice."""

    mode = "replicated"

    def __init__(self, rule: Rule, group: Group) -> None:
        super().__init__(rule, group)
        if rule.f is None:
            raise SpecError(f'mode="replicated" outvotes f ranks that lie: give {rule} an f')
        if group.n <= 3 * rule.f:
            raise ToleranceError(
                f'mode="replicated" needs n > 3f, or what was sent cannot be agreed on: f = {rule.f} is too large for '
                f"n = {group.n} ranks"
            )
        if rule.draws:
            raise SpecError(
                f'mode="replicated" takes no rule that draws, as {rule} does: ranks that lie could steer it'
            )
        if rule.nonfinite == "propagate":
            raise SpecError('mode="replicated" excludes ranks: nonfinite="propagate" lets them through')
        self.f = rule.f
        self.slices = group.n // (2 * self.f + 1)
        self.committee = [rank * self.slices // group.n for rank in range(group.n)]
        self.slice = self.committee[group.rank]
        self.crew = self

    def send(self, flat: Tensor, into: Tensor) -> Parcel:
        sizes = self._sizes(flat.numel())
        pieces = flat.split(sizes)
        out = torch.cat([pieces[i] for i in self.committee])
        columns = self._room(flat)
        into_sizes = [columns.shape[1]] * self.group.n
        pending = self.group.exchange(out, columns.view(-1), [sizes[i] for i in self.committee], into_sizes, REDUCING)
        return Parcel(flat.numel(), sum(sizes[: self.slice]), columns, into, pending)

    def finish(self, parcels: Sequence[Parcel], note: Tensor | None = None, gaps: Gaps = no_gaps) -> Finished:
        for parcel in parcels:
            parcel.pending.wait()
        notes = self._settle(parcels, torch.empty(0, dtype=torch.uint8) if note is None else note)
        absent = () if note is None else gaps(notes)
        found = self.reduce(parcels, absent)
        self.collect(found.vector, [parcel.into for parcel in parcels])
        return Finished(found, absentees(absent))

    def total(self, numbers: Tensor) -> Tensor:
        return self._voted(numbers).sum(0)

    def peak(self, numbers: Tensor) -> Tensor:
        return self._voted(numbers).amax(0)

    def collect(self, part: Tensor, wholes: Sequence[Tensor]) -> None:
        """The first f+1 of each committee, of whom one is honest, send their slice; votes on digests tell which."""
        group, sizes = self.group, [self._sizes(len(whole)) for whole in wholes]
        widths = [sum(size[i] for size in sizes) for i in range(self.slices)]
        own = digest(as_bytes(part))
        right = [as_bytes(row) for row in self._voted(torch.frombuffer(bytearray(own), dtype=torch.uint8))]
        wanted = torch.tensor([i != self.slice or right[i] != own for i in range(self.slices)], dtype=torch.uint8)
        asked = group.tell(wanted, REDUCING)[:, self.slice].tolist()
        sends = [self.committee[: rank + 1].count(i) <= self.f + 1 for rank, i in enumerate(self.committee)]
        out_sizes = [len(part) if sends[group.rank] and asked[rank] == 1 else 0 for rank in range(group.n)]
        into_sizes = [widths[i] if sends[rank] and wanted[i] else 0 for rank, i in enumerate(self.committee)]
        into = part.new_empty(sum(into_sizes))
        copies = part.repeat(sum(size > 0 for size in out_sizes))
        group.exchange(copies, into, out_sizes, into_sizes, REDUCING).wait()
        slices = [part] * self.slices
        for i, copy in zip(self.committee, into.split(into_sizes), strict=True):
            if wanted[i] and len(copy) == widths[i] and digest(as_bytes(copy)) == right[i]:
                slices[i], wanted[i] = copy, 0
        if wanted.any():
            raise GroupError("more ranks lie than f: no copy of a slice is what most of its committee say it is")
        pieces = [piece.split([size[i] for size in sizes]) for i, piece in enumerate(slices)]
        for number, whole in enumerate(wholes):
            whole.copy_(torch.cat([piece[number] for piece in pieces]))

    def _voted(self, numbers: Tensor) -> Tensor:
        """(slices, ...) what more than f of each committee say."""
        said = self.group.tell(numbers, REDUCING)
        found = []
        for i in range(self.slices):
            members = [rank for rank, own in enumerate(self.committee) if own == i]
            most = supported([as_bytes(said[rank]) for rank in members], self.f)
            if most is None:
                raise GroupError(
                    f"the replicas of slice {i} (ranks {members}) disagree: more ranks lie than f = {self.f}, or the "
                    f"ranks' hardware or libraries compute differently"
                )
            found.append(said[next(rank for rank in members if as_bytes(said[rank]) == most)])
        return torch.stack(found)

    def _settle(self, parcels: Sequence[Parcel], note: Tensor) -> Tensor:
        """Agree on what each rank sent, in its slices and its note, and have it; rows of liars become nan.

        A row is agreed on as the digests of its slices and its note. More than f of a committee say each digest, so an
        honest one holds the slice and can hand it on.
        """
        group, n, f = self.group, self.group.n, self.f
        notes = group.tell(note, AGREEING)
        rows = [[parcel.columns[j] for parcel in parcels] for j in range(n)]
        held = [digest(*(as_bytes(piece) for piece in row)) for row in rows]
        report = b"".join(mark + bytes(one.tolist()) for mark, one in zip(held, notes, strict=True))
        said = group.tell(torch.frombuffer(bytearray(report), dtype=torch.uint8).view(n, -1), AGREEING)
        reports = [[bytes(row.tolist()) for row in one] for one in said]
        agreed = agree(group, [self._likely(reports, j) for j in range(n)], DIGEST * self.slices + len(note), f)
        here = slice(DIGEST * self.slice, DIGEST * (self.slice + 1))
        right = [None if value is None else value[here] for value in agreed]
        missing = [mark is not None and mark != own for mark, own in zip(right, held, strict=True)]
        self._fetch(rows, right, missing, [mark == own for mark, own in zip(right, held, strict=True)])
        for row, mark in zip(rows, right, strict=True):
            if mark is None:
                for piece in row:
                    piece.fill_(torch.nan)
        silent = bytes(len(note))
        sent = b"".join(silent if value is None else value[DIGEST * self.slices :] for value in agreed)
        return torch.frombuffer(bytearray(sent), dtype=torch.uint8).view(n, -1) if len(note) else notes

    def _likely(self, reports: list[list[bytes]], j: int) -> bytes | None:
        """What rank j sent, as far as more than f of those who received each part say the same of it."""
        parts = [
            supported([one[j][:DIGEST] for one, own in zip(reports, self.committee, strict=True) if own == i], self.f)
            for i in range(self.slices)
        ]
        parts.append(supported([one[j][DIGEST:] for one in reports], self.f))
        return None if None in parts else b"".join(part for part in parts if part is not None)

    def _fetch(self, rows: list[list[Tensor]], right: list[bytes | None], missing: list[bool], has: list[bool]) -> None:
        """Take the rows that this rank should have and has not from others of its committee."""
        group, n = self.group, self.group.n
        theirs = group.tell(torch.tensor([missing, has], dtype=torch.uint8), AGREEING)
        peers = [own == self.slice and rank != group.rank for rank, own in enumerate(self.committee)]
        out = [[j for j in range(n) if peers[r] and has[j] and theirs[r, 0, j] == 1] for r in range(n)]
        into = [[j for j in range(n) if peers[r] and missing[j] and theirs[r, 1, j] == 1] for r in range(n)]
        width = sum(piece.nbytes for piece in rows[0])
        copies = [piece.contiguous().view(torch.uint8) for chosen in out for j in chosen for piece in rows[j]]
        received = torch.empty(width * sum(map(len, into)), dtype=torch.uint8, device=rows[0][0].device)
        sizes = [[width * len(chosen) for chosen in way] for way in (out, into)]
        group.exchange(torch.cat([received[:0], *copies]), received, sizes[0], sizes[1], AGREEING).wait()
        for number, j in enumerate(j for chosen in into for j in chosen):
            copy = received[number * width : (number + 1) * width]
            if missing[j] and digest(as_bytes(copy)) == right[j]:
                for piece, found in zip(rows[j], copy.split([piece.nbytes for piece in rows[j]]), strict=True):
                    piece.view(torch.uint8).copy_(found)
                missing[j] = False
        if any(missing):
            raise GroupError("more ranks lie than f: nobody hands on a gradient that ranks say they have received")
