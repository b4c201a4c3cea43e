"""A little is enough: a shift that hides in the spread of the honest vectors."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import ndtri
from torch import Tensor

from turncoat.attacks.base import Attack, View, check_population, same_row
from turncoat.errors import SpecError
from turncoat.linalg import passes


@dataclass(frozen=True)
class ALIE(Attack):
    """Send the mean less z standard deviations of the honest vectors, in every coordinate.

    Baruch et al. 2019. z=None takes the paper's z_max(n, f), or an older draft's with `formula="n"`; a negative z or
    `sign="+"` shifts the other way. `population="own"` takes the statistics over the Byzantine workers' own vectors.
    `ddof` is that of the standard deviation.
    """

    name = "alie"
    source = "Baruch et al. 2019; S3"
    strength = "z"
    z: float | None = None
    population: str = "honest"
    ddof: int = 1
    sign: str = "-"
    formula: str = "n-f"

    def __post_init__(self) -> None:
        check_population(self.population)
        if self.ddof not in (0, 1):
            raise SpecError(f"ddof is 0 or 1, got {self.ddof!r}")
        if self.sign not in ("-", "+"):
            raise SpecError(f'sign is "-" or "+", got {self.sign!r}')
        if self.formula not in ("n-f", "n"):
            raise SpecError(f'formula is "n-f" or "n", got {self.formula!r}')

    @property
    def needs_own(self) -> bool:
        return self.population == "own"

    def craft(self, view: View) -> Tensor:
        z = z_max(view.n, view.f, self.formula) if self.z is None else self.z
        rows = view.population(self.population)
        mean, deviation = passes.mean_and_deviation(rows, self.ddof)
        return same_row(mean.add_(deviation, alpha=z if self.sign == "+" else -z), view.f)


def z_max(n: int, f: int, formula: str = "n-f") -> float:
    """The largest z whose shift a majority still hides: Phi^-1((n - f - s) / (n - f)), s = floor(n/2 + 1) - f.

    Baruch et al. 2019, section 3; an older draft has n in place of n - f, here `formula="n"`. With too few honest
    workers for the formula, 0.

    Examples:
        >>> round(z_max(25, 5), 4)
        0.2533
    """
    supporters = n // 2 + 1 - f
    if supporters < 1:
        raise SpecError(f"z_max is defined for a minority of traitors, not for f = {f} of n = {n}: give z")
    among = n - f if formula == "n-f" else n
    return float(ndtri((among - supporters) / among)) if among > supporters else 0.0
