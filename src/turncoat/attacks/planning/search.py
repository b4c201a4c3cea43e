"""Planning without derivatives: CMA-ES on the plan's numbers, a population at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turncoat.attacks.planning.objective import Objective
from turncoat.attacks.planning.rollout import Unrolled
from turncoat.attacks.planning.spaces import Space
from turncoat.errors import SpecError

SIGMA = 0.5  # first step, in units of the honest spread
FULL = 200  # numbers up to which the whole covariance is learned, beyond it its diagonal
STALE = 1e-4  # gain over a population's memory below which the search begins anew from another start


def imported() -> Any:
    """The package cma, None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for matplotlib
        try:
            import cma
        except ModuleNotFoundError:
            return None
    return cma


def evolve(
    value: Callable[[Tensor], Tensor], starts: Sequence[Tensor], seed: int, report: Callable[[Tensor, float], None]
) -> None:
    """Maximise `value`, which takes points (C, N) to (C,), from starts (N,), one after the other, for ever.

    Whoever gives `value` ends the search by an exception; `report` is given the best point of each population. Raises
    SpecError where cma is not installed.
    """
    cma, turn = imported(), 0
    if cma is None:
        raise SpecError("CMA-ES needs cma: pip install 'turncoat[cma]'")
    while True:
        start = starts[turn % len(starts)]
        options = {
            "seed": seed + turn + 1,
            "verbose": -9,
            "CMA_diagonal": len(start) > FULL,
            "popsize": 2 ** min(3, turn // len(starts)) * max(16, 4 + int(3 * np.log(len(start)))),
            "tolfun": STALE,
            "tolx": STALE,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on flat functions, which rules that select are in places
            es = cma.CMAEvolutionStrategy(start.double().cpu().numpy(), SIGMA, options)
            while not es.stop():
                population = es.ask()
                points = torch.from_numpy(np.stack(population)).to(start)
                values = value(points)
                es.tell(population, (-values).double().cpu().tolist())
                best = int(values.argmax())
                report(points[best], float(values[best]))
        turn += 1


def valued(unrolled: Unrolled, space: Space, rounds: int, objective: Objective) -> Callable[[Tensor], Tensor]:
    """What plans (C, rounds * size) are worth."""

    @torch.no_grad()
    def value(points: Tensor) -> Tensor:
        plans = points.unflatten(1, (rounds, space.size))
        losses = unrolled(
            lambda ahead: space.send(plans[:, ahead.t], ahead.honest), len(plans), rounds, objective.last_only
        )
        return objective.values(losses)

    return value
