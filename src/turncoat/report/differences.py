"""Two folders beside each other: which runs both hold, what changed beyond the seeds' spread, what is the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from turncoat.report.summary import counted, listed, spread_text
from turncoat.results.result import Result
from turncoat.results.settings import MACHINERY, attack_text
from turncoat.results.statistics import Metric, Spread, compare

NAMED = 3  # changed cells that a sentence names


@dataclass(frozen=True)
class Pair:
    """The same run in two folders: the same specification with its seeds, save for how it was computed."""

    a: Result
    b: Result

    @cached_property
    def identical(self) -> bool:
        """Whether all that was measured is the same, bit for bit."""
        return repr((self.a.records, self.a.plans)) == repr((self.b.records, self.b.plans))


@dataclass(frozen=True)
class Change:
    """A rule under an attack, in the runs that both folders hold: final values over the seeds, then and now."""

    setting: str
    rule: str
    attack: str
    metric: Metric
    a: Spread
    b: Spread
    identical: int

    @property
    def moved(self) -> float:
        """The mean in the second folder less that in the first."""
        return self.b.mean - self.a.mean

    @property
    def beyond(self) -> bool | None:
        """Whether the mean moved by more than the larger standard deviation over the seeds; None for one seed."""
        if self.a.sd is None or self.b.sd is None:
            return None
        if not math.isfinite(self.moved):
            return repr(self.a.mean) != repr(self.b.mean)
        return abs(self.moved) > max(self.a.sd, self.b.sd)

    def __str__(self) -> str:
        ends = " to ".join(spread_text(self.metric, spread) for spread in (self.a, self.b))
        return f"{self.rule} under {attack_text(self.attack)} from {ends} ({self.setting})"


@dataclass(frozen=True)
class Differences:
    """What two collections of results have in common, and what not; `names` are theirs."""

    names: tuple[str, str]
    pairs: list[Pair]
    only: tuple[list[Result], list[Result]]
    """The runs that only one of them holds."""

    @cached_property
    def changes(self) -> list[Change]:
        """All cells of the runs in both: those changed beyond the seeds' spread first, then by how far they moved."""
        partners = {id(pair.a): pair for pair in self.pairs}
        found = []
        for one in compare([pair.a for pair in self.pairs]):
            for (rule, attack), runs in one.runs.items():
                met = [partners[id(run)] for run in runs]
                ends = [(one.metric.final(pair.a), one.metric.final(pair.b)) for pair in met]
                both = [(a, b) for a, b in ends if a is not None and b is not None]
                if both:
                    a, b = (Spread.of(values, one.metric) for values in zip(*both, strict=True))
                    same = sum(pair.identical for pair in met)
                    found.append(Change(one.title, rule, attack, one.metric, a, b, same))

        def size(change: Change) -> tuple[bool, float]:
            return change.beyond is not True, -abs(change.moved) if math.isfinite(change.moved) else -math.inf

        return sorted(found, key=size)

    @cached_property
    def computed(self) -> list[str]:
        """What the paired runs were computed with that is not the same in both folders, and in how many of them."""
        found: dict[str, Counter[str]] = {}
        for pair in self.pairs:
            a, b = _origin(pair.a), _origin(pair.b)
            for name in a.keys() | b.keys():
                if a.get(name) != b.get(name):
                    found.setdefault(name, Counter())[f"{a.get(name, '–')} → {b.get(name, '–')}"] += 1
        return [f"{name} {listed(changes)}" for name, changes in sorted(found.items())]

    @property
    def headline(self) -> str:
        """The outcome in a few sentences."""
        first, second = self.names
        same = sum(pair.identical for pair in self.pairs)
        are = "is" if len(self.pairs) == 1 else "are"
        text = [
            f"{counted(len(self.pairs), 'run')} {are} in both folders, {same} bit-identical in all that was measured."
        ]
        if self.pairs:
            moved = [change for change in self.changes if change.beyond]
            named = "; ".join(map(str, moved[:NAMED])) + ("; ..." if len(moved) > NAMED else "")
            which = f"{counted(len(moved), 'cell')} of {len(self.changes)}: {named}" if moved else "no cell"
            text.append(f"Beyond the seeds' spread changed {which}.")
            single = sum(change.beyond is None and change.moved != 0 for change in self.changes)
            if single:
                text.append(f"{counted(single, 'cell')} of a single seed changed, where no spread can tell how much.")
        for name, only in zip((first, second), self.only, strict=True):
            if only:
                text.append(f"{counted(len(only), 'run')} only in {name}.")
        return " ".join(text)

    def plain(self) -> dict[str, Any]:
        """The outcome for machines."""
        cells = [
            {
                "setting": change.setting,
                "rule": change.rule,
                "attack": change.attack,
                "metric": change.metric.name,
                "a": msgspec.to_builtins(change.a),
                "b": msgspec.to_builtins(change.b),
                "moved": change.moved,
                "beyond_spread": change.beyond,
                "identical": change.identical,
            }
            for change in self.changes
        ]
        return {
            "headline": self.headline,
            "in_both": len(self.pairs),
            "identical": sum(pair.identical for pair in self.pairs),
            "only_in_a": len(self.only[0]),
            "only_in_b": len(self.only[1]),
            "computed_otherwise": self.computed,
            "cells": cells,
        }


def differences(a: Sequence[Result], b: Sequence[Result], names: tuple[str, str]) -> Differences:
    """Pair the results of two folders: by their whole specs first, the rest by all but the machinery."""
    pairs: list[Pair] = []
    left, right = list(a), list(b)
    for same in (lambda result: result.spec, _what):
        found = _paired(left, right, same)
        pairs += found
        left = _without(left, [pair.a for pair in found])
        right = _without(right, [pair.b for pair in found])
    return Differences(names, pairs, (left, right))


def _paired(a: Sequence[Result], b: Sequence[Result], same: Callable[[Result], Hashable]) -> list[Pair]:
    waiting: dict[Hashable, list[Result]] = {}
    for result in b:
        waiting.setdefault(same(result), []).append(result)
    return [Pair(result, waiting[same(result)].pop(0)) for result in a if waiting.get(same(result))]


def _without(results: Sequence[Result], taken: Sequence[Result]) -> list[Result]:
    gone = set(map(id, taken))
    return [result for result in results if id(result) not in gone]


def _what(result: Result) -> Hashable:
    """What was run, whatever it was computed with."""
    fields = msgspec.structs.asdict(result.spec)
    return tuple(value for name, value in fields.items() if name not in MACHINERY)


def _origin(result: Result) -> dict[str, str]:
    """What a run was computed with."""
    told = {name: str(getattr(result.spec, name)) for name in MACHINERY}
    told |= {name: str(value) for name, value in msgspec.structs.asdict(result.environment).items()}
    told["turncoat's code"] = result.source_hash[:12]
    told["data"] = result.data_checksum[:12]
    return told | {f"own file {name}": digest[:12] for name, digest in result.files.items()}
