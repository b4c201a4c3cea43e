"""The state of a run between two rounds, and its form on disk."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from turncoat.attacks.planning.plan import Plan
from turncoat.errors import ResultError


@dataclass(frozen=True)
class State:
    """Everything that the next round depends on; random streams are derived from the seeds and the round."""

    round: int
    """Rounds done so far."""
    parameters: Tensor
    """(d,) the model."""
    momenta: Tensor | None = None
    """(n, d) the workers' momenta, without worker momentum None."""
    server_momentum: Tensor | None = None
    rule: Any = None
    """The rule's memory: None, a tensor or a flat dict of tensors; so too the attack's, which may also be a plan."""
    attack: Any = None
    buffers: tuple[Tensor, ...] = ()
    """The model's running statistics, such as batch normalisation's."""

    def clone(self) -> State:
        """A state that shares no memory with this one."""
        return replace(self, **{field.name: _clone(getattr(self, field.name)) for field in fields(self)})

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by a name each, for a file; raises ResultError for a state that is more than tensors."""
        found: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Plan):
                value = value.tensors()
            if isinstance(value, Tensor):
                found[field.name] = value
            elif isinstance(value, dict):
                found |= {f"{field.name}.{key}": item for key, item in value.items()}
            elif isinstance(value, tuple):
                found |= {f"{field.name}.{i}": item for i, item in enumerate(value)}
            elif value is not None and field.name != "round":
                raise ResultError(f"the {field.name}'s state is {type(value).__name__}: only tensors can be saved")
        return found

    @staticmethod
    def of(round: int, tensors: dict[str, Tensor]) -> State:
        """The state that `tensors()` names, TypeError where a part is missing or unknown."""
        parts: dict[str, Any] = {key: value for key, value in tensors.items() if "." not in key}
        for key, value in tensors.items():
            head, dot, tail = key.partition(".")
            if dot:
                parts.setdefault(head, {})[tail] = value
        buffers = parts.pop("buffers", {})
        return State(round=round, buffers=tuple(buffers[str(i)] for i in range(len(buffers))), **parts)


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_clone(item) for item in value)
    return value
