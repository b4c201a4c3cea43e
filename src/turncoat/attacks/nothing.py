"""No attack: the control."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from turncoat.attacks.base import Attack, View


@dataclass(frozen=True)
class Nothing(Attack):
    """No attack: the Byzantine workers send what they computed, like everybody else."""

    name = "none"
    knowledge = "own data"
    collusion = False
    manipulates = "nothing"

    @property
    def needs_own(self) -> bool:
        return True

    def craft(self, view: View) -> Tensor:
        return view.own
