"""Averages of the rows nearest to something: to a trusted row, to the median, to the origin; and the medoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turncoat.errors import InputError, SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.geometric_median import best_row
from turncoat.rules.krum import average, lowest
from turncoat.rules.look import Look
from turncoat.rules.median import Median


@dataclass(frozen=True)
class MoNNA(WeightRule):
    """Average the n-f rows nearest to a trusted row, itself included.

    Farhadkhani et al. 2023. `trusted` is that row's number: a worker that aggregates what it receives trusts its own.
    """

    name = "monna"
    source = "Farhadkhani et al. 2023"
    permutes = False
    trusted: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trusted < 0:
            raise SpecError(f"trusted is a row's number from 0 up, got {self.trusted}")

    def admit(self, n: int, f: int | None) -> None:
        super().admit(n, f)
        if self.trusted >= n:
            raise SpecError(f"monna trusts row {self.trusted}, but there are only {n}")

    def decide(self, look: Look, state: None) -> Decision:
        at = look.position(self.trusted)
        if at is None:
            raise InputError(f"monna trusts row {self.trusted}, which is not finite or was filtered out")
        own = average([at], look.n)
        scores = look.squared_distances_to(look.combine(own), look.received(own)).sqrt() * look.unit
        scores[at] = -1.0  # before any that are equal to it
        chosen = lowest(scores, look.n - look.f, look.tolerance)
        return Decision(average(chosen, look.n), scores=scores.clamp(min=0))


@dataclass(frozen=True)
class AKSEL(WeightRule):
    """Average the rows nearest to the coordinate-wise median.

    Boussetta et al. 2021. `keep` is how many: "n-f", or "half" for ceil(n/2).
    """

    name = "aksel"
    source = "Boussetta et al. 2021"
    keep: str = "n-f"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in ("n-f", "half"):
            raise SpecError(f'keep is "n-f" or "half", got {self.keep!r}')

    def decide(self, look: Look, state: None) -> Decision:
        scores = look.squared_distances_to(Median().outcome(look, None).vector)
        count = look.n - look.f if self.keep == "n-f" else -(-look.n // 2)
        return Decision(average(lowest(scores, count, look.tolerance), look.n), scores=scores.sqrt() * look.unit)


@dataclass(frozen=True)
class CGE(WeightRule):
    """Average the n-f rows with the smallest norms (comparative gradient elimination)."""

    name = "cge"
    source = "Gupta et al. 2021"
    translates = False

    def decide(self, look: Look, state: None) -> Decision:
        norms = look.squared_distances_to(None).sqrt()
        return Decision(average(lowest(norms, look.n - look.f, look.tolerance), look.n), scores=norms * look.unit)


@dataclass(frozen=True)
class Medoid(WeightRule):
    """Return the row with the smallest sum of distances to all others: the geometric median among the rows."""

    name = "medoid"
    source = "Xie et al. 2018"
    uses_f = False
    gram = True

    def decide(self, look: Look, state: Any) -> Decision:
        scores = look.squared_distances.sqrt().sum(1)
        return Decision(average([best_row(look)[0]], look.n), scores=scores * look.unit)
