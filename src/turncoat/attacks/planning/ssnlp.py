"""S0's planners of one number a round: SSNLP, and STAB, which breaks the stability of a model."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from turncoat.attacks.base import View
from turncoat.attacks.ipm import IPM
from turncoat.attacks.planning.base import Best, Planner
from turncoat.attacks.planning.moves import Move, Use
from turncoat.attacks.planning.objective import Objective
from turncoat.attacks.planning.plan import Plan, PlanState
from turncoat.attacks.planning.rollout import Rollout, SpentError
from turncoat.attacks.planning.solvers import Values, check_solver, climb, solver_for
from turncoat.errors import SpecError

STARTS = (1.0, 0.55, 5.0)  # sign flip, nearly nothing, and far
EVALUATIONS = 60  # a round, from each start
REACH, FAR_REACH = 10.0, 100.0  # of lambda; coordinate-wise rules bear far rows
STEP = 1e-3


@dataclass(frozen=True)
class SSNLP(Planner):
    """Choose lambda for each of the next l rounds: every row is (1 - lambda) mean + lambda (-mean) of the honest.

    S0's super simplified NLP. The lambdas that maximise the average loss over the l rounds are found by playing them,
    all l are sent, and the next l rounds are planned. lambda = 0 is the honest mean, 1 the sign flip; a fixed lambda
    is `ipm(epsilon=2 lambda - 1)`. The loss is that of the honest batches of each round, after it. `solver` is powell,
    slsqp or lbfgsb, by default S0's choice for the rule; from each of three starts it may be called 60 l times, within
    the `budget` of simulated rounds of one plan, if there is one.
    """

    name = "ssnlp"
    source = "S0"
    strength = "l"
    l: int = 1  # noqa: E741
    solver: str | None = None
    budget: int | None = None
    reach: float | None = None
    measure: str = "auto"
    attacks = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l < 1:
            raise SpecError(f"l is a number of rounds from 1, got {self.l!r}")
        if self.budget is not None and self.budget < 1:
            raise SpecError(f"budget counts simulated rounds, from 1, got {self.budget!r}")
        if self.reach is not None and not self.reach > 0:
            raise SpecError(f"reach bounds lambda and is above 0, got {self.reach!r}")
        check_solver(self.solver)

    @property
    def goal(self) -> Objective:
        return Objective("mean", self.measure)

    def choose(self, rollout: Rollout, best: Best) -> None:
        rounds = min(self.l, rollout.rounds)
        rule = rollout.view().rule
        assert rule is not None
        far = rule.parts()[-1].name in ("median", "trimmed_mean")

        def value(lambdas: Values) -> float:
            moves = along_mean(lambdas)
            found = rollout(moves, self.goal).value
            best.offer(self.name, moves, found)
            return found

        evaluations, reach = EVALUATIONS * rounds, self.reach or (FAR_REACH if far else REACH)
        budget = math.inf if self.budget is None else self.budget
        for i, start in enumerate(STARTS):
            rollout.limit = rollout.spent + (budget - rollout.spent) / (len(STARTS) - i)
            with suppress(SpentError):
                climb(value, np.full(rounds, start), solver_for(rule, self.solver), evaluations, STEP, reach)


def along_mean(lambdas: Values) -> list[Move]:
    """A move for each lambda."""
    return [Use(IPM(epsilon=2 * float(each) - 1)) for each in lambdas]


@dataclass(frozen=True)
class STAB(SSNLP):
    """Widen the range of the model's logits for some rounds, then behave, to show how long the model takes to recover.

    S0, appendix A: SSNLP, one round at a time, whose objective is the largest logit less the smallest over the honest
    batches and all classes. After `attack_rounds` rounds (None: never) the Byzantine workers send what they computed on
    their own data.
    """

    name = "stab"
    source = "S0 appendix A"
    strength = "attack_rounds"
    measure: str = "logits"
    attack_rounds: int | None = 960

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attack_rounds is not None and self.attack_rounds < 1:
            raise SpecError(f"attack_rounds is a number from 1, or None, got {self.attack_rounds!r}")

    @property
    def needs_own(self) -> bool:
        return self.attack_rounds is not None

    def step(self, view: View, state: PlanState) -> tuple[Tensor, Plan]:
        plan = Plan.of(state, self.f)
        if self.attack_rounds is not None and plan.done >= self.attack_rounds:
            return view.own, plan
        return super().step(view, plan)
