"""The contract of a planner: it chooses moves for some rounds ahead, carries them out, and chooses again."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.attacks.build import attack
from turncoat.attacks.planning.moves import Move, Use
from turncoat.attacks.planning.objective import Objective
from turncoat.attacks.planning.plan import Plan, PlanState
from turncoat.attacks.planning.rollout import Rolled, Rollout, SpentError
from turncoat.errors import SpecError
from turncoat.results.result import Planned

CLASSICAL = ("alie", "sign_flip", "ipm", "mimic", "min_max", "min_sum")
"""The attacks whose replay is among the plans, where no others are named."""
OF_S0 = (*CLASSICAL[:-2], "min_max(direction=unit)", "min_sum(direction=unit)")
"""Those that S0 compares its own with: along the mean, as in the code that it grew from."""


@dataclass
class Best:
    """The best moves seen so far, and what each way of finding some came to."""

    value: float = -math.inf
    moves: list[Move] = field(default_factory=list)
    winner: str = ""
    tried: dict[str, float] = field(default_factory=dict)

    def offer(self, name: str, moves: Sequence[Move], value: float) -> None:
        """Count moves of that value among those that `name` found."""
        self.tried[name] = max(value, self.tried.get(name, -math.inf))
        if value > self.value or not self.moves:
            self.value, self.moves, self.winner = value, list(moves), name


@dataclass(frozen=True)
class Planner(Attack):
    """Choose moves for the rounds ahead by playing them, send them, and choose again when they are all sent."""

    needs_run = True
    needs_rule = True
    draws = True
    attacks: ClassVar[Any] = None
    classics: ClassVar[tuple[str, ...]] = CLASSICAL

    def __post_init__(self) -> None:
        if self.attacks is not None:
            object.__setattr__(self, "attacks", tuple(self.attacks))  # hashable, as frozen objects should be
        _ = self.goal  # which refuses what it does not know

    @property
    def needs_own(self) -> bool:
        return any(one.needs_own for one in self.classical())

    def classical(self) -> tuple[Attack, ...]:
        """The attacks whose replay is among the plans."""
        names = self.classics if self.attacks is None else self.attacks
        return tuple(attack(name, f=self.f) for name in names)

    @property
    @abstractmethod
    def goal(self) -> Objective:
        """What moves are judged by."""

    @abstractmethod
    def choose(self, rollout: Rollout, best: Best) -> None:
        """Offer moves for some rounds ahead, at most those that are left.

        SpentError may pass: what was offered until then counts.
        """

    def init(self, like: Tensor) -> Plan:
        return Plan()

    def craft(self, view: View) -> Tensor:
        return self.step(view, Plan())[0]

    def step(self, view: View, state: PlanState) -> tuple[Tensor, Plan]:
        plan = Plan.of(state, self.f)
        if plan.done == len(plan.moves):
            plan = self._planned(plan, view)
        return plan.next(view)

    def _planned(self, plan: Plan, view: View) -> Plan:
        rollout, best = view.rollout.remembering(plan.memory), Best()
        with suppress(SpentError):
            self.choose(rollout, best)
        if not best.moves:
            raise SpecError(f"{self}: the budget is spent before one plan of {rollout.rounds} rounds is played")
        planned = Planned(
            round=view.round,
            rounds=len(best.moves),
            objective=str(self.goal),
            winner=best.winner,
            value=best.value,
            simulated_rounds=rollout.spent,
            tried=best.tried,
        )
        return replace(plan, moves=(*plan.moves, *best.moves), planned=(*plan.planned, planned))


def replayed(rollout: Rollout, one: Attack, rounds: int, objective: Objective, best: Best) -> Rolled:
    """Play an attack as it is through the rounds, and offer it."""
    moves = [Use(one)] * rounds
    rolled = rollout(moves, objective, keep_rows=True)
    best.offer(str(one), moves, rolled.value)
    return rolled
