"""Searches over f distinct rows that begin at the worst case so far: along the gradient, and blindly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from turncoat.learning.streams import torch_stream
from turncoat.stress.siege import Case, Score, Siege
from turncoat.stress.target import Form
from turncoat.testing.report import Failed

STEP, GROWTH, SHRINK = 0.3, 1.5, 0.5  # of the gradient search: the first step in radii, and what follows on it
LEAST = 1e-4  # the step with which it ends
NEAREST, FARTHEST = 0.2, 10.0  # random starts, in radii
BLIND = (0.3, 1.5, 0.93, 1e-3, 3.0)  # of the blind search: first step, growth, shrinking, least and largest step


def gradient(siege: Siege, score: Score, calls: int, form: Form, start: Case) -> Case:
    """White box: steps along the derivative of the score, as far as they make it worse; each is judged by the rule."""
    rows, worst = start.rows.double(), getattr(start, score)
    step, slope = STEP * siege.radius * siege.f**0.5, _slope(siege, score, rows, form)
    for _ in range(calls):
        if slope is None or step < LEAST * siege.radius:
            break
        case = siege.attempt(f"gradient from {_origin(start.how)}", rows + step * slope)
        if (value := getattr(case, score)) > worst:
            start, rows, worst, step = case, case.rows.double(), value, step * GROWTH
            slope = _slope(siege, score, rows, form)
        else:
            step *= SHRINK
    return start


def _slope(siege: Siege, score: Score, rows: Tensor, form: Form) -> Tensor | None:
    """The direction in which the score grows fastest; None where there is no derivative to follow."""
    rows = rows.clone().requires_grad_()
    try:
        vectors = form(siege.received(rows.to(siege.cloud.honest.dtype))).double()
        damage = (vectors - siege.mean).square().sum() if score == "kappa" else -(vectors @ siege.mean).sum()
        if not damage.requires_grad:
            return None
        (slope,) = torch.autograd.grad(damage, rows, allow_unused=True)
    except (Failed, RuntimeError):  # it writes over what its derivative needs, or takes too long
        return None
    if slope is None or not slope.isfinite().all() or not slope.any():
        return None
    return slope / slope.norm()


def span(siege: Siege, score: Score, calls: int, seed: int, start: Case) -> Case:
    """Black box: random steps in the span of the honest vectors, which grow with success and shrink without.

    In turn all rows take the same step, each its own, and all move nearer to the mean or away from it.
    """
    rows, worst = start.rows.double(), getattr(start, score)
    stream = torch_stream(seed, "span", score, siege.cloud.name, start.how, repr(worst))
    Z = siege.cloud.deviations
    h, f = len(Z), siege.f

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=stream, dtype=torch.float64)

    moves: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda rows: (normal(1, h) @ Z / h**0.5).expand(f, -1),
        lambda rows: normal(f, h) @ Z / h**0.5,
        lambda rows: normal(1, 1) * (rows - siege.mean),
    )
    step, growth, shrink, least, largest = BLIND
    for k in range(calls):
        case = siege.attempt(f"span from {_origin(start.how)}", rows + step * moves[k % len(moves)](rows))
        if (value := getattr(case, score)) > worst:
            start, rows, worst, step = case, case.rows.double(), value, min(step * growth, largest)
        else:
            step = max(step * shrink, least)
    return start


def anywhere(siege: Siege, which: int, of: int, seed: int) -> Case:
    """All rows at the same point in a random direction, in turn any one and one of the honest vectors' span.

    Each start is farther out.
    """
    stream = torch_stream(seed, "anywhere", which, siege.cloud.name)
    Z = siege.cloud.deviations
    if which % 2:
        step = torch.randn(len(Z), generator=stream, dtype=torch.float64) @ Z / len(Z) ** 0.5
    else:
        step = torch.randn(Z.shape[1], generator=stream, dtype=torch.float64) * Z.square().mean(0).sqrt()
    low, high = NEAREST, FARTHEST
    distance = low * (high / low) ** ((which + float(torch.rand((), generator=stream))) / of)
    return siege.together(f"start {which + 1}", siege.mean + distance * step)


def _origin(how: str) -> str:
    """Where a search that continues another one began."""
    return how.rpartition(" from ")[2]
