"""Values at or beyond the honest vectors' own, against the sign of their mean, coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, check_population, same_row
from turncoat.errors import SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows


@dataclass(frozen=True)
class OneSided(Attack):
    """Send less than every honest value where the honest mean is positive, more where it is negative.

    S1, remark 3: this moves the median and the trimmed mean as far against the mean as f values can. The values lie
    `margin` times the coordinate's range (maximum - minimum) beyond its honest values; where the mean is 0, at 0.
    """

    name = "one_sided"
    source = "S1"
    strength = "margin"
    margin: float = 1.0

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise SpecError(f"margin is a multiple of each coordinate's range from 0, got {self.margin!r}")

    def craft(self, view: View) -> Tensor:
        return same_row(passes.reduce(Rows.of(view.honest), self._beyond), view.f)

    def _beyond(self, block: Tensor) -> Tensor:
        side, near, far = _edges(block)
        return near + (side * self.margin) * (far - near).abs_()


@dataclass(frozen=True)
class FangTrimmedMean(Attack):
    """Send random values just beyond the honest ones, against the sign of their mean, in every coordinate.

    Fang et al. 2020, against trimmed mean and median. Where the honest mean is positive, each worker draws its own
    value from [min / b, min] if the honest minimum is positive, else from [b min, min]; where it is negative, from
    [max, b max] or [max, max / b] likewise; where it is 0, it sends 0. `population="own"` is for an adversary who sees
    the f vectors of its own workers only: with their mean mu and deviation sigma (ddof=1), it draws from
    [mu - 4 sigma, mu - 3 sigma] where mu is positive and from [mu + 3 sigma, mu + 4 sigma] where it is negative.
    """

    name = "fang_trimmed_mean"
    source = "Fang et al. 2020"
    draws = True
    strength = "b"
    b: float = 2.0
    population: str = "honest"

    def __post_init__(self) -> None:
        check_population(self.population)
        if self.b <= 1:
            raise SpecError(f"b is a factor above 1, got {self.b!r}")

    @property
    def needs_own(self) -> bool:
        return self.population == "own"

    def craft(self, view: View) -> Tensor:
        rows = view.population(self.population)
        if self.population == "own":
            mean, deviation = passes.mean_and_deviation(rows, ddof=1)
            deviation.mul_(-mean.sign())
            start, width = mean.add_(deviation, alpha=3), deviation
        else:
            start = passes.reduce(rows, lambda block: _edges(block)[1])
            width = passes.reduce(rows, self._beyond).sub_(start)
        draws = torch.rand((view.f, rows.d), generator=view.generator)
        return draws.to(dtype=start.dtype, device=start.device).mul_(width).add_(start)

    def _beyond(self, block: Tensor) -> Tensor:
        side, near, _ = _edges(block)
        return torch.where(side * near < 0, near / self.b, near * self.b)


def _edges(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each coordinate's side, -1, 0 or 1, against its mean, its extreme value there, and the one opposite."""
    side = -block.mean(0).sign()
    low, high = block.amin(0), block.amax(0)  # aminmax is an order of magnitude slower
    near = torch.where(side < 0, low, high)
    return side, torch.where(side == 0, 0.0, near), torch.where(side < 0, high, low)
