"""Krum and Multi-Krum: the rows in the densest neighbourhood."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.look import Look

NEIGHBOURS = {"n-f-2": 2, "n-f-1": 1, "n-f": 0}


@dataclass(frozen=True)
class Krum(WeightRule):
    """Return the row with the smallest sum of squared distances to its n-f-2 nearest other rows.

    Blanchard et al. 2017. `neighbours` counts the other rows in the sum: "n-f-2" in the paper; "n-f-1" and "n-f" are
    other readings in use. The guarantee needs n > 2f + 2; at n = 2f + 2 there is a warning.
    """

    name = "krum"
    source = "Blanchard et al. 2017"
    needs = "n >= 2f + 2"
    neighbours: str = "n-f-2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours not in NEIGHBOURS:
            raise SpecError(f"neighbours is one of {', '.join(NEIGHBOURS)}, got {self.neighbours!r}")

    def most(self, n: int) -> int:
        return max(0, (n - 2) // 2)

    def decide(self, look: Look, state: None) -> Decision:
        scores = self.scores(look)
        return Decision(_average(lowest(scores, 1, look.tolerance), look.n), scores=scores)

    def scores(self, look: Look) -> Tensor:
        """(n,) sums of the squared distances to the nearest others, in units of the look's unit squared."""
        n, f = look.n, look.f
        if n == 2 * f + 2:
            warnings.warn(f"{self.name} has no guarantee at n = 2f + 2 = {n}: it needs n > 2f + 2", stacklevel=2)
        count = min(n - 1, max(1, n - f - NEIGHBOURS[self.neighbours]))
        others = look.squared_distances.clone().fill_diagonal_(torch.inf)
        return others.sort(dim=1).values[:, :count].sum(1)


@dataclass(frozen=True)
class MultiKrum(Krum):
    """Average the m rows with the lowest Krum scores, n-f of them unless m is given."""

    name = "multi_krum"
    m: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.m is not None and self.m < 1:
            raise SpecError(f"m counts the rows to average, at least 1, got {self.m}")

    def decide(self, look: Look, state: None) -> Decision:
        scores = self.scores(look)
        count = look.n - look.f if self.m is None else min(self.m, look.n)
        return Decision(_average(lowest(scores, count, look.tolerance), look.n), scores=scores)


def lowest(scores: Tensor, count: int, tolerance: float) -> Tensor:
    """Indices of the lowest scores; equal ones (within the relative tolerance) in the order of the rows."""
    chosen: list[int] = []
    left = scores.nan_to_num(nan=torch.inf).tolist()
    for _ in range(count):
        smallest = min(score for i, score in enumerate(left) if i not in chosen)
        limit = smallest + tolerance * abs(smallest)
        chosen.append(next(i for i, score in enumerate(left) if i not in chosen and score <= limit))
    return torch.tensor(chosen)


def _average(chosen: Tensor, n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float64).index_fill_(0, chosen, 1.0 / len(chosen))
