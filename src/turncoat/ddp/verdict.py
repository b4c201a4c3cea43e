"""What each step says of the ranks, and the suspicion that adds up over steps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

from turncoat.rules.base import Aggregation

MEMORY = 0.9  # of suspicion from step to step
ALARM = 0.5  # suspicion that is worth a warning: seven suspect steps in a row, or most of many


class SuspectWarning(UserWarning):
    """A rank stays suspect."""


@dataclass(frozen=True)
class Verdict:
    """What one step says of the ranks; the same on all of them."""

    step: int
    """From 0 up."""
    weights: Tensor | None = None
    """(n,) float64 share of each rank's gradient in the aggregate; None for coordinate-wise rules."""
    suspects: tuple[int, ...] = ()
    """At most f ranks: those far from the aggregate, and the excluded."""
    excluded: tuple[int, ...] = ()
    """Ranks whose gradient had an entry that is not finite (or that sent different ones to different ranks)."""
    absent: tuple[int, ...] = ()
    """Ranks that had no gradient for some parameter, so no vote on it."""
    scores: Tensor | None = None
    """float64 what the rule ranked the gradients by, lower is better."""
    diagnostics: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(step: int, found: Aggregation, absent: tuple[int, ...] = ()) -> Verdict:
        """The verdict of an aggregation of the ranks' gradients."""
        return Verdict(step, found.weights, found.suspects, found.excluded, absent, found.scores, found.diagnostics)


class Watch:
    """How suspect each rank has been of late: 1 after many steps as a suspect, 0 after many without."""

    def __init__(self, n: int) -> None:
        self.suspicion = torch.zeros(n, dtype=torch.float64)
        """(n,) moving averages of "was a suspect", with a memory of 0.9 a step."""
        self._warned: set[int] = set()

    def see(self, verdict: Verdict) -> None:
        """Count a step, and warn of a rank that has become suspect for good."""
        named = torch.zeros_like(self.suspicion)
        named[list(verdict.suspects)] = 1.0
        self.suspicion = MEMORY * self.suspicion + (1 - MEMORY) * named
        alarming = {rank for rank, value in enumerate(self.suspicion.tolist()) if value > ALARM}
        for rank in sorted(alarming - self._warned):
            warnings.warn(
                f"rank {rank} stays suspect (suspicion {self.suspicion[rank]:.2f} at step {verdict.step}): look at its "
                f"data and its hardware",
                SuspectWarning,
                stacklevel=2,
            )
        self._warned = alarming
