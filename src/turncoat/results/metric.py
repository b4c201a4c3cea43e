"""What is compared: a metric of the runs, and how its final values spread over the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turncoat.results.result import Record, Result


@dataclass(frozen=True)
class Metric:
    """What a comparison compares: a record's field, or one of the task's own metrics."""

    name: str
    title: str
    higher_is_better: bool = False
    fraction: bool = False

    @property
    def quantity(self) -> str:
        """What its figures are, with their unit: `test accuracy in %`."""
        return f"{self.title} in %" if self.fraction else self.title

    def of(self, record: Record) -> float | None:
        """The record's value, None where it was not measured."""
        return getattr(record, self.name) if self.name in record.__struct_fields__ else record.extra.get(self.name)

    def values(self, result: Result) -> list[float]:
        """All values measured in a run."""
        return [value for record in result.records if (value := self.of(record)) is not None]

    def final(self, result: Result) -> float | None:
        """The last value measured in a run."""
        return next((value for record in reversed(result.records) if (value := self.of(record)) is not None), None)

    def best(self, result: Result) -> float | None:
        """The best value of a run."""
        return min(self.values(result), key=self.badness, default=None)

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
SUCCESS = Metric("attack_success", "backdoor success", fraction=True)


def own_metrics(results: Iterable[Result]) -> list[Metric]:
    """The tasks' own, by name; of those that turncoat does not know, less counts as better."""
    names = sorted({name for result in results for record in result.records for name in record.extra})
    return [SUCCESS if name == SUCCESS.name else Metric(name, name.replace("_", " ")) for name in names]


def metric_of(results: Sequence[Result]) -> Metric:
    """Accuracy where any run has it, else the task's own first metric, else a loss."""
    choices = (ACCURACY, *own_metrics(results), *LOSSES)
    found = (metric for metric in choices if any(metric.final(result) is not None for result in results))
    return next(found, ACCURACY)


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

    def text(self, metric: Metric) -> str:
        """The mean with its standard deviation over the seeds, where there are several finite ones: `87.3±1.2`."""
        told = self.sd is not None and math.isfinite(self.sd)
        return metric.text(self.mean) + (f"±{metric.text(self.sd)}" if told else "")
