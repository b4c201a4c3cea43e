"""Values of all kinds: the dtypes to try, and whether two values are the same."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def same(one: Any, two: Any) -> bool:
    """Whether two values hold the same bits, NaN included; dicts, lists and tuples by what they hold."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return np.array_equal(one, two, equal_nan=True)
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and bool(((one == two) | (one.isnan() & two.isnan())).all())
    return one == two


def watched(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """The function, and a list that is filled when it writes to its first argument."""
    written = []

    @functools.wraps(function)
    def watching(X: Any, **known: Any) -> Any:
        before = copy.deepcopy(X)
        try:
            return function(X, **known)
        finally:
            if not same(X, before):
                written.append(X)

    return watching, written


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
