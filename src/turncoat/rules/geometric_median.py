"""The geometric median, found on the inner products of the rows: it is a weighted average of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.linalg.lp_median import lp_median
from turncoat.rules.base import Decision, Outcome, WeightRule
from turncoat.rules.look import Look
from turncoat.rules.median import Median

STEPS = 100  # Newton steps at most; a dozen are usual
RIDGE = 1e-14  # relative, so that rows on a line leave a system that can be solved
LP_EXCESS = 1e-6


@dataclass(frozen=True)
class GeometricMedian(WeightRule):
    """Minimise the sum of the Euclidean distances to all rows.

    Pillutla et al. 2022 (RFA). By default to the minimum itself. `iterations` asks for that many smoothed Weiszfeld
    steps instead, as RFA takes them: distances count as `nu` at least (absolute, in the units of the rows), from
    `start` "origin", "median" (coordinate-wise) or "row" (the row with the smallest sum of distances). Few steps and a
    large nu make another rule of it: `geometric_median(nu=0.1, iterations=8, start=origin)` is common in the
    literature. `p` other than 2 sums l_p distances, p >= 1, and needs a pass over the rows for each of its steps; the
    diagnostics bound the relative excess over the minimum.
    """

    name = "geometric_median"
    source = "Pillutla et al. 2022"
    uses_f = False
    nu: float = 1e-6
    iterations: int | None = None
    start: str = "row"
    p: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.nu > 0:
            raise SpecError(f"nu smooths distances and must be above 0, got {self.nu}")
        if self.iterations is not None and self.iterations < 1:
            raise SpecError(f"iterations must be at least 1, got {self.iterations}")
        if self.start not in ("row", "origin", "median"):
            raise SpecError(f'start is "row", "origin" or "median", got {self.start!r}')
        if not 1 <= self.p < math.inf:
            raise SpecError(f"p is the norm's, at least 1 and finite, got {self.p!r}")
        if self.p != 2 and self.iterations is not None:
            raise SpecError("the smoothed Weiszfeld steps that iterations counts are Euclidean: leave p at 2")

    @property
    def gram(self) -> bool:  # type: ignore[override]
        return self.p == 2

    @property
    def translates(self) -> bool:  # type: ignore[override]
        return self.start != "origin"

    @property
    def scales(self) -> bool:  # type: ignore[override]
        return self.iterations is None

    def kappa(self, n: int, f: int) -> float | None:
        exact = self.p == 2 and self.iterations is None and n > 2 * f
        return 4 * (1 + f / (n - 2 * f)) ** 2 if exact else None

    def outcome(self, look: Look, state: Any) -> Outcome:
        return super().outcome(look, state) if self.p == 2 else self._of_norm(look)

    def _of_norm(self, look: Look) -> Outcome:
        """For p other than 2; the sum of l_1 distances is smallest at the coordinate-wise median."""
        if self.p == 1:
            return Median().outcome(look, None)
        start = look.combine(minimise(look)[0])
        vector, steps, excess = lp_median(look.mixtures, self.p, start, LP_EXCESS)
        return Outcome(vector, diagnostics={"steps": float(steps), "excess": excess})

    def decide(self, look: Look, state: None) -> Decision:
        weights, steps = minimise(look) if self.iterations is None else self._weiszfeld(look, self.iterations)
        distances = look.squared_distances_to_mixture(weights).sqrt() * look.unit
        return Decision(weights, scores=distances, diagnostics={"steps": steps, "objective": float(distances.sum())})

    def _weiszfeld(self, look: Look, iterations: int) -> tuple[Tensor, int]:
        if self.start != "row":
            point = None if self.start == "origin" else Median().outcome(look, None).vector
            distances = look.squared_distances_to(point).sqrt()
        else:
            distances = look.squared_distances.sqrt()
            distances = distances[int(distances.sum(1).argmin())]
        weights = distances
        for _ in range(iterations):
            weights = _share(1 / distances.clamp(min=self.nu / look.unit))
            distances = look.squared_distances_to_mixture(weights).sqrt()
        return weights, iterations


def minimise(look: Look) -> tuple[Tensor, int]:
    """Weights (n,) of the exact geometric median, and the steps it took.

    If the best row is no minimum (Vardi and Zhang 2000, condition (2.6)), it is left along the steepest descent, and
    Newton steps follow, a Weiszfeld step wherever Newton's does not descend. With U the unit vectors from the rows to
    y, the Hessian is s I - U diag(1/d) U^T, s = sum 1/d; its inverse comes from an n x n system.
    """
    D = look.squared_distances
    best = int(D.sqrt().sum(1).argmin())
    G = look.centred_gram
    G = G - G[best] - G[:, best, None] + G[best, best]  # about the best row, from which all lengths are taken below
    from_best = D[best].sqrt()
    away = from_best > 0
    pull = torch.where(away, 1 / from_best, 0.0)
    resultant, multiplicity = float((pull @ G @ pull).clamp(min=0).sqrt()), float((~away).sum())
    weights = torch.zeros(look.n, dtype=torch.float64).index_fill_(0, torch.tensor([best]), 1.0)
    if not resultant > multiplicity:
        return weights, 0
    weights = weights * (multiplicity / resultant) + _share(pull) * (1 - multiplicity / resultant)
    gain, d = _gain(G, from_best, weights)
    step = 0
    for step in range(1, STEPS + 1):  # noqa: B007
        before = gain
        d = d.clamp(min=1e-12 * float(from_best[away].min()))
        to_y = G @ weights
        K = (G - to_y[:, None] - to_y[None, :] + weights @ to_y) / (d[:, None] * d[None, :])
        s, root = (1 / d).sum(), d.sqrt()
        system = s * (1 + RIDGE) * torch.eye(look.n, dtype=torch.float64) - K / (root[:, None] * root[None, :])
        bent = torch.linalg.solve_ex(system, K.sum(1) / root).result / root  # least squares would differ in last bits
        pull = (1 + bent) / d / s
        candidates = (weights * (1 - pull.sum()) + pull, _share(1 / d))
        (gain, d), weights = max(((_gain(G, from_best, w), w) for w in candidates), key=lambda found: found[0][0])
        if not gain > before + 1e-12 * float(d.median()):
            break
    return weights, step


def _gain(G: Tensor, from_best: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """By how much the sum of distances falls from the best row to the mixture, and the distances to the mixture.

    Each row's share is a difference of squares over a sum, so that a row at 1e38 does not drown the others.
    """
    Gw = G @ weights
    fall = 2 * Gw - weights @ Gw
    distances = (from_best.square() - fall).clamp(min=0).sqrt()
    total = distances + from_best
    gain = float(torch.where(total > 0, fall / total, 0.0).sum())
    return gain if gain == gain else -torch.inf, distances


def _share(pulls: Tensor) -> Tensor:
    return pulls / pulls.sum()
