"""Which runs are alike: the setting that rules, attacks and seeds are compared in, and how these are named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec

from turncoat.errors import SpecError
from turncoat.spec import Seeds, Spec, from_mapping, resolve

CLEAN = "none"
COMPARED = frozenset({"rule", "attack", "seed"})
MACHINERY = frozenset({"device", "threads", "gradients", "evaluate_every"})  # how it was computed, not what
ATTACKERS = frozenset({"f_actual", "byzantine", "attack_start", "attack_stop", "knowledge"})  # idle without attack
SPELLED = frozenset({"task", "rule", "attack", "split", "schedule", "knowledge"})  # fields that have several spellings
NAMED_SEEDS = 1000  # integer seeds that are recognised by their streams
FOLLOWERS = {"f_actual": "f", "local_lr": "lr"}  # fields that say nothing new where they equal these
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # all but tabs and new lines
Setting = tuple[tuple[str, Any], ...]


class Run(Protocol):
    """A run that finished or failed: a `Result` or a `Failure`."""

    @property
    def spec(self) -> Spec: ...


AnyRun = TypeVar("AnyRun", bound=Run)


def attack_of(run: Run) -> str:
    """The attack's name; a run without attackers is clean whatever attack it names."""
    return run.spec.attack if run.spec.f_actual else CLEAN


def attack_text(attack: str) -> str:
    """How a table or chart names an attack."""
    return "no attack" if attack == CLEAN else attack


def printable(text: str) -> str:
    """A text without characters that would command a terminal, or that XML cannot hold.

    Examples:
        >>> printable("a\\x1b[31mb")
        'a\ufffd[31mb'
    """
    return CONTROLS.sub("\ufffd", text)


def by_numbers(name: str) -> list[str | float]:
    """What names are sorted by so that the numbers in them count as such.

    Examples:
        >>> sorted(["ipm(epsilon=10)", "ipm(epsilon=2.5)", "alie(z=8)"], key=by_numbers)
        ['alie(z=8)', 'ipm(epsilon=2.5)', 'ipm(epsilon=10)']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def in_order(run: Run) -> tuple[Any, ...]:
    """What the runs of a folder are sorted by, where they lie in no order of their own."""
    spec, attack = run.spec, attack_of(run)
    split, rule, met, seeds = map(by_numbers, (spec.split, spec.rule, attack, seeds_text(spec.seed)))
    return spec.task, spec.n, spec.f, split, rule, attack != CLEAN, met, seeds


def seeds_of(run: Run) -> Seeds:
    """The seeds of a run's four streams."""
    assert isinstance(run.spec.seed, Seeds)  # of what was run, they are
    return run.spec.seed


def seed_number(seeds: Seeds) -> int | None:
    """The small integer that all four streams were derived from, None where there is none."""
    named = {_named_streams().get(stream) for stream in msgspec.structs.asdict(seeds).items()}
    return named.pop() if len(named) == 1 else None


def seeds_text(seed: int | Seeds) -> str:
    """The small integer that a run's streams were derived from; those of the streams where they differ.

    Examples:
        >>> seeds_text(Seeds.derive(7))
        '7'
        >>> seeds_text(Seeds(data=1, model=2, server=3, adversary=Seeds.derive(5).adversary))
        'data 1, model 2, server 3, adversary 5'
    """
    if isinstance(seed, int):
        return str(seed)
    streams = msgspec.structs.asdict(seed)
    named = {stream: _named_streams().get((stream, number), number) for stream, number in streams.items()}
    alike = set(named.values())
    return str(alike.pop()) if len(alike) == 1 else ", ".join(f"{stream} {name}" for stream, name in named.items())


@cache
def _named_streams() -> dict[tuple[str, int], int]:
    """The small integers that streams are recognised as."""
    return {
        (stream, number): seed
        for seed in range(NAMED_SEEDS)
        for stream, number in msgspec.structs.asdict(Seeds.derive(seed)).items()
    }


def spellings(field: str, text: str) -> set[str]:
    """A value as it was typed and, where the field has several spellings, as a resolved spec writes it."""
    found = {text}
    if field in SPELLED:
        with suppress(SpecError):  # results also hold names that are nowhere registered, such as an object's
            found.add(getattr(resolve(from_mapping({"n": 3, "f": 1, field: text})), field))
    return found


def settings(runs: Iterable[AnyRun]) -> dict[str, list[AnyRun]]:
    """The runs of each setting, by its title; clean runs count in each setting that they share."""
    groups: dict[Setting, list[AnyRun]] = {}
    sharing: dict[Setting, list[Setting]] = {}  # those that differ in nothing but the attackers
    for run in sorted(runs, key=lambda run: attack_of(run) == CLEAN):  # attacked runs make the settings
        setting = _setting(run)
        shared = sharing.setdefault(_without_attackers(setting), [])
        if setting not in groups and not (shared and attack_of(run) == CLEAN):
            groups[setting] = []
            shared.append(setting)
        for place in shared if attack_of(run) == CLEAN else [setting]:
            groups[place].append(run)
    return dict(zip(_titles(list(groups)), groups.values(), strict=True))


def _setting(run: Run) -> Setting:
    fields = msgspec.structs.asdict(run.spec)
    return tuple((key, value) for key, value in fields.items() if key not in COMPARED | MACHINERY)


def _without_attackers(setting: Setting) -> Setting:
    return tuple((key, value) for key, value in setting if key not in ATTACKERS)


def _titles(settings: Iterable[Setting]) -> list[str]:
    """Settings in words: what a reader wants first, then what sets one apart from others of which that is the same."""
    told = [dict(setting) for setting in settings]
    firsts = [{key: fields.pop(key) for key in ("task", "n", "f", "split")} for fields in told]
    met: dict[tuple[str, ...], dict[str, set[Any]]] = {}
    for first, fields in zip(firsts, told, strict=True):
        values = met.setdefault(tuple(map(str, first.values())), {})
        for key, value in fields.items():
            values.setdefault(key, set()).add(value)
    titles = []
    for first, fields in zip(firsts, told, strict=True):
        values = met[tuple(map(str, first.values()))]
        apart = [key for key in fields if len(values[key]) > 1]
        if fields["f_actual"] not in (0, first["f"]) and "f_actual" not in apart:
            apart.append("f_actual")
        others = [f"{key} = {fields[key]}" for key in apart]
        titles.append(", ".join([first["task"], f"n = {first['n']}", f"f = {first['f']}", first["split"], *others]))
    return titles
