"""Which runs are alike: the setting that rules, attacks and seeds are compared in, and how these are named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from turncoat.errors import SpecError
from turncoat.results.result import Result
from turncoat.spec import Seeds, from_mapping, resolve

CLEAN = "none"
COMPARED = frozenset({"rule", "attack", "seed"})
MACHINERY = frozenset({"device", "threads", "gradients", "evaluate_every"})  # how it was computed, not what
ATTACKERS = frozenset({"f_actual", "byzantine", "attack_start", "attack_stop", "knowledge"})  # idle without attack
SPELLED = frozenset({"task", "rule", "attack", "split", "schedule", "knowledge"})  # fields that have several spellings
NAMED_SEEDS = 1000  # integer seeds that are recognised by their streams
Setting = tuple[tuple[str, Any], ...]


def attack_of(result: Result) -> str:
    """The attack's name; a run without attackers is clean whatever attack it names."""
    return result.spec.attack if result.spec.f_actual else CLEAN


def attack_text(attack: str) -> str:
    """How a table or chart names an attack."""
    return "no attack" if attack == CLEAN else attack


def by_numbers(name: str) -> list[str | float]:
    """What names are sorted by so that the numbers in them count as such.

    Examples:
        >>> sorted(["ipm(epsilon=10)", "ipm(epsilon=2.5)", "alie(z=8)"], key=by_numbers)
        ['alie(z=8)', 'ipm(epsilon=2.5)', 'ipm(epsilon=10)']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def seeds_of(result: Result) -> Seeds:
    """The seeds of a run's four streams."""
    assert isinstance(result.spec.seed, Seeds)  # of a result, they are
    return result.spec.seed


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


def settings(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The runs of each setting, by its title; clean runs count in each setting that they share."""
    groups: dict[Setting, list[Result]] = {}
    for result in sorted(results, key=lambda result: attack_of(result) == CLEAN):  # attacked runs make the settings
        setting = _setting(result)
        if attack_of(result) == CLEAN:
            met = [other for other in groups if _without_attackers(other) == _without_attackers(setting)]
        else:
            met = [setting]
        for place in met or [setting]:
            groups.setdefault(place, []).append(result)
    return {_title(setting, groups): runs for setting, runs in groups.items()}


def _setting(result: Result) -> Setting:
    fields = msgspec.structs.asdict(result.spec)
    return tuple((key, value) for key, value in fields.items() if key not in COMPARED | MACHINERY)


def _without_attackers(setting: Setting) -> Setting:
    return tuple((key, value) for key, value in setting if key not in ATTACKERS)


def _title(setting: Setting, settings: Iterable[Setting]) -> str:
    """A setting in words: what a reader wants first, then what sets it apart from others of which that is the same."""
    fields = dict(setting)
    first = {key: fields.pop(key) for key in ("task", "n", "f", "split")}
    alike = [dict(other) for other in settings if first.items() <= dict(other).items()]
    apart = [key for key, value in fields.items() if any(other[key] != value for other in alike)]
    if fields["f_actual"] not in (0, first["f"]) and "f_actual" not in apart:
        apart.append("f_actual")
    others = [f"{key} = {fields[key]}" for key in apart]
    return ", ".join([first["task"], f"n = {first['n']}", f"f = {first['f']}", first["split"], *others])
