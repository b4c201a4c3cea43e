"""Bulyan: a rule picks rows one by one, and what was picked is aggregated once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Compound, CoordinateRule, Outcome, Part, Rule, WeightRule
from turncoat.rules.build import rule
from turncoat.rules.geometric_median import GeometricMedian
from turncoat.rules.look import Look
from turncoat.rules.median import average_of_nearest


@dataclass(frozen=True)
class Bulyan(Compound):
    """Pick n-2f rows with a selection rule; of every coordinate, average the n-4f picked values nearest to the median.

    El Mhamdi et al. 2018. A pick is the row nearest to what `selection` makes of the rows not yet picked. `phase2`
    puts another rule in the place of the second phase, as S2 does: it aggregates the picked rows, of which f may be
    Byzantine. Both are rules or their spellings.
    """

    name = "bulyan"
    source = "El Mhamdi et al. 2018; S2"
    needs = "n >= 4f + 3"
    selection: str | Rule = "krum"
    phase2: str | Rule = "nearest_to_median"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._selection.init(torch.zeros(1, 1)) is not None:
            raise SpecError(f"bulyan's selection has to be a rule without memory, {self._selection} has one")
        _ = self._phase2

    @cached_property
    def _selection(self) -> Rule:
        return rule(self.selection, self.f)

    @cached_property
    def _phase2(self) -> Rule:
        return NearestToMedian(f=self.f) if self.phase2 == "nearest_to_median" else rule(self.phase2, self.f)

    @property
    def gram(self) -> bool:  # type: ignore[override]
        return self._selection.gram

    def made_of(self) -> Sequence[Part]:
        return self._selection, self._phase2

    @property
    def robust(self) -> bool:  # type: ignore[override]
        return self._phase2.robust  # a few of the rows that even Krum picks last may be far off

    def trusting(self, loss: Callable[[Tensor], float]) -> Self:
        if not self.trusts:
            return self
        phase2 = self.phase2 if isinstance(self._phase2, NearestToMedian) else self._phase2.trusting(loss)
        return replace(self, selection=self._selection.trusting(loss), phase2=phase2)

    def most(self, n: int) -> int:
        return max(0, (n - 3) // 4)

    def admit(self, n: int, f: int | None) -> None:
        super().admit(n, f)
        self._selection.admit(n, f)
        self._phase2.admit(n - 2 * (f or 0), f)

    def init(self, like: Any) -> Any:
        return self._phase2.init(like)

    def outcome(self, look: Look, state: Any) -> Outcome:
        rest, left, picked = look, list(range(look.n)), []
        for _ in range(look.n - 2 * look.f):
            pick = self._pick(rest)
            picked.append(left.pop(pick))
            if left:
                rest = rest.select([i for i in range(rest.n) if i != pick])
        return self._phase2.outcome(look.select(sorted(picked)), state)

    def _pick(self, look: Look) -> int:
        """The row nearest to the selection's aggregate."""
        selection = self._selection
        averages = not isinstance(selection, GeometricMedian) or selection.p == 2
        if isinstance(selection, WeightRule) and averages:  # its weights say it all: no vector has to be made
            weights = selection.decide(look, None).weights
            if weights.max() == 1.0:
                return int(weights.argmax())
            return int(look.squared_distances_to_mixture(weights).argmin())
        return int(look.squared_distances_to(selection.outcome(look, None).vector).argmin())


@dataclass(frozen=True)
class NearestToMedian(CoordinateRule):
    """Of every coordinate of n rows, average the n-2f values nearest to the median: Bulyan's own second phase."""

    uses_f = False

    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        return average_of_nearest(n, max(1, n - 2 * f), (n - 1) // 2, n // 2)
