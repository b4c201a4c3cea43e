"""Two folders beside each other: which runs both hold, what changed beyond the seeds' spread, what is the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from turncoat.report.summary import NAMED, Notice, counted, failed_text, listed
from turncoat.results.comparison import Comparison, compare
from turncoat.results.failure import Failure
from turncoat.results.metric import Metric, Spread
from turncoat.results.result import Result
from turncoat.results.settings import MACHINERY, attack_text


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
    ends: tuple[tuple[float, float], ...]
    """Of each seed, then and now."""
    runs: int
    identical: int
    """How many of the runs are bit-identical in all that was measured."""

    @cached_property
    def a(self) -> Spread:
        return Spread.of([then for then, _ in self.ends], self.metric)

    @cached_property
    def b(self) -> Spread:
        return Spread.of([now for _, now in self.ends], self.metric)

    @property
    def moved(self) -> float:
        """The mean in the second folder less that in the first."""
        return self.b.mean - self.a.mean

    @property
    def beyond(self) -> bool | None:
        """Whether the mean moved by more than the larger standard deviation over the seeds; None for one seed.

        Where a mean is not finite, whether any seed ends otherwise than before in that.
        """
        if self.a.sd is None or self.b.sd is None:
            return None
        if not math.isfinite(self.moved):
            return any(repr(then) != repr(now) for then, now in self.ends if not math.isfinite(now - then))
        return abs(self.moved) > max(self.a.sd, self.b.sd)

    def __str__(self) -> str:
        ends = " to ".join(f"{spread.text(self.metric)} ({spread.seeds})" for spread in (self.a, self.b))
        return f"{self.rule} under {attack_text(self.attack)} from {ends} ({self.setting})"


@dataclass(frozen=True)
class Differences:
    """What two collections of results have in common, and what not; `names` are theirs."""

    names: tuple[str, str]
    pairs: list[Pair]
    only: tuple[list[Result], list[Result]]
    """The runs that only one of them holds."""
    failures: tuple[Sequence[Failure], Sequence[Failure]] = ((), ())
    """Those of each that failed."""
    superseded: Sequence[str] = ()
    """A word on each of them of which results were left out."""

    @cached_property
    def changes(self) -> list[Change]:
        """All cells of the runs in both: those changed beyond the seeds' spread first, then by how far they moved."""
        partners = {id(pair.a): pair for pair in self.pairs}
        found: dict[tuple[int, ...], Change] = {}  # runs without attack stand in several settings
        for one in compare([pair.a for pair in self.pairs]):
            for (rule, attack), runs in one.runs.items():
                met = [partners[id(run)] for run in runs]
                other = Comparison(one.title, tuple(pair.b for pair in met), one.metric)
                a, b = one.finals(rule, attack), other.finals(rule, attack)
                seeds = [seeds for seeds in a if seeds in b]
                if seeds:
                    ends = tuple((a[each], b[each]) for each in seeds)
                    same = sum(pair.identical for pair in met)
                    change = Change(one.title, rule, attack, one.metric, ends, len(met), same)
                    found.setdefault(tuple(map(id, runs)), change)

        def size(change: Change) -> tuple[bool, float]:
            return change.beyond is not True, -abs(change.moved) if math.isfinite(change.moved) else -math.inf

        return sorted(found.values(), key=size)

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
    def notices(self) -> list[Notice]:
        """What must be said first: failed runs, what was left out, what was computed otherwise."""
        both = zip(self.names, self.failures, strict=True)
        found = [Notice("failed", f"In {name}, {failed_text(failures)}.") for name, failures in both if failures]
        found += [Notice.of_superseded(note) for note in self.superseded]
        return [*found, *(Notice("mixture", f"Computed otherwise: {each}.") for each in self.computed)]

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
            "failed_in_a": len(self.failures[0]),
            "failed_in_b": len(self.failures[1]),
            "computed_otherwise": self.computed,
            "notices": [notice.text for notice in self.notices],
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
