"""How strong a rule really is: a frozen suite of clouds, attacks and searches, scores and witnesses.

The room bears the name of its function and is that function too: `tc.stress(rule, n=25, f=5)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turncoat.stress.card import Card


class _Room(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Card:
        from turncoat.stress.run import stress

        return stress(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
