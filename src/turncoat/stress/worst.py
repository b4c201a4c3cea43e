"""Tier 1: the worst that f hostile rows do to a rule in one round, over all clouds of a suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from turncoat.stress import searches, tries
from turncoat.stress.clouds import Cloud, near
from turncoat.stress.siege import SCORES, Case, Score, Siege
from turncoat.stress.suite import Suite
from turncoat.stress.target import Target

PAYS = 0.05  # of a value, by which a search has to make it worse to go on, and come near the worst so far
SAME = 0.1  # of a value, within which another one is no worse to speak of
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
        directions = tries.directions(siege, suite.seed)
        tries.lines(siege, directions, suite.search.strengths, suite.search.refine)
        tries.crowds(siege, directions, suite.search.crowds)
        tries.decoys(siege, directions, suite.search.decoys)
        tries.copies(siege)
    for score in SCORES:
        for siege in _worst_first(sieges, score)[: suite.search.clouds[score]]:
            if not unbounded(siege, score):
                told(f"{score} on {siege.cloud.name}")
                _search(siege, score, suite)
    return sieges


def _search(siege: Siege, score: Score, suite: Suite) -> None:
    """From the worst case so far and from a few random ones: along the gradient, blindly, and along the gradient.

    That goes on where it still pays.
    """
    budget, form = suite.search, siege.target.form()
    some = (searches.anywhere(siege, which, budget.starts, suite.seed) for which in range(budget.starts))
    for case in [siege.worst[score], *some]:
        for _ in range(budget.rounds):
            before = getattr(case, score)
            if form:
                case = searches.gradient(siege, score, budget.gradient, form, case)
                siege.followed.setdefault(score, getattr(case, score))
            case = searches.span(siege, score, budget.span, suite.seed, case)
            siege.searched.setdefault(score, getattr(case, score))
            value, worst = getattr(case, score), getattr(siege.worst[score], score)
            if value < before + PAYS * abs(before) or value < worst - PAYS * abs(worst):
                break
        if form:
            searches.gradient(siege, score, budget.gradient, form, case)


def _worst_first(sieges: Mapping[str, Siege], score: Score) -> list[Siege]:
    """The sieges in their order; vectors far from the origin only where they are worse than the same ones near it."""
    values = {name: getattr(siege.worst[score], score) for name, siege in sieges.items() if score in siege.worst}

    def repeats(name: str) -> bool:
        there = values.get(near(name), math.inf)
        return near(name) != name and values[name] <= there + SAME * abs(there)

    return [sieges[name] for name in sorted(values, key=lambda name: -values[name]) if not repeats(name)]


def worst_value(siege: Siege, score: Score) -> float:
    """The worst of a score on a cloud; infinite where it is unbounded."""
    return math.inf if unbounded(siege, score) else getattr(siege.worst[score], score)


def unbounded(siege: Siege, score: Score) -> bool:
    """Whether the damage of the worst case grows on and on with the distance of the hostile rows."""
    case = siege.worst[score]
    asked, answer = siege.endless.get(score, (None, False))
    if asked is not case:
        answer = _grows(siege, score, case)
        siege.endless[score] = case, answer
    return answer


def _grows(siege: Siege, score: Score, case: Case) -> bool:
    value = getattr(case, score)
    if not math.isfinite(value):
        return value > 0
    if value <= 0 or siege.worst["kappa"].kappa < UNBOUNDED:
        return False
    growth, rows = FARTHER ** (2 if score == "kappa" else 1) / 2, case.rows.double()
    for _ in range(2):
        rows = siege.mean + FARTHER * (rows - siege.mean)
        farther = getattr(siege.look(f"farther than {case.how}", rows), score)
        if farther < growth * value:
            return False
        value = farther
    return True
