"""Relocated orthogonal perturbation: a push across the last update, from beside it."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin, sqrt

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, mean_row, same_row
from turncoat.linalg.rows import Rows

PARALLEL = 1e-9  # squared sine of an angle that is rounding error


@dataclass(frozen=True)
class ROP(Attack):
    """Start from the last update, which history-based rules trust, and go a length z across the way ahead.

    Özfatura et al. 2023, against centred clipping. With v the server's last update and m the honest mean, the row is
    location v + (1 - location) m + z (sin(angle) q + cos(angle) u), where u is the unit vector along reference v +
    (1 - reference) m, and q the one along what of (1, .., 1) is orthogonal to u. v is what the broadcast models differ
    by, divided by the learning rate; with no past (a first round, a call by hand) m stands in for it. Where q or u
    does not exist (d = 1, a mean of 0), its term is left out.

    The formula and the defaults, but for z, are those of the authors' published code, where z is z_max(n, f) unless
    given: the paper's own text was not at hand to compare.
    """

    name = "rop"
    source = "Özfatura et al. 2023"
    strength = "z"
    z: float = 1.0
    angle: float = 270.0
    """In degrees: at 90 and 270 orthogonal to the reference, at 180 against it."""
    location: float = 1.0
    reference: float = 0.9

    def craft(self, view: View) -> Tensor:
        return self.step(view, None)[0]

    def step(self, view: View, state: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor] | None]:
        mean = mean_row(Rows.of(view.honest))
        last = mean
        if state is not None and view.parameters is not None:
            last = (state["parameters"] - view.parameters).div_(float(state["lr"]))
        if view.parameters is None or view.lr is None:
            following = None
        else:
            following = {"parameters": view.parameters, "lr": torch.tensor(view.lr, dtype=torch.float64)}
        return same_row(self._row(mean, last), view.f), following

    def _row(self, mean: Tensor, last: Tensor) -> Tensor:
        reference = torch.lerp(mean, last, self.reference)
        d, total = len(reference), float(reference.sum(dtype=torch.float64))
        length = float(torch.linalg.vector_norm(reference, dtype=torch.float64))
        across, along = self.z * sin(radians(self.angle)), self.z * cos(radians(self.angle))
        shift, turn = 0.0, along / length if length else 0.0  # of (1, .., 1) and of the reference in the row
        share = total / length**2 if length else 0.0
        if (left := d - share * total) > PARALLEL * d:
            shift = across / sqrt(left)
            turn -= shift * share
        return torch.lerp(mean, last, self.location).add_(reference, alpha=turn).add_(shift)
