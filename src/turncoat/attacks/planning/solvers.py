"""The solvers that S0 chose for each rule, set to maximise what a simulation returns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from scipy.optimize import minimize

from turncoat.errors import SpecError
from turncoat.rules import Rule

METHODS = {"powell": "Powell", "slsqp": "SLSQP", "lbfgsb": "L-BFGS-B"}
SOLVERS = {"centered_clipping": "slsqp", "geometric_median": "lbfgsb"}
Values = np.ndarray


def solver_for(rule: Rule, asked: str | None = None) -> str:
    """The solver asked for, else S0's choice: SLSQP for centred clipping, L-BFGS-B for RFA, Powell for the others."""
    return asked or SOLVERS.get(rule.parts()[-1].name, "powell")


def check_solver(asked: str | None) -> None:
    """Raise SpecError for a solver that is not there."""
    if asked is not None and asked not in METHODS:
        raise SpecError(f"solver is one of {', '.join(METHODS)}, got {asked!r}")


def climb(
    value: Callable[[Values], float],
    start: Values,
    method: str,
    evaluations: int,
    step: float,
    reach: float | None = None,
) -> None:
    """Let a solver maximise from a start, within +-reach; whoever gives `value` remembers the best.

    `step` is that of finite differences, which has to show in the precision of the simulation.
    """
    worst = -np.inf
    seen = 0

    def cost(x: Values) -> float:
        nonlocal worst, seen
        if seen >= evaluations:
            raise StopIteration
        seen += 1
        found = value(x) if np.isfinite(x).all() else worst
        worst = found if worst == -np.inf else min(worst, found)
        return -found

    bounds = None if reach is None else [(-reach, reach)] * len(start)
    options = {"maxfev": evaluations} if method == "powell" else {"eps": step, "maxiter": evaluations}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps that leave the range of numbers: such points merely lose
        with suppress(StopIteration):
            minimize(cost, start, method=METHODS[method], bounds=bounds, options=options)
