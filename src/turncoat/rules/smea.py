"""SMEA: the n-f rows that spread least along the direction in which they spread most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain, combinations

import numpy as np
import torch
from torch import Tensor

from turncoat.rules.look import Look
from turncoat.rules.subsets import Choice, SubsetRule, tidy

NUMBERS = 2**17  # entries of what is worked on at once: a megabyte
KEPT = 2**22  # entries of masks that are kept from call to call
ROUNDS, ITERATIONS = 6, 4  # of power iteration, before the eigenvalues of the subsets still left are computed
LOOKS = 2  # rounds for exchanges, of which the likely ones are computed anyway
SHIFT = 0.4  # of the eigenvalues, for power iteration: a share of the way to the limit, less than half
STARTS, LOOSE = 2, 1.5  # of the local search, beside the trimmed rows; how much worse than these they may look
SWAPS, MOVES = 16, 100  # rows on either side that it may exchange, and how often it does
LIKELY = 8  # exchanges whose eigenvalues it computes in full
DIRECTIONS = 8  # principal directions that bound all eigenvalues from below
ROUNDING = 1e-12  # of eigenvalues, relative to the trace
SLACK = 1e-2  # by which a bound must exceed: it is right to about a thousandth


@dataclass(frozen=True)
class SMEA(SubsetRule):
    """Average the n-f rows whose covariance has the smallest largest eigenvalue.

    Allouah et al. 2023 (smallest maximum eigenvalue averaging). Among equal ones, the lexicographically first by row
    number. Rows that lie too far out for a best subset are left aside, and where no more than `budget` subsets of the
    others remain, all are compared. Past it, `beyond="error"` raises BudgetError and `beyond="search"` takes what a
    local search finds, which need not be the best; `diagnostics` then say exact 0, its eigenvalue (of the covariance
    with divisor n-f), and what every subset's is at least. At n = 25, f = 5, all 53,130 subsets take some 10 ms.
    """

    name = "smea"
    source = "Allouah et al. 2023, On the privacy-robustness-utility trilemma"
    measure = "eigenvalue"
    budget: int = 200_000

    def choose(self, look: Look) -> Choice:
        found = smallest_eigenvalue(look.squared_distances, look.n - look.f, look.tolerance, self.budget)
        unit = look.unit
        return replace(found, value=found.value * unit * unit, at_least=found.at_least * unit * unit)


def smallest_eigenvalue(D: Tensor, size: int, tolerance: float, budget: int) -> Choice:
    """The `size` rows whose covariance (divisor `size`) has the smallest largest eigenvalue, in the unit of D.

    From squared distances D (n, n): doubly centred, -D/2 of a subset holds its inner products about its own mean, and
    no other row enters. One subset is better than another that comes before it in lexicographic order only if its
    eigenvalue is smaller by more than the relative tolerance.
    """
    D = tidy(D)
    radii = D.kthvalue(size, dim=1).values
    scale = float(radii.min())
    if scale in (0.0, math.inf):  # identical rows, or none at finite distances
        rows = (D[int(radii.argmin())] <= scale).nonzero().flatten()[:size]
        return Choice(rows.tolist(), scale, scale, steps=0, exact=True)
    # The smallest eigenvalue, times `size`, lies between scale / 2 and size * scale: no pair farther apart is worth it,
    # and among the rows that remain no distance is so large that another would drown in it.
    rows = _compatible(D / scale <= 2 * size, size)
    D = D[rows][:, rows] / scale
    scatter = Scatter(_centred(-D / 2), size)
    mask, value, steps = _local_search(D, scatter, tolerance)
    at_least = _lower_bound(D, scatter, mask)
    contenders = _contenders(scatter, mask, value)
    subsets = math.comb(len(contenders), size)
    exact = subsets <= budget
    if exact:
        steps += subsets
        rows = rows[contenders]
        mask, value = _first_best(scatter.of(contenders), mask[contenders], value, tolerance)
        at_least = value
    unit = scale / size
    return Choice(rows[mask > 0].tolist(), value * unit, min(at_least, value) * unit, steps, exact)


@dataclass(frozen=True)
class Scatter:
    """Rows as their inner products K (n, n) about their mean, and the scatter of subsets of `size` of them.

    Subsets are masks of 0 and 1. The scatter matrix of a subset has the nonzero eigenvalues of P K P, where P takes
    the mean over the subset away, and drops what is outside it.
    """

    K: Tensor
    size: int

    def of(self, rows: Tensor) -> Scatter:
        """The same for some of the rows."""
        return Scatter(_centred(self.K[rows][:, rows]), self.size)

    @cached_property
    def floor(self) -> float:
        """A bound on the smallest eigenvalue among vectors that sum to 0, and so on that of any subset."""
        trace = self.K.trace()
        return float(torch.linalg.eigvalsh(self.K + trace / len(self.K))[0] - ROUNDING * trace)

    def largest(self, masks: Tensor) -> Tensor:
        """(B,) the largest eigenvalues of subsets (B, n)."""
        members = masks.nonzero()[:, 1].reshape(len(masks), self.size)
        inner = _centred(self.K[members[:, :, None], members[:, None, :]])
        return torch.linalg.eigvalsh(inner)[:, -1]

    def projections(self, mask: Tensor, count: int) -> Tensor:
        """(at most count, n) projections of all rows, about the mean of a subset of any size, on its main directions.

        The last one is the direction of the largest eigenvalue.
        """
        members = mask.nonzero().flatten()
        values, vectors = torch.linalg.eigh(_centred(self.K[members][:, members]))
        used = values[-count:] > 1e-6 * values[-1]
        Y = vectors[:, -count:][:, used].T @ self.K[members] / values[-count:][used, None].sqrt()
        return Y - Y[:, members].mean(1, keepdim=True)

    def first_best(self, masks: Tensor, start: Tensor, limit: float, tolerance: float) -> tuple[Tensor, float] | None:
        """Of subsets (B, n) the first of smallest eigenvalue, and that, if it is below the limit."""
        found = None
        survivors, _ = self.survivors(masks, start, limit)
        for part in survivors.split(max(1, NUMBERS // self.size**2)):
            for at, value in zip(part.tolist(), self.largest(masks[part]).tolist(), strict=True):
                if value < limit:
                    found, limit = (masks[at], value), value * (1 - tolerance)
        return found

    def survivors(self, masks: Tensor, start: Tensor, limit: float, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
        """Positions of the subsets whose eigenvalue may be below the limit, and numbers that rank these eigenvalues.

        Power iteration: ||(P K P - shift) v|| for unit v is no larger than the distance from the shift to the farthest
        eigenvalue. Where that is farther than the floor, it is the largest one. A shift that is less than half of the
        way from the floor to the limit brings the iteration there sooner.
        """
        way = limit - self.floor
        shifted = self.K - (self.floor + SHIFT * way) * torch.eye(len(self.K), dtype=torch.float64)
        left, reach = torch.arange(len(masks)), torch.zeros(len(masks), dtype=torch.float64)
        V = self._inside(masks, start.expand_as(masks).clone())
        for _ in range(rounds):
            for _ in range(ITERATIONS - 1):
                V = self._inside(masks, V @ shifted)
            V /= V.norm(dim=1, keepdim=True).clamp(min=1e-100)
            V = self._inside(masks, V @ shifted)
            reach = V.norm(dim=1)
            keep = reach < (1 - SHIFT) * way
            left, masks, V, reach = left[keep], masks[keep], V[keep], reach[keep]
        return left, reach

    def _inside(self, masks: Tensor, V: Tensor) -> Tensor:
        V *= masks
        return V.sub_(masks * (V.sum(1, keepdim=True) / self.size))


def _first_best(scatter: Scatter, mask: Tensor, value: float, tolerance: float) -> tuple[Tensor, float]:
    """The first of all subsets of smallest eigenvalue, and that; mask and value are of one that is nearly as good.

    Most subsets spread more along one of its main directions than it does along any; single precision shows that.
    """
    start = scatter.projections(mask, 3).sum(0)
    Y = scatter.projections(mask, DIRECTIONS).float()
    lines = torch.cat([Y, Y.square()]).T
    limit = value * (1 + tolerance)  # the first one that is equal to it replaces it, too

    def near(masks: Tensor) -> Tensor:
        sums, squares = (masks @ lines).tensor_split(2, dim=1)
        return masks[(squares - sums.square() / scatter.size).amax(1) <= limit * (1 + SLACK)]

    for masks in _gathered(map(near, _all_subsets(len(mask), scatter.size))):
        found = scatter.first_best(masks.double(), start, limit, tolerance)
        if found is not None:
            mask, value = found
            limit = value * (1 - tolerance)
    return mask, value


def _gathered(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """The rows of blocks, many at once."""
    held: list[Tensor] = []
    for block in blocks:
        held.append(block)
        if sum(map(torch.numel, held)) > NUMBERS:
            yield torch.cat(held)
            held = []
    if held:
        yield torch.cat(held)


def _all_subsets(n: int, size: int) -> Iterable[Tensor]:
    """Blocks (B, n) of the masks of all subsets in lexicographic order, which reverses that of what is left out."""
    return _few_subsets(n, size) if math.comb(n, size) * n <= KEPT else _subsets(n, size)


@lru_cache(maxsize=4)
def _few_subsets(n: int, size: int) -> Sequence[Tensor]:
    return tuple(_subsets(n, size))


def _subsets(n: int, size: int) -> Iterator[Tensor]:
    count, gone = math.comb(n, size), n - size
    flat = np.fromiter(chain.from_iterable(combinations(range(n), gone)), dtype=np.int16, count=count * gone)
    left_out = torch.from_numpy(flat.reshape(count, gone)[::-1].copy())
    for block in left_out.split(max(1, NUMBERS // n)):
        yield torch.ones(len(block), n).scatter_(1, block.long(), 0.0)


def _compatible(near: Tensor, size: int) -> Tensor:
    """The rows that are near `size` of these rows, themselves included; no others can be in a subset of near rows."""
    rows = torch.arange(len(near))
    while not (keep := near[rows][:, rows].sum(1) >= size).all():
        rows = rows[keep]
    return rows


def _local_search(D: Tensor, scatter: Scatter, tolerance: float) -> tuple[Tensor, float, int]:
    """A good subset, its eigenvalue, and how many were compared.

    It starts from rows trimmed along their main directions, and from the best of the rows nearest to a row and of those
    left without the ones nearest to a row, which may be a crowd of traitors.
    """
    n, size = len(D), scatter.size
    nearest = D.argsort(dim=1, stable=True)
    trimmed = _trimmed(scatter)
    masks = torch.cat([_mask(nearest[:, :size], n), 1 - _mask(nearest[:, : n - size], n)])
    limit = LOOSE * float(scatter.largest(trimmed[None]))
    likely, reach = scatter.survivors(masks, scatter.projections(trimmed, 3).sum(0), limit)
    starts = [trimmed, *masks[likely[reach.argsort(stable=True)[:STARTS]]]]
    found = [_improved(scatter, start, tolerance) for start in starts]
    mask, value, _ = min(found, key=lambda one: one[1])
    return mask, value, len(masks) + sum(compared for _, _, compared in found)


def _trimmed(scatter: Scatter) -> Tensor:
    """The mask of the rows left when those farthest out along the main direction are dropped, time and again."""
    rows = torch.arange(len(scatter.K))
    while (excess := len(rows) - scatter.size) > 0:
        away = scatter.projections(_mask(rows, len(scatter.K)), 1)[0, rows].abs()
        rows = rows[away.argsort(stable=True)[: len(rows) - -(-excess // 8)]].sort().values
    return _mask(rows, len(scatter.K))


def _improved(scatter: Scatter, mask: Tensor, tolerance: float) -> tuple[Tensor, float, int]:
    """A subset that no exchange of two likely rows makes better, its eigenvalue, and how many subsets were compared."""
    value, steps = float(scatter.largest(mask[None])), 1
    for _ in range(MOVES):
        Y = scatter.projections(mask, 3)
        order = Y[-1].abs().argsort(stable=True)
        inside, outside = order[mask[order] > 0][-SWAPS:], order[mask[order] == 0][:SWAPS]
        pairs = torch.cartesian_prod(inside, outside)
        masks = mask.repeat(len(pairs), 1).scatter_(1, pairs[:, :1], 0.0).scatter_(1, pairs[:, 1:], 1.0)
        steps += len(masks)
        limit = value * (1 - tolerance)
        likely, reach = scatter.survivors(masks, Y.sum(0), limit, LOOKS)
        likely = likely[reach.argsort(stable=True)[:LIKELY]]
        values = scatter.largest(masks[likely])
        if not (values < limit).any():
            break
        mask, value = masks[likely[values.argmin()]], float(values.min())
    return mask, value, steps


def _contenders(scatter: Scatter, mask: Tensor, value: float) -> Tensor:
    """The rows that may be in a subset as good as the given one: those of it, and those not too far from its mean.

    A subset with row i in it has at least the smallest scatter that i and `size` - 1 others have along the line from
    the mean to i. The fewer others are left, the more that is.
    """
    rows, size = torch.arange(len(mask)), scatter.size
    while True:
        K, inside = scatter.of(rows).K, mask[rows]
        outside = (inside == 0).nonzero()
        towards = _mask(outside, len(rows)) - inside / size
        Y = towards @ K
        # A distance counts as no less than some part of the spread: too short a direction makes the bound no less true.
        Y /= (Y * towards).sum(1, keepdim=True).clamp(min=1e-3 * value).sqrt()
        Y -= Y.gather(1, outside)
        others = torch.ones_like(Y, dtype=torch.bool).scatter_(1, outside, False)
        bounds = _narrowest(Y[others].reshape(len(Y), len(rows) - 1), size - 1, size)
        keep = inside > 0
        keep[outside.flatten()] = bounds <= value * (1 + SLACK)
        if keep.all():
            return rows
        rows = rows[keep]


def _lower_bound(D: Tensor, scatter: Scatter, mask: Tensor) -> float:
    """What the largest eigenvalue of every subset is at least: its scatter along any line, and its mean eigenvalue."""
    size = scatter.size
    along = float(_narrowest(scatter.projections(mask, DIRECTIONS), size, size).max())
    nearest = D.sort(dim=1).values[:, :size].sum(1)
    trace = float(nearest.sort().values[:size].sum()) / (2 * size)
    return max(along, trace / (size - 1))


def _narrowest(Y: Tensor, count: int, size: int) -> Tensor:
    """(B,) of numbers (B, n), the smallest scatter that `count` of them have together with `size` - `count` zeros."""
    Y = Y.sort(dim=1).values
    first, second = (torch.nn.functional.pad(Z.cumsum(1), (1, 0)) for Z in (Y, Y.square()))
    sums, squares = (Z[:, count:] - Z[:, :-count] for Z in (first, second))
    return (squares - sums.square() / size).amin(1)


def _mask(rows: Tensor, n: int) -> Tensor:
    """(..., n) masks of rows (..., count)."""
    return torch.zeros(*rows.shape[:-1], n, dtype=torch.float64).scatter_(-1, rows, 1.0)


def _centred(G: Tensor) -> Tensor:
    """Inner products (..., n, n) about the mean of the n."""
    return G - G.mean(-1, keepdim=True) - G.mean(-2, keepdim=True) + G.mean((-2, -1), keepdim=True)
