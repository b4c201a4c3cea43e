"""What the Byzantine workers do in one round of a plan, and a plan's form as numbers and text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import msgspec
import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, mean_row
from turncoat.attacks.build import attack
from turncoat.errors import InputError, SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows

Memory = Mapping[str, Any]
"""What the attacks that a plan uses remember, by their spelling."""


class Move(ABC):
    """What the traitors do in one round: a function of what they see in it."""

    kind: ClassVar[str]

    @abstractmethod
    def rows(self, view: View, memory: Memory) -> tuple[Tensor, Memory]:
        """(f, d) the rows to send, and the next memory."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(map(_same, vars(self).values(), vars(other).values()))

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Use(Move):
    """Send what an attack sends, or a multiple of its rows' difference to the honest mean.

    The attack's memory is its own and moves on only when it is used.
    """

    kind = "use"
    attack: Attack
    factor: float = 1.0

    def rows(self, view: View, memory: Memory) -> tuple[Tensor, Memory]:
        name = str(self.attack)
        before = memory[name] if name in memory else self.attack.init(view.like)
        rows, after = self.attack.step(view, before)
        if self.factor != 1:
            rows = mean_row(Rows.of(view.honest)).lerp(rows, self.factor)
        return rows, memory if after is None else {**memory, name: after}


@dataclass(frozen=True, eq=False)
class Send(Move):
    """Send given rows: one (d,) that all send or (f, d), as they are or about the honest mean of the round."""

    kind = "send"
    vectors: Tensor
    about_mean: bool = False

    def rows(self, view: View, memory: Memory) -> tuple[Tensor, Memory]:
        like = view.like
        vectors = self.vectors.to(like)
        if vectors.shape[-1] != like.shape[-1] or vectors.shape[:-1] not in ((), (view.f,)):
            expected = f"({like.shape[-1]},) or ({view.f}, {like.shape[-1]})"
            raise InputError(f"the plan sends rows of shape {tuple(vectors.shape)}, this run takes {expected}")
        if self.about_mean:
            vectors = vectors + mean_row(Rows.of(view.honest))
        return vectors.expand(view.f, -1), memory


@dataclass(frozen=True, eq=False)
class Mix(Move):
    """Send multiples (h + 1,) or (f, h + 1) of the h honest vectors and of their standard deviation."""

    kind = "mix"
    weights: Tensor

    def rows(self, view: View, memory: Memory) -> tuple[Tensor, Memory]:
        honest = view.honest
        if self.weights.shape[-1] != len(honest) + 1:
            raise InputError(f"the plan mixes {self.weights.shape[-1] - 1} honest vectors, this run has {len(honest)}")
        deviation = passes.mean_and_deviation(Rows.of(honest), ddof=1)[1]
        basis = Rows.of([*honest, deviation])
        made = [passes.combine(basis, row) for row in self.weights.double().cpu().reshape(-1, len(honest) + 1)]
        return (made[0].expand(view.f, -1) if len(made) == 1 else torch.stack(made)), memory


KINDS: dict[str, type[Move]] = {kind.kind: kind for kind in (Use, Send, Mix)}


def encode(moves: Sequence[Move]) -> tuple[bytes, dict[str, Tensor]]:
    """Moves as JSON that names tensors, and the tensors."""
    tensors: dict[str, Tensor] = {}
    plain = []
    for i, move in enumerate(moves):
        told: dict[str, Any] = {"move": move.kind}
        for key, value in vars(move).items():
            if isinstance(value, Tensor):
                tensors[f"{i}.{key}"] = value
            else:
                told[key] = str(value) if isinstance(value, Attack) else value
        plain.append(told)
    return msgspec.json.encode(plain), tensors


def decode(text: bytes, tensors: Mapping[str, Tensor], f: int | None = None) -> list[Move]:
    """The inverse of `encode`, for f Byzantine workers; raises SpecError for what no plan says."""
    try:
        plain = msgspec.json.decode(text, type=list[dict[str, str | bool | float]])
        return [_decode(i, told, tensors, f) for i, told in enumerate(plain)]
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise SpecError(f"this is no plan: {error}") from None


def _decode(i: int, told: dict[str, str | bool | float], tensors: Mapping[str, Tensor], f: int | None) -> Move:
    kind = KINDS[str(told.pop("move"))]
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = told | {key: tensors[f"{i}.{key}"] for key in names if f"{i}.{key}" in tensors}
    if kind is Use:
        given["attack"] = attack(str(given["attack"]), f=f)
    return kind(**given)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))
    return a == b
