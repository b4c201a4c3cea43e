"""Reasons to doubt a score, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from turncoat.rules import Rule
from turncoat.stress.clouds import near
from turncoat.stress.siege import Siege
from turncoat.stress.target import Target
from turncoat.stress.worst import worst_value

OFFSET = 2.0  # times the kappa of the same vectors near the origin
MASKED = 0.25  # of what the gradient found: so much more, found blindly, says that it leads nowhere


def doubts(rule: Rule, target: Target, sieges: Mapping[str, Siege]) -> Iterator[str]:
    """What a reader must know before trusting the figures."""
    if target.draws:
        yield "random output"
    if not target.repeats:
        yield "random output that no seed controls: another run gives other scores"
    if rule.init(torch.zeros((target.n, 2))) is not None:
        yield "memory: one round from its start is judged, more rounds may be worse"
    if rule.uses_f:
        yield "saw the true f"
    if rule.trusts:
        yield "needs trusted data: it was given the mean of a few honest vectors"
    if target.excluded:
        yield f"excluded rows in {len(target.excluded)} calls, as not finite"
    for what, case in target.failures.items():
        yield f"broke: {what} ({case})"
    if not rule.permutes:
        yield "the order of the rows matters to it: the traitors stood last"
    for name, siege in sieges.items():
        there = sieges.get(near(name), siege)
        if worst_value(siege, "kappa") > OFFSET * worst_value(there, "kappa"):
            yield f"wrong under an offset: kappa is {OFFSET:g} times as large, and more, far from the origin"
    yield from _masked(sieges)


def _masked(sieges: Mapping[str, Siege]) -> Iterator[str]:
    """Where a blind search went on much farther from where the gradient had led."""
    for siege in sieges.values():
        for score, followed in siege.followed.items():
            if siege.searched[score] - followed > MASKED * abs(followed):
                yield f"black-box beat white-box: {score} on {siege.cloud.name}, where the gradient misleads"
    if not any(siege.followed for siege in sieges.values()) and any(siege.searched for siege in sieges.values()):
        yield "no white box: autograd finds no way through it"
