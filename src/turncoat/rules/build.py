"""Rules from their spelling."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import rshift
from typing import Any

from turncoat.errors import SpecError
from turncoat.registry import expand, find, is_own, load_own, make, with_preset
from turncoat.rules.base import Mixing, Part, Rule
from turncoat.rules.own import OwnRule
from turncoat.spelling import Call, parse_chain


def rule(
    spelling: str | Rule | Callable[..., Any],
    f: int | None = None,
    nonfinite: str | None = None,
    preset: str | None = None,
) -> Rule:
    """A rule from its name (`"nnm >> trimmed_mean"`), a rule as it is, or any callable (n, d) -> (d,).

    f goes to every part of a chain; a rule object keeps its own. `preset` names another project whose conventions are
    taken, as does an argument of that name: `krum(preset=byzfl)`. Raises SpecError for names or arguments that do not
    exist, with the nearest that do, and for an object whose f is another one.

    Examples:
        >>> str(rule("nnm >> multi_krum(m=3)", f=2, preset="byzfl"))
        'nnm >> multi_krum(neighbours="n-f-1", m=3)'
    """
    if isinstance(spelling, str):
        calls = [with_preset(call, preset) for call in parse_chain(spelling)]
        parts = [_part(call, f, nonfinite or "exclude") for call in calls]
        made = reduce(rshift, parts)
    else:
        made = _adopt(spelling, getattr(spelling, "__name__", type(spelling).__name__), f, nonfinite or "exclude")
    if isinstance(made, Mixing):
        raise SpecError(f"{made} is a mixing, not a rule: put a rule behind it, such as {made} >> trimmed_mean")
    assert isinstance(made, Rule)
    if f is not None and made.f is None:
        made = made.with_f(f)
    if nonfinite is not None and made.nonfinite != nonfinite:
        raise SpecError(f"{made} was built with nonfinite = {made.nonfinite!r} but used with {nonfinite!r}")
    if f is not None and made.f != f:
        raise SpecError(f"{made} was built with f = {made.f} but used with f = {f}: give f_actual for attackers apart")
    return made


def _part(call: Call, f: int | None, nonfinite: str) -> Part:
    if is_own(call.name):
        return _adopt(load_own(call.name), call.name, f, nonfinite)
    call = expand(call)
    if "f" in call.kwargs:
        own = Call(call.name, call.args, {key: value for key, value in call.kwargs.items() if key != "f"})
        if f not in (None, call.kwargs["f"]):
            raise SpecError(f"{call}: f = {f} was given apart; leave it out of the name")
        return _part(own, call.kwargs["f"], nonfinite)  # type: ignore[arg-type]
    mixing = issubclass(find("rule", call.name).load(), Mixing)
    return make("rule", call, f=f) if mixing else make("rule", call, f=f, nonfinite=nonfinite)


def _adopt(thing: Any, target: str, f: int | None, nonfinite: str) -> Part:
    """A rule from the user's own object: a rule or mixing, a class of them, or a callable."""
    if isinstance(thing, Part):
        return thing
    if isinstance(thing, type) and issubclass(thing, Part):
        return thing(f=f, nonfinite=nonfinite) if issubclass(thing, Rule) else thing(f=f)
    if callable(thing):
        return OwnRule(thing, target, f=f, nonfinite=nonfinite)
    raise SpecError(f"{target} is {type(thing).__name__}: a rule is a callable from (n, d) to (d,)")
