"""Tier 1: the worst that f hostile rows do to a rule in one round, over all clouds of a suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from turncoat.stress import searches, tries
from turncoat.stress.clouds import Cloud
from turncoat.stress.siege import SCORES, Score, Siege
from turncoat.stress.suite import Suite
from turncoat.stress.target import Target

FARTHER = 10.0  # times as far: where that makes it so many times as bad, twice, there is no worst
UNBOUNDED = 1e4  # kappa from which that is tried

Told = Callable[[str], None]
"""Called with what comes next."""


def besiege(target: Target, clouds: Mapping[str, Cloud], f: int, suite: Suite, told: Told) -> dict[str, Siege]:
    """Try all on every cloud, then search on where most was found; the sieges by their clouds' names."""
    sieges = {}
    for name, cloud in clouds.items():
        told(name)
        siege = sieges[name] = Siege(target, cloud, f)
        tries.attacks(siege, suite.attacks, suite.seed)
        tries.lines(siege, suite.search.grid, suite.search.refine, suite.seed)
        tries.crowds(siege, suite.breakdown.strengths, suite.seed)
        tries.copies(siege)
    for score in SCORES:
        for siege in _worst_first(sieges, score)[: suite.search.clouds]:
            if not unbounded(siege, score):
                told(f"{score} on {siege.cloud.name}")
                _search(siege, score, suite)
    return sieges


def _search(siege: Siege, score: Score, suite: Suite) -> None:
    """From the worst case so far and from a few random ones: along the gradient, blindly, and along the gradient."""
    budget, form = suite.search, siege.target.form()
    starts = [siege.worst[score], *(searches.anywhere(siege, which, suite.seed) for which in range(budget.starts))]
    for start in starts:
        case = searches.gradient(siege, score, budget.gradient, form, start) if form else start
        if form and start is starts[0]:
            siege.followed[score] = getattr(case, score)
        case = searches.span(siege, score, budget.span, suite.seed, case)
        if start is starts[0]:
            siege.searched[score] = getattr(case, score)
        if form:
            searches.gradient(siege, score, budget.gradient, form, case)


def _worst_first(sieges: Mapping[str, Siege], score: Score) -> list[Siege]:
    attacked = [siege for siege in sieges.values() if score in siege.worst]
    return sorted(attacked, key=lambda siege: -getattr(siege.worst[score], score))


def worst_value(siege: Siege, score: Score) -> float:
    """The worst of a score on a cloud; infinite where it is unbounded."""
    return math.inf if unbounded(siege, score) else getattr(siege.worst[score], score)


def unbounded(siege: Siege, score: Score) -> bool:
    """Whether the damage grows on and on with the distance of the hostile rows."""
    case = siege.worst[score]
    value = getattr(case, score)
    if not math.isfinite(value):
        return value > 0
    if siege.worst["kappa"].kappa < UNBOUNDED:
        return False
    growth = FARTHER ** (2 if score == "kappa" else 1) / 2
    for _ in range(2):
        farther = siege.mean + FARTHER * (case.rows.double() - siege.mean)
        case = siege.attempt(f"farther than {case.how.removeprefix('farther than ')}", farther)
        if getattr(case, score) < growth * value:
            return False
        value = getattr(case, score)
    return True
