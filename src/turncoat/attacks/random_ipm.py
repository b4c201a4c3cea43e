"""Inner-product manipulation of a strength drawn anew every round."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.attacks.ipm import IPM
from turncoat.errors import SpecError

EPSILONS = [0.1, 10.0]


@dataclass(frozen=True)
class RandomIPM(Attack):
    """Send -epsilon times the mean of the honest vectors, with an epsilon drawn anew every round.

    Against a server that draws its rule (S2, figure 4a): a small epsilon is for Krum, a large one for the median.
    `epsilons` are drawn from uniformly; None stands for 0.1 and 10, S2 names no set.
    """

    name = "random_ipm"
    source = "S2"
    draws = True
    epsilons: list | None = None

    def __post_init__(self) -> None:
        given = self.epsilons
        numbers = isinstance(given, list) and all(type(epsilon) in (int, float) for epsilon in given)
        if given is not None and not (numbers and given):
            raise SpecError(f"epsilons is a list of numbers such as [0.1, 10], got {given!r}")

    def craft(self, view: View) -> Tensor:
        epsilons = self.epsilons or EPSILONS
        drawn = int(torch.randint(len(epsilons), (), generator=view.generator))
        return IPM(epsilon=epsilons[drawn]).craft(view)
