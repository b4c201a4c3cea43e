"""Min-Max and Min-Sum: as far along a direction as the honest vectors' own distances excuse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, mean_row, same_row
from turncoat.errors import SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows

DIRECTIONS = ("std", "unit", "sign")


@dataclass(frozen=True)
class MinMax(Attack):
    """Go from the honest mean along a direction until the largest distance to an honest vector equals their largest.

    Shejwalkar and Houmansadr 2021, in closed form: the row is mean + gamma p with the largest gamma for which
    max_i ||row - x_i|| <= max_ij ||x_i - x_j||. The direction p is "std" (minus the coordinates' standard deviations),
    "unit" (minus the normalised mean) or "sign" (minus the signs of the mean).
    """

    name = "min_max"
    source = "Shejwalkar and Houmansadr 2021"
    direction: str = "std"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise SpecError(f"direction is one of {', '.join(DIRECTIONS)}, got {self.direction!r}")

    def craft(self, view: View) -> Tensor:
        rows = Rows.of(view.honest)
        mean, p = perturbation(rows, self.direction)
        return same_row(mean.add_(p, alpha=self.gamma(rows, mean, p)), view.f)

    def gamma(self, rows: Rows, mean: Tensor, p: Tensor) -> float:
        """The strength; 0 where the direction vanishes."""
        P = float(torch.linalg.vector_norm(p, dtype=torch.float64)) ** 2
        if P == 0.0:
            return 0.0
        D = passes.squared_distances(rows, passes.gram(rows))
        squared, widest = D.mean(1) - D.mean() / 2, float(D.max())  # to the mean, and between two of them
        along = passes.products(Rows.of(mean[None]), p) - passes.products(rows, p)  # <p, mean - x_i>
        root = (along**2 - P * (squared - widest)).clamp(min=0).sqrt()
        return float(((root - along) / P).min())


@dataclass(frozen=True)
class MinSum(MinMax):
    """Go from the honest mean along a direction until the summed squared distances equal the honest vectors' bound.

    Shejwalkar and Houmansadr 2021, in closed form: sum_i ||row - x_i||^2 <= max_i sum_j ||x_i - x_j||^2 gives
    gamma = max_i ||x_i - mean|| / ||p||. `bound="min"` takes the minimum over i, as some code does. Directions as for
    Min-Max.
    """

    name = "min_sum"
    source = "Shejwalkar and Houmansadr 2021"
    bound: str = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound not in ("max", "min"):
            raise SpecError(f'bound is "max" or "min", got {self.bound!r}')

    def gamma(self, rows: Rows, mean: Tensor, p: Tensor) -> float:
        length = float(torch.linalg.vector_norm(p, dtype=torch.float64))
        if length == 0.0:
            return 0.0
        distances = passes.squared_norms(rows, about=mean).sqrt()
        return float(distances.max() if self.bound == "max" else distances.min()) / length


def perturbation(rows: Rows, direction: str) -> tuple[Tensor, Tensor]:
    """The rows' mean and the direction to go from it, (d,) each."""
    if direction == "std":
        mean, deviation = passes.mean_and_deviation(rows, ddof=1)
        return mean, deviation.neg_()
    mean = mean_row(rows)
    if direction == "sign":
        return mean, -mean.sign()
    length = float(torch.linalg.vector_norm(mean, dtype=torch.float64))
    return mean, -mean / length if length > 0 else torch.zeros_like(mean)
