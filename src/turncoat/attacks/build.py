"""Attacks from their spelling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.errors import InputError, SpecError
from turncoat.registry import accepted, is_own, load_own, make, with_preset
from turncoat.spelling import parse


def attack(spelling: str | Attack | Callable[..., Any], f: int | None = None, preset: str | None = None) -> Attack:
    """An attack from its name (`"alie(z=8)"`), an attack as it is, or any callable from (h, d) to (f, d) or (d,).

    `preset` names another project whose conventions are taken, as does an argument of that name: `alie(preset=byzfl)`.

    Raises SpecError for names or arguments that do not exist, with the nearest that do.

    Examples:
        >>> str(attack("ipm(2.5)", f=5))
        'ipm(epsilon=2.5)'
    """
    target = getattr(spelling, "__name__", type(spelling).__name__)
    thing: Any = spelling
    if isinstance(spelling, str):
        call = with_preset(parse(spelling), preset)
        if not is_own(call.name):
            return make("attack", call, f=f)
        thing, target = load_own(call.name), call.name
    if isinstance(thing, type) and issubclass(thing, Attack):
        return thing(f=f)
    if isinstance(thing, Attack):
        if f is not None and thing.f not in (None, f):
            raise SpecError(f"{thing} was built for f = {thing.f} Byzantine workers, the run has {f}")
        return thing
    if callable(thing):
        return OwnAttack(thing, target, f=f)
    raise SpecError(f"{target} is {type(thing).__name__}: an attack is a callable from (h, d) to (f, d) or (d,)")


@dataclass(frozen=True)
class OwnAttack(Attack):
    """A callable of the honest vectors as an attack; it may return f rows or one that all f workers send.

    A parameter of its named `generator` is given the adversary's random stream.
    """

    function: Callable[[Tensor], Any] = print
    target: str = "own"
    draws = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.target

    def __str__(self) -> str:
        return self.target

    def craft(self, view: View) -> Tensor:
        rows = self.function(view.honest.clone(), **accepted(self.function, generator=view.generator))
        d = view.honest.shape[1]
        if not isinstance(rows, Tensor) or rows.shape not in ((d,), (view.f, d)):
            shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise InputError(f"{self.target} returned {shape}, expected a tensor of shape {(view.f, d)} or {(d,)}")
        return rows.to(view.honest).expand(view.f, d)
