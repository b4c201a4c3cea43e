"""S0's planner of every coordinate of every round, for models as small as 2-D mean estimation."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from turncoat.attacks.ipm import IPM
from turncoat.attacks.planning.base import OF_S0, Best, Planner, replayed
from turncoat.attacks.planning.moves import Move, Send, Use
from turncoat.attacks.planning.objective import Objective
from turncoat.attacks.planning.rollout import Rollout, SpentError
from turncoat.attacks.planning.solvers import Values, check_solver, climb, solver_for
from turncoat.errors import SpecError

LARGEST = 1024  # variables that solvers without derivatives can be asked for
BOX = 10.0  # times the longest honest vector, for the solver that S0 gives bounds


@dataclass(frozen=True)
class NLP(Planner):
    """Choose every coordinate of the one row that all traitors send, of all rounds ahead, by non-linear programming.

    S0. The variables are the T x d coordinates of the rows, the `objective` weighs the losses after each of the T
    rounds: 1 their mean, 0 the last, -1 the smallest, another gamma > 0 gamma^(t-1). The `solver` is powell for the
    median, the trimmed mean and Krum, slsqp for centred clipping and lbfgsb for RFA unless given. It starts from
    minus the honest mean along the honest trajectory and from the best of the classical `attacks` (S0's six), each of
    which is also a plan of its own: what is sent is never worse than the best of them. Each start takes half of the
    `budget` of simulated rounds. Raises SpecError for more than 1,024 variables.
    """

    name = "nlp"
    source = "S0"
    strength = "objective"
    objective: float | str = 1
    solver: str | None = None
    budget: int = 40000
    attacks: list | None = None  # type: ignore[misc]
    classics = OF_S0
    measure: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget < 1:
            raise SpecError(f"budget counts simulated rounds, from 1, got {self.budget!r}")
        check_solver(self.solver)

    @property
    def goal(self) -> Objective:
        return Objective(self.objective, self.measure)

    def choose(self, rollout: Rollout, best: Best) -> None:
        view, rounds = rollout.view(), rollout.rounds
        d = view.honest.shape[1]
        if rounds * d > LARGEST:
            raise SpecError(
                f"nlp chooses every coordinate of every round, here {rounds * d:,} numbers, at most {LARGEST:,}: "
                "use ssnlp or lookahead"
            )
        assert view.rule is not None
        rollout.limit = self.budget
        for one in self.classical():
            replayed(rollout, one, rounds, self.goal, best)
        honest = rollout([Use(IPM(epsilon=-1.0))] * rounds, self.goal, keep_rows=True)
        known = rollout(best.moves, self.goal, keep_rows=True)
        starts = [torch.stack([rows.double().mean(0) for rows in one.rows]) for one in (known, honest)]
        starts[1].neg_()
        box = BOX * float(view.honest.double().norm(dim=1).max())
        method = solver_for(view.rule, self.solver)

        def value(flat: Values) -> float:
            moves = _rows(flat, rounds, view.honest)
            found = rollout(moves, self.goal, floor=best.value).value
            best.offer(self.name, moves, found)
            return found

        for i, start in enumerate(starts):
            rollout.limit = rollout.spent + (self.budget - rollout.spent) / (len(starts) - i)
            step = float(torch.finfo(view.honest.dtype).eps) ** 0.5
            reach = box if method == "lbfgsb" else None
            with suppress(SpentError):
                climb(value, start.flatten().numpy(), method, self.budget, step, reach)


def _rows(flat: Values, rounds: int, like: torch.Tensor) -> list[Move]:
    rows = torch.from_numpy(np.ascontiguousarray(flat)).view(rounds, -1).to(like)
    return [Send(row) for row in rows]
