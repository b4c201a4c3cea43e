"""What a report shows: of each setting its heat map, charts and drill-down, then the sweeps that go across settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turncoat.report.charts import colour, heat_map, phases, plans, shade
from turncoat.report.drawing import COSINE, DISTANCE, Chart, Row, Style, curves, metrics_of, series, styles
from turncoat.report.summary import headline
from turncoat.report.sweeps import Sweep, sweeps_of
from turncoat.results.result import Result
from turncoat.results.settings import attack_text
from turncoat.results.statistics import Comparison, Metric, compare

Places = dict[str, str]
"""What stands above each chart, by the place that it is drawn in."""


@dataclass(frozen=True)
class Cell:
    """A cell of the heat map: its figures, its colours, and the numbers of its runs."""

    mean: str
    sd: str
    seeds: int
    worst: bool
    colour: str
    ink: str
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """What is shown of one setting."""

    place: str
    comparison: Comparison
    headline: str
    heat: str
    cells: Mapping[tuple[str, str], Cell]
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

    @property
    def several(self) -> bool:
        """Whether anything was run with several seeds."""
        return any(cell.seeds > 1 for cell in self.cells.values())


class Report:
    """Some results, sorted into sections and drawn: `charts` by place, of `runs` that are held once for all of them."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.results = list(results)
        self.runs = [series(result) for result in self.results]
        self.looks = styles(result.spec.rule for result in self.results)
        self.charts: dict[str, Chart] = {}
        self._numbers = {id(result): number for number, result in enumerate(self.results)}
        self.comparisons = comparisons = compare(self.results)
        self.sections = [self._section(f"setting{i}", comparison) for i, comparison in enumerate(comparisons)]
        self.sweeps = [self._sweep(f"sweep{i}", sweep) for i, sweep in enumerate(sweeps_of(comparisons, self.looks))]

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
        looks = {rule: self.looks[rule] for rule in comparison.rules}
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
            heat=self._put(f"{place}-heat", heat_map(comparison) if len(comparison.runs) > 1 else None),
            cells={cell: self._cell(comparison, *cell) for cell in comparison.runs if comparison.spread(*cell)},
            details={metric: curves(metric, comparison.results, looks, singles=True) for metric in metrics},
            legend=dict(sorted(looks.items())),
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

    def _cell(self, comparison: Comparison, rule: str, attack: str) -> Cell:
        spread = comparison.spread(rule, attack)
        assert spread is not None
        return Cell(
            mean=comparison.metric.text(spread.mean),
            sd="" if spread.sd is None else comparison.metric.text(spread.sd),
            seeds=spread.seeds,
            worst=comparison.is_worst(rule, attack),
            colour=colour(shade(comparison, spread.mean) or 0.0)[0],
            ink=colour(shade(comparison, spread.mean) or 0.0)[1],
            runs=self._of(comparison.runs[rule, attack]),
        )

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
