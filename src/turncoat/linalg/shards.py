"""Rows of which each process of a group holds some columns: sums and maxima over columns are taken over the group."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from turncoat.linalg.rows import Rows


class Crew(Protocol):
    """The processes that hold the other columns. What it returns is the same on all of them, bit for bit."""

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of what all of them give."""
        ...

    def peak(self, numbers: Tensor) -> Tensor:
        """The maximum of what all of them give, nan where one gives nan."""
        ...


@dataclass(frozen=True)
class Shards(Rows):
    """Columns `start` to `start + d` of rows of `width` columns; a process may hold none.

    All processes have to ask for the same things in the same order, and do: whatever is decided is decided on totals.
    """

    start: int = 0
    width: int = 0
    crew: Crew = field(default=None, repr=False)  # type: ignore[assignment]

    @staticmethod
    def among(rows: Rows, start: int, width: int, crew: Crew) -> Shards:
        """The rows as a shard."""
        return Shards(rows.segments, rows.dtype, work=rows.work, start=start, width=width, crew=crew)

    @property
    def whole(self) -> int:
        return self.width

    def total(self, numbers: Tensor) -> Tensor:
        return self.crew.total(numbers)

    def peak(self, numbers: Tensor) -> Tensor:
        return self.crew.peak(numbers)

    def columns(self, indices: Tensor) -> Shards:
        first, last = torch.searchsorted(indices, torch.tensor([self.start, self.start + self.d])).tolist()
        own = super().columns(indices[first:last] - self.start)
        assert isinstance(own, Shards)
        return replace(own, start=first, width=len(indices))
