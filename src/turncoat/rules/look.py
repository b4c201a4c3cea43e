"""What a rule may decide on: n, f and the geometry of the vectors, or of mixtures of them, but never the vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows
from turncoat.linalg.shards import Shards

AFFINE = 1e-9  # weights whose sum is this near 1 are averages
ROUNDING = 1e4 * torch.finfo(torch.float64).eps  # of the largest squared distance: less could be rounding error
BLURRED = 1e2  # times the rounding error of inner products: squared distances below it are measured on the rows
OFFSET = 1e3  # squared norms this many times the squared distances cost a Gram about the origin its precision


class Geometry:
    """Grams and distances of the rows themselves, each measured when it is first asked for."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @cached_property
    def gram(self) -> Tensor:
        return passes.gram(self.rows)

    @cached_property
    def squared_distances(self) -> Tensor:
        return passes.squared_distances(self.rows, self.gram)

    @cached_property
    def centred_gram(self) -> Tensor:
        """The Gram about the origin or, where all rows share a large offset, about one of the rows in their midst."""
        D = self.squared_distances
        within_half = D.kthvalue(len(D) // 2 + 1).values.median()  # how far from a row the nearer half stands
        if self.gram.diagonal().median() <= OFFSET * within_half:
            return self.gram
        centre = int(D.median(1).values.argmin())
        return passes.gram(self.rows, about=passes.row(self.rows, centre))


@dataclass(frozen=True)
class Look:
    """What a rule decides on: n, f, the geometry of the rows of `matrix` @ X (of X itself where there is no matrix).

    Distances are in units of `unit`, which is 1 unless entries are so large or small that squares would not fit.
    Everything returned is float64 on the CPU, but for vectors.
    """

    rows: Rows
    f: int
    generator: torch.Generator | None = field(default=None, repr=False)
    """The server's random stream, for rules that draw."""
    matrix: Tensor | None = None
    """(m, n) float64 weights of the mixtures; each row of it sums to 1."""
    geometry: Geometry = field(default=None, repr=False)  # type: ignore[assignment]
    share: float = 1.0
    """The share of all columns that `rows` shows, where they are a sample: distances to a vector count as if of all."""

    def __post_init__(self) -> None:
        if self.geometry is None:
            object.__setattr__(self, "geometry", Geometry(self.rows))

    @property
    def n(self) -> int:
        return self.rows.n if self.matrix is None else len(self.matrix)

    @property
    def d(self) -> int:
        return self.rows.whole

    @property
    def unit(self) -> float:
        return self.rows.unit

    @property
    def tolerance(self) -> float:
        """The relative rounding error to be expected in sums over the rows' coordinates."""
        return 64 * torch.finfo(self.rows.work).eps

    @cached_property
    def squared_distances(self) -> Tensor:
        """(n, n) squared Euclidean distances, exactly 0 between identical rows."""
        D = self.geometry.squared_distances
        if self.matrix is None:
            return D
        return self._derived_distances if self._measured is None else self._measured.squared_distances

    def distances(self, p: float) -> Tensor:
        """(n, n) l_p distances."""
        return self.squared_distances.sqrt() if p == 2 else passes.distances(self.mixtures, p)

    def squared_distances_to(self, point: Tensor | None, weights: Tensor | None = None) -> Tensor:
        """(n,) squared distances to a (d,) vector, None standing for the origin.

        Where the vector is known to be an average of the received rows, with these weights, and a Gram is there, it
        costs no pass.
        """
        measured = not self.rows.mixings and "gram" in vars(self.geometry)
        if weights is not None and measured and abs(float(weights.sum()) - 1) < AFFINE:
            Gw = self.geometry.centred_gram @ weights
            cross = Gw if self.matrix is None else self.matrix @ Gw
            return (self.centred_gram.diagonal() - 2 * cross + weights @ Gw).clamp_(min=0)
        if self.matrix is None:
            return passes.squared_norms(self.rows, about=point) / self.share
        return self.gram(point).diagonal().clamp(min=0)

    def squared_distances_to_mixture(self, weights: Tensor) -> Tensor:
        """(n,) squared distances to weights @ rows, for weights (n,) that sum to 1.

        From inner products, where the pull of a far row on a near mixture stays small; a sum over squared distances
        would drown in it.
        """
        G = self.centred_gram
        Gw = G @ weights
        return (G.diagonal() - 2 * Gw + weights @ Gw).clamp_(min=0)

    @cached_property
    def centred_gram(self) -> Tensor:
        """(n, n) inner products about a point near the rows, which one does not matter to weights that sum to 1."""
        if self.matrix is not None and self._measured is not None:
            return self._measured.centred_gram
        return self._mixed(self.geometry.centred_gram)

    def gram(self, point: Tensor | None = None) -> Tensor:
        """(n, n) inner products of the differences to a (d,) vector, None standing for the origin."""
        if point is None:
            return self._mixed(self.geometry.gram)
        return self._mixed(passes.gram(self.rows, about=point) / self.share)

    def gram_about(self, row: int) -> Tensor:
        """(n, n) inner products of the differences to one of the rows.

        Measured on the rows where others stand so near to it that what follows from a Gram could be rounding error.
        """
        G = self.geometry.centred_gram
        lengths = G.diagonal().clamp(min=0).sqrt()
        if self.matrix is None:
            about, reach = _about(G, row), lengths + lengths[row]
        else:
            W = self.matrix - self.matrix[row]
            about, reach = W @ G @ W.T, W.abs() @ lengths
        D, error = self.squared_distances[row], torch.finfo(self.rows.work).eps * reach.square()
        if not ((D > 0) & (BLURRED * error > D)).any():
            return about
        return _about(passes.gram(self.mixtures, about=passes.row(self.mixtures, row)), row)

    def mixed(self, matrix: Tensor, f: int | None = None) -> Look:
        """The look at mixtures (m, n) of these rows, of which f may be Byzantine."""
        f = self.f if f is None else f
        measured = vars(self).get("_measured")
        if measured is not None:
            return Look(measured.rows, self.f, self.generator, None, measured, self.share).mixed(matrix, f)
        if (matrix.sum(1) - 1).abs().max() < AFFINE:
            return replace(self, f=f, matrix=matrix if self.matrix is None else matrix @ self.matrix)
        return Look(self.mixtures.mixed(matrix), f, self.generator, share=self.share)

    def select(self, indices: Sequence[int]) -> Look:
        """The look at some of the rows."""
        chosen = torch.as_tensor(indices)
        selected = self.mixed(torch.eye(self.n, dtype=torch.float64)[chosen])
        for known in ("squared_distances", "centred_gram"):
            if known in vars(self):
                vars(selected)[known] = vars(self)[known][chosen][:, chosen]
        return selected

    def sample(self, columns: int) -> Look:
        """The look at that many random columns only, drawn without replacement; at all where there are no more."""
        if columns >= self.d:
            return self
        return replace(self, rows=self.rows.columns(subset(self.d, columns, self.generator)), geometry=None)

    def combine(self, weights: Tensor) -> Tensor:
        """(d,) the weighted sum of the rows."""
        return passes.combine(self.rows, weights if self.matrix is None else weights @ self.matrix)

    def reduce(self, reduction: Callable[[Tensor], Tensor]) -> Tensor:
        """(d,) a coordinate-wise reduction (n, c) -> (c,) of the rows."""
        return passes.reduce(self.mixtures, reduction)

    def sign_counts(self) -> Tensor:
        """(n, 3) how many entries of each row are positive, zero and negative."""
        return passes.sign_counts(self.mixtures)

    def finite(self, vector: Tensor) -> bool:
        """Whether all entries of a (d,) vector are finite."""
        return passes.finite(self.rows, vector)

    def dense(self) -> Tensor:
        """The rows as one (n, d) tensor; SpecError where they are spread over processes."""
        if isinstance(self.rows, Shards):
            raise SpecError('this rule reads whole rows, and each process holds a slice of them: use mode="server"')
        return self.mixtures.dense()

    def received(self, weights: Tensor) -> Tensor:
        """Weights of the rows that were received, from those of the mixtures of them."""
        for matrix in (self.matrix, *reversed(self.rows.mixings)):
            weights = weights if matrix is None else weights @ matrix
        return weights

    def position(self, row: int) -> int | None:
        """Where a row that was received, or what a mixing of as many rows put in its place, now stands, if anywhere."""
        keep = self.rows.keep
        places = list(range(self.rows.n)) if keep is None else keep.tolist()
        if row not in places:
            return None
        at = places.index(row)
        if self.matrix is None or len(self.matrix) == len(places):
            return at
        left = (self.matrix[:, at] == 1).nonzero().flatten().tolist()  # where rows were dropped, the others stay whole
        return left[0] if len(left) == 1 else None

    @cached_property
    def _derived_distances(self) -> Tensor:
        """The mixtures' squared distances as they follow from the rows'."""
        assert self.matrix is not None
        return _mixed_distances(self.geometry.squared_distances, self.matrix)

    @cached_property
    def _measured(self) -> Geometry | None:
        """The mixtures' geometry measured on themselves, where what follows from the rows' own could be rounding error.

        So it is where rows at 1e30 on opposite sides meet in a mixture, and what is left of them lies near the others.
        """
        assert self.matrix is not None
        D, M = self.geometry.squared_distances, self.matrix
        near = self._derived_distances < ROUNDING * D.max()
        unlike = (M[:, None] != M[None]).any(-1)
        return Geometry(self.mixtures) if self.share == 1 and (near & unlike).any() else None

    @property
    def mixtures(self) -> Rows:
        """The rows of the look, for a pass over their coordinates."""
        return self.rows if self.matrix is None else self.rows.mixed(self.matrix)

    def _mixed(self, G: Tensor) -> Tensor:
        return G if self.matrix is None else self.matrix @ G @ self.matrix.T


def _about(G: Tensor, row: int) -> Tensor:
    """Inner products about one of the rows, from those about another point."""
    return G - G[row] - G[:, row, None] + G[row, row]


def _mixed_distances(D: Tensor, matrix: Tensor) -> Tensor:
    """Squared distances between mixtures whose weights sum to 1, from those between the rows.

    ||(a - b) X||^2 = -1/2 (a - b) D (a - b)^T when a - b sums to 0: no inner product, so no shared offset, enters.
    """
    difference = matrix[:, None, :] - matrix[None, :, :]
    return (-((difference @ D) * difference).sum(-1) / 2).clamp_(min=0)


def subset(d: int, count: int, generator: torch.Generator | None) -> Tensor:
    """A random subset of that many of d numbers, in ascending order."""
    seed = int(torch.randint(2**62, (), generator=generator))
    inside = np.zeros(d, dtype=bool)
    inside[np.random.default_rng(seed).choice(d, count, replace=False, shuffle=False)] = True
    return torch.from_numpy(np.flatnonzero(inside))
