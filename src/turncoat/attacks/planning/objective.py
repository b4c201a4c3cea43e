"""What a plan is worth: one number for the losses that it leads to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.errors import SpecError

EXPLODED = 1e31
"""What a loss that is not finite, or no run at all, counts as."""
MEASURES = ("auto", "error", "batch", "sample", "logits")
WORDS = {"mean": 1.0, "final": 0.0, "min": -1.0}


@dataclass(frozen=True)
class Objective:
    """How the losses l_1..l_T after each of T rounds become one number, which the adversary maximises.

    S0's names are labels: 1 is the mean, 0 the last loss, -1 the smallest; any other gamma > 0 weighs l_t with
    gamma^(t-1). "mean", "final" and "min" are the same in words. `measure` says what a loss is: "error" the distance to
    the optimum, "batch" that of the honest workers' batches of the round, after it, "sample" that of a fixed sample of
    the training data, "logits" the largest logit less the smallest on the honest batches; "auto" is "error" where the
    optimum is known, else "batch". Raises SpecError.
    """

    combine: float | str = 1.0
    measure: str = "auto"

    def __post_init__(self) -> None:
        known = self.combine in WORDS if isinstance(self.combine, str) else self.combine in (0, -1) or self.combine > 0
        if not known or (not isinstance(self.combine, str) and not math.isfinite(self.combine)):
            raise SpecError(
                f"objective is 1 or mean, 0 or final, -1 or min, or a factor above 0 from round to round, "
                f"got {self.combine!r}"
            )
        if self.measure not in MEASURES:
            raise SpecError(f"measure is one of {', '.join(MEASURES)}, got {self.measure!r}")

    def __str__(self) -> str:
        return f"{self.combine} of {self.measure}"

    @property
    def gamma(self) -> float:
        return WORDS[self.combine] if isinstance(self.combine, str) else float(self.combine)

    @property
    def last_only(self) -> bool:
        """Whether the last loss is all that counts."""
        return self.gamma == 0

    def value(self, losses: Sequence[float]) -> float:
        """The worth of a sequence of finite losses, one a round."""
        if self.gamma == 0:
            return losses[-1]
        if self.gamma == -1:
            return min(losses)
        weights = [self.gamma**t for t in range(len(losses))]
        return min(EXPLODED, sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights))

    def values(self, losses: Tensor) -> Tensor:
        """(C,) the worth of (C, T) losses, differentiable."""
        if self.gamma == 0:
            return losses[:, -1]
        if self.gamma == -1:
            return losses.amin(1)
        weights = self.gamma ** torch.arange(losses.shape[1], dtype=losses.dtype, device=losses.device)
        return losses @ (weights / weights.sum())


def finite(loss: float) -> float:
    """A loss as solvers see it: NaN, infinity and more count as 1e31."""
    return loss if abs(loss) < EXPLODED else EXPLODED
