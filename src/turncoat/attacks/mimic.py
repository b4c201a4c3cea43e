"""Mimic: a copy of one honest worker, so that the aggregate over-represents its data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, mean_row, same_row
from turncoat.errors import HiddenError, SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows

SEED = 0  # of the first direction, which no run's seed changes


@dataclass(frozen=True)
class Mimic(Attack):
    """Copy the honest worker that lies farthest along the direction in which the honest vectors spread most.

    Karimireddy et al. 2022. In each of the first `warmup` rounds t = 0, 1, .. the mean mu
    and the direction z, at first a fixed Gaussian, become averages over the rounds so far: of the honest means, and of
    the normalised sums of <x_i - mu, z> (x_i - mu), one step of the power iteration each. The worker copied is argmax
    <x_i, z>; after the warm-up it stays the last one chosen, with `rechoose` it is chosen again every round.
    `worker=i` copies the i-th honest worker from the start (with `byzantine = "random"`, another one every round).
    Raises HiddenError where the adversary sees no such one.
    """

    name = "mimic"
    source = "Karimireddy et al. 2022"
    warmup: int = 1
    worker: int | None = None
    rechoose: bool = False

    def __post_init__(self) -> None:
        if self.warmup < 1:
            raise SpecError(f"warmup is a number of rounds from 1, got {self.warmup!r}")
        if self.worker is not None and self.worker < 0:
            raise SpecError(f"worker counts the honest workers from 0, got {self.worker!r}")

    def init(self, like: Tensor) -> dict[str, Tensor] | None:
        if self.worker is not None:
            return None
        first = torch.randn(like.shape[-1], generator=torch.Generator().manual_seed(SEED))
        return {
            "rounds": torch.tensor(0),
            "target": torch.tensor(0),
            "mean": like.new_zeros(like.shape[-1]),
            "direction": first.to(dtype=like.dtype, device=like.device),
        }

    def craft(self, view: View) -> Tensor:
        return self.step(view, self.init(view.like))[0]

    def step(self, view: View, state: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor] | None]:
        honest = view.honest
        if state is None:
            assert self.worker is not None
            if self.worker >= len(honest):
                raise HiddenError(f"{self}: the adversary sees {len(honest)} honest vectors, 0 to {len(honest) - 1}")
            return same_row(honest[self.worker], view.f), None
        t = int(state["rounds"])
        rows = Rows.of(honest)
        if t < self.warmup:
            mean = state["mean"].lerp(mean_row(rows), 1 / (t + 1))
            state = state | {"mean": mean, "direction": _turn(rows, mean, state["direction"], t)}
        if t < self.warmup or self.rechoose:
            state = state | {"target": passes.products(rows, state["direction"]).argmax()}
        return same_row(honest[int(state["target"])], view.f), state | {"rounds": torch.tensor(t + 1)}


def _turn(rows: Rows, mean: Tensor, direction: Tensor, t: int) -> Tensor:
    """The average of the directions so far and of the next power iteration's, normalised."""
    along = passes.products(rows, direction) - float(mean.double() @ direction.double())
    size = along.norm()
    if size == 0:
        return direction
    weights = along / size  # the length is divided out below: this keeps float16 within range
    turned = passes.combine(rows, weights).sub_(mean, alpha=float(weights.sum()))
    length = torch.linalg.vector_norm(turned, dtype=torch.float64)
    if length == 0:
        return direction
    found = direction.lerp(turned.div_(length.to(turned.dtype)), 1 / (t + 1))
    return found.div_(torch.linalg.vector_norm(found, dtype=torch.float64).to(found.dtype))
