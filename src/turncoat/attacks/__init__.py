"""Attacks: what f Byzantine workers send, from what they may see."""

from turncoat.attacks.alie import ALIE, z_max
from turncoat.attacks.base import Attack, View
from turncoat.attacks.build import attack
from turncoat.attacks.flips import LabelFlip, SignFlip
from turncoat.attacks.ipm import IPM
from turncoat.attacks.min_max import MinMax, MinSum
from turncoat.attacks.noise import Gaussian
from turncoat.attacks.nothing import Nothing

__all__ = [
    "ALIE",
    "IPM",
    "Attack",
    "Gaussian",
    "LabelFlip",
    "MinMax",
    "MinSum",
    "Nothing",
    "SignFlip",
    "View",
    "attack",
    "z_max",
]
