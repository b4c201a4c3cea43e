"""The l_p geometric median, which unlike the Euclidean one is no weighted average of the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from turncoat.linalg.passes import add_scaled, total_scaled
from turncoat.linalg.rows import Rows

STEPS = 1000
NEAR = 1e-6  # entries of a difference below this share of its length count as this share, for p < 2


def lp_median(rows: Rows, p: float, start: Tensor, tolerance: float) -> tuple[Tensor, int, float]:
    """(d,) a minimiser of sum_i ||x_i - y||_p for 1 < p < infinity, the steps it took, and a bound on the excess.

    Reweighted least squares, coordinate by coordinate: with r = x_i - y and z_ij = |r_ij|^(p-2) / ||r_i||_p^(p-1), y
    moves to the z-weighted mean, for p > 2 by 1/(p-1) of the way; half as far wherever the sum would not fall. The sum
    exceeds its minimum by at most 2 ||g||_q / n of itself, g the gradient and 1/p + 1/q = 1, as the minimiser is no
    farther away than twice the mean distance; below `tolerance` it stops.
    """
    step = 1.0 if p <= 2 else 1 / (p - 1)
    y = start.to(rows.work) / rows.unit
    norms = _norms(rows, y, p)
    taken, excess = 0, torch.inf
    for taken in range(1, STEPS + 1):  # noqa: B007
        moved, slope = _moved(rows, y, norms, p, step)
        excess = 2 * slope / rows.n
        if excess <= tolerance:
            break
        after = _norms(rows, moved, p)
        if not float(after.sum()) < float(norms.sum()):
            step /= 2
            if step < 1e-6:
                break
            continue
        y, norms = moved, after
    return (y * rows.unit).to(rows.dtype), taken, excess


def _norms(rows: Rows, y: Tensor, p: float) -> Tensor:
    """(n,) l_p norms of the rows' differences to y, powers being taken of entries over the largest of their block."""
    widest, total = (torch.zeros(rows.n, dtype=torch.float64, device=rows.device) for _ in range(2))
    for where, block in rows.blocks():
        size = (block - y[where]).abs_()
        peak = size.amax(1)
        sums = size.div_(torch.where(peak > 0, peak, 1.0)[:, None]).pow_(p).sum(1)
        widest, total = add_scaled(widest, total, peak.double(), sums.double(), p)
    widest, total = total_scaled(rows, widest, total, p)
    return widest * total ** (1 / p)


def _moved(rows: Rows, y: Tensor, norms: Tensor, p: float, step: float) -> tuple[Tensor, float]:
    """y after one step, and the l_q norm of the gradient at y."""
    moved = torch.empty_like(y)
    length = torch.where(norms > 0, norms, torch.inf).to(rows.work)[:, None]  # a row that y meets does not pull
    q = p / (p - 1)
    slope = 0.0
    for where, block in rows.blocks():
        difference = (block - y[where]).div_(length)
        size = difference.abs()
        if p < 2:
            size.clamp_(min=NEAR)
        weights = size.pow_(p - 2).div_(length)
        share = weights.sum(0)
        pull = (weights * difference * length).sum(0)
        moved[where] = y[where] + step * torch.where(share > 0, pull / share, 0.0)
        slope += float((pull.abs().double() ** q).sum())
    return moved, float(rows.total(torch.tensor(slope, dtype=torch.float64))) ** (1 / q)
