"""Results sorted into comparisons: runs in the same setting, rules against attacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import msgspec

from turncoat.results import Record, Result
from turncoat.spec import Seeds

CLEAN = "none"
COMPARED = frozenset({"rule", "attack", "seed"})
MACHINERY = frozenset({"device", "threads", "gradients", "evaluate_every"})  # how it was computed, not what
ATTACKERS = frozenset({"f_actual", "byzantine", "attack_start", "attack_stop", "knowledge"})  # idle without attack
NAMED_SEEDS = 1000  # integer seeds that are recognised by their streams
Setting = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Metric:
    """What a comparison compares: a record's field, or one of the task's own metrics."""

    name: str
    title: str
    higher_is_better: bool = False
    fraction: bool = False

    def of(self, record: Record) -> float | None:
        """The record's value, None where it was not measured."""
        return getattr(record, self.name) if self.name in record.__struct_fields__ else record.extra.get(self.name)

    def final(self, result: Result) -> float | None:
        """The last value measured in a run."""
        return next((value for record in reversed(result.records) if (value := self.of(record)) is not None), None)

    def best(self, result: Result) -> float | None:
        """The best value of a run."""
        values = [value for record in result.records if (value := self.of(record)) is not None]
        return min(values, key=self.badness, default=None)

    def text(self, value: float | None) -> str:
        """The value as a table shows it: accuracies in per cent."""
        if value is None:
            return "–"
        return f"{100 * value:.1f}" if self.fraction else f"{value:.3g}"

    def badness(self, value: float) -> float:
        """A number that grows as the run gets worse; a NaN is worst."""
        return math.inf if math.isnan(value) else -value if self.higher_is_better else value


ACCURACY = Metric("test_accuracy", "test accuracy", higher_is_better=True, fraction=True)
LOSSES = (Metric("test_loss", "test loss"), Metric("train_loss", "training loss"))


def metric_of(results: Sequence[Result]) -> Metric:
    """Accuracy where any run has it, else the task's own first metric, else a loss."""
    own = sorted({name for result in results for record in result.records for name in record.extra})
    choices = (ACCURACY, *(Metric(name, name.replace("_", " ")) for name in own), *LOSSES)
    found = (metric for metric in choices if any(metric.final(result) is not None for result in results))
    return next(found, ACCURACY)


def attack_of(result: Result) -> str:
    """The attack's name; a run without attackers is clean whatever attack it names."""
    return result.spec.attack if result.spec.f_actual else CLEAN


def attack_text(attack: str) -> str:
    """How a table or chart names an attack."""
    return "no attack" if attack == CLEAN else attack


@dataclass(frozen=True)
class Worst:
    """The attack under which a rule ends worst, and where."""

    attack: str
    value: float


@dataclass(frozen=True)
class Comparison:
    """Rules against attacks in one setting; every value is the mean of final values over the runs (seeds)."""

    title: str
    results: tuple[Result, ...]
    metric: Metric

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Result]]:
        """The runs of each (rule, attack)."""
        found: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            found.setdefault((result.spec.rule, attack_of(result)), []).append(result)
        return found

    @cached_property
    def attacks(self) -> list[str]:
        """No attack first, then the others by name."""
        return sorted({attack for _, attack in self.runs}, key=lambda attack: (attack != CLEAN, attack))

    @cached_property
    def rules(self) -> list[str]:
        """The rule that stands best under its worst attack first."""

        def rank(rule: str) -> tuple[float, str]:
            worst = self.worst(rule)
            value = worst.value if worst else self.value(rule, CLEAN)
            return math.inf if value is None else self.metric.badness(value), rule

        return sorted({rule for rule, _ in self.runs}, key=rank)

    def value(self, rule: str, attack: str) -> float | None:
        """The mean final value, None where nothing was run or measured."""
        finals = [final for run in self.runs.get((rule, attack), ()) if (final := self.metric.final(run)) is not None]
        return sum(finals) / len(finals) if finals else None

    def worst(self, rule: str) -> Worst | None:
        """The worst of the attacks that were run against a rule, None where there was none."""
        values = [(attack, self.value(rule, attack)) for attack in self.attacks if attack != CLEAN]
        worst = [Worst(attack, value) for attack, value in values if value is not None]
        return max(worst, key=lambda worst: self.metric.badness(worst.value), default=None)

    def is_worst(self, rule: str, attack: str) -> bool:
        """Whether that is the attack under which the rule ends worst."""
        worst = self.worst(rule)
        return worst is not None and worst.attack == attack

    def missing(self, rule: str) -> list[str]:
        """The attacks that others met and this rule did not."""
        return [attack for attack in self.attacks if attack != CLEAN and self.value(rule, attack) is None]

    def lost(self, rule: str) -> float | None:
        """What the worst attack takes: clean minus worst where more is better, else worst minus clean."""
        clean, worst = self.value(rule, CLEAN), self.worst(rule)
        if clean is None or worst is None:
            return None
        return clean - worst.value if self.metric.higher_is_better else worst.value - clean


def compare(results: Iterable[Result]) -> list[Comparison]:
    """The comparisons in some results, one a setting; clean runs count in each setting that they share."""
    groups: dict[Setting, list[Result]] = {}
    for result in sorted(results, key=lambda result: attack_of(result) == CLEAN):  # attacked runs make the settings
        setting = _setting(result)
        if attack_of(result) == CLEAN:
            met = [other for other in groups if _without_attackers(other) == _without_attackers(setting)]
        else:
            met = [setting]
        for place in met or [setting]:
            groups.setdefault(place, []).append(result)
    return [Comparison(_title(setting, groups), tuple(runs), metric_of(runs)) for setting, runs in groups.items()]


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


@cache
def _named_seeds() -> dict[Seeds, int]:
    return {Seeds.derive(seed): seed for seed in range(NAMED_SEEDS)}


def seed_text(result: Result) -> str:
    """The small integer that a run's streams were derived from, else the number of its data stream."""
    seeds = result.spec.seed
    return str(_named_seeds().get(seeds, seeds.data) if isinstance(seeds, Seeds) else seeds)
