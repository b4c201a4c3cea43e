"""What a rule would make of Byzantine rows in the span of a few points, seen without making them.

The rows that the server would receive are mixtures of the honest rows and the points, so a rule that decides on
geometry is run on n x n numbers, exactly, whatever d is; what it does to coordinates is seen on a sample of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from turncoat.attacks.base import View
from turncoat.errors import HiddenError, InputError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows, examine
from turncoat.rules import MixTailor, Rule
from turncoat.rules.look import AFFINE, Geometry, Look, subset

SAMPLE = 8192  # coordinates on which coordinate-wise work is looked at
DRAWS = 4  # of a randomised rule, the same ones for every candidate


@dataclass(frozen=True)
class Seen:
    """What became of the aggregate; averages over the draws of a randomised rule, or over the members of a pool."""

    distance: float
    """To the mean of the honest vectors."""
    along: float
    """Its inner product with that mean (or with `towards`), 1 for the mean itself."""
    worst: float
    """The largest `along` of any member of a pool; else `along`."""
    honest: Tensor | None
    """(h,) the weights of the other workers' rows, where there are any and only one rule."""


@dataclass(frozen=True)
class _Case:
    """One of the things that may happen to the rows: a rule, what it draws and remembers, and how likely it is."""

    rule: Rule
    seed: int
    state: Any
    chance: float


class Span:
    """Byzantine rows `coefficients` (f, k) @ points (k, d), each row of coefficients summing to 1, against a rule.

    `fixed` are the vectors of the other n-f workers. `exact` makes the rows and aggregates; `see` does not.
    """

    def __init__(
        self,
        view: View,
        points: Tensor | Sequence[Tensor],
        fixed: Sequence[Tensor] | None = None,
        towards: Tensor | None = None,
    ) -> None:
        if view.rule is None:
            raise HiddenError("the rule is hidden: give rule=... or use the attack in a training run")
        self.rule: Rule = view.rule
        self.f, self.points = view.f, list(points)
        self.fixed = list(view.honest) if fixed is None else list(fixed)
        state = self.rule.init(self.fixed) if view.rule_state is None else view.rule_state
        basis, bad = examine(Rows.of([*self.fixed, *self.points]))
        if bad:
            raise InputError(f"the attack cannot measure rows that are not finite: {', '.join(map(str, bad))}")
        self._basis, self._geometry = basis, Geometry(basis)
        generator = torch.Generator().manual_seed(0)
        self.columns = subset(basis.d, min(SAMPLE, basis.d), generator)
        self._sample = basis.columns(self.columns)
        self._share = len(self.columns) / basis.d
        self._cases = list(_cases(self.rule, state, view.generator))
        weights = torch.zeros(basis.n, dtype=torch.float64)
        weights[: len(self.fixed)] = 1 / len(self.fixed)
        self._mean = weights
        self.mean = passes.combine(basis, weights)
        self.towards = self.mean if towards is None else towards
        self.evaluations = 0

    @cached_property
    def _products(self) -> Tensor:
        return passes.products(self._basis, self.towards) * self._basis.unit

    @cached_property
    def length(self) -> float:
        """The square of `towards`."""
        return max(float(self.towards.double().square().sum()), torch.finfo(torch.float64).tiny)

    def rows(self, coefficients: Tensor) -> Tensor:
        """(f, d) the Byzantine rows; where all are alike they share memory."""
        alike = bool((coefficients == coefficients[0]).all())
        points = Rows.of(self.points)
        made = [passes.combine(points, row) for row in (coefficients[:1] if alike else coefficients)]
        return made[0].expand(self.f, -1) if alike else torch.stack(made)

    def see(self, coefficients: Tensor) -> Seen:
        """What the rule would make of these rows: exact where it decides on geometry alone, else from a sample."""
        h = len(self.fixed)
        matrix = torch.zeros((h + self.f, self._basis.n), dtype=torch.float64)
        matrix[:h, :h] = torch.eye(h, dtype=torch.float64)
        matrix[h:, h:] = coefficients
        look = Look(self._sample, self.rule.f or 0, None, matrix, self._geometry, self._share)
        self.evaluations += 1
        seen, weights = [], None
        for case in self._cases:
            look = replace(look, generator=torch.Generator().manual_seed(case.seed))
            outcome = case.rule.outcome(look, _sampled(case.state, self.columns, self._basis.d))
            weights = outcome.weights
            seen.append((case.chance, *self._measure(outcome.vector, weights)))
        return _collect(seen, weights[:h] if weights is not None and len(seen) == 1 else None)

    def exact(self, coefficients: Tensor) -> Seen:
        """What the rule makes of these rows, by making and aggregating them."""
        return self.aggregate(self.rows(coefficients))

    def aggregate(self, rows: Tensor) -> Seen:
        """What the rule makes of any (f, d) rows."""
        received = [*self.fixed, *rows]
        self.evaluations += 1
        seen = []
        for case in self._cases:
            generator = torch.Generator().manual_seed(case.seed)
            vector = case.rule.step(received, case.state, generator, examined=False)[0].vector.double()
            distance = float((vector - self.mean.double()).norm())
            seen.append((case.chance, distance, float(vector @ self.towards.double()) / self.length))
        return _collect(seen, None)

    @cached_property
    def radius(self) -> float:
        """The root mean squared distance of the other rows and the first point to the mean."""
        D, w = self._geometry.squared_distances, self._mean
        squared = (D @ w - w @ D @ w / 2)[: len(self.fixed) + 1]
        return float(squared.clamp(min=0).mean().sqrt()) * self._basis.unit

    def _measure(self, vector: Tensor, weights: Tensor | None) -> tuple[float, float]:
        """Distance to the mean and inner product, exact for averages of the basis, else estimated from the sample."""
        if weights is not None and abs(float(weights.sum()) - 1) < AFFINE:
            e = weights - self._mean
            squared = max(0.0, float(-(e @ self._geometry.squared_distances @ e) / 2))
            return squared**0.5 * self._basis.unit, float(weights @ self._products) / self.length
        vector = vector.double()
        gap = float((vector - self.mean[self.columns].double()).norm()) / self._share**0.5
        return gap, float(vector @ self.towards[self.columns].double()) / self._share / self.length


def _collect(seen: list[tuple[float, float, float]], honest: Tensor | None) -> Seen:
    chances, distances, along = (torch.tensor(values, dtype=torch.float64) for values in zip(*seen, strict=True))
    distances = distances.nan_to_num(nan=torch.inf)
    return Seen(float(chances @ distances), float(chances @ along), float(along.max()), honest)


def _cases(rule: Rule, state: Any, generator: torch.Generator | None) -> Iterator[_Case]:
    """A pool's members, alike ones together; some draws of another randomised rule, from the adversary's own stream."""
    if isinstance(rule, MixTailor):
        held = [(member, (state or {}).get(str(i))) for i, member in enumerate(rule.members)]
        share = 1 / len(held)
        for member, count in Counter(member for member, memory in held if memory is None).items():
            yield _Case(member, 0, None, count * share)
        yield from (_Case(member, 0, memory, share) for member, memory in held if memory is not None)
    elif rule.draws:
        for seed in torch.randint(2**62, (DRAWS,), generator=generator).tolist():
            yield _Case(rule, seed, state, 1 / DRAWS)
    else:
        yield _Case(rule, 0, state, 1.0)


def _sampled(state: Any, columns: Tensor, d: int) -> Any:
    """A rule's memory on some of the coordinates."""
    if isinstance(state, dict):
        return {key: _sampled(value, columns, d) for key, value in state.items()}
    return state[..., columns] if isinstance(state, Tensor) and state.shape[-1:] == (d,) else state
