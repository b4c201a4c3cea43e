"""The contract of an attack, and the one object through which it sees a round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from turncoat.errors import HiddenError, InputError, SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows
from turncoat.registry import Component
from turncoat.rules import Rule

if TYPE_CHECKING:
    from turncoat.attacks.planning.rollout import Rollout


@dataclass(frozen=True)
class View:
    """What the adversary sees of one round; reading what its knowledge hides raises HiddenError.

    Its tensors are the run's own: to be read, never written to. It never holds the server's random stream: `generator`
    is the adversary's own.
    """

    n: int
    f: int
    honest_rows: Tensor | None = field(default=None, repr=False)
    own_rows: Tensor | None = field(default=None, repr=False)
    round: int = 0
    remaining: int | None = None
    """Rounds under attack from this one on, in a run."""
    lr: float | None = None
    parameters: Tensor | None = field(default=None, repr=False)
    """(d,) the model that was broadcast, which every worker sees."""
    rule: Rule | None = None
    rule_state: Any = field(default=None, repr=False)
    """What the rule remembers, which follows from what it broadcast; None before the first round."""
    generator: torch.Generator | None = field(default=None, repr=False)
    simulator: Callable[[], Rollout] | None = field(default=None, repr=False)

    @cached_property
    def rollout(self) -> Rollout:
        """The rounds to come, to be played from here on as often as wanted: `view.rollout(moves, objective)`."""
        if self.simulator is None:
            raise HiddenError(
                'looking ahead takes a training run, and in it knowledge = "omniscient": by hand there is nothing ahead'
            )
        return self.simulator()

    @property
    def honest(self) -> Tensor:
        """(h, d) the vectors that honest workers send this round, as far as the adversary sees them."""
        if self.honest_rows is None:
            raise HiddenError("the honest vectors are hidden: the adversary's knowledge is its own data")
        return self.honest_rows

    @property
    def own(self) -> Tensor:
        """(f, d) the vectors that the Byzantine workers would have sent, computed on their own data."""
        if self.own_rows is None:
            raise HiddenError("the Byzantine workers' own vectors are missing: give own=... or data of their own")
        return self.own_rows

    @property
    def like(self) -> Tensor:
        """(.., d) a tensor of the size, dtype and device of what is sent, whatever its values."""
        for tensor in (self.parameters, self.honest_rows, self.own_rows):
            if tensor is not None:
                return tensor
        raise HiddenError("the view holds no vector at all")

    def population(self, name: str) -> Rows:
        """The rows that an attack takes its statistics over: "honest" or "own"."""
        return Rows.of(self.honest if name == "honest" else self.own)


@dataclass(frozen=True)
class Attack(Component, ABC):
    """From what the adversary sees to the f rows that the Byzantine workers send."""

    f: int | None = field(default=None, kw_only=True)
    knowledge: ClassVar[str] = "omniscient"
    collusion: ClassVar[bool] = True
    manipulates: ClassVar[str] = "gradients"
    draws: ClassVar[bool] = False
    """Whether it draws random numbers, from the adversary's stream in a run."""
    needs_rule: ClassVar[bool] = False
    """Whether it is made for the rule that it meets, which a call by hand has to give."""
    needs_run: ClassVar[bool] = False
    """Whether it looks ahead, which takes a training run."""

    @property
    def needs_own(self) -> bool:
        """Whether the Byzantine workers have to compute vectors on data of their own."""
        return False

    @abstractmethod
    def craft(self, view: View) -> Tensor:
        """(f, d) what the Byzantine workers send this round; rows may share memory."""

    def init(self, like: Tensor) -> Any:
        """The state before the first round; None for attacks without memory."""
        return None

    def step(self, view: View, state: Any) -> tuple[Tensor, Any]:
        """One round: the rows to send and the next state."""
        return self.craft(view), state

    def poison(self, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """The Byzantine workers' batches as they train on them."""
        return x, y

    def __call__(
        self,
        honest: Tensor,
        own: Tensor | None = None,
        generator: torch.Generator | None = None,
        rule: Rule | None = None,
        parameters: Tensor | None = None,
    ) -> Tensor:
        """(f, d) the Byzantine rows beside (h, d) honest ones, for one round by hand.

        `own` (f, d) are the vectors that the Byzantine workers would have sent, `rule` is the one to be attacked,
        `parameters` (d,) the model that was broadcast. Raises SpecError without f and HiddenError where the attack
        needs what was not given, or data.
        """
        if self.f is None:
            raise SpecError(f"{self} needs f, the number of Byzantine workers: give f=...")
        if not isinstance(honest, Tensor):
            raise InputError(f"honest is an (h, d) tensor, got {type(honest).__name__}")
        if honest.dim() != 2 or honest.numel() == 0 or not honest.dtype.is_floating_point:
            raise InputError(f"honest is an (h, d) floating point tensor, got {tuple(honest.shape)} {honest.dtype}")
        if own is not None and own.shape != (self.f, honest.shape[1]):
            raise InputError(f"own has shape {tuple(own.shape)}, expected {(self.f, honest.shape[1])}")
        if self.manipulates == "data":
            raise HiddenError(f"{self} poisons data and has no rows of its own: use it in a training run")
        view = View(
            n=len(honest) + self.f,
            f=self.f,
            honest_rows=honest.detach(),
            own_rows=own,
            parameters=parameters,
            rule=rule,
            generator=generator,
        )
        return self.step(view, self.init(honest))[0]


def same_row(row: Tensor, f: int) -> Tensor:
    """(f, d) f times one row, without copies."""
    return row.expand(f, -1)


def mean_row(rows: Rows) -> Tensor:
    """(d,) the mean of the rows."""
    return passes.combine(rows, torch.full((rows.n,), 1.0 / rows.n, dtype=torch.float64))


def check_population(name: str) -> None:
    """Raise SpecError unless statistics can be taken over that population."""
    if name not in ("honest", "own"):
        raise SpecError(f'population is "honest" or "own" (the Byzantine workers\' vectors), got {name!r}')
