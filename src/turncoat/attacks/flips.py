"""Flipped signs and flipped labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from turncoat.attacks.base import Attack, View


@dataclass(frozen=True)
class SignFlip(Attack):
    """Send the negative of the own honestly computed vector, each Byzantine worker alone."""

    name = "sign_flip"
    source = "Li et al. 2019; S3 Table 3"
    knowledge = "own data"
    collusion = False

    @property
    def needs_own(self) -> bool:
        return True

    def craft(self, view: View) -> Tensor:
        return -view.own


@dataclass(frozen=True)
class LabelFlip(Attack):
    """Train on flipped labels, C - 1 - y for y, and send the resulting vector."""

    name = "label_flip"
    source = "Fang et al. 2020; Allen-Zhu et al. 2020"
    knowledge = "own data"
    collusion = False
    manipulates = "data"

    @property
    def needs_own(self) -> bool:
        return True

    def poison(self, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        return x, classes - 1 - y

    def craft(self, view: View) -> Tensor:
        return view.own
