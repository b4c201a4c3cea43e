"""Rules from whatever name a stress test is given: the registry's, the user's own, or another project's.

`byzfl:TrMean`, `byzpy:Krum` and `flwr:FedMedian` are the names that those projects' users know. Arguments are given as
everywhere else, `byzfl:CenteredClipping(tau=10)`, and pre-aggregators stand before `>>`, as in `byzfl:NNM >> TrMean`.
What is not given is the project's own default, but for f and what follows from n and f.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from turncoat.campaign.keys import own_files
from turncoat.errors import SpecError
from turncoat.registry import suggest
from turncoat.rules import OwnRule, Rule
from turncoat.rules import rule as make_rule
from turncoat.rules.base import Outcome
from turncoat.rules.look import Look
from turncoat.spelling import Call, Value, parse_chain
from turncoat.stress.peers import PEERS, Factory, Peer, code_of

RANDOM = "rng"  # a parameter of this name takes a generator of Python's
GIVEN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def make(rule: str | Rule | Callable[..., Any], n: int, f: int) -> Rule:
    """The rule that a name stands for, the registry's, the user's own or another project's, or that a callable is.

    Raises SpecError for what does not exist, with the nearest that does, and for a project that is not installed.
    """
    peer = peer_of(rule)
    if peer is None or not isinstance(rule, str):
        return make_rule(rule, f=f)
    calls = parse_chain(rule.partition(":")[2])
    try:
        assembly = Assembly(peer, _plans(peer, calls, n, f))
        assembly.make(n, f)
    except (SpecError, TypeError, ValueError) as error:
        raise SpecError(f"{rule}: {error}") from None
    target = f"{peer.package}:{' >> '.join(map(str, calls))}"
    remembers = any(call.name in peer.remembers for call in calls)
    return PeerRule(function=assembly, target=target, assembly=assembly, remembers=remembers, f=f)


def names(peer: str, n: int, f: int) -> list[str]:
    """What of another project can be stressed; raises SpecError where there is no adapter for it, or it is not here."""
    if peer not in PEERS:
        raise SpecError(f"there is no adapter for {peer!r}: {suggest(peer, PEERS)}")
    return [f"{peer}:{name}" for name in PEERS[peer].listed(n, f)]


def peer_of(rule: object) -> Peer | None:
    """The project that a name such as `byzfl:Krum` begins with; None for any other rule."""
    return PEERS.get(rule.partition(":")[0].strip()) if isinstance(rule, str) else None


def files(rule: object) -> dict[str, str]:
    """sha256 of the code that a rule's name stands for and that is not turncoat's, by what it is called.

    Raises SpecError where a file of the user's own cannot be read.
    """
    if (peer := peer_of(rule)) is not None:
        return code_of(peer.package)
    return dict(sorted(own_files(rule).items())) if isinstance(rule, str) else {}


@dataclass(frozen=True)
class Plan:
    """A part of another project that is to be made."""

    factory: Factory
    given: Mapping[str, Any]
    asks: frozenset[str]
    """What it takes of that which follows from n and f, and of a generator of Python's."""
    told: bool
    """Whether it knows f, or what follows from it, by whatever way."""

    def __call__(self, known: Mapping[str, Any]) -> Any:
        return self.factory(**{key: value for key, value in known.items() if key in self.asks}, **self.given)


@dataclass(frozen=True)
class Assembly:
    """Pre-aggregators and an aggregator, made anew for each call; all that they draw follows from the generator."""

    peer: Peer
    plans: tuple[Plan, ...]

    def make(self, n: int, f: int, seed: int = 0) -> list[Any]:
        known = {**self.peer.known(n, f), RANDOM: random.Random(seed)}
        return [plan(known) for plan in self.plans]

    def __call__(self, X: Any, n: int, f: int, generator: torch.Generator, parts: Sequence[Any] | None = None) -> Any:
        seed = int(torch.randint(2**31, (), generator=generator))
        with _seeded(seed):
            *mixings, aggregator = parts or self.make(n, f, seed)
            rows = self.peer.rows(X)
            for mixing in mixings:
                rows = self.peer.mix(mixing, rows)
            return self.peer.aggregate(aggregator, rows)


@dataclass(frozen=True)
class PeerRule(OwnRule):
    """Another project's aggregator as a rule; what it keeps in its attributes for the next call is the rule's state."""

    assembly: Assembly = field(kw_only=True)
    remembers: bool = False

    @property
    def uses_f(self) -> bool:  # type: ignore[override]
        return any(plan.told for plan in self.assembly.plans)

    def init(self, like: Any) -> list[dict[str, Any]] | None:
        return _attributes(self.assembly.make(len(like), self.f or 0)) if self.remembers else None

    def outcome(self, look: Look, state: list[dict[str, Any]] | None) -> Outcome:
        if state is None:
            return super().outcome(look, state)
        parts = self.assembly.make(look.n, look.f)
        for part, attributes in zip(parts, state, strict=True):
            vars(part).update(copy.deepcopy(attributes))
        found = OwnRule.outcome(replace(self, function=partial(self.function, parts=parts)), look, None)
        return replace(found, state=_attributes(parts))


def _attributes(parts: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(vars(part)) for part in parts]


def _plans(peer: Peer, calls: Sequence[Call], n: int, f: int) -> tuple[Plan, ...]:
    """A chain of a project's parts; raises SpecError for a name or an argument that does not exist."""
    *before, last = calls
    mixings, aggregators = peer.mixings(), peer.aggregators()
    for call in before:
        if call.name in aggregators:
            raise SpecError(f"{call.name} is an aggregator: only a pre-aggregator can stand before >>")
    if last.name in mixings:
        raise SpecError(f"{last.name} is a pre-aggregator: put an aggregator behind it, such as {peer.classical}")
    known = peer.known(n, f)
    return (*(_plan(call, mixings, known) for call in before), _plan(last, aggregators, known))


def _plan(call: Call, table: Mapping[str, Factory], known: Mapping[str, Any]) -> Plan:
    if call.name not in table:
        raise SpecError(f"there is no {call.name!r}: {suggest(call.name, table)}")
    parameters = inspect.signature(table[call.name]).parameters
    takes = {name: each for name, each in parameters.items() if each.kind in GIVEN}
    if len(call.args) > len(takes):
        raise SpecError(f"{call.name} takes at most {len(takes)} argument(s): {', '.join(takes) or 'none'}")
    placed = dict(zip(takes, call.args, strict=False))
    for key in call.kwargs:
        if key not in takes:
            raise SpecError(f"{call.name} has no argument {key!r}: {suggest(key, takes)}")
        if key in placed:
            raise SpecError(f"argument {key!r} is given twice")
    given = {key: _fitting(takes[key].default, value) for key, value in (placed | call.kwargs).items()}
    asks = takes.keys() & {*known, RANDOM} - given.keys()
    for name, each in takes.items():
        if name not in given.keys() | asks and each.default is each.empty:
            raise SpecError(f"{call.name} needs {name}: write {call.name}({name}=...)")
    return Plan(table[call.name], given, frozenset(asks), told=bool(takes.keys() & known))


def _fitting(default: Any, value: Value) -> Any:
    """A whole number as a float, where the default is one: some projects ask for its type."""
    return float(value) if isinstance(default, float) and type(value) is int else value


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let all that draws from the process's own generators draw from this seed, and nobody else notice."""
    ours, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(arrays)
