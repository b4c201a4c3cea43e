"""The rounds ahead, played by the code that plays the live ones.

A simulator holds a copy of the federation whose server draws from the adversary's stream, so what it shows of a
deterministic rule is bit for bit what will happen, and of a randomised one what might.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from torch import Tensor

from turncoat.attacks.base import View
from turncoat.attacks.planning.moves import Memory, Move
from turncoat.attacks.planning.objective import EXPLODED, Objective, finite
from turncoat.attacks.planning.rollout import Rolled, SpentError
from turncoat.errors import InputError, SpecError
from turncoat.learning.state import State
from turncoat.learning.streams import derive
from turncoat.learning.unrolled import Unrolled

if TYPE_CHECKING:
    from turncoat.learning.round import Federation, Sent

ROUNDS = 64  # whose batches are kept
DRAWS = 4  # of a randomised rule's stream; losses are means over them
HELD = 2**27  # numbers that positions along the last path may hold together

Watch = Callable[[int, float], None]
"""Called with the simulated rounds of a plan so far and its budget, which may be infinite."""


@dataclass
class World:
    """An imagined run between two rounds: a state, what the attacks that moves use remember, what will be sent."""

    federation: Federation
    state: State
    memory: Memory
    _sent: Sent | None = None

    def sent(self) -> Sent:
        if self._sent is None:
            self._sent = self.federation.prepare(self.state)
        return self._sent

    def after(self, move: Move) -> tuple[World, Tensor]:
        """The world after a round with that move, and the rows that were sent."""
        sent = self.sent()
        rows, memory = move.rows(self.federation.view(self.state, sent), self.memory)
        following, _ = self.federation.round(self.state, sent, rows)
        return World(self.federation, following, memory), rows


@dataclass
class Place:
    """Where imagined runs stand, one world for each draw of a randomised rule's stream."""

    worlds: tuple[World, ...]
    rows: Tensor | None = None
    losses: dict[str, float] = field(default_factory=dict)
    """Of the round that led here, by measure."""

    @property
    def round(self) -> int:
        return self.worlds[0].state.round


class Simulator:
    """A `Rollout` of a federation from a state whose workers have computed what they will send."""

    def __init__(self, federation: Federation, state: State, sent: Sent, watch: Watch | None = None) -> None:
        self.spent = 0
        self._limit, self._budget = math.inf, math.inf
        self._watch = watch
        count = DRAWS if federation.rule.draws else 1
        self._root = Place(tuple(World(_imagined(federation, i), state, {}, sent) for i in range(count)))
        self._path: list[tuple[Move, Place | None]] = []
        self._start = self._root
        self._federation = federation
        self._kept = max(1, HELD // (3 * federation.n * federation.learner.d))

    @property
    def limit(self) -> float:
        """No round is simulated beyond so many."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        self._budget = limit if math.isinf(self._budget) else max(limit, self._budget)

    @property
    def rounds(self) -> int:
        return self._federation.remaining(self._root.round)

    def remembering(self, memory: Memory) -> Simulator:
        """The same with what the attacks that moves use remember of the rounds before."""
        for world in self._root.worlds:
            world.memory = memory
        return self

    def view(self, start: Place | None = None) -> View:
        """What the adversary would see there, in the first of the worlds."""
        world = (start or self._root).worlds[0]
        return world.federation.view(world.state, world.sent())

    def unrolled(self, objective: Objective) -> Unrolled | None:
        """The first of the worlds, unrolled; None where that is not possible."""
        world = self._root.worlds[0]
        return Unrolled.of(world.federation, world.state, self._measure(objective.measure), self._spend)

    def here(self, objective: Objective, start: Place | None = None) -> float:
        """The loss there, before any move."""
        place = start or self._root
        return self._mean(place, self._measure(objective.measure), place.round)

    def __call__(
        self,
        moves: Sequence[Move],
        objective: Objective,
        start: Place | None = None,
        floor: float = -math.inf,
        keep_rows: bool = False,
    ) -> Rolled:
        """See `Rollout`."""
        start, measure = start or self._root, self._measure(objective.measure)
        if start is not self._start:
            self._start, self._path = start, []
        shared = self._shared(moves)
        del self._path[shared:]
        place: Place | None = self._path[-1][1] if self._path else start
        losses, rows, means = [], [], []
        for t, move in enumerate(moves):
            if keep_rows and place is not None:
                sent = place.worlds[0].sent()
                means.append(sent.rows[: sent.honest].mean(0))
            if t < shared:
                place = self._path[t][1]
            elif place is not None:
                place = self._advance(place, move)
                if t == len(self._path) and t < self._kept:
                    self._path.append((move, place))
            wanted = t + 1 == len(moves) or not objective.last_only
            losses.append(self._loss(place, measure) if wanted else math.nan)
            if keep_rows and place is not None and place.rows is not None:
                rows.append(place.rows)
            if objective.gamma == -1 and losses[-1] <= floor:
                break
        return Rolled(objective.value(losses), losses, place, rows, means[: len(rows)])

    def _shared(self, moves: Sequence[Move]) -> int:
        """How many moves are those of the path last played."""
        shared = 0
        for move, (before, _) in zip(moves, self._path, strict=False):
            if move != before:
                break
            shared += 1
        return shared

    def _advance(self, place: Place, move: Move) -> Place | None:
        """The place after a move; None where the round cannot be played, as honest vectors are no numbers."""
        self._spend(len(place.worlds))
        try:
            worlds, rows = zip(*(world.after(move) for world in place.worlds), strict=True)
        except InputError:
            return None
        return Place(worlds, rows[0])

    def _spend(self, rounds: int) -> None:
        if self.spent >= self.limit:
            raise SpentError
        self.spent += rounds
        if self._watch:
            self._watch(self.spent, self._budget)

    def _loss(self, place: Place | None, measure: str) -> float:
        if place is None:
            return EXPLODED
        if measure not in place.losses:
            place.losses[measure] = self._mean(place, measure, place.round - 1)
        return place.losses[measure]

    def _mean(self, place: Place, measure: str, round: int) -> float:
        found = [finite(self._of(world, measure, round)) for world in place.worlds]
        return sum(found) / len(found)

    def _of(self, world: World, measure: str, round: int) -> float:
        """A world's loss, on the batches of that round where it is one of batches."""
        federation, state = world.federation, world.state
        if measure == "error":
            assert federation.optimum is not None
            return float((state.parameters - federation.optimum).norm())
        x, y = federation.sample if measure == "sample" else federation.honest_batch(round)
        if measure == "logits":
            out = federation.learner.outputs(state.parameters, x, buffers=state.buffers)
            return float(out.max() - out.min())
        return federation.learner.mean_loss(state.parameters, x, y, buffers=state.buffers)

    def _measure(self, name: str) -> str:
        if name == "auto":
            return "batch" if self._federation.optimum is None else "error"
        if name == "error" and self._federation.optimum is None:
            raise SpecError("the measure error needs a data set whose optimum is known, such as mean_estimation")
        return name


def _imagined(federation: Federation, draw: int) -> Federation:
    """A federation whose server draws what the adversary imagines."""
    other = copy.copy(federation)
    seed = derive(federation.seeds.adversary, "imagined server", draw)
    other.seeds = msgspec.structs.replace(federation.seeds, server=seed)
    other._spare = []
    if federation.attack.manipulates != "data":  # which is written into what was drawn
        other.drawn = lru_cache(maxsize=ROUNDS)(federation.drawn)
    return other
