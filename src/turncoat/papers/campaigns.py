"""The experiments of the papers as campaigns: each run at the paper's scale, and the run that stands for it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from turncoat.campaign.grid import expand
from turncoat.errors import SpecError
from turncoat.registry import suggest
from turncoat.results.settings import MACHINERY, seeds_text
from turncoat.spec import Seeds, Spec, control, resolve, spell_field
from turncoat.spelling import parse

SCALES = ("quick", "paper")
CHOOSING = ("seed", "without")  # of the table quick: the seeds that are run, and attacks that are not


def cells(campaign: str, where: Sequence[Mapping[str, Any]], scale: str, device: str = "cpu") -> dict[Spec, Spec]:
    """A paper's runs that meet any of some conditions, with their controls, and for each the run that stands for it."""
    papers, wanted = _papers(campaign), [spelled(each) for each in where]
    found = {spec for spec in papers if any(meets(spec, each) for each in wanted)}
    found |= {control(spec) for spec in found}
    changes = _table("quick").get(campaign, {}) if scale == "quick" else {}
    seeds = [Seeds.derive(seed) for seed in changes.get("seed", ())]
    without = spelled({"attack": changes.get("without", [])})["attack"]
    kept = [
        spec for spec in papers if spec in found and spec.attack not in without and (not seeds or spec.seed in seeds)
    ]
    return {spec: resolve(msgspec.structs.replace(_changed(spec, changes), device=device)) for spec in kept}


def check_scale(scale: str) -> None:
    """Raise `SpecError` for a scale that does not exist."""
    if scale not in SCALES:
        raise SpecError(f"unknown scale {scale!r}: {suggest(scale, SCALES)}")


def spelled(where: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Conditions with every value as a resolved spec has it: one, or a list of which any will do."""
    return {
        key: [spell_field(key, value) for value in (values if isinstance(values, list | tuple) else [values])]
        for key, values in where.items()
    }


def meets(spec: Spec, wanted: Mapping[str, Sequence[Any]]) -> bool:
    return all(getattr(spec, key) in values for key, values in wanted.items())


def _changed(spec: Spec, changes: Mapping[str, Any]) -> Spec:
    new = {}
    for key, change in changes.items():
        if key in CHOOSING:
            continue
        old = getattr(spec, key)
        if isinstance(change, Mapping):
            known = {
                str(spell_field(key, given)) if isinstance(old, str) else given: value
                for given, value in change.items()
            }
            new[key] = known.get(str(old), old)
        else:
            new[key] = change
    return msgspec.structs.replace(spec, **new)


def shrunk(found: Mapping[Spec, Spec]) -> list[str]:
    """What is not as at the scale paper, in words: fields, and arguments of attacks."""
    changes: dict[str, dict[str, None]] = {}
    for paper, run in found.items():
        for key in Spec.__struct_fields__:
            before, after = getattr(paper, key), getattr(run, key)
            if before != after and key not in MACHINERY:
                for what, change in _argued(before, after) if key == "attack" else [(key, f"{after} for {before}")]:
                    changes.setdefault(what, {})[change] = None
    return [f"{what} {', '.join(told)}" for what, told in changes.items()]


def _argued(before: str, after: str) -> list[tuple[str, str]]:
    """An attack's arguments that are not as they were."""
    old, new = parse(before).kwargs, parse(after)
    return [
        (f"{new.name}'s {key}", f"{value} for {old[key]}" if key in old else str(value))
        for key, value in new.kwargs.items()
        if old.get(key) != value
    ]


def left_out(campaign: str) -> list[str]:
    """Attacks that are not run at the scale quick."""
    return list(_table("quick").get(campaign, {}).get("without", []))


def seeds(campaign: str, found: Iterable[Spec]) -> str:
    """The seeds that are run, and of how many, in words."""
    run, papers = ({seeds_text(spec.seed): None for spec in specs} for specs in (found, _papers(campaign)))
    return ", ".join(run) + f" of {len(papers)}" * (len(papers) > len(run))


def why(figure: str, claim: str) -> str:
    """Why a claim fails, after a second look at our own code; nothing where nobody has looked."""
    said = _table("why").get(figure, {})
    return next((" ".join(text.split()) for name, text in said.items() if f"{claim}-".startswith(f"{name}-")), "")


@cache
def _papers(campaign: str) -> list[Spec]:
    return expand(_table(campaign), campaign)


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((files("turncoat.papers") / "specs" / f"{name}.toml").read_text(encoding="utf-8"))
