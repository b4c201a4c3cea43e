"""The average, which one traitor can put anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.look import Look


@dataclass(frozen=True)
class Mean(WeightRule):
    """Average all rows: the baseline that a single traitor can put anywhere."""

    name = "mean"
    needs = "n > f"
    uses_f = False
    robust = False

    def most(self, n: int) -> int:
        return n - 1

    def decide(self, look: Look, state: None) -> Decision:
        return Decision(torch.full((look.n,), 1.0 / look.n, dtype=torch.float64))
