"""Rules that look for the direction along which the rows spread most, always in the n x n Gram matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.krum import average, lowest
from turncoat.rules.look import Look

EQUAL = 1e-9  # projections that differ by a smaller share of the largest are equal


@dataclass(frozen=True)
class DnC(WeightRule):
    """Drop the rows that stand out along the direction of largest spread, in random samples of the coordinates.

    Shejwalkar and Houmansadr 2021 (divide and conquer). Of `columns` random coordinates, and anew for each of
    `iterations`, the floor(c f) rows with the largest projections on the first principal direction are marked; the
    unmarked ones are averaged, or those least often marked where none is left. The direction comes from the n x n Gram
    matrix of the sample. `columns=None` takes all coordinates, at the cost of one pass; one iteration then says it all.
    A traitor far enough out draws the direction to itself and hides nearer ones, so there is no bound on the damage.
    """

    name = "dnc"
    source = "Shejwalkar and Houmansadr 2021"
    draws = True
    robust = False
    columns: int | None = 10_000
    iterations: int = 5
    c: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns is not None and self.columns < 1:
            raise SpecError(f"columns is the size of a sample of coordinates, at least 1, got {self.columns}")
        if self.iterations < 1:
            raise SpecError(f"iterations must be at least 1, got {self.iterations}")
        if not 0 <= self.c < math.inf:
            raise SpecError(f"c is the share of f to drop in an iteration, at least 0 and finite, got {self.c}")

    def decide(self, look: Look, state: None) -> Decision:
        n, dropped = look.n, min(look.n - 1, int(self.c * look.f))
        whole = self.columns is None or self.columns >= look.d
        marks, scores = torch.zeros(n), torch.zeros(n, dtype=torch.float64)
        for _ in range(1 if whole else self.iterations):
            seen = look if self.columns is None else look.sample(self.columns)
            outlying, _ = spread(seen.centred_gram, torch.ones(n, dtype=torch.float64))
            marks[lowest(-outlying, dropped, look.tolerance)] += 1
            scores += outlying / outlying.max().clamp(min=torch.finfo(torch.float64).tiny)
        return Decision(average((marks == marks.min()).nonzero().flatten(), n), scores=scores)


@dataclass(frozen=True)
class CAF(WeightRule):
    """Shrink the weights of outlying rows until f of them could be gone; take the mean of the narrowest stage.

    Allouah et al. 2024 (covariance-bound agnostic filter). While the weights c sum to more than n - 2f: with the
    weighted mean and the largest eigenpair (value, v) of the weighted covariance, every weight is multiplied by
    1 - tau_i / max tau, tau_i = <x_i - mean, v>^2. Each stage takes at least one row out, so there are at most 2f.
    """

    name = "caf"
    source = "Allouah et al. 2024"
    gram = True

    def decide(self, look: Look, state: None) -> Decision:
        n, f, G = look.n, look.f, look.centred_gram
        c = torch.ones(n, dtype=torch.float64)
        best, narrowest, stages = c / n, math.inf, 0
        tolerance = max(EQUAL, look.tolerance)
        while float(c.sum()) > n - 2 * f:
            outlying, eigenvalue = spread(G, c)
            stages += 1
            if eigenvalue < narrowest:
                best, narrowest = c / c.sum(), eigenvalue
            most = float(outlying[c > 0].max())
            if not 0 < most < math.inf:
                break
            left = 1 - outlying / most
            c = torch.where(left > tolerance, c * left, 0.0)  # of copies of the farthest row rounding would leave some
        return Decision(
            best, scores=-c, diagnostics={"stages": stages, "eigenvalue": narrowest * look.unit * look.unit}
        )


def spread(G: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """(n,) squared projections of the rows on the direction of their largest weighted variance, and that variance.

    From inner products G about any point. With K = those about the weighted mean and w = weights / sum, the nonzero
    spectrum of the covariance is that of diag(w)^1/2 K diag(w)^1/2; an eigenvector u of it makes the direction
    sum_i w_i^1/2 u_i (x_i - mean) / value^1/2. Rows of weight 0 have no part in it.
    """
    w = weights / weights.sum()
    used = w > 0
    towards = G[:, used] @ w[used]
    K = G - towards[:, None] - towards[None, :] + w[used] @ towards[used]
    root = w[used].sqrt()
    inner = root[:, None] * K[used][:, used] * root[None, :]
    if not inner.isfinite().all():
        return torch.full_like(w, torch.nan), math.nan
    values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
    value = max(float(values[-1]), 0.0)
    if value == 0.0:
        return torch.zeros_like(w), 0.0
    return (K[:, used] @ (root * vectors[:, -1] / math.sqrt(value))).square(), value
