"""What results say of a sentence: numbers over seeds, and comparisons that hold, fail or stay open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal, NamedTuple

from turncoat.papers.campaigns import meets, spelled
from turncoat.results.metric import ACCURACY, LOSSES, Metric
from turncoat.results.result import Result
from turncoat.results.settings import CLEAN, attack_text
from turncoat.spec import Seeds, Spec

Verdict = Literal["holds", "fails", "undecided"]
SURE = 0.95  # of the interval over the seeds
WORST = 1e31  # what a loss that is no number counts as (S0)
RULE_PHASE = "rule"  # of a run, in its timings
LATE = 0.25  # of a run: its end, over which it swings
FLOORS = {"mnist": 0.90, "fashion_mnist": 0.75, "cifar10": 0.40}  # accuracy from which a control has learnt


class Undecided(Exception):  # noqa: N818
    """Why nothing can be said: cells that are missing, a control that did not learn."""


@dataclass(frozen=True)
class Evidence:
    """What a comparison came to, with its numbers in words."""

    verdict: Verdict
    numbers: tuple[str, ...]

    def __and__(self, other: Evidence) -> Evidence:
        """Fails where one fails, holds where both hold."""
        return Evidence(_least(self.verdict, other.verdict), self.numbers + other.numbers)

    def __or__(self, other: Evidence) -> Evidence:
        """Holds where one holds, fails where both fail."""
        return Evidence(
            _opposite(_least(_opposite(self.verdict), _opposite(other.verdict))), self.numbers + other.numbers
        )

    def __invert__(self) -> Evidence:
        return Evidence(_opposite(self.verdict), self.numbers)


def _least(a: Verdict, b: Verdict) -> Verdict:
    order: tuple[Verdict, ...] = ("fails", "undecided", "holds")
    return order[min(order.index(a), order.index(b))]


def _opposite(verdict: Verdict) -> Verdict:
    opposites: dict[Verdict, Verdict] = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
    return opposites[verdict]


def every(found: Iterable[Evidence]) -> Evidence:
    """That all hold."""
    return reduce(Evidence.__and__, found)


def some(found: Iterable[Evidence]) -> Evidence:
    """That at least one holds."""
    return reduce(Evidence.__or__, found)


def known(true: bool, numbers: str) -> Evidence:
    """What is computed without chance, or to within an error that `numbers` states."""
    return Evidence("holds" if true else "fails", (numbers,))


@dataclass(frozen=True)
class Sample:
    """One number a seed, and what it is; comparisons are judged by the t-interval of the mean over the seeds.

    A comparison holds where the whole 95 % interval is on the right side, fails where it is on the other, and stays
    open in between, as it always does with a single seed.
    """

    of: Mapping[int, float]
    what: str
    percent: bool = False

    def __sub__(self, other: Sample) -> Sample:
        """The difference, seed by seed, over the seeds that both have."""
        seeds = [seed for seed in self.of if seed in other.of]
        return Sample({seed: self.of[seed] - other.of[seed] for seed in seeds}, f"{self} less {other}", self.percent)

    def __mul__(self, factor: float) -> Sample:
        return Sample(
            {seed: factor * value for seed, value in self.of.items()}, f"{factor:g} x {self.what}", self.percent
        )

    def __ge__(self, bound: Sample | float) -> Evidence:
        return self._against(bound, 1, "at least")

    def __le__(self, bound: Sample | float) -> Evidence:
        return self._against(bound, -1, "at most")

    def near(self, other: Sample, within: float) -> Evidence:
        """That both are the same to within so much, either way."""
        apart = self - other
        return every([apart._judged(1, -within, "no less than", self), apart._judged(-1, within, "no more than", self)])

    def _against(self, bound: Sample | float, sign: int, words: str) -> Evidence:
        if isinstance(bound, Sample):
            low, high = (self - bound).interval
            said = f"{self}; {words}: {bound}; difference {self._text(low)} to {self._text(high)}"
            return Evidence(_verdict(low, high, sign), (said,))
        return self._judged(sign, bound, words, self)

    def _judged(self, sign: int, bound: float, words: str, shown: Sample) -> Evidence:
        low, high = (edge - bound for edge in self.interval)
        about = f"{shown}" if shown is self else f"{self.what}: {self._text(self.mean)}"
        return Evidence(_verdict(low, high, sign), (f"{about}; {words} {self._text(bound)}",))

    @property
    def mean(self) -> float:
        return sum(self.of.values()) / len(self.of)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean by Student's t; without end for one seed."""
        values = list(self.of.values())
        if len(values) < 2:
            return -math.inf, math.inf
        from scipy.stats import t

        mean = self.mean
        error = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
        reach = float(t.ppf((1 + SURE) / 2, len(values) - 1)) * error
        return mean - reach, mean + reach

    def _text(self, value: float) -> str:
        if math.isinf(value):
            return "unknown"
        return f"{100 * value:.1f} %" if self.percent else f"{value:.3g}"

    def __str__(self) -> str:
        low, high = self.interval
        spread = f"±{self._text((high - low) / 2)}" if math.isfinite(high) else " (one seed)"
        return f"{self.what} {self._text(self.mean)}{spread}"


def _verdict(low: float, high: float, sign: int) -> Verdict:
    """Whether an interval of margins lies above 0, below it, or around it."""
    low, high = (low, high) if sign > 0 else (-high, -low)
    return "holds" if low >= 0 else "fails" if high < 0 else "undecided"


@dataclass(frozen=True)
class Measure:
    """One number of a run."""

    name: str
    of: Callable[[Result], float] = field(repr=False)
    percent: bool = False


def _final(metric: Metric) -> Callable[[Result], float]:
    return lambda result: _number(metric.final(result), metric)


def _best(result: Result) -> float:
    return _number(result.best_accuracy, ACCURACY)


def _swing(result: Result) -> float:
    """The standard deviation of the accuracy over the last quarter of a run."""
    values = ACCURACY.values(result)
    late = values[-max(2, round(LATE * len(values))) :]
    mean = sum(late) / len(late)
    return math.sqrt(sum((value - mean) ** 2 for value in late) / len(late))


def _number(value: float | None, metric: Metric) -> float:
    if value is None:
        raise Undecided(f"no {metric.title} was measured")
    if math.isfinite(value):
        return value
    return 0.0 if metric.higher_is_better else WORST


def _way(fraction: float) -> Callable[[Result], float]:
    """The mean distance to the optimum over the last part of a run, from its start on where the fraction is 1."""

    def mean(result: Result) -> float:
        values = _distances(result)
        late = values[-max(1, round(fraction * len(values))) :]
        return sum(late) / len(late)

    return mean


def _distances(result: Result) -> list[float]:
    """The distance to the optimum after each step."""
    return [_number(record.extra["error"], Metric("error", "error")) for record in result.records if record.round]


FINAL = Measure("final accuracy", _final(ACCURACY), percent=True)
BEST = Measure("best accuracy", _best, percent=True)
SWING = Measure("swing of the late accuracy", _swing, percent=True)
RULE_SECONDS = Measure("seconds in the rule", lambda result: result.timings[RULE_PHASE])
LOSS = Measure("final training loss", _final(LOSSES[1]))
LEAST_ERROR = Measure("smallest distance to the optimum", lambda result: min(_distances(result)))
ERROR = Measure("final distance to the optimum", _final(Metric("error", "error")))
WHOLE_WAY = Measure("mean distance to the optimum", _way(1.0))
SECOND_HALF = Measure("mean distance in the second half", _way(0.5))


class Run(NamedTuple):
    """A run, and the run of the paper that it stands for: the same one, or a larger one."""

    spec: Spec
    """The paper's."""
    result: Result


class Runs:
    """Some runs of an experiment, from which claims take what they are about."""

    def __init__(self, runs: Iterable[Run], named: str = "") -> None:
        self.runs, self.named = list(runs), named

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def at(self, **fields: object) -> Runs:
        """Those whose specification has these values, one or any of a list; `attack="none"` is without attackers.

        Raises `Undecided` where there are none.
        """
        wanted = spelled(fields)
        found = [run for run in self if meets(run.spec, wanted)]
        words = [_words(key, values) for key, values in wanted.items()]
        named = ", ".join(word for word in (self.named, *words) if word)
        if not found:
            raise Undecided(f"no runs of {named}")
        return Runs(found, named)

    def without(self, **fields: object) -> Runs:
        """Those whose specification has none of these values."""
        wanted = spelled(fields)
        left = [run for run in self if not any(meets(run.spec, {key: values}) for key, values in wanted.items())]
        if not left:
            raise Undecided(f"no runs of {self.named} but those")
        return Runs(left, self.named)

    def each(self, key: str) -> dict[object, Runs]:
        """The runs by a field of their specification, in the order in which its values come."""
        return {value: self.at(**{key: value}) for value in dict.fromkeys(getattr(run.spec, key) for run in self)}

    def mean(self, measure: Measure) -> Sample:
        return self._over(measure, lambda values: sum(values) / len(values), "mean")

    def lowest(self, measure: Measure) -> Sample:
        return self._over(measure, min, "lowest")

    def highest(self, measure: Measure) -> Sample:
        return self._over(measure, max, "highest")

    def _over(self, measure: Measure, pick: Callable[[list[float]], float], word: str) -> Sample:
        """A number a seed: over the runs of that seed, of which each seed has to have the same number."""
        values: dict[int, list[float]] = {}
        for spec, result in self:
            assert isinstance(spec.seed, Seeds)
            values.setdefault(spec.seed.data, []).append(measure.of(result))
        most = max(map(len, values.values()), default=0)
        whole = {seed: pick(found) for seed, found in values.items() if len(found) == most}
        if not whole:
            raise Undecided(f"no runs of {self.named}")
        of = f"{word} of {most}: " if most > 1 else ""
        return Sample(whole, f"{self.named}: {of}{measure.name}", measure.percent)

    def learnt(self) -> None:
        """Raise `Undecided` where a control, the plain mean that nobody attacks, stays below its data set's floor."""
        for _, result in self:
            floor = FLOORS.get(result.spec.task.partition("/")[0])
            clean = result.spec.rule == "mean" and result.spec.attack == CLEAN
            if clean and floor and _best(result) < floor:
                raise Undecided(
                    f"did not learn: the control on {result.spec.task} reached {_best(result):.1%} of {floor:.0%}"
                )


def _words(key: str, values: list[object]) -> str:
    if len(values) > 3:
        return ""
    names = " or ".join(attack_text(value) if key == "attack" else str(value) for value in map(str, values))
    return names if key in ("rule", "attack", "split", "task") else f"{key} = {names}"
