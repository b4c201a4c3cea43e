"""The breakdown curve: the rule keeps its f, and the attackers grow from none to half of the workers."""

from __future__ import annotations

from collections.abc import Iterator

from turncoat.stress import tries
from turncoat.stress.clouds import named
from turncoat.stress.siege import Siege
from turncoat.stress.suite import Suite
from turncoat.stress.target import Target
from turncoat.stress.worst import Told, worst_value


def breakdown(target: Target, suite: Suite, told: Told) -> Iterator[float]:
    """The worst kappa with 0, 1, ... n // 2 attackers; infinite where it is unbounded."""
    for attackers in range(target.n // 2 + 1):
        told(f"{attackers} attackers")
        sieges = []
        for name in suite.breakdown.clouds:
            siege = Siege(target, named(suite, name, target.n - attackers), attackers)
            if attackers:
                directions = tries.directions(siege, suite.seed, suite.breakdown.directions)
                tries.lines(siege, directions, suite.breakdown.strengths, refine=0)
                tries.crowds(siege, directions, suite.breakdown.strengths)
            else:
                siege.attempt("nobody", siege.cloud.honest[:0])
            sieges.append(siege)
        yield max(worst_value(siege, "kappa") for siege in sieges)
