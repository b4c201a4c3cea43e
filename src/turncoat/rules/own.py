"""The user's own rule: any callable from (n, d) to (d,)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from turncoat.errors import InputError
from turncoat.registry import accepted
from turncoat.rules.base import Outcome, Rule
from turncoat.rules.look import Look


@dataclass(frozen=True)
class OwnRule(Rule):
    """A callable of the (n, d) matrix as a rule; parameters of its named `f`, `n` or `generator` are given to it.

    It gets a torch tensor, or a NumPy array where it cannot work on tensors. Rows that are not finite are left out
    before, as for every rule.
    """

    function: Callable[..., Any] = print
    target: str = "own"
    uses_f = False
    draws = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.target

    def __str__(self) -> str:
        return self.target

    def outcome(self, look: Look, state: Any) -> Outcome:
        X = look.dense()
        known = {} if self.f is None else {"f": look.f}
        given = accepted(self.function, n=look.n, generator=look.generator, **known)
        try:
            with warnings.catch_warnings():  # NumPy's functions warn when they are given tensors
                warnings.simplefilter("error", DeprecationWarning)
                result = self.function(X.clone(), **given)
        except (TypeError, AttributeError, DeprecationWarning) as error:
            try:
                result = self.function(_array(X), **given)
            except Exception:
                raise error from None
        vector = torch.as_tensor(result).to(dtype=X.dtype, device=X.device)
        if vector.shape != X.shape[1:]:
            raise InputError(f"{self.target} returned shape {tuple(vector.shape)}, expected ({X.shape[1]},)")
        return Outcome(vector, state=state)


def _array(X: torch.Tensor) -> np.ndarray:
    """A copy as NumPy knows it; of bfloat16, which it does not know, in float32."""
    return X.cpu().to(torch.float32 if X.dtype == torch.bfloat16 else X.dtype, copy=True).numpy()
