"""A plan: moves, one a round, how far they are carried out, and how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from turncoat.attacks.base import View
from turncoat.attacks.planning.moves import Memory, Move, decode, encode
from turncoat.errors import SpecError
from turncoat.results.files import write_atomically
from turncoat.results.result import Planned

PlanState: TypeAlias = "Plan | Mapping[str, Tensor]"
"""A plan as a run carries it along, or as it comes from a checkpoint."""


class _About(msgspec.Struct):
    """What of a plan is no tensor."""

    moves: msgspec.Raw
    done: int
    remembered: list[str]
    planned: list[Planned]


@dataclass(frozen=True)
class Plan:
    """The moves so far chosen, of which the first `done` are carried out."""

    moves: tuple[Move, ...] = ()
    done: int = 0
    memory: Memory = field(default_factory=dict)
    planned: tuple[Planned, ...] = ()

    def next(self, view: View) -> tuple[Tensor, Self]:
        """The rows of the next move, and the plan after it."""
        rows, memory = self.moves[self.done].rows(view, self.memory)
        return rows, replace(self, done=self.done + 1, memory=memory)

    def tensors(self) -> dict[str, Tensor]:
        """The plan as tensors by name: an attack's state, and a file's content."""
        moves, tensors = encode(self.moves)
        for i, state in enumerate(self.memory.values()):
            parts = state if isinstance(state, dict) else {"": state}
            tensors |= {f"memory.{i}.{key}": value for key, value in parts.items()}
        about = _About(msgspec.Raw(moves), self.done, list(self.memory), list(self.planned))
        return tensors | {"about": torch.frombuffer(bytearray(msgspec.json.encode(about)), dtype=torch.uint8)}

    @classmethod
    def of(cls, tensors: PlanState, f: int | None = None) -> Self:
        """The inverse of `tensors`, for f Byzantine workers; a plan as it is. Raises SpecError for what is no plan."""
        if isinstance(tensors, cls):
            return tensors
        assert not isinstance(tensors, Plan)
        try:
            about = msgspec.json.decode(tensors["about"].cpu().numpy().tobytes(), type=_About)
            moves = decode(bytes(about.moves), tensors, f)
        except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError) as error:
            raise SpecError(f"this is no plan: {error}") from None
        memory: dict[str, Any] = {}
        for i, name in enumerate(about.remembered):
            head = f"memory.{i}."
            parts = {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}
            memory[name] = parts.get("", parts)
        return cls(tuple(moves), about.done, memory, tuple(about.planned))

    def save(self, path: Path | str) -> Path:
        """Write the plan from its first move on; nothing in the file is ever evaluated."""
        anew = replace(self, done=0, memory={})
        tensors = {key: value.contiguous() for key, value in anew.tensors().items()}
        return write_atomically(path, save(tensors, {"turncoat": "plan"}))

    @classmethod
    def load(cls, path: Path | str, f: int | None = None) -> Self:
        """Read a plan; raises SpecError for a file that is missing or no plan."""
        try:
            with safe_open(str(path), framework="pt") as file:
                # copied, because the last bits of MKL's products depend on where in memory their factors begin
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise SpecError(f"cannot read the plan {path}: {error}") from None
        try:
            return cls.of(tensors, f)
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from None
