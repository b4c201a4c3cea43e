"""A plan from a file, carried out again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.attacks.planning.moves import Use
from turncoat.attacks.planning.plan import Plan, PlanState
from turncoat.errors import SpecError


@dataclass(frozen=True)
class Replay(Attack):
    """Carry out a saved plan: the same moves in the same rounds, counted from the first round under attack.

    In the run that it was made for, bit for bit what happened then; in another one, whatever the moves make of what
    they meet. Raises SpecError for a file that is no plan, and where the run is attacked for longer than the plan goes.
    """

    name = "replay"
    draws = True
    needs_rule = True
    files = ("file",)
    file: str = ""

    @property
    def needs_own(self) -> bool:
        return any(used.needs_own for used in self._used)

    @property
    def knowledge(self) -> str:  # type: ignore[override]
        return "omniscient" if any(used.knowledge == "omniscient" for used in self._used) else "nothing"

    @property
    def _used(self) -> list[Attack]:
        return [move.attack for move in self._plan.moves if isinstance(move, Use)]

    @property
    def _plan(self) -> Plan:
        if not self.file:
            raise SpecError("replay takes the file of a plan: replay(plan.safetensors)")
        return Plan.load(self.file, self.f)

    def init(self, like: Tensor) -> Plan:
        return self._plan

    def craft(self, view: View) -> Tensor:
        return self.step(view, self.init(view.like))[0]

    def step(self, view: View, state: PlanState) -> tuple[Tensor, Plan]:
        plan = Plan.of(state, self.f)
        if plan.done + (view.remaining or 1) > len(plan.moves):
            raise SpecError(
                f"{self.file} plans {len(plan.moves)} rounds, and this run is attacked for "
                f"{plan.done + (view.remaining or 1)}"
            )
        return plan.next(view)
