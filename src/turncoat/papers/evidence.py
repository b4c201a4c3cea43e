"""What results say of a sentence: numbers over seeds, and comparisons that hold, fail or stay undecided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from statistics import fmean, pstdev, stdev
from typing import Literal, NamedTuple, overload

import msgspec

from turncoat.papers.campaigns import meets, spelled
from turncoat.results.metric import ACCURACY, LOSSES, Metric
from turncoat.results.result import Result
from turncoat.results.settings import attack_text, seeds_text
from turncoat.spec import Seeds, Spec, control, task_parts

Verdict = Literal["holds", "fails", "undecided"]
UNSURE = 0.025  # chance, on either side, of an interval of 95 %
TOLD = 20  # comparisons of one claim whose numbers are told
FINEST = 0.002  # of an accuracy: what a test set can tell, when seeds happen to agree
WORST = 1e31  # what a loss that is no number counts as (S0)
DEAD = 1000.0  # from this loss on, how large it is says nothing of a model
QUARTER = 0.25  # of a run: its beginning or end
GUESSING = 0.10  # accuracy among ten classes
STABBED = 0.6  # of a run: its rounds under STAB, 960 of 1,600
RULE_PHASE = "rule"  # of a run, in its timings
FLOORS = {"mnist": 0.90, "fashion_mnist": 0.75, "cifar10": 0.40, "svhn": 0.60}  # from which a control has learnt


class Undecided(Exception):  # noqa: N818
    """Why nothing can be said of a claim."""


class NotLearnt(Undecided):
    """A control, the plain mean that nobody attacks, stayed below the floor of its data set."""


@dataclass(frozen=True)
class Evidence:
    """What one or several comparisons came to, with the numbers of some of them in words.

    `holds` is the chance of numbers like these where the sentence is false, `fails` where it is true.
    """

    holds: float
    fails: float
    numbers: tuple[str, ...]
    count: int = 1
    """How many comparisons there are."""

    @property
    def verdict(self) -> Verdict:
        return "holds" if self.holds <= UNSURE else "fails" if self.fails <= UNSURE else "undecided"

    def __and__(self, other: Evidence) -> Evidence:
        """That both hold. One of k that fails has to be k times as sure (Bonferroni). What decides stands first."""
        a, b = self.count, other.count
        fails = min(min(self.fails / a, other.fails / b) * (a + b), 1.0)
        first = self.fails / a <= other.fails / b if fails <= UNSURE else self.holds >= other.holds
        numbers = self.numbers + other.numbers if first else other.numbers + self.numbers
        return Evidence(max(self.holds, other.holds), fails, numbers[:TOLD], a + b)

    def __or__(self, other: Evidence) -> Evidence:
        """That at least one holds."""
        return ~(~self & ~other)

    def __invert__(self) -> Evidence:
        return replace(self, holds=self.fails, fails=self.holds)


def every(found: Iterable[Evidence]) -> Evidence:
    """That all hold."""
    return reduce(Evidence.__and__, found)


def some(found: Iterable[Evidence]) -> Evidence:
    """That at least one holds."""
    return reduce(Evidence.__or__, found)


def mostly(shares: Sample) -> Evidence:
    """That what is 1 or 0 in each seed is 1 in most of all that there could be: a sign test."""
    from scipy.stats import binom

    n, ones = len(shares.of), round(sum(shares.of.values()))
    numbers = f"{shares.what}: in {ones} of {n} seeds"
    return Evidence(float(binom.sf(ones - 1, n, 0.5)), float(binom.cdf(ones, n, 0.5)), (numbers,))


def known(true: bool, numbers: str) -> Evidence:
    """What is computed without chance."""
    return Evidence(float(not true), float(true), (numbers,))


def measured(margin: float, error: float, numbers: str) -> Evidence:
    """That a margin is at least 0, of which the standard error is known: beyond 3 of them, it is or it is not."""
    return Evidence(float(margin < 3 * error), float(margin > -3 * error), (numbers,))


@dataclass(frozen=True)
class Sample:
    """One number a seed, and what it is; comparisons are one-sided t-tests of the mean over the seeds.

    With a 95 % interval in mind: a comparison holds where all of it is on the right side, fails where all of it is on
    the other, and is undecided in between, as it always is with a single seed.
    """

    of: Mapping[int, float]
    what: str
    percent: bool = False

    @overload
    def __sub__(self, other: Sample) -> Sample: ...

    @overload
    def __sub__(self, other: Extreme) -> Extreme: ...

    def __sub__(self, other: Quantity) -> Quantity:
        """The difference, seed by seed, over the seeds that both have."""
        if isinstance(other, Extreme):
            return Extreme([self - one for one in other.among], not other.highest)
        shared = {seed: self.of[seed] - other.of[seed] for seed in self.of if seed in other.of}
        if not shared:
            raise Undecided(f"no seed in common: {self.what}; {other.what}")
        return Sample(shared, f"{self} less {other} =", self.percent)

    def __mul__(self, factor: float) -> Sample:
        """So many times as much, more than 0."""
        if factor == 1:
            return self
        of = {seed: factor * value for seed, value in self.of.items()}
        return replace(self, of=of, what=f"{factor:g} x {self.what}")

    def __ge__(self, bound: Quantity | float) -> Evidence:
        if isinstance(bound, Extreme):
            return bound <= self
        return self._against(bound, "at least", 1)

    def __le__(self, bound: Quantity | float) -> Evidence:
        if isinstance(bound, Extreme):
            return bound >= self
        return self._against(bound, "at most", -1)

    def near(self, other: Sample, within: float) -> Evidence:
        """That both are the same to within so much, either way."""
        apart = self - other
        return (apart >= -within) & (apart <= within)

    def _against(self, bound: Sample | float, words: str, sign: int) -> Evidence:
        if isinstance(bound, Sample):
            return (self - bound)._reaches(0.0, sign, f"{self}; {words} {bound}")
        return self._reaches(bound, sign, f"{self}; {words} {self._text(bound)}")

    def _reaches(self, bound: float, sign: int, numbers: str) -> Evidence:
        from scipy.stats import t

        if len(self.of) < 2:
            return Evidence(1.0, 1.0, (f"{numbers}; one seed",))
        margin = sign * (self.mean - bound)
        statistic = margin / self.error if self.error else math.copysign(math.inf, margin or 1.0)
        below = float(t.cdf(statistic, len(self.of) - 1))
        return Evidence(1 - below, below, (numbers,))

    @property
    def mean(self) -> float:
        return fmean(self.of.values())

    @property
    def error(self) -> float:
        """The standard error of the mean, of two seeds or more."""
        deviation = stdev(self.of.values())
        return max(deviation, FINEST if self.percent else 0.0) / math.sqrt(len(self.of))

    def _text(self, value: float) -> str:
        return f"{100 * value:.1f} %" if self.percent else f"{value:.3g}"

    def __str__(self) -> str:
        spread = f"±{self._text(self.error)}" if len(self.of) > 1 else ""
        return f"{self.what} {self._text(self.mean)}{spread}"


@dataclass(frozen=True)
class Extreme:
    """The highest or the lowest of several quantities, whichever of them that is: any or all of them are compared."""

    among: Sequence[Quantity]
    highest: bool

    def __sub__(self, other: Quantity) -> Extreme:
        return replace(self, among=[one - other for one in self.among])

    def __ge__(self, bound: Quantity | float) -> Evidence:
        return (some if self.highest else every)(one >= bound for one in self.among)

    def __le__(self, bound: Quantity | float) -> Evidence:
        return (every if self.highest else some)(one <= bound for one in self.among)


Quantity = Sample | Extreme


@dataclass(frozen=True)
class Measure:
    """One number of a run."""

    name: str
    of: Callable[[Result], float] = field(repr=False)
    percent: bool = False


def _final(metric: Metric) -> Callable[[Result], float]:
    return lambda result: _number(metric.final(result), metric)


def _number(value: float | None, metric: Metric) -> float:
    if value is None:
        raise Undecided(f"no {metric.title} was measured")
    if math.isfinite(value):
        return value
    return 0.0 if metric.higher_is_better else WORST


def _values(result: Result, metric: Metric) -> list[float]:
    """All that were measured in a run, one at least."""
    return [_number(value, metric) for value in metric.values(result) or [None]]


def _accuracies(result: Result, start: float, stop: float) -> list[float]:
    """Those of a part of a run, two at least; that before the first round is of no part."""
    values = [_number(record.test_accuracy, ACCURACY) for record in result.records if record.round]
    if len(values) < 2:
        raise Undecided("fewer than two accuracies were measured")
    first = min(round(start * len(values)), len(values) - 2)
    return values[first : max(first + 2, round(stop * len(values)))]


def _gained(result: Result) -> float:
    """From the first evaluation under attack to the last."""
    found = [
        _number(record.test_accuracy, ACCURACY) for record in result.records if record.round > result.spec.attack_start
    ]
    if not found:
        raise Undecided("no accuracy was measured under attack")
    return found[-1] - found[0]


def _distances(result: Result, start: float = 0.0, stop: float = 1.0) -> list[float]:
    """The distances to the optimum after the steps of a part of a run."""
    values = [_number(record.extra.get("error"), ERROR_METRIC) for record in result.records if record.round]
    return values[round(start * len(values)) : round(stop * len(values))]


ERROR_METRIC = Metric("error", "distance to the optimum")
PASSING = Metric("passed", "share of the attack that passes")
TRAINING = LOSSES[1]
FINAL = Measure("final accuracy", _final(ACCURACY), percent=True)
BEST = Measure("best accuracy", lambda result: _number(result.best_accuracy, ACCURACY), percent=True)
EARLY = Measure(
    "accuracy in the first quarter, less the 10 % of guessing",
    lambda result: fmean(_accuracies(result, 0, QUARTER)) - GUESSING,
    percent=True,
)
UNDER_ATTACK = Measure("accuracy gained under attack", _gained, percent=True)
UNDER_STAB = Measure(
    "accuracy as STAB ends", lambda result: fmean(_accuracies(result, STABBED - 0.1, STABBED)), percent=True
)
SWING = Measure(
    "swing of the accuracy in the last quarter", lambda result: pstdev(_accuracies(result, 1 - QUARTER, 1)), True
)
LOG_LOSS = Measure(
    "log10 of the final training loss, at most 3",
    lambda result: math.log10(min(max(_final(TRAINING)(result), 1e-30), DEAD)),
)
PASSED = Measure("share of the attack that passes", lambda result: fmean(_values(result, PASSING)), percent=True)
EXPLODED = Measure(
    "share of runs whose loss ends at a thousand or more",
    lambda result: float(_final(TRAINING)(result) >= DEAD),
    percent=True,
)
ERROR = Measure("final distance to the optimum", lambda result: _distances(result)[-1])
LEAST_ERROR = Measure("smallest distance to the optimum", lambda result: min(_distances(result)))
WHOLE_WAY = Measure("mean distance to the optimum", lambda result: fmean(_distances(result)))
FIRST_HALF = Measure("mean distance in the first half", lambda result: fmean(_distances(result, 0, 0.5)))
SECOND_HALF = Measure("mean distance in the second half", lambda result: fmean(_distances(result, 0.5)))
RULE_SECONDS = Measure("seconds in the rule", lambda result: result.timings[RULE_PHASE])


class Run(NamedTuple):
    """A run of a paper, and the result of the run that stands for it; None where that failed or was not run."""

    spec: Spec
    """The paper's."""
    result: Result | None


class Runs:
    """Some runs of an experiment, from which claims take what they are about."""

    def __init__(self, runs: Iterable[Run], names: Mapping[str, str] | None = None) -> None:
        self.runs, self.named = list(runs), ""
        self.names = names or {}
        """What the paper calls rules, attacks and splits, by their spelling."""
        self.whole = self
        """All runs of the figure, among them the controls."""

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def done(self) -> Iterator[tuple[Spec, Result]]:
        """Those that there are results of."""
        return ((spec, result) for spec, result in self.runs if result is not None)

    def at(self, **fields: object) -> Runs:
        """Those whose specification has these values, one or any of a list; raises `Undecided` where there are none."""
        wanted = spelled(fields)
        found = [run for run in self if meets(run.spec, wanted)]
        words = [_words(key, list(map(self.name, values))) for key, values in wanted.items() if len(values) <= 3]
        named = ", ".join(filter(None, [self.named, *words]))
        if not found:
            raise Undecided(f"no runs of {named}")
        return self._part(found, named)

    def without(self, **fields: object) -> Runs:
        """Those whose specification has none of these values."""
        wanted = spelled(fields)
        left = [run for run in self if not any(meets(run.spec, {key: values}) for key, values in wanted.items())]
        return self._part(left, self.named)

    def _part(self, runs: list[Run], named: str) -> Runs:
        part = Runs(runs, self.names)
        part.named, part.whole = named, self.whole
        return part

    def name(self, value: object) -> str:
        """What the paper calls a rule, an attack or a split."""
        return self.names.get(str(value), attack_text(str(value)))

    def each(self, key: str) -> dict[object, Runs]:
        """The runs by a field of their specification, in the order in which its values come."""
        return {value: self.at(**{key: value}) for value in dict.fromkeys(getattr(run.spec, key) for run in self)}

    def of(self, measure: Measure) -> Sample:
        """A number a seed, of runs that differ in nothing else."""
        samples = self._samples(measure)
        if len(samples) != 1:
            raise ValueError(f"{self.named}: {len(samples)} settings where one is meant")
        return samples[0]

    def lowest(self, measure: Measure) -> Extreme:
        """The lowest number among the settings."""
        return Extreme(self._samples(measure), highest=False)

    def highest(self, measure: Measure) -> Extreme:
        """The highest number among the settings."""
        return Extreme(self._samples(measure), highest=True)

    def _samples(self, measure: Measure) -> list[Sample]:
        if not self.runs:
            raise Undecided(f"no runs of {self.named}")
        return [self._sample(runs, measure) for runs in self.settings.values()]

    @cached_property
    def settings(self) -> dict[Spec, list[Run]]:
        """The runs that differ in nothing but the seed."""
        found: dict[Spec, list[Run]] = {}
        for run in self:
            found.setdefault(_unseeded(run.spec), []).append(run)
        return found

    def _sample(self, runs: list[Run], measure: Measure) -> Sample:
        found = {}
        for spec, result in runs:
            if result is None:
                raise Undecided(f"a run of {self.named} failed or is missing: seed {seeds_text(spec.seed)}")
            assert isinstance(spec.seed, Seeds)
            found[spec.seed.data] = measure.of(result)
        self._learnt(runs[0].spec)
        varied = [key for key in ("rule", "attack") if len({getattr(run.spec, key) for run in self}) > 1]
        which = ", ".join(self.name(getattr(runs[0].spec, key)) for key in varied)
        named = ", namely ".join(filter(None, [self.named, which]))
        return Sample(found, f"{named}: {measure.name}", measure.percent)

    def _learnt(self, spec: Spec) -> None:
        """Raise `NotLearnt` where the control of a setting, over its seeds, stays below the floor of its data set."""
        dataset, _ = task_parts(spec.task)
        floor = FLOORS.get(dataset.name)
        if floor is None:
            return
        of = _unseeded(control(spec))
        reached = [BEST.of(result) for _, result in self.whole.settings.get(of, []) if result is not None]
        if not reached:
            raise Undecided(f"the control on {self._control(of)} failed or is missing")
        if fmean(reached) < floor:
            raise NotLearnt(f"the control on {self._control(of)} reached {fmean(reached):.1%}, of at least {floor:.0%}")

    def _control(self, spec: Spec) -> str:
        """A control's task, and what else tells it from the figure's other controls."""
        controls = [each for each in self.whole.settings if each == _unseeded(control(each))]
        fields = (key for key in spec.__struct_fields__ if key != "task")
        varied = (key for key in fields if len({getattr(each, key) for each in controls}) > 1)
        return ", ".join([spec.task, *(_words(key, [self.name(getattr(spec, key))]) for key in varied)])


def _unseeded(spec: Spec) -> Spec:
    return msgspec.structs.replace(spec, seed=0)


def _words(key: str, texts: list[str]) -> str:
    return " or ".join(texts) if key in ("rule", "attack", "split", "task") else f"{key} = {' or '.join(texts)}"
