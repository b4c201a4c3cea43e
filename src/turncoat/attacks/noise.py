"""Random vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View


@dataclass(frozen=True)
class Gaussian(Attack):
    """Send independent Gaussian noise of mean mu and standard deviation sigma in every coordinate."""

    name = "gaussian"
    source = "Blanchard et al. 2017"
    knowledge = "nothing"
    collusion = False
    draws = True
    strength = "sigma"
    sigma: float = 200.0
    mu: float = 0.0

    def craft(self, view: View) -> Tensor:
        like = view.like
        noise = torch.randn((view.f, like.shape[-1]), generator=view.generator)
        return noise.mul_(self.sigma).add_(self.mu).to(dtype=like.dtype, device=like.device)
