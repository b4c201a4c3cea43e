"""Inner-product manipulation: the honest mean, turned round."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, check_population, same_row
from turncoat.errors import SpecError
from turncoat.linalg import passes


@dataclass(frozen=True)
class IPM(Attack):
    """Send -epsilon times the mean of the honest vectors: small epsilon against Krum, large against the median.

    Xie et al. 2019. The plain mean turns round only for epsilon > (n-f)/f. `population="own"` takes the mean over the
    Byzantine workers' own vectors, for an adversary who sees nothing else. `scale="sum/f"` multiplies the vectors' sum
    by epsilon / f instead, as the code of S2 does: (n-f)/f times as much.
    """

    name = "ipm"
    source = "Xie et al. 2019 (S1)"
    strength = "epsilon"
    epsilon: float = 0.1
    population: str = "honest"
    scale: str = "mean"

    def __post_init__(self) -> None:
        check_population(self.population)
        if self.scale not in ("mean", "sum/f"):
            raise SpecError(f'scale is "mean" or "sum/f", got {self.scale!r}')

    @property
    def needs_own(self) -> bool:
        return self.population == "own"

    def craft(self, view: View) -> Tensor:
        rows = view.population(self.population)
        share = rows.n if self.scale == "mean" else view.f
        weights = torch.full((rows.n,), -self.epsilon / share, dtype=torch.float64)
        return same_row(passes.combine(rows, weights), view.f)
