"""Attacks: what f Byzantine workers send, from what they may see."""

from turncoat.attacks.alie import ALIE, z_max
from turncoat.attacks.backdoor import Backdoor, BadNets, ModelReplacement
from turncoat.attacks.base import Attack, View
from turncoat.attacks.build import attack
from turncoat.attacks.flips import LabelFlip, SignFlip
from turncoat.attacks.ipm import IPM
from turncoat.attacks.mimic import Mimic
from turncoat.attacks.min_max import MinMax, MinSum
from turncoat.attacks.noise import Gaussian
from turncoat.attacks.non_finite import NonFinite
from turncoat.attacks.nothing import Nothing
from turncoat.attacks.one_coordinate import OneCoordinate
from turncoat.attacks.one_sided import FangTrimmedMean, OneSided
from turncoat.attacks.planning.beam import Beam
from turncoat.attacks.planning.lookahead import LookAhead
from turncoat.attacks.planning.nlp import NLP
from turncoat.attacks.planning.plan import Plan
from turncoat.attacks.planning.replay import Replay
from turncoat.attacks.planning.ssnlp import SSNLP, STAB
from turncoat.attacks.pool import PoolAttack
from turncoat.attacks.random_ipm import RandomIPM
from turncoat.attacks.rop import ROP
from turncoat.attacks.strongest import Found, Strongest, strongest
from turncoat.attacks.tailored import AGRTailored, FangKrum, Tailored

__all__ = [
    "ALIE",
    "IPM",
    "NLP",
    "ROP",
    "SSNLP",
    "STAB",
    "AGRTailored",
    "Attack",
    "Backdoor",
    "BadNets",
    "Beam",
    "FangKrum",
    "FangTrimmedMean",
    "Found",
    "Gaussian",
    "LabelFlip",
    "LookAhead",
    "Mimic",
    "MinMax",
    "MinSum",
    "ModelReplacement",
    "NonFinite",
    "Nothing",
    "OneCoordinate",
    "OneSided",
    "Plan",
    "PoolAttack",
    "RandomIPM",
    "Replay",
    "SignFlip",
    "Strongest",
    "Tailored",
    "View",
    "attack",
    "strongest",
    "z_max",
]
