"""The geometric median, found on the inner products of the rows: it is a weighted average of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.linalg.batches import FAR, NEAR, RIDGE, STEPS
from turncoat.linalg.lp_median import lp_median
from turncoat.rules.base import Decision, Outcome, WeightRule
from turncoat.rules.krum import lowest
from turncoat.rules.look import Look
from turncoat.rules.median import Median

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
            distances = best_row(look)[2]
        weights, nu = distances, max(self.nu / look.unit, 1e-300)  # the inverses' sum has to be a number
        for _ in range(iterations):
            weights = _share(1 / distances.clamp(min=nu))
            distances = look.squared_distances_to_mixture(weights).sqrt()
        return weights, iterations


def minimise(look: Look) -> tuple[Tensor, int]:
    """Weights (n,) of the exact geometric median, and the steps it took.

    If the best row is no minimum (Vardi and Zhang 2000, condition (2.6)), it is left along the steepest descent, and
    Newton steps follow, whole or short. Each has a Weiszfeld step behind it, which makes an average of the rows of
    where it led; that step alone is taken where it falls further.
    """
    best, G, from_best = best_row(look)
    away = from_best > 0
    pull = torch.where(away, 1 / from_best, 0.0)
    resultant, multiplicity = float((pull @ G @ pull).clamp(min=0).sqrt()), float((~away).sum())
    at_best = torch.zeros(look.n, dtype=torch.float64).index_fill_(0, torch.tensor([best]), 1.0)
    if not resultant > multiplicity * (1 + NEAR):  # rows on a line can pull as much as the best one holds
        return at_best, 0
    weights = at_best * (multiplicity / resultant) + _share(pull) * (1 - multiplicity / resultant)
    gain, d = _gain(G, from_best, weights)
    step, floor = 0, NEAR * float(from_best[away].min())
    for step in range(1, STEPS + 1):  # noqa: B007
        before, d = gain, d.clamp(min=floor)
        newton = _newton(G, weights, d)
        fall = _fall(G, weights + torch.stack([newton, newton / 8]))
        led = (from_best.square() - fall).clamp(min=floor**2).sqrt()
        averages = _share(1 / torch.cat([led, d[None]]))
        gains, distances = _gain(G, from_best, averages)
        furthest = int(gains.argmax())
        if gains[furthest] > gain:
            gain, d, weights = gains[furthest], distances[furthest], averages[furthest]
        if not gain > before + NEAR * d[best]:
            break
    return (weights if gain > 0 else at_best), step


def best_row(look: Look) -> tuple[int, Tensor, Tensor]:
    """The row with the smallest sum of distances, inner products about it, and the distances from it that fit them.

    Where short distances would drown in others, it is found by gains over a row in the midst, then over a better one.
    """
    D = look.squared_distances

    def about(row: int) -> tuple[Tensor, Tensor]:
        G = look.gram_about(row)
        return G, torch.where(D[row] > 0, G.diagonal().clamp(min=0), 0.0).sqrt()

    lengths = D.sqrt()
    best = int(lowest(lengths.sum(1), 1, look.tolerance))
    apart = [length for length in lengths[best].tolist() if length > 0]
    if not apart or max(apart) <= FAR * min(apart):
        return best, *about(best)
    best = int(lengths.median(1).values.argmin())
    found = about(best)
    for _ in range(3):
        better = int(_gain(*found, torch.eye(look.n, dtype=torch.float64))[0].argmax())
        if better == best:
            break
        best, found = better, about(better)
    return best, *found


def _newton(G: Tensor, weights: Tensor, d: Tensor) -> Tensor:
    """What a Newton step adds to the weights: much, of both signs, where rows stand on a line.

    With U the unit vectors from the rows to y, the Hessian is s I - U diag(1/d) U^T, s = sum 1/d; its inverse comes
    from an n x n system.
    """
    to_y = G @ weights
    about_y = G - to_y[:, None] - to_y[None, :] + weights @ to_y
    s, root = (1 / d).sum(), d.sqrt()
    scale = d * root
    system = about_y / (-scale[:, None] * scale)
    system.diagonal().add_(s * (1 + RIDGE))
    bent = torch.linalg.solve_ex(system, about_y @ (1 / d) / scale).result / root  # by LU: the same bits every time
    pull = (1 + bent) / d / s
    return pull - weights * pull.sum()


def _gain(G: Tensor, from_best: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the sum of distances falls from the best row to mixtures (..., n), and the distances to them.

    Each row's share is a difference of squares over a sum, so that a row at 1e38 does not drown the others.
    """
    fall = _fall(G, weights)
    distances = (from_best.square() - fall).clamp(min=0).sqrt()
    total = distances + from_best
    return torch.where(total > 0, fall / total, 0.0).sum(-1).nan_to_num(nan=-torch.inf), distances


def _fall(G: Tensor, weights: Tensor) -> Tensor:
    """(..., n) by how much the squared distances fall from the best row to mixtures."""
    Gw = weights @ G
    return 2 * Gw - (weights * Gw).sum(-1, keepdim=True)


def _share(pulls: Tensor) -> Tensor:
    return pulls / pulls.sum(-1, keepdim=True)
