"""Clippings before a rule: rows longer than a bound are shortened to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Mixing
from turncoat.rules.look import Look


@dataclass(frozen=True)
class Clipping(Mixing):
    """Shorten every row that is longer than a bound to it."""

    name = "clipping"
    uses_f = False
    translates = False
    scales = False
    bound: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.bound < math.inf:
            raise SpecError(f"bound is a length, above 0 and finite, got {self.bound}")

    def matrix(self, look: Look) -> Tensor:
        return shortened(look.squared_distances_to(None).sqrt(), self.bound / look.unit)


@dataclass(frozen=True)
class ARC(Mixing):
    """Shorten the floor(2f/n (n-f)) longest rows to the norm of the longest other one (adaptive robust clipping)."""

    name = "arc"
    source = "Allouah et al. 2025"
    translates = False

    def matrix(self, look: Look) -> Tensor:
        n, f = look.n, look.f
        norms = look.squared_distances_to(None).sqrt()
        clipped = min(n - 1, 2 * f * (n - f) // n)
        return shortened(norms, float(norms.sort().values[n - 1 - clipped]))


def shortened(norms: Tensor, bound: float) -> Tensor:
    """(n, n) the factors that shorten rows of these norms to the bound, on the diagonal."""
    return torch.where(norms > bound, bound / norms, 1.0).diag()
