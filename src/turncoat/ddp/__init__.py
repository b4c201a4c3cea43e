"""Robust rules in PyTorch's data-parallel training: one call in the place of an all-reduce, one line in a DDP script."""

from turncoat.ddp.hook import RobustHook, make_robust
from turncoat.ddp.reduce import Reducer, make_reducer, robust_all_reduce
from turncoat.ddp.verdict import SuspectWarning, Verdict

__all__ = ["Reducer", "RobustHook", "SuspectWarning", "Verdict", "make_reducer", "make_robust", "robust_all_reduce"]
