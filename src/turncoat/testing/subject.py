"""A rule under test: how it is called, and how far off it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turncoat.rules import OwnRule, Rule
from turncoat.testing.calls import Calls
from turncoat.testing.clouds import cloud
from turncoat.testing.report import Failed, about


@dataclass
class Subject:
    """The rule under test, the sizes to test it at, and its calls."""

    rule: Rule
    n: int
    f: int
    d: int
    calls: Calls
    seed: int = 0
    reference: Callable[..., Any] | None = None

    def __call__(self, X: Tensor, what: str = "") -> Tensor:
        """The aggregate of X from a fresh state and stream; raises Failed where there is none."""
        try:
            vector = self.calls(self.aggregate, X)
        except Failed as seen:
            raise Failed(about(what, str(seen))) from seen
        if not isinstance(vector, Tensor) or vector.shape != X.shape[1:]:
            shape = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise Failed(about(what, f"returned {shape}, expected a tensor of shape ({X.shape[1]},)"))
        return vector

    def finite(self, X: Tensor, what: str) -> Tensor:
        """The aggregate, which must be finite."""
        vector = self(X, what)
        if not vector.isfinite().all():
            raise Failed(about(what, "the aggregate is not finite"))
        return vector

    def near(self, X: Tensor, honest: Tensor, what: str) -> float:
        """How many honest spreads the aggregate is off; raises Failed where that is more than allowed."""
        off = self.off(self.finite(X, what), honest)
        if not off <= self.allowed:
            raise Failed(about(what, f"the aggregate is {off:.2g} honest spreads off, allowed are {self.allowed:.2g}"))
        return off

    def aggregate(self, X: Any) -> Any:
        return self.rule.step(X, self.rule.init(X), self.stream(), examined=False)[0].vector

    def stream(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    @property
    def honest(self) -> Tensor:
        return cloud(self.n - self.f, self.d, self.seed)

    @property
    def own(self) -> bool:
        """Whether it is, or ends in, a callable that says nothing about itself."""
        return isinstance(self.rule.parts()[-1], OwnRule)

    @property
    def smallest(self) -> int:
        """The smallest n for which the rule allows f."""
        if self.own:
            return self.n
        return next((n for n in range(1, self.n) if self.admits(n)), self.n)

    def admits(self, n: int) -> bool:
        try:
            self.calls(self.rule.check, n)
        except Failed:
            return False
        return True

    @property
    def allowed(self) -> float:
        """How far from the honest mean a robust aggregate may be, in honest spreads."""
        return 3 * (1 + self.f / max(1, self.n - 2 * self.f))

    def off(self, vector: Tensor, honest: Tensor) -> float:
        """How far a vector is from the honest mean, in honest spreads: the largest distance from the mean to a row.

        For rules that do not move with the rows, the spread is about the origin.
        """
        epsilon = torch.finfo(vector.dtype).eps
        honest, vector = honest.double(), vector.double()
        mean = honest.mean(0)
        unit = max(float(honest.abs().max()), torch.finfo(torch.float64).tiny)
        mean, honest, vector = mean / unit, honest / unit, vector / unit
        spread = (honest - mean if self.rule.translates else honest).norm(dim=1).max()
        rounding = 4 * epsilon * honest.norm(dim=1).max()
        apart = (vector - mean).norm()
        return float(apart / (spread + rounding)) if apart else 0.0
