"""S0's omniscient beam search over sequences of known attacks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from turncoat.attacks.base import Attack
from turncoat.attacks.planning.base import OF_S0, Best, Planner
from turncoat.attacks.planning.moves import Use
from turncoat.attacks.planning.objective import Objective
from turncoat.attacks.planning.rollout import Position, Rollout
from turncoat.errors import SpecError


@dataclass(frozen=True)
class _Beam:
    """A sequence of attacks from the first round on."""

    sequence: tuple[Attack, ...]
    value: float
    """The smallest loss so far, which the adversary wants to be large."""
    end: Position
    window: tuple[float, ...] = ()
    """What decides between equal values: the window's smallest loss, its last one, its mean."""

    @property
    def rank(self) -> tuple[float, ...]:
        return (self.value, *self.window)

    @property
    def constant(self) -> bool:
        return len(set(map(str, self.sequence))) == 1


@dataclass(frozen=True)
class Beam(Planner):
    """Choose a known attack for each round such that the smallest loss on the way is as large as possible.

    S0, algorithm 2. From each of the `width` best sequences so far, all sequences of `l` more `attacks` (S0's six) are
    played; the best `width` of all are kept (None: all of them), and, beyond the paper, every attack repeated from the
    first round on, so that the result is never worse than one of the attacks alone. The last window is shorter where l
    does not divide the rounds. Losses count after each round; with `include_initial` the one before the first counts,
    too.
    """

    name = "beam"
    source = "S0 algorithm 2"
    l: int = 2  # noqa: E741
    width: int | None = 8
    attacks: list | None = None  # type: ignore[misc]
    classics = OF_S0
    measure: str = "auto"
    include_initial: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attacks is not None and not self.attacks:
            raise SpecError("a beam search needs at least one attack")
        if self.l < 1 or (self.width is not None and self.width < 1):
            raise SpecError(f"l and width are numbers from 1, got l = {self.l!r} and width = {self.width!r}")

    @property
    def goal(self) -> Objective:
        return Objective("min", self.measure)

    def choose(self, rollout: Rollout, best: Best) -> None:
        initial = rollout.here(self.goal) if self.include_initial else math.inf
        beams, left = [_Beam((), initial, None)], rollout.rounds
        while left:
            beams = self._kept(self._extended(rollout, beams, min(self.l, left)))
            left -= min(self.l, left)
        for beam in sorted(beams, key=lambda beam: beam.rank, reverse=True):
            name = str(beam.sequence[0]) if beam.constant else self.name
            best.offer(name, [Use(one) for one in beam.sequence], beam.value)

    def _extended(self, rollout: Rollout, beams: Iterable[_Beam], l: int) -> Iterable[_Beam]:  # noqa: E741
        """Each beam followed by every sequence of l attacks, in an order in which they share their beginnings."""
        for beam in beams:
            for window in itertools.product(self.classical(), repeat=l):
                rolled = rollout([Use(one) for one in window], self.goal, start=beam.end)
                value = min(beam.value, rolled.value)
                tail = (rolled.value, rolled.losses[-1], sum(rolled.losses) / l)
                yield _Beam((*beam.sequence, *window), value, rolled.end, tail)

    def _kept(self, found: Iterable[_Beam]) -> list[_Beam]:
        ranked = sorted(found, key=lambda beam: beam.rank, reverse=True)
        kept = ranked[: self.width]
        return kept + [beam for beam in ranked[len(kept) :] if beam.constant]
