"""Statistics of results: rules against attacks in each setting, over the seeds that were run.

What counts is a run's final value. A NaN is worse than any number and never dropped. Runs of the same seed differ in
machinery only, and count as one with their mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from turncoat.errors import SpecError
from turncoat.registry import suggest
from turncoat.results.result import Record, Result
from turncoat.results.settings import CLEAN, attack_of, by_numbers, seeds_of, settings, spellings
from turncoat.spec import Seeds

if TYPE_CHECKING:
    import polars

CONTROL = "mean"  # the rule that must learn where nobody attacks
LEAST_GAIN = 0.2  # of what the initial accuracy leaves to be gained
WORST = "worst"
RESAMPLES, MOST_DRAWN = 10_000, 10**7
COVERED = 0.95


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


def is_control(result: Result) -> bool:
    """Whether a run is plain averaging that nobody attacks, which shows whether its setting can be learnt at all."""
    return result.spec.rule == CONTROL and attack_of(result) == CLEAN


def learnt(result: Result) -> bool | None:
    """Whether a run has learnt anything; None where it cannot be told, for want of two evaluations.

    Its final accuracy must be above the initial one by at least a fifth of what that leaves to 1. In a task without
    accuracy, the final test loss must be finite and at most half of the first.
    """
    accuracies, losses = (
        [value for record in result.records if (value := metric.of(record)) is not None]
        for metric in (ACCURACY, LOSSES[0])
    )
    if len(accuracies) > 1:
        return accuracies[-1] - accuracies[0] >= LEAST_GAIN * (1 - accuracies[0])
    if len(losses) > 1 and not accuracies:
        return math.isfinite(losses[-1]) and losses[-1] <= losses[0] / 2
    return None


@dataclass(frozen=True)
class Spread:
    """Final values over seeds: `sd` divides by seeds - 1 and is None for one seed; the worst extreme may be NaN."""

    seeds: int
    mean: float
    sd: float | None
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float], metric: Metric) -> Spread:
        """That of at least one value."""
        mean = sum(values) / len(values)
        sd = None
        if len(values) > 1:
            deviations = [value - mean for value in values]
            sd = math.sqrt(sum(deviation * deviation for deviation in deviations) / (len(values) - 1))
        best, worst = min(values, key=metric.badness), max(values, key=metric.badness)
        low, high = (worst, best) if metric.higher_is_better else (best, worst)
        return cls(len(values), mean, sd, low, high)


@dataclass(frozen=True)
class Worst:
    """The attack under which a rule ends worst, and where."""

    attack: str
    value: float


@dataclass(frozen=True)
class Comparison:
    """Rules against attacks in one setting; every value is the mean of final values over the seeds."""

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
        return sorted({attack for _, attack in self.runs}, key=lambda attack: (attack != CLEAN, by_numbers(attack)))

    @cached_property
    def rules(self) -> list[str]:
        """The rule that stands best under its worst attack first, those that met none last."""

        def rank(rule: str) -> tuple[bool, float, str]:
            worst = self.worst(rule)
            value = worst.value if worst else self.value(rule, CLEAN)
            return worst is None, math.inf if value is None else self.metric.badness(value), rule

        return sorted({rule for rule, _ in self.runs}, key=rank)

    @property
    def best(self) -> str:
        """The rule that stands best, of those that met every attack if any did."""
        return next((rule for rule in self.rules if not self.missing(rule)), self.rules[0])

    @cached_property
    def learnt(self) -> bool | None:
        """Whether all controls have learnt; None where there is none, or none that tells."""
        told = {learnt(result) for result in self.results if is_control(result)} - {None}
        return all(told) if told else None

    @cached_property
    def _finals(self) -> dict[tuple[str, str], dict[Seeds, float]]:
        found = {}
        for cell, runs in self.runs.items():
            of_seed: dict[Seeds, list[float]] = {}
            for run in runs:
                if (final := self.metric.final(run)) is not None:
                    of_seed.setdefault(seeds_of(run), []).append(final)
            found[cell] = {seeds: sum(values) / len(values) for seeds, values in of_seed.items()}
        return found

    def finals(self, rule: str, attack: str) -> dict[Seeds, float]:
        """The final value of each seed, of those that were run and measured."""
        return self._finals.get((rule, attack), {})

    def spread(self, rule: str, attack: str) -> Spread | None:
        """The final values over the seeds, None where nothing was run or measured."""
        finals = self.finals(rule, attack)
        return Spread.of(list(finals.values()), self.metric) if finals else None

    def value(self, rule: str, attack: str) -> float | None:
        """The mean final value, None where nothing was run or measured."""
        spread = self.spread(rule, attack)
        return spread.mean if spread else None

    def worst(self, rule: str, among: Iterable[str] | None = None) -> Worst | None:
        """The worst of the attacks that were run against a rule, or of some of them; None where there was none."""
        attacks = self.attacks if among is None else among
        values = [(attack, self.value(rule, attack)) for attack in attacks if attack != CLEAN]
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


@dataclass(frozen=True)
class Difference:
    """The final values of rule a minus those of rule b, over the seeds that both were run with.

    Pairing takes out what a seed does to both. Where `attack` is `worst`, each rule stands under its own worst of the
    attacks that both met, `attack_a` and `attack_b`. A NaN counts as infinitely bad, and what is infinite on both sides
    as no difference. `better` is the number of seeds for which a ends better; `low` and `high` bound the mean
    difference, see `interval`, and are None where that is.
    """

    attack: str
    attack_a: str
    attack_b: str
    seeds: int
    better: int
    mean: float
    low: float | None
    high: float | None


def compare(results: Iterable[Result]) -> list[Comparison]:
    """The comparisons in some results, one a setting."""
    return [Comparison(title, tuple(runs), metric_of(runs)) for title, runs in settings(results).items()]


def summary(results: Iterable[Result]) -> polars.DataFrame:
    """One row a setting, rule and attack: how the final values spread over the seeds.

    `learnt` is about the setting: false where a control, the plain mean that nobody attacks, did not learn, so that its
    figures say nothing about rules; null where there is no control.
    """
    rows = []
    for one in compare(results):
        for rule in one.rules:
            for attack in one.attacks:
                if spread := one.spread(rule, attack):
                    cell = {"setting": one.title, "rule": rule, "attack": attack, "metric": one.metric.name}
                    rows.append(cell | asdict(spread) | {"learnt": one.learnt})
    return _frame(rows, texts="setting rule attack metric", counts="seeds", values="mean sd min max", truths="learnt")


def worst(results: Iterable[Result]) -> polars.DataFrame:
    """One row a setting and rule: the attack of the worst mean, its spread over the seeds, and what it took.

    `clean` is the mean without attack, `lost` what lies between, `missing` how many attacks others met and this rule
    did not. The rule that stands best comes first.
    """
    rows = []
    for one in compare(results):
        for rule in one.rules:
            if found := one.worst(rule):
                spread = one.spread(rule, found.attack)
                assert spread is not None
                row = {"setting": one.title, "rule": rule, "attack": found.attack, "metric": one.metric.name}
                row |= asdict(spread) | {"clean": one.value(rule, CLEAN), "lost": one.lost(rule)}
                rows.append(row | {"missing": len(one.missing(rule)), "learnt": one.learnt})
    values = "mean sd min max clean lost"
    return _frame(rows, texts="setting rule attack metric", counts="seeds missing", values=values, truths="learnt")


def paired(results: Iterable[Result], a: str | None = None, b: str | None = None) -> polars.DataFrame:
    """One row a setting and attack: how two rules differ over the seeds that both were run with, see `Difference`.

    Without b, the rule that stands best in a setting is taken; without a, each of the others. Raises `SpecError` for a
    rule that no result has.
    """
    comparisons = compare(results)
    rules = {rule for one in comparisons for rule in one.rules}
    a, b = (None if rule is None else _spelled(rule, rules) for rule in (a, b))
    rows = []
    for one in comparisons:
        other = b or one.best
        for rule in [a] if a else one.rules:
            names = {"setting": one.title, "a": rule, "b": other, "metric": one.metric.name}
            rows += [names | asdict(found) for found in differences(one, rule, other) if rule != other]
    texts = "setting a b metric attack attack_a attack_b"
    return _frame(rows, texts=texts, counts="seeds better", values="mean low high")


def _spelled(rule: str, rules: Iterable[str]) -> str:
    """A rule as the results write it."""
    found = [each for each in rules if each in spellings("rule", rule)]
    if not found:
        raise SpecError(f"no result has the rule {rule!r}: {suggest(rule, rules)}")
    return found[0]


def differences(one: Comparison, a: str, b: str) -> list[Difference]:
    """Those of two rules under each attack that both met with a common seed, and at last under their worst."""
    both = [attack for attack in one.attacks if one.finals(a, attack).keys() & one.finals(b, attack).keys()]
    matches = [(attack, attack, attack) for attack in both]
    worst_a, worst_b = one.worst(a, both), one.worst(b, both)
    if worst_a and worst_b:
        matches.append((WORST, worst_a.attack, worst_b.attack))
    found = []
    for attack, attack_a, attack_b in matches:
        finals_a, finals_b = one.finals(a, attack_a), one.finals(b, attack_b)
        if pairs := [(finals_a[seeds], finals_b[seeds]) for seeds in finals_a if seeds in finals_b]:
            found.append(_difference(attack, attack_a, attack_b, pairs, one.metric))
    return found


def _difference(
    attack: str, attack_a: str, attack_b: str, pairs: Sequence[tuple[float, float]], metric: Metric
) -> Difference:
    worst = -math.inf if metric.higher_is_better else math.inf
    numbers = [tuple(worst if math.isnan(value) else value for value in pair) for pair in pairs]
    apart = [0.0 if a == b else a - b for a, b in numbers]
    better = sum(metric.badness(a) < metric.badness(b) for a, b in pairs)
    low, high = interval(apart) or (None, None)
    return Difference(attack, attack_a, attack_b, len(pairs), better, sum(apart) / len(apart), low, high)


def interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of a mean difference: percentiles of the means of resamples (Efron, 1979), the same at each call.

    None for fewer than two differences and where one is not finite. It is too narrow for few: of normal differences, it
    holds the true mean in about 50 % of cases with 2, 75 % with 3, 84 % with 5, 91 % with 10. Of equal differences it
    has no width, which says that they are few or rounded, not that the next would be the same.
    """
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    import numpy as np

    values = np.asarray(differences)
    resamples = min(RESAMPLES, MOST_DRAWN // len(values))
    drawn = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def mixtures(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """What the results were computed with that is not the same in all: of each such thing, how many runs had which.

    Versions, machines, devices, threads, the package's code, and where a campaign noted them the data and own files.
    """
    counts: dict[str, Counter[str]] = {}
    for result in results:
        had = {name: str(value) for name, value in msgspec.structs.asdict(result.environment).items()}
        had["turncoat's code"] = result.source_hash[:12]
        had |= {f"data of {result.spec.task}": result.data_files[:12]} if result.data_files else {}
        had |= {name: digest[:12] for name, digest in result.files.items()}
        for name, version in had.items():
            counts.setdefault(name, Counter())[version] += 1
    return {name: dict(found.most_common()) for name, found in counts.items() if len(found) > 1}


def _frame(
    rows: Sequence[Mapping[str, Any]], *, texts: str, counts: str, values: str, truths: str = ""
) -> polars.DataFrame:
    """Rows as a frame, with its columns' names by their types."""
    import polars as pl

    kinds = {texts: pl.String, counts: pl.Int64, values: pl.Float64, truths: pl.Boolean}
    return pl.DataFrame(rows, schema={name: kind for names, kind in kinds.items() for name in names.split()})
