"""What a report shows: of each setting its heat map, charts and drill-down, then the sweeps that go across settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turncoat.report.charts import colour, heat_map, phases, plans, shades, turned
from turncoat.report.drawing import COSINE, DISTANCE, Chart, Row, Style, curves, metrics_of, series, styles
from turncoat.report.summary import Notice, headline, notices
from turncoat.report.sweeps import Sweep, sweeps_of
from turncoat.results.comparison import Comparison, Where, compare
from turncoat.results.failure import Failure
from turncoat.results.metric import Metric
from turncoat.results.result import Result
from turncoat.results.settings import attack_text

Places = dict[str, str]
"""What stands above each chart, by the place that it is drawn in."""


@dataclass(frozen=True)
class Cell:
    """A cell of the heat map: its figures, its colours, and the numbers of its runs."""

    mean: str
    beside: str
    worst: bool
    colour: str
    ink: str
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Heat:
    """A heat map, which the page has as a table, and files as a chart."""

    place: str
    comparison: Comparison
    cells: Mapping[Where, Cell]

    @property
    def turned(self) -> bool:
        """Whether the attacks stand in rows."""
        return turned(self.comparison)


@dataclass(frozen=True)
class Section:
    """What is shown of one setting."""

    place: str
    comparison: Comparison
    headline: str
    heats: list[Heat]
    """Of the final values, where there are several; then of how often a backdoor works, where one was planted."""
    details: Mapping[Metric, Row]
    """What is drawn of a cell that is looked into."""
    legend: Mapping[str, Style]
    curves: Places
    aggregate: Mapping[str, Places]
    """How far the aggregate is from the honest mean, by measure."""
    time: str
    plans: Places
    winners: list[tuple[str, str, int, str]]
    """Of attacks that look ahead: rule, attack, how many plans, and which way of finding moves won how often."""

    @property
    def missing(self) -> bool:
        """Whether some rule was spared an attack that another met."""
        return any(self.comparison.missing(rule) for rule in self.comparison.rules)


class Report:
    """Some results, sorted into sections and drawn: `charts` by place, of `runs` that are held once for all of them.

    With them the runs that failed, and a word on results that others supersede.
    """

    def __init__(self, results: Iterable[Result], failures: Iterable[Failure] = (), superseded: str = "") -> None:
        self.results, self.failures, self.superseded = list(results), list(failures), superseded
        self.runs = [series(result) for result in self.results]
        self.looks = styles(run.spec.rule for run in (*self.results, *self.failures))
        self.charts: dict[str, Chart] = {}
        self._numbers = {id(result): number for number, result in enumerate(self.results)}
        self.comparisons = comparisons = compare(self.results, self.failures)
        self.sections = [self._section(f"setting{i}", comparison) for i, comparison in enumerate(comparisons)]
        self.sweeps = [self._sweep(f"sweep{i}", sweep) for i, sweep in enumerate(sweeps_of(comparisons, self.looks))]

    @property
    def seeded(self) -> bool:
        """Whether something was run with several seeds."""
        return any(comparison.seeded for comparison in self.comparisons)

    @property
    def notices(self) -> list[Notice]:
        """What must be said first."""
        return notices(self.results, self.comparisons, self.failures, self.superseded)

    def _put(self, place: str, chart: Chart | None) -> str:
        """Keep a chart; returns its place, which is empty without one."""
        if chart is None:
            return ""
        self.charts[place] = chart
        return place

    def _of(self, results: Iterable[Result]) -> tuple[int, ...]:
        return tuple(self._numbers[id(result)] for result in results)

    def _section(self, place: str, comparison: Comparison) -> Section:
        metrics = metrics_of(comparison.results)
        looks = {rule: self.looks[rule] for rule in sorted(comparison.rules)}
        aggregate = {
            metric.title: self._panels(f"{place}-{metric.name}", comparison, metric, looks)
            for metric in (DISTANCE, COSINE)
            if metric in metrics
        }
        drawn: Places = {}
        for i, ((rule, attack), results) in enumerate(comparison.runs.items()):
            title = f"{attack_text(attack)} plans against {rule}"
            if found := self._put(f"{place}-plans{i}", plans(results, title, comparison.title)):
                drawn[found] = f"{attack} against {rule}"
        return Section(
            place=place,
            comparison=comparison,
            headline=headline(comparison),
            heats=self._heats(place, comparison),
            details={metric: curves(metric, comparison.results, looks, singles=True) for metric in metrics},
            legend=looks,
            curves=self._panels(f"{place}-curves", comparison, comparison.metric, looks),
            aggregate=aggregate,
            time=self._put(f"{place}-time", phases(comparison)),
            plans=drawn,
            winners=_winners(comparison),
        )

    def _panels(self, place: str, comparison: Comparison, metric: Metric, looks: Mapping[str, Style]) -> Places:
        """One panel an attack, all with the same axes."""
        spec, headings = curves(metric, comparison.results, looks), {}
        for i, attack in enumerate(comparison.attacks):
            results = [result for (_, met), found in comparison.runs.items() if met == attack for result in found]
            if any(metric.final(result) is not None for result in results):
                title = f"{metric.title}, {attack_text(attack)}"
                chart = Chart(title, comparison.title, spec, runs=self._of(results), metric=metric.name)
                headings[self._put(f"{place}{i}", chart)] = attack_text(attack)
        return headings

    def _heats(self, place: str, comparison: Comparison) -> list[Heat]:
        found = {f"{place}-heat": comparison} if comparison.several else {}
        found |= {f"{place}-backdoors": comparison.backdoors} if comparison.backdoors else {}
        return [Heat(self._put(name, heat_map(one)), one, self._cells(one)) for name, one in found.items()]

    def _cells(self, comparison: Comparison) -> dict[Where, Cell]:
        found = {}
        for where, shade in shades(comparison).items():
            ground, ink = colour(shade)
            found[where] = Cell(
                mean=comparison.mean_text(*where),
                beside=comparison.beside(*where),
                worst=comparison.is_worst(*where),
                colour=ground,
                ink=ink,
                runs=self._of(comparison.runs[where]),
            )
        return found

    def _sweep(self, place: str, sweep: Sweep) -> tuple[Sweep, Places]:
        return sweep, {self._put(f"{place}-{i}", chart): split for i, (split, chart) in enumerate(sweep.panels.items())}


def _winners(comparison: Comparison) -> list[tuple[str, str, int, str]]:
    found = []
    for (rule, attack), results in sorted(comparison.runs.items()):
        won = Counter(plan.winner for result in results for plan in result.plans)
        if won:
            named = ", ".join(f"{winner} {count}" for winner, count in won.most_common())
            found.append((rule, attack, won.total(), named))
    return found
