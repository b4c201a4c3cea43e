"""Values that are no numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from turncoat.attacks.base import Attack, View, same_row
from turncoat.errors import SpecError

VALUES = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class NonFinite(Attack):
    """Send NaN or infinity, in every coordinate or in the first alone.

    What a rule does with such rows is the run's `nonfinite`. With `where="one"` the other coordinates are 0.
    """

    name = "non_finite"
    knowledge = "nothing"
    collusion = False
    value: str = "nan"
    where: str = "all"

    def __post_init__(self) -> None:
        if self.value not in VALUES:
            raise SpecError(f'value is "nan", "inf" or "-inf", got {self.value!r}')
        if self.where not in ("all", "one"):
            raise SpecError(f'where is "all" or "one", got {self.where!r}')

    def craft(self, view: View) -> Tensor:
        row = view.like.new_zeros(view.like.shape[-1])
        row[: None if self.where == "all" else 1] = float(self.value)
        return same_row(row, view.f)
