"""Krum and Multi-Krum: the rows in the densest neighbourhood."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.look import Look

NEIGHBOURS = {"n-f-2": 2, "n-f-1": 1, "n-f": 0}


@dataclass(frozen=True)
class Krum(WeightRule):
    """Return the row with the smallest sum of squared distances to its n-f-2 nearest other rows.

    Blanchard et al. 2017; S2, equation (3), for l_p distances. `neighbours` counts the other rows in the sum: "n-f-2"
    in the paper; "n-f-1" and "n-f" are other readings in use. Distances are l_`p`, p >= 1, taken to the `power`. The
    guarantee needs n > 2f + 2; at n = 2f + 2 there is a warning.
    """

    name = "krum"
    source = "Blanchard et al. 2017; S2 eq. (3)"
    needs = "n >= 2f + 2"
    neighbours: str = "n-f-2"
    p: float = 2.0
    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours not in NEIGHBOURS:
            raise SpecError(f"neighbours is one of {', '.join(NEIGHBOURS)}, got {self.neighbours!r}")
        if not 1 <= self.p < math.inf:
            raise SpecError(f"p is the norm's, at least 1 and finite, got {self.p!r}")
        if not 0 < self.power < math.inf:
            raise SpecError(f"power is that of the distances, above 0 and finite, got {self.power!r}")

    @property
    def gram(self) -> bool:  # type: ignore[override]
        return self.p == 2

    def most(self, n: int) -> int:
        return max(0, (n - 2) // 2)

    def admit(self, n: int, f: int | None) -> None:
        super().admit(n, f)
        if f is not None and n == 2 * f + 2:
            warnings.warn(f"{self.name} has no guarantee at n = 2f + 2 = {n}: it needs n > 2f + 2", stacklevel=2)

    def kappa(self, n: int, f: int) -> float | None:
        h, missing = n - f, NEIGHBOURS[self.neighbours]
        shared = h - f - missing + 1  # rows that any set has among the chosen one and its neighbours, at least
        if self.p != 2 or self.power != 2 or missing < 1 or shared < 1 or h <= missing:
            return None
        # a set's own rows have a mean score of at most 2 h (h - missing) / (h - 1) of its variance
        return h * (1 + (2 * (h - missing) / (h - 1)) ** 0.5) ** 2 / shared

    def decide(self, look: Look, state: None) -> Decision:
        scores = self.scores(look)
        return Decision(average(lowest(scores, 1, look.tolerance), look.n), scores=scores)

    def scores(self, look: Look) -> Tensor:
        """(n,) sums of the powers of the distances to the nearest others, in the look's unit."""
        n = look.n
        count = min(n - 1, max(1, n - look.f - NEIGHBOURS[self.neighbours]))
        squares = self.p == 2 and self.power == 2
        others = look.squared_distances.clone() if squares else look.distances(self.p) ** self.power
        return others.fill_diagonal_(torch.inf).sort(dim=1).values[:, :count].sum(1)


@dataclass(frozen=True)
class MultiKrum(Krum):
    """Average the m rows with the lowest Krum scores.

    Blanchard et al. 2017. `m` is a number of rows, a share of n below 1, "n-f" or "n-f-2".
    """

    name = "multi_krum"
    m: int | float | str = "n-f"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.m in ("n-f", "n-f-2") if isinstance(self.m, str) else self.m >= 1 or 0 < self.m < 1
        if not known or (isinstance(self.m, float) and self.m > 1 and not self.m.is_integer()):
            raise SpecError(
                f'm counts the rows to average: a whole number, a share of n, "n-f" or "n-f-2", got {self.m!r}'
            )

    def decide(self, look: Look, state: None) -> Decision:
        scores = self.scores(look)
        return Decision(average(lowest(scores, self._count(look.n, look.f), look.tolerance), look.n), scores=scores)

    @property
    def robust(self) -> bool:  # type: ignore[override]
        return isinstance(self.m, str)  # a number of rows may be more than n - f

    def kappa(self, n: int, f: int) -> float | None:
        return None

    def _count(self, n: int, f: int) -> int:
        if isinstance(self.m, str):
            return max(1, n - f - NEIGHBOURS[self.m])
        return min(n, max(1, int(self.m * n) if self.m < 1 else int(self.m)))


def lowest(scores: Tensor, count: int, tolerance: float) -> Tensor:
    """Indices of the lowest scores; equal ones (within the relative tolerance) in the order of the rows."""
    values = scores.nan_to_num(nan=torch.inf).tolist()
    order = sorted(range(len(values)), key=lambda i: values[i])
    chosen: list[int] = []
    for _ in range(count):
        limit = values[order[0]] + tolerance * abs(values[order[0]])
        first = min(takewhile(lambda i: values[i] <= limit, order), default=order[0])  # noqa: B023
        order.remove(first)
        chosen.append(first)
    return torch.tensor(chosen, dtype=torch.long)


def average(chosen: Tensor | Sequence[int], n: int) -> Tensor:
    """(n,) weights of the average of the chosen rows."""
    return torch.zeros(n, dtype=torch.float64).index_fill_(0, torch.as_tensor(chosen), 1.0 / len(chosen))
