"""Sorting networks over rows: order statistics of every coordinate by whole-row minima and maxima.

A network of compare-exchanges on n wires costs a few dozen vector operations, where sorting d columns of n numbers
costs d small sorts. Batcher's odd-even merge sort (Knuth, The Art of Computer Programming 3, 5.3.4) is pruned to the
exchanges that the wanted ranks depend on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SMALL = 32768  # columns; torch spreads elementwise work over threads above that


class Exchange(NamedTuple):
    """Put the smaller of two wires on `low`, the larger on `high`; a side that nobody reads later is not computed."""

    low: int
    high: int
    want_low: bool
    want_high: bool


@lru_cache(maxsize=256)
def network(n: int, groups: tuple[tuple[int, int], ...]) -> tuple[Exchange, ...]:
    """Exchanges after which the wires first..last of each group hold the values of those ranks, in no certain order.

    A single rank (first == last) is then exactly on its wire. Ranks count from 0; groups do not overlap.
    """
    group = {wire: i for i, (first, last) in enumerate(groups) for wire in range(first, last + 1)}
    settled = set(group)  # wires whose value only enters their group: their order in it does not matter
    wanted = set(group)
    kept: list[Exchange] = []
    for low, high in reversed(_batcher(n)):
        within = low in settled and high in settled and group[low] == group[high]
        if within or not (low in wanted or high in wanted):
            continue
        kept.append(Exchange(low, high, low in wanted, high in wanted))
        wanted |= {low, high}
        settled -= {low, high}
    return tuple(reversed(kept))


def _batcher(n: int) -> list[tuple[int, int]]:
    pairs = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return pairs


class Ranks:
    """The values of some ranks of each column of (n, c) blocks, given as groups (first, last) of them in their order.

    Scratch is kept from block to block.
    """

    def __init__(self, n: int, *groups: tuple[int, int]) -> None:
        self.exchanges = network(n, groups)
        self.wanted = [rank for first, last in groups for rank in range(first, last + 1)]
        self.scratch: Tensor | None = None

    def __call__(self, block: Tensor) -> list[Tensor]:
        """A row for each rank, within a group in no certain order.

        The block is not written to; the rows are scratch, valid until the next call.
        """
        n, columns = block.shape
        if self.scratch is None or self.scratch.shape[1] < columns:
            self.scratch = torch.empty((n + 1, columns), dtype=block.dtype, device=block.device)
        scratch = self.scratch[:, :columns]
        if columns > SMALL or block.device.type != "cpu":
            return self._select(list(block), list(scratch), torch.minimum, torch.maximum)
        # Below what torch spreads over threads, NumPy does the same in a third of the time.
        rows = self._select(list(block.numpy()), list(scratch.numpy()), np.minimum, np.maximum)
        return [torch.from_numpy(row) for row in rows]

    def _select(self, wires: list[Any], free: list[Any], minimum: Any, maximum: Any) -> list[Any]:
        owned = [False] * len(wires)  # a wire owns a row of scratch, or still reads its row of the block
        for low, high, want_low, want_high in self.exchanges:
            a, b = wires[low], wires[high]
            if want_low:
                wires[low] = minimum(a, b, out=free.pop())
            if want_high:
                wires[high] = maximum(a, b, out=b if owned[high] else free.pop())
            elif owned[high]:
                free.append(b)
            if want_low and owned[low]:
                free.append(a)
            owned[low] |= want_low
            owned[high] |= want_high
        for rank in self.wanted:
            if not owned[rank]:
                wires[rank] = maximum(wires[rank], wires[rank], out=free.pop())  # a copy, in either library
        return [wires[rank] for rank in self.wanted]
