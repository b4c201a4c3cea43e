"""What a planner asks of the run that it attacks: to play rounds that nobody will ever know of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from turncoat.attacks.base import View
from turncoat.attacks.planning.moves import Memory, Move
from turncoat.attacks.planning.objective import Objective
from turncoat.rules.batched import BatchedRule

DERIVED = 3
"""What a simulated round counts as where derivatives are taken, too."""
Position = Any
"""Where an imagined run stands; only its rollout knows what it is."""


class SpentError(Exception):
    """The budget of simulated rounds is spent; a planner keeps the best that it has seen."""


@dataclass(frozen=True)
class Rolled:
    """What moves led to."""

    value: float
    losses: list[float]
    """After each round; where only the last one counts, NaN before it. What is not finite is 1e31."""
    end: Position = field(repr=False)
    """Where to go on from; None where a run exploded."""
    rows: list[Tensor] = field(default_factory=list, repr=False)
    """What was sent in each round, (f, d) each, where it was asked for."""
    means: list[Tensor] = field(default_factory=list, repr=False)
    """(d,) the honest mean in each of these rounds."""


class Rollout(Protocol):
    """The rounds to come, from the present one on, played as often as wanted without touching the live run.

    Against a randomised rule losses are means over draws from the adversary's own stream, the same for all moves.
    """

    @property
    def rounds(self) -> int:
        """How many rounds are left to attack, with the present one."""
        ...

    @property
    def spent(self) -> int:
        """Rounds simulated so far; moves that begin alike share them."""
        ...

    @property
    def limit(self) -> float:
        """No round is simulated beyond so many: SpentError is raised instead."""
        ...

    @limit.setter
    def limit(self, limit: float) -> None: ...

    def __call__(
        self,
        moves: Sequence[Move],
        objective: Objective,
        start: Position | None = None,
        floor: float = -math.inf,
        keep_rows: bool = False,
    ) -> Rolled:
        """Play the moves, one a round, from the present round or from where other moves ended.

        A roll that can no longer be worth more than `floor` is broken off.
        """
        ...

    def remembering(self, memory: Memory) -> Rollout:
        """The same with what the attacks that moves use remember of the rounds before."""
        ...

    def here(self, objective: Objective, start: Position | None = None) -> float:
        """The loss there, before any move."""
        ...

    def view(self, start: Position | None = None) -> View:
        """What the adversary would see there."""
        ...

    def unrolled(self, objective: Objective) -> Unrolled | None:
        """The rounds ahead for many candidates at once; None where rule or rounds have no such form."""
        ...


@dataclass(frozen=True)
class Ahead:
    """C imagined runs side by side before a round, which is number t of those ahead."""

    t: int
    round: int
    parameters: Tensor
    """(C, d)"""
    honest: Tensor
    """(C, h, d)"""
    memory: Any
    """The rules' states."""
    stream: Callable[[], torch.Generator | None]
    """A stream like that which the rule will draw from, where it draws."""


class Unrolled(Protocol):
    """The rounds ahead for many candidates at once, as one function that can be differentiated.

    Equal to a rollout up to rounding, dropout apart: what a planner searches in. A round counts once for each
    candidate, three times where derivatives are taken.
    """

    rule: BatchedRule

    def __call__(
        self,
        send: Callable[[Ahead], Tensor],
        count: int,
        rounds: int,
        last_only: bool = False,
        pushes: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """(C, rounds) losses after each round, or (C, 1) after the last; what is not finite is 1e31.

        `send` gives what traitors send, (C, f, d) or (C, 1, d); `pushes` (C, d) are added to the rounds' aggregates.
        """
        ...

    def slope(self, parameters: Tensor, round: int) -> Tensor:
        """(C, d) how the loss after that round grows with the model."""
        ...
