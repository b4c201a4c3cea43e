"""One coordinate far off, which a distance over all of them does not show."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from turncoat.attacks.base import Attack, View, mean_row, same_row
from turncoat.errors import SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows


@dataclass(frozen=True)
class OneCoordinate(Attack):
    """Send the honest mean, off in one coordinate by as much as the honest vectors are in all of theirs.

    El Mhamdi et al. 2018: a rule that looks at distances cannot tell an error of this size in one coordinate from the
    honest spread over all d of them. The error is `size` times the root mean square distance of the honest vectors to
    their mean, against the sign of the mean there. Raises SpecError for a coordinate that the vectors do not have.
    """

    name = "one_coordinate"
    source = "El Mhamdi et al. 2018"
    strength = "size"
    size: float = 1.0
    coordinate: int = 0

    def __post_init__(self) -> None:
        if self.coordinate < 0:
            raise SpecError(f"coordinate counts from 0, got {self.coordinate!r}")

    def craft(self, view: View) -> Tensor:
        rows = Rows.of(view.honest)
        if self.coordinate >= rows.d:
            raise SpecError(f"{self}: the vectors have {rows.d} coordinates, 0 to {rows.d - 1}")
        row = mean_row(rows)
        off = self.size * float(passes.squared_norms(rows, about=row).mean().sqrt())
        row[self.coordinate] += -off if row[self.coordinate] > 0 else off
        return same_row(row, view.f)
