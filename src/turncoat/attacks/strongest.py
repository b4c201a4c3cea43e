"""The strongest version of an attack with one parameter, against a known rule, in one round."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.attacks.build import attack
from turncoat.attacks.search import logarithmic, maximise
from turncoat.attacks.span import Span
from turncoat.errors import SpecError
from turncoat.rules import Rule

FARTHEST = 1e4  # how far the search goes, in units of the honest vectors' spread around their mean
DECADES, A_DECADE = 7, 6
NEAR, A_SPREAD = 12, 10  # in so many spreads rules start and cease to take rows: there every tenth of one is tried
CHECKED = 2  # peaks that are made and aggregated before the best of them is named
UNBOUNDED = 2.0  # growth over the last decade of the range that says that more would do more
OBJECTIVES = ("distance", "descent")


@dataclass(frozen=True)
class Found:
    """What the search for the strongest attack found."""

    strength: float
    """The parameter; where the damage is unbounded, the end of the range."""
    damage: float
    """Of the aggregate: distance to the honest mean, or minus its inner product with it over the mean's square."""
    unbounded: bool
    """Whether the damage still grew in proportion at the end of the range: there is no strongest version then."""
    searched: tuple[float, float]
    """The range of the parameter, on both sides of 0."""
    evaluations: int

    def __str__(self) -> str:
        low, high = self.searched
        if self.unbounded:
            return f"unbounded: the damage still grows at strength {self.strength:.3g} of [{low:.3g}, {high:.3g}]"
        return f"damage {self.damage:.4g} at strength {self.strength:.4g} of [{low:.3g}, {high:.3g}]"


@dataclass(frozen=True)
class Strongest(Attack):
    """Send what another attack sends at the strength that does the rule the most damage in this round.

    `family` is any attack with a strength, such as ipm or alie. The search is two-sided: over every tenth of the honest
    vectors' spread out to 12 of it, over a logarithmic grid out to 10,000, finer where more could hide, with golden
    sections around the peaks. The damage is the aggregate's
    `objective`: "distance" to the honest mean, or "descent" lost along it. Candidates are judged on the n x n geometry,
    exactly, where the rule decides on nothing else, and on a sample of the coordinates otherwise; the best of them are
    then judged exactly. Against a randomised rule or a pool the damage is an average. Where it grows without bound the
    end of the range is sent. With `every` above 1 it searches in the first of so many rounds and keeps the strength in
    the others.
    """

    name = "strongest"
    source = "Shejwalkar and Houmansadr 2021; Allouah et al. 2023"
    draws = True
    needs_rule = True
    strength = "family"
    family: str | Attack = "alie"
    objective: str = "distance"
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise SpecError(f"every counts rounds, from 1 up, got {self.every}")
        if self.objective not in OBJECTIVES:
            raise SpecError(f"objective is one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        if not self._family.strength or self._family.manipulates != "gradients":
            raise SpecError(f"{self._family} has no strength to search over; ipm and alie have one")

    @property
    def _family(self) -> Attack:
        return attack(self.family, f=self.f)

    @property
    def needs_own(self) -> bool:
        return self._family.needs_own

    def init(self, like: Tensor) -> Any:
        """The family's state; with the strength and the rounds since it was found, where it is kept."""
        inner = self._family.init(like)
        return inner if self.every == 1 else _held(0.0, 0, inner)

    def craft(self, view: View) -> Tensor:
        return self.step(view, self.init(view.like))[0]

    def step(self, view: View, state: Any) -> tuple[Tensor, Any]:
        inner = state if self.every == 1 else state.get("family")
        search = _Search(self._family, view, inner, self.objective)
        if self.every == 1:
            return search.rows(search.run().strength), search.following
        age = int(state["age"]) % self.every
        strength = float(state["strength"]) if age else search.run().strength
        return search.rows(strength), _held(strength, age + 1, search.following)

    def search(self, honest: Tensor, rule: Rule, own: Tensor | None = None) -> Found:
        """The search alone, beside (h, d) honest vectors; own (f, d) where the family needs them."""
        if self.f is None:
            raise SpecError(f"{self} needs f, the number of Byzantine workers: give f=...")
        view = View(len(honest) + self.f, self.f, honest, own, rule=rule, generator=torch.Generator().manual_seed(0))
        return _Search(self._family, view, self._family.init(honest), self.objective).run()


def strongest(
    family: str | Attack, honest: Tensor, rule: Rule, f: int, objective: str = "distance", own: Tensor | None = None
) -> Found:
    """The strength at which an attack does a rule the most damage beside (h, d) honest vectors, and the damage.

    As the attack `strongest(family)` finds it. Raises SpecError for an attack without a strength.
    """
    return Strongest(family=family, objective=objective, f=f).search(honest, rule, own)


def _held(strength: float, age: int, family: Any) -> dict[str, Any]:
    """The state: a strength, for how many rounds it was used, and the family's own."""
    held = {"strength": torch.tensor(strength, dtype=torch.float64), "age": torch.tensor(age)}
    return held if family is None else held | {"family": family}


class _Search:
    """One attack's rows as a straight line in its strength where they are one; each made anew where they are not."""

    def __init__(self, family: Attack, view: View, state: Any, objective: str) -> None:
        self.family, self.view, self.state, self.objective = family, view, state, objective
        if view.rule is not None:
            view.rule.check(view.n)
        self.seed = int(torch.randint(2**62, (), generator=view.generator)) if family.draws else 0
        self.following = state
        rows = [self._make(strength) for strength in (0.0, 1.0, 2.0)]
        made = [some for some in rows if some is not None]
        if not made:
            raise SpecError(f"{family} takes none of the strengths 0, 1 and 2")
        self.k = 1 if all(some.stride(0) == 0 for some in made) else view.f
        points = [row for some in (made if len(made) < 3 else made[:2]) for row in some[: self.k]]
        self.span = Span(view, points)
        self.straight, self.step = False, 1.0
        if len(made) == 3:
            start, one, two = (some[: self.k, self.span.columns].double() for some in made)
            steps = (made[1][: self.k] - made[0][: self.k]).double().norm(dim=1)
            share = len(self.span.columns) / made[0].shape[1]
            bend = (two - 2 * one + start).norm(dim=1) / share**0.5
            self.straight, self.step = bool((bend <= 1e-3 * steps + 1e-30).all()), float(steps.max())

    def rows(self, strength: float) -> Tensor:
        """(f, d) the rows of that strength."""
        if self.straight:
            return self.span.rows(self._coefficients(strength))
        made = self._make(strength)
        assert made is not None
        return made

    def run(self) -> Found:
        if self.step == 0.0:
            return Found(0.0, self._damage(0.0, exact=True), False, (0.0, 0.0), 1)
        largest = FARTHEST * max(self.span.radius / self.step, 1.0)
        spread = largest / FARTHEST
        near = NEAR * spread
        positive = {
            *logarithmic(largest, DECADES, A_DECADE),
            *(i / A_SPREAD * spread for i in range(1, NEAR * A_SPREAD + 1)),
        }
        peaks = maximise(self._damage, [*(-t for t in positive), 0.0, *positive], near)
        checked = [(self._damage(t, exact=True), t) for _, t in peaks[:CHECKED]]
        damage, strength = max(checked, key=lambda found: (found[0], -abs(found[1])))
        end, farthest = max((self._damage(t), t) for t in (-largest, largest))
        unbounded = end > 0.99 * damage and end > UNBOUNDED * self._damage(farthest / 10) > 0
        if unbounded:
            strength, damage = farthest, math.inf
        return Found(strength, damage, unbounded, (-largest, largest), self.span.evaluations)

    def _make(self, strength: float) -> Tensor | None:
        """The rows of that strength; None where the attack does not take it."""
        try:
            made = replace(self.family, **{self.family.strength: strength})  # type: ignore[arg-type]
        except SpecError:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        rows, self.following = made.step(replace(self.view, generator=generator), self.state)
        return rows

    def _coefficients(self, strength: float) -> Tensor:
        every, which = torch.arange(self.view.f), torch.arange(self.view.f) % self.k
        coefficients = torch.zeros((self.view.f, 2 * self.k), dtype=torch.float64)
        coefficients[every, which] = 1 - strength
        coefficients[every, self.k + which] = strength
        return coefficients

    def _damage(self, strength: float, exact: bool = False) -> float:
        if self.straight:
            coefficients = self._coefficients(strength)
            seen = self.span.exact(coefficients) if exact else self.span.see(coefficients)
        else:
            rows = self._make(strength)
            if rows is None:
                return -math.inf
            seen = self.span.aggregate(rows)
        damage = seen.distance if self.objective == "distance" else -seen.along
        return damage if damage == damage else math.inf
