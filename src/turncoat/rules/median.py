"""Order statistics of every coordinate: median, trimmed mean and the means of what lies nearest to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.linalg.networks import Ranks
from turncoat.rules.base import CoordinateRule, Outcome
from turncoat.rules.look import Look


@dataclass(frozen=True)
class Median(CoordinateRule):
    """Take the median of every coordinate.

    Yin et al. 2018. Between the two middle values of an even count, `even` takes their "average" or the "lower" one.
    """

    name = "median"
    source = "Yin et al. 2018"
    uses_f = False
    even: str = "average"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.even not in ("average", "lower"):
            raise SpecError(f'even is "average" or "lower", got {self.even!r}')

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        middle = (n - 1) // 2
        return average_of_ranks(n, middle, middle if self.even == "lower" else n // 2)

    def kappa(self, n: int, f: int) -> float | None:
        # of a set, at least n/2 - f values lie beyond the median as seen from the set's mean, each at least as far off
        return (n - f) / ((n + 1) // 2 - f) if n > 2 * f else None


@dataclass(frozen=True)
class TrimmedMean(CoordinateRule):
    """Drop the f lowest and the f highest values of every coordinate and average the rest.

    Yin et al. 2018. With `reduce`, too large an f trims as much as leaves a value, as some code does after bucketing.
    """

    name = "trimmed_mean"
    source = "Yin et al. 2018"
    reduce: bool = False

    def most(self, n: int) -> int:
        return n if self.reduce else super().most(n)

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        f = min(f, (n - 1) // 2)
        return average_of_ranks(n, f, n - f - 1)

    def kappa(self, n: int, f: int) -> float | None:
        # at most the mean of a set's n - 2f largest values, which Cauchy and Schwarz bound; no rule can do better
        return f / (n - 2 * f) if n > 2 * f and not self.reduce else None


@dataclass(frozen=True)
class MeaMed(CoordinateRule):
    """Average the n-f values of every coordinate that lie nearest to its median."""

    name = "meamed"
    source = "Xie et al. 2018"

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        return average_of_nearest(n, n - f, (n - 1) // 2, n // 2)


@dataclass(frozen=True)
class Phocas(CoordinateRule):
    """Average the n-f values of every coordinate that lie nearest to its trimmed mean."""

    name = "phocas"
    source = "Xie et al. 2018"

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        return average_of_nearest(n, n - f, f, n - f - 1)


@dataclass(frozen=True)
class SignMajority(CoordinateRule):
    """Take the sign of every coordinate that the majority of the rows has, 0 where there is a tie."""

    name = "sign_majority"
    source = "Bernstein et al. 2019"
    uses_f = False
    translates = False
    scales = False
    robust = False

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        return lambda block: block.sign().sum(0).sign_()

    def outcome(self, look: Look, state: Any) -> Outcome:
        outcome = super().outcome(look, state)
        if look.unit != 1:  # which the pass has put on the signs
            outcome.vector.sign_()
        return outcome


def average_of_ranks(n: int, first: int, last: int) -> Callable[[Tensor], Tensor]:
    """The average of the values of ranks first..last of every coordinate."""
    middle = Ranks(n, (first, last))

    def average(block: Tensor) -> Tensor:
        total, *others = middle(block)
        for row in others:
            total.add_(row)
        return total.div_(last - first + 1) if others else total

    return average


def average_of_nearest(n: int, count: int, first: int, last: int) -> Callable[[Tensor], Tensor]:
    """The average of the `count` values of every coordinate that lie nearest to that of its ranks first..last.

    In sorted order they are a window. It starts at the lowest value and moves up by one for as long as the value that
    it would take in is nearer to the centre than the one that it would leave behind.
    """
    moves = n - count

    def order(rank: int) -> object:
        always_inside = moves <= rank < count
        return first <= rank <= last if always_inside else str(rank)

    groups = [list(ranks) for _, ranks in groupby(range(n), order)]
    in_order = Ranks(n, *((ranks[0], ranks[-1]) for ranks in groups))

    def average(block: Tensor) -> Tensor:
        values = in_order(block)
        centre = _average(values[first : last + 1])
        window = values[:count]
        for low, high in zip(range(moves), range(count, n), strict=True):
            nearer = values[high] - centre < centre - values[low]
            window[low % count] = torch.where(nearer, values[high], window[low % count])
        return _average(window)

    return average


def _average(values: list[Tensor]) -> Tensor:
    total = values[0].clone()
    for value in values[1:]:
        total.add_(value)
    return total.div_(len(values))
