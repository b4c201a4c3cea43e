"""Arithmetic on batches (C, n, d) of n rows, differentiable by autograd.

Distances, order statistics, the geometric median and the direction of largest variance, of each candidate alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 100  # Newton steps at most; a dozen are usual
RIDGE = 1e-14  # relative, so that rows on a line leave a system that can be solved
FAR = 1e6  # times as long: beside such distances a sum loses what short ones differ by
ROUNDING = 64 * torch.finfo(torch.float64).eps  # of the rows' lengths: a distance below it is that between copies
NEAR = 1e-12  # of the distances: rows count as this far from the geometric median at least


def lengths(X: Tensor) -> Tensor:
    """Euclidean lengths along the last dimension, in float64; their derivative at 0 is 0."""
    return torch.linalg.vector_norm(X, dim=-1, dtype=torch.float64)


def shortened(X: Tensor, bound: float | Tensor) -> Tensor:
    """The rows, those longer than a bound shortened to it."""
    norms = lengths(X)
    longer = norms > bound
    return X * torch.where(longer, bound / torch.where(longer, norms, 1.0), 1.0)[..., None]


def distances(X: Tensor, p: float = 2.0) -> Tensor:
    """(C, n, n) l_p distances without a derivative, 0 between copies."""
    X = X.detach().double()
    norms = lengths(X)
    if p == 2:
        D = torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        unit = norms.amax(1)[:, None, None].clamp(min=1e-300)  # powers of 16 must not overflow
        D = torch.cdist(X / unit, X / unit, p) * unit
    return torch.where((norms[:, :, None] + norms[:, None]) * ROUNDING < D, D, 0.0)


def take(X: Tensor, indices: Tensor) -> Tensor:
    """(C, k, d) the rows of every candidate with its indices (C, k)."""
    return X.gather(1, indices[:, :, None].expand(-1, -1, X.shape[2]))


def average(weights: Tensor, X: Tensor) -> Tensor:
    """(C, d) sums of the rows with weights (C, n)."""
    return (weights[:, None].to(X.dtype) @ X)[:, 0]


def share(pulls: Tensor) -> Tensor:
    """(C, n) the pulls over their sum."""
    return pulls / pulls.sum(1, keepdim=True)


def products(X: Tensor, v: Tensor) -> Tensor:
    """(C, n) inner products of the rows with vectors (C, d)."""
    return (X @ v[..., None])[..., 0]


# Order statistics of every coordinate, and of scores.


def mean_of_ranks(X: Tensor, first: int, last: int) -> Tensor:
    """(C, d) the averages of the values of ranks first..last."""
    return X.sort(1).values[:, first : last + 1].mean(1)


def mean_of_nearest(X: Tensor, count: int, first: int, last: int) -> Tensor:
    """(C, d) the averages of the `count` values nearest to that of the ranks first..last: in sorted order, a window."""
    values, more = X.sort(1).values, X.shape[1] - count
    centre = values[:, first : last + 1].mean(1, keepdim=True)
    moved = (values[:, count:] - centre < centre - values[:, :more]).sum(1, keepdim=True)
    return values.gather(1, moved + torch.arange(count, device=X.device)[:, None]).mean(1)


def median(X: Tensor) -> Tensor:
    """(C, d) the medians, of an even count the average of the middle two."""
    n = X.shape[1]
    return mean_of_ranks(X, (n - 1) // 2, n // 2)


def lowest(scores: Tensor, tolerance: float) -> Tensor:
    """(C, 1) the index of the lowest score (C, k), of equal ones the first; scores are at least 0."""
    return (scores <= scores.amin(1, keepdim=True) * (1 + tolerance)).byte().argmax(1, keepdim=True)


def among_lowest(scores: Tensor, count: int, tolerance: float) -> Tensor:
    """(C, n) whether a row is among the `count` with the lowest scores (C, n), of equal ones the first."""
    limit = scores.kthvalue(count, 1, keepdim=True).values
    slack = limit.abs() * tolerance
    below, equal = scores < limit - slack, (scores - limit).abs() <= slack
    return below | (equal & (equal.cumsum(1) <= count - below.sum(1, keepdim=True)))


# The geometric median.


def geometric_median(X: Tensor) -> Tensor:
    """(C, d) the exact geometric median, with the derivative that sum_i (y - x_i) / |y - x_i| = 0 gives it.

    Where it sits on a row, it moves with it; where on copies, with their average.
    """
    X = X.double()
    weights, between = _minimise(X.detach())
    y = average(weights, X)
    if not (y.requires_grad and len(between)):
        return y
    found = y.detach()[between]
    away = found[:, None] - X[between]
    r = lengths(away)
    r = r.clamp(min=NEAR * r.detach().median(1, keepdim=True).values)
    resultant = (away / r[..., None]).sum(1)
    return y.index_copy(0, between, found - _newton(away.detach(), r.detach(), resultant - resultant.detach()))


def nearest_to_all(X: Tensor, D: Tensor, tolerance: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """The row with the smallest sum of distances D: its index (C, 1), distances (C, n) from it and their inverses.

    Of sums that are equal within a relative tolerance, the first row's counts. The inverse to copies is 0. Where short
    distances would drown in others, the row is found by gains over one in the midst, then over a better one.
    """

    def about(row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r = take(D, row)[:, 0]
        return row, r, torch.where(r > 0, 1 / r, 0.0)

    best, from_best, inverse = about(lowest(D.sum(2), tolerance))
    if not (from_best.amax(1) * inverse.amax(1) > FAR).any():
        return best, from_best, inverse
    best = D.median(2).values.argmin(1, keepdim=True)
    for _ in range(2):
        Z = X - take(X, best)
        G, total = Z @ Z.mT, D + take(D, best)
        fall = 2 * G - G.diagonal(dim1=1, dim2=2)[:, :, None]
        best = torch.where(total > 0, fall / total, 0.0).sum(2).argmax(1, keepdim=True)
    return about(best)


def _minimise(X: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C, n) of the minimum, and the numbers of the candidates where it is not on the best row.

    The steps are those of the exact rule, on coordinates (n are enough) instead of inner products.
    """
    best, to_best, pull = nearest_to_all(X, distances(X))
    Z = (X - take(X, best)) * (to_best > 0)[..., None]  # copies stand where it does
    if Z.shape[2] > Z.shape[1]:
        Z = torch.linalg.qr(Z.mT, mode="r").R.mT
    here = (to_best == 0).double()
    copies, resultant = here.sum(1), average(pull, Z)
    weights, length = here / copies[:, None], lengths(resultant)
    between = (length > copies * (1 + NEAR)).nonzero()[:, 0]  # rows on a line can pull as much as the best one holds
    if len(between):
        start = resultant * ((1 - copies / length) / pull.sum(1))[:, None]
        weights = weights.index_copy(0, between, _descend(Z[between], to_best[between], start[between]))
    return weights, between


def _descend(Z: Tensor, to_best: Tensor, y: Tensor) -> Tensor:
    """Weights of the minimum by Newton steps from y, whole or short, or Weiszfeld's, whichever falls furthest.

    The best row is 0.
    """
    floor = NEAR * torch.where(to_best > 0, to_best, torch.inf).amin(1, keepdim=True)
    gain, r = (found[:, 0] for found in _gain(Z, to_best, y[:, None]))
    for _ in range(STEPS):
        before, away, r = gain, y[:, None] - Z, r.maximum(floor)
        newton = _newton(away, r, (away / r[..., None]).sum(1))
        candidates = torch.stack([y - newton, y - newton / 8, average(share(1 / r), Z)], 1)
        gains, found = _gain(Z, to_best, candidates)
        better = gains.argmax(1, keepdim=True)
        gain, r, y = gains.gather(1, better)[:, 0], take(found, better)[:, 0], take(candidates, better)[:, 0]
        if not (gain > before + NEAR * lengths(y)).any():
            break
    return share(1 / r.maximum(floor))


def _gain(Z: Tensor, to_best: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the sum of distances falls from 0 to the points Y (C, k, d), and the distances (C, k, n) to them.

    Each row's share is a difference of squares over a sum, so that a far row does not drown the others.
    """
    Y, Z = Y[:, :, None], Z[:, None]
    found = lengths(Y - Z)
    fall = ((2 * Z - Y) * Y).sum(-1)
    return (fall / (found + to_best[:, None])).sum(-1).nan_to_num(nan=-torch.inf), found


def _newton(Z: Tensor, r: Tensor, v: Tensor) -> Tensor:
    """The inverse Hessian of sum_i |z_i| times v (C, d), by the smaller of two systems; r (C, n) are the lengths.

    The Hessian is s I - A^T A with s = sum 1/r_i and rows a_i = z_i / r_i^(3/2).
    """
    n, d = Z.shape[1:]
    A, s = Z / r.pow(1.5)[..., None], (1 / r).sum(1, keepdim=True)
    ridged = (s * (1 + RIDGE))[..., None] * torch.eye(min(n, d), dtype=Z.dtype, device=Z.device)
    if d <= n:
        return torch.linalg.solve_ex(ridged - A.mT @ A, v).result
    bent = torch.linalg.solve_ex(ridged - A @ A.mT, products(A, v)).result
    return (v + average(bent, A)) / s


# The direction of largest variance.


def spread(X: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """(C, n) squared projections on the direction of largest variance under weights c, and that variance (C, 1).

    The direction v has the derivative of an eigenvector, dv = (variance I - S)^+ dS v. With rows a_j along the
    principal directions, of squared length their variance, S is sum_j a_j a_j^T, and the inverse of such terms, too.
    """
    w = share(c)
    Z = X - average(w, X)[:, None]
    rooted = w.detach().sqrt()[..., None] * Z.detach()
    values, vectors = torch.linalg.eigh(rooted @ rooted.mT)
    A, variance = vectors.mT @ rooted, values[:, -1:]
    apart = variance > ROUNDING**2 * (w * lengths(X).square()).sum(1, keepdim=True)
    scale = torch.where(apart, variance, torch.inf)
    gap = scale - values[:, :-1]
    terms = torch.cat([1 / torch.where(gap > ROUNDING * scale, gap, torch.inf), -1 / scale], 1) / scale
    v = A[:, -1] / scale.sqrt()
    Sv = average(w * products(Z, v), Z)
    change = Sv - Sv.detach()
    v = v + change / scale + average(terms * products(A, change), A)
    return products(Z, v).square(), torch.where(apart, variance, 0.0)
