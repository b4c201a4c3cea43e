"""What the rules share that average the best n-f rows: the budget of their search, and what it found."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from turncoat.errors import BudgetError, SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.krum import average
from turncoat.rules.look import Look


@dataclass(frozen=True)
class Choice:
    """A subset of the rows, and how sure it is that no other is better."""

    rows: list[int]
    value: float
    """What the search makes small."""
    at_least: float
    """No subset of this size has a smaller value."""
    steps: int
    exact: bool
    """Whether it is proven to be the first of the best subsets."""


@dataclass(frozen=True)
class SubsetRule(WeightRule):
    """Average the n-f rows of which a measure is smallest, exactly unless the search takes more than `budget` steps."""

    gram = True
    measure: ClassVar[str]
    budget: int = 100_000
    beyond: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget < 0:
            raise SpecError(f"budget is the number of steps a search may take, from 0 up, got {self.budget}")
        if self.beyond not in ("error", "search"):
            raise SpecError(f'beyond is "error" or "search", got {self.beyond!r}')

    @abstractmethod
    def choose(self, look: Look) -> Choice:
        """The rows to average, with the measure in the rows' own units."""

    def decide(self, look: Look, state: Any) -> Decision:
        found = self.choose(look)
        if not found.exact and self.beyond == "error":
            raise BudgetError(
                f"{self.name} at n = {look.n}, f = {look.f} takes more than its budget of {self.budget} steps: raise "
                f'budget, or take the best rows found within it with beyond="search"'
            )
        diagnostics = {
            "exact": float(found.exact),
            self.measure: found.value,
            "at_least": found.at_least,
            "steps": found.steps,
        }
        return Decision(average(found.rows, look.n), diagnostics=diagnostics)


def tidy(D: Tensor) -> Tensor:
    """A copy of squared distances (n, n) that is symmetric, 0 on the diagonal, and infinite where it was no number."""
    D = torch.where(D.isnan(), torch.inf, D)
    return torch.maximum(D, D.T).fill_diagonal_(0.0)
