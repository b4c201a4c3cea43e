"""Zeno: the server's own loss judges every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.krum import average, lowest
from turncoat.rules.look import Look


@dataclass(frozen=True)
class Zeno(WeightRule):
    """Average the n-f rows whose update lowers the server's own loss most, less rho times their squared norm.

    Xie et al. 2019 (Zeno). The score of a row x is loss(0) - loss(x) - rho ||x||^2, with loss(x) that of the model
    after the update by x on data that the server trusts. `loss` is that function of a (d,) vector; a training run
    supplies it, on a batch of the training data drawn from the server's stream in each round.
    """

    name = "zeno"
    source = "Xie et al. 2019 (Zeno)"
    trusts = True
    translates = False
    scales = False
    rho: float = 0.0005
    loss: Callable[[Tensor], float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rho < math.inf:
            raise SpecError(f"rho is the weight of the squared norm, at least 0 and finite, got {self.rho}")

    def trusting(self, loss: Callable[[Tensor], float]) -> Self:
        return replace(self, loss=loss)

    def decide(self, look: Look, state: None) -> Decision:
        if self.loss is None:
            raise SpecError("zeno needs the server's own loss: use it in a training run or give Zeno(loss=...)")
        squared = look.squared_distances_to(None) * look.unit * look.unit
        at_rest = self.loss(look.combine(torch.zeros(look.n, dtype=torch.float64)))
        after = [self.loss(look.combine(average([i], look.n))) for i in range(look.n)]
        scores = torch.tensor(after, dtype=torch.float64).nan_to_num(nan=math.inf) - at_rest + self.rho * squared
        return Decision(average(lowest(scores, look.n - look.f, look.tolerance), look.n), scores=scores)
