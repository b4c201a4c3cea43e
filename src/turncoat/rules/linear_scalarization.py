"""Linear scalarization around a base rule: suspects are penalised, nobody is left out. A reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Compound, Outcome, Part, Rule
from turncoat.rules.build import rule
from turncoat.rules.krum import lowest
from turncoat.rules.look import Look


@dataclass(frozen=True)
class LinearScalarization(Compound):
    """Average all rows, those far from a base rule's aggregate with less weight. A reconstruction of CMLS.

    After Errami and Bergou 2024, whose formula for the weights we could not establish: what they state is that a
    trade-off vector penalises suspects by their discrepancy to trusted rows and that every row enters. Here the n-f
    rows nearest to the aggregate of `base` are trusted with weight 1; delta is the "mean" or "max" (`trust`) of their
    distances to it; any other row at distance r weighs min(1, (delta / r)^q), or `constant` where that is given, or
    what `penalty` makes of the tensor r / delta. The base "median" gives CMLS.
    """

    name = "ls_reconstruction"
    source = "after Errami and Bergou 2024; reconstruction"
    base: str | Rule = "median"
    q: float = 1.0
    trust: str = "mean"
    constant: float | None = None
    penalty: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.q < math.inf:
            raise SpecError(f"q is the power of the penalty, at least 0 and finite, got {self.q}")
        if self.trust not in ("mean", "max"):
            raise SpecError(f'trust is "mean" or "max", got {self.trust!r}')
        if self.constant is not None and not 0 < self.constant <= 1:
            raise SpecError(f"constant is the suspects' weight, above 0 and at most 1, got {self.constant}")
        if self.penalty is not None and not callable(self.penalty):
            raise SpecError(f"penalty is a function from r / delta to weights, got {self.penalty!r}")
        _ = self._base

    @cached_property
    def _base(self) -> Rule:
        return rule(self.base, self.f)

    def made_of(self) -> Sequence[Part]:
        return (self._base,)

    @property
    def robust(self) -> bool:  # type: ignore[override]
        contained = self.q >= 1 and self.constant is None and self.penalty is None  # what a far row still pulls
        return contained and self._base.robust

    def trusting(self, loss: Callable[[Tensor], float]) -> Self:
        return replace(self, base=self._base.trusting(loss)) if self.trusts else self

    def admit(self, n: int, f: int | None) -> None:
        super().admit(n, f)
        self._base.admit(n, f)

    def init(self, like: Any) -> Any:
        return self._base.init(like)

    def outcome(self, look: Look, state: Any) -> Outcome:
        base = self._base.outcome(look, state)
        distances = look.squared_distances_to(base.vector, base.weights).sqrt()
        weights = self._weights(distances, lowest(distances, look.n - look.f, look.tolerance))
        return Outcome(look.combine(weights), look.received(weights), distances * look.unit, state=base.state)

    def _weights(self, distances: Tensor, trusted: Tensor) -> Tensor:
        inside = distances[trusted]
        delta = inside.mean() if self.trust == "mean" else inside.max()
        apart = torch.where(distances > 0, distances / delta, 0.0)
        if self.penalty is not None:
            weights = self.penalty(apart)
        elif self.constant is not None:
            weights = torch.full_like(apart, self.constant)
        else:
            weights = apart.clamp(min=1).pow(-self.q)
        weights = weights.index_fill(0, trusted, 1.0)
        return weights / weights.sum()
