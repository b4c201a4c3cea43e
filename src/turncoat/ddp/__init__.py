"""Robust rules in data-parallel training: one call in the place of an all-reduce, one line in a DDP script."""

from turncoat.ddp.handle import Handle
from turncoat.ddp.hook import make_robust
from turncoat.ddp.reduce import Reducer, make_reducer, robust_all_reduce
from turncoat.ddp.verdict import SuspectWarning, Verdict

__all__ = ["Handle", "Reducer", "SuspectWarning", "Verdict", "make_reducer", "make_robust", "robust_all_reduce"]
