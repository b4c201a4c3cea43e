"""What a rule may decide on: n, f and the geometry of the vectors, or of mixtures of them, but never the vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from turncoat.linalg import passes
from turncoat.linalg.rows import Rows

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
        return passes.gram(self.rows, about=self.rows.select([centre]).dense()[0])


@dataclass(frozen=True)
class Look:
    """Geometry of the rows of `matrix` @ X (of X itself where there is no matrix).

    Distances are in units of `unit`, which is 1 unless entries are so large or small that squares would not fit.
    Everything returned is float64 on the CPU.
    """

    rows: Rows
    f: int
    matrix: Tensor | None = None
    geometry: Geometry = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.geometry is None:
            object.__setattr__(self, "geometry", Geometry(self.rows))

    @property
    def n(self) -> int:
        return self.rows.n if self.matrix is None else len(self.matrix)

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
        return D if self.matrix is None else _mixed_distances(D, self.matrix)

    def squared_distances_to(self, point: Tensor | None) -> Tensor:
        """(n,) squared distances to a (d,) vector, None standing for the origin."""
        if self.matrix is None:
            return passes.squared_norms(self.rows, about=point)
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
        return self._mixed(self.geometry.centred_gram)

    def gram(self, point: Tensor | None = None) -> Tensor:
        """(n, n) inner products of the differences to a (d,) vector, None standing for the origin."""
        return self._mixed(self.geometry.gram if point is None else passes.gram(self.rows, about=point))

    def mixed(self, matrix: Tensor) -> Look:
        """The look at mixtures (m, n) of these rows."""
        return Look(self.rows, self.f, matrix if self.matrix is None else matrix @ self.matrix, self.geometry)

    def combine(self, weights: Tensor) -> Tensor:
        """(d,) the weighted sum of the rows."""
        return passes.combine(self.rows, weights if self.matrix is None else weights @ self.matrix)

    def _mixed(self, G: Tensor) -> Tensor:
        return G if self.matrix is None else self.matrix @ G @ self.matrix.T


def _mixed_distances(D: Tensor, matrix: Tensor) -> Tensor:
    """Squared distances between mixtures whose weights sum to 1, from those between the rows.

    ||(a - b) X||^2 = -1/2 (a - b) D (a - b)^T when a - b sums to 0: no inner product, so no shared offset, enters.
    """
    difference = matrix[:, None, :] - matrix[None, :, :]
    return (-((difference @ D) * difference).sum(-1) / 2).clamp_(min=0)
