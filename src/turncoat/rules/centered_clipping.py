"""Centred clipping: steps from the last aggregate towards the rows, each row's pull bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.inputs import Vectors, read
from turncoat.rules.look import Look


@dataclass(frozen=True)
class CenteredClipping(WeightRule):
    """Move from the last aggregate by the average of the rows' differences to it, each clipped to length tau.

    Karimireddy et al. 2021. The state is the last aggregate, 0 before the first round. `tau` is in the units of the
    rows; `iterations` repeats the step within a round. `start="mean"` starts every round at the mean instead, without
    memory, as some code does.
    """

    name = "centered_clipping"
    source = "Karimireddy et al. 2021"
    uses_f = False
    scales = False
    robust = False
    tau: float = 10.0
    iterations: int = 1
    start: str = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tau < math.inf:
            raise SpecError(f"tau is a length, above 0 and finite, got {self.tau}")
        if self.iterations < 1:
            raise SpecError(f"iterations must be at least 1, got {self.iterations}")
        if self.start not in ("last", "mean"):
            raise SpecError(f'start is "last" (aggregate) or "mean", got {self.start!r}')

    @property
    def translates(self) -> bool:  # type: ignore[override]
        return self.start == "mean"

    def init(self, like: Vectors) -> Tensor | None:
        if self.start == "mean":
            return None
        rows, _ = read(like)
        return torch.zeros(rows.d, dtype=rows.dtype, device=rows.device)

    def decide(self, look: Look, state: Tensor | None) -> Decision:
        tau, n = self.tau / look.unit, look.n
        if state is None:
            state = look.combine(torch.full((n,), 1 / n, dtype=torch.float64))
        if self.iterations == 1:
            clipping = _clipping(look.squared_distances_to(state).sqrt(), tau)
            return Decision(clipping / n, anchor=state, scores=-clipping)
        G = look.gram(state)  # every iterate is the state plus weights @ (rows - state)
        weights, clipping = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        for _ in range(self.iterations):
            to_rows = G.diagonal() - 2 * (G @ weights) + weights @ G @ weights
            clipping = _clipping(to_rows.clamp_(min=0).sqrt_(), tau)
            weights = weights * (1 - clipping.mean()) + clipping / n
        return Decision(weights, anchor=state, scores=-clipping)

    def remember(self, look: Look, vector: Tensor, state: Tensor | None) -> Tensor | None:
        return vector if state is not None and look.finite(vector) else state


def _clipping(distances: Tensor, tau: float) -> Tensor:
    """min(1, tau / distance), 1 at distance 0."""
    return (tau / distances.clamp(min=tau)).clamp(max=1.0)
