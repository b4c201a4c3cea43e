"""Order statistics of every coordinate: the median and the trimmed mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from turncoat.linalg.networks import Middle
from turncoat.rules.base import CoordinateRule


@dataclass(frozen=True)
class Median(CoordinateRule):
    """Take the median of every coordinate; between the two middle values of an even count, their average."""

    name = "median"
    source = "Yin et al. 2018"
    uses_f = False

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        return average_of_ranks(n, (n - 1) // 2, n // 2)


@dataclass(frozen=True)
class TrimmedMean(CoordinateRule):
    """Drop the f lowest and the f highest values of every coordinate and average the rest."""

    name = "trimmed_mean"
    source = "Yin et al. 2018"

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        return average_of_ranks(n, f, n - f - 1)


def average_of_ranks(n: int, first: int, last: int) -> Callable[[Tensor], Tensor]:
    """The average of the values of ranks first..last of every coordinate."""
    middle = Middle(n, first, last)

    def average(block: Tensor) -> Tensor:
        total, *others = middle(block)
        for row in others:
            total.add_(row)
        return total.div_(last - first + 1) if others else total

    return average
