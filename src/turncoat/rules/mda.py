"""Minimum-diameter averaging, exact: to keep n-f rows within a distance is to cover all longer pairs with f rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from turncoat.rules.look import Look
from turncoat.rules.subsets import Choice, SubsetRule, tidy


@dataclass(frozen=True)
class MDA(SubsetRule):
    """Average the n-f rows with the smallest diameter, the largest distance between two of them.

    Rousseeuw 1985; El Mhamdi et al. 2018. Among equal ones, the lexicographically first by row number. The search is
    exact and takes a few steps as a rule, but its worst case is exponential in f: past `budget` branchings,
    `beyond="error"` raises BudgetError and `beyond="search"` goes on without branching, to a subset that need not be
    the best; `diagnostics` then say exact 0, its diameter, and what every diameter is at least.
    """

    name = "mda"
    source = "Rousseeuw 1985; El Mhamdi et al. 2018"
    measure = "diameter"

    def choose(self, look: Look) -> Choice:
        return smallest_diameter(look.squared_distances, look.n - look.f, look.tolerance, self.budget, look.unit)


def smallest_diameter(D: Tensor, size: int, tolerance: float, budget: int, unit: float = 1.0) -> Choice:
    """The first `size` rows, in lexicographic order, that lie within the smallest diameter; its unit is `unit`.

    From squared distances D (n, n); those that differ by no more than the relative tolerance count as equal.
    """
    distances = tidy(D).numpy()
    levels = np.unique(distances).tolist()
    search = CoverSearch(budget)
    everyone = (1 << len(D)) - 1
    low, high, proven, cover = -1, len(levels) - 1, -1, 0
    while high - low > 1:
        middle = (low + high) // 2
        found = search.cover(_longer(distances, levels[middle]), everyone, len(D) - size)
        if found is not None:
            high, cover = middle, found
        else:
            low = middle
            proven = proven if search.spent else middle
    rows = _first_rows(_longer(distances, levels[high] * (1 + tolerance)), everyone & ~cover, size, search)
    diameter = math.sqrt(distances[np.ix_(rows, rows)].max())
    at_least = math.sqrt(levels[proven + 1])
    return Choice(rows, diameter * unit, at_least * unit, search.steps, exact=not search.spent)


def _longer(distances: np.ndarray, limit: float) -> list[int]:
    """The graph of all pairs beyond the limit: for every row, a mask of the others."""
    packed = np.packbits(distances > limit, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _first_rows(graph: list[int], known: int, size: int, search: CoverSearch) -> list[int]:
    """The lexicographically first rows without an edge between them, given a mask `known` of as many."""
    chosen: list[int] = []
    left, spare = (1 << len(graph)) - 1, len(graph) - size
    for row in range(len(graph)):
        if len(chosen) == size:
            break
        if not left >> row & 1:
            continue
        left &= ~(1 << row)
        against = graph[row] & left
        if not known >> row & 1:
            cover = search.cover(graph, left & ~against, spare - against.bit_count())
            if cover is None:
                spare -= 1
                continue
            known = left & ~against & ~cover
        chosen.append(row)
        left &= ~against
        spare -= against.bit_count()
    return chosen


class CoverSearch:
    """Vertex covers of small graphs by branch and bound; what all its searches may branch together is the budget."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.steps = 0
        self.spent = False
        """Whether a search that had to leave out a branch found nothing, which proves nothing."""

    def cover(self, graph: list[int], left: int, k: int) -> int | None:
        """A mask of at most k vertices that cover all edges among those of the mask `left`; None where none is found.

        Where the budget is spent, of each vertex only the branch is followed that takes it.
        """
        pending = [(left, k, 0)]
        partial = False
        while pending:
            left, k, cover = pending.pop()
            left, taken, most = _reduce(graph, left, k)
            cover |= taken
            k -= taken.bit_count()
            if k < 0:
                continue
            if not left:
                return cover
            if _needed(graph, left, k) > k:
                continue
            neighbours = graph[most] & left
            rest = left & ~(1 << most)
            if self.steps < self.budget:
                self.steps += 1
                pending.append((rest & ~neighbours, k - neighbours.bit_count(), cover | neighbours))
            else:
                partial = True
            pending.append((rest, k - 1, cover | 1 << most))
        self.spent |= partial
        return None


def _reduce(graph: list[int], left: int, k: int) -> tuple[int, int, int]:
    """Settle what some smallest cover of at most k does: the vertices left, those taken, and one of most neighbours.

    Takes vertices with more than k neighbours, the neighbour of a vertex that has no other, and any vertex once only
    cycles are left.
    """
    taken = most = 0
    while left and k >= 0:
        isolated = forced = degree = 0
        leaf = -1
        for vertex in _members(left):
            count = (graph[vertex] & left).bit_count()
            if count == 0:
                isolated |= 1 << vertex
            elif count > k:
                forced |= 1 << vertex
            elif count == 1:
                leaf = vertex
            if count > degree:
                degree, most = count, vertex
        left &= ~isolated
        if not forced and leaf >= 0:
            forced = graph[leaf] & left
        elif not forced and degree == 2:
            forced = 1 << most
        if not forced:
            break
        left &= ~forced
        taken |= forced
        k -= forced.bit_count()
    return left, taken, most


def _needed(graph: list[int], left: int, enough: int) -> int:
    """A lower bound on the size of a cover, no further than just above `enough`: all but one of every clique's."""
    needed = 0
    while left and needed <= enough:
        vertex = left & -left
        left ^= vertex
        together = graph[vertex.bit_length() - 1] & left
        while together:
            vertex = together & -together
            left ^= vertex
            needed += 1
            together &= graph[vertex.bit_length() - 1]
    return needed


def _members(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
