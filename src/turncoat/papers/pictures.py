"""Figures in the papers' own form: curves, strength sweeps, ways in the plane, bars, and tables with theirs beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from turncoat.papers.evidence import Measure, Run, Runs
from turncoat.report.drawing import Chart, Columns, Row, Style, curves, strengths
from turncoat.results.metric import ACCURACY, Metric
from turncoat.results.plots import COLOURS, DASHES
from turncoat.results.plots import in_the_plane as in_plane
from turncoat.results.reading import attack_parts
from turncoat.results.settings import attack_of, attack_text, seeds_text
from turncoat.spec import Seeds, Spec, spell_field

Label = Callable[[Run], str]
LINE = "line"  # the column that tells lines apart


@dataclass(frozen=True)
class Grid:
    """A table of texts; the first of each row names it."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Picture:
    """One figure: panels by their headings, which share axes and legend, or a table."""

    title: str
    panels: Mapping[str, Chart] = field(default_factory=dict)
    legend: Mapping[str, Style] = field(default_factory=dict)
    table: Grid | None = None


def over_rounds(
    title: str, runs: Runs, line: Label, panel: Label = lambda run: "", metric: Metric = ACCURACY
) -> Picture:
    """A metric over the rounds: a line each, the mean over its seeds in a band from the lowest to the highest."""
    looks = _looks(line(run) for run in runs)
    spec = curves(metric, [result for _, result in runs], looks, by=LINE)
    panels = {}
    for heading, found in _groups(runs, panel).items():
        columns: Columns = {name: [] for name in (LINE, "seed", "_run", "round", "value")}
        for number, run in enumerate(found):
            for record in run.result.records:
                if (value := metric.of(record)) is not None:
                    _add(columns, line(run), _seed(run.spec), number, record.round, value)
        panels[heading] = Chart(title, heading, spec, columns, metric=metric.name)
    return Picture(title, panels, looks)


def over_strengths(title: str, runs: Runs, measure: Measure, line: Label, panel: Label, metric: Metric) -> Picture:
    """A measure over an attack's strength, of runs under one attack."""
    looks = _looks(line(run) for run in runs)
    levels = sorted({_strength(run) for run in runs})
    parameter = attack_parts(attack_of(next(iter(runs)))).parameter
    spec = strengths(metric, parameter, levels, (measure.of(result) for _, result in runs), looks, by=LINE)
    panels = {}
    for heading, found in _groups(runs, panel).items():
        columns: Columns = {name: [] for name in (LINE, "strength", "seed", "_run", "value")}
        for number, run in enumerate(found):
            _add(columns, line(run), _strength(run), _seed(run.spec), number, measure.of(run.result))
        panels[heading] = Chart(title, heading, spec, columns, metric=metric.name)
    return Picture(title, panels, looks)


def in_the_plane(title: str, runs: Runs, line: Label) -> Picture:
    """The models' ways and their distances to the optimum (S0, Figure 1), of the first seed."""
    first = next(iter(runs)).spec.seed
    panels = {}
    for panel in in_plane({line(run): run.result for run in runs if run.spec.seed == first}):
        data, heading = panel.pop("data"), panel.pop("title")["text"]
        columns = {name: [row[name] for row in data["values"]] for name in data["values"][0]}
        panels[heading] = Chart(title, heading, panel, columns)
    return Picture(title, panels)


def bars(title: str, values: Mapping[str, float], unit: str) -> Picture:
    """One number a name, shortest first, on a logarithmic axis where they span magnitudes."""
    names = sorted(values, key=values.__getitem__)
    far = values[names[-1]] > 30 * values[names[0]] > 0
    x = {"field": "value", "type": "quantitative", "title": unit, "scale": {"type": "log"} if far else {"zero": True}}
    y = {"field": "name", "type": "nominal", "title": None, "sort": names, "axis": {"labelLimit": 300}}
    place = {"x": x, "y": y}
    text = {"type": "text", "align": "left", "dx": 4}
    said = {"text": {"field": "value", "type": "quantitative", "format": ".3~g"}}
    bar = {"type": "bar" if not far else "point", "filled": True, "color": COLOURS[0]}
    spec: Row = {
        "height": {"step": 26},
        "layer": [{"mark": bar, "encoding": place}, {"mark": text, "encoding": place | said}],
    }
    return Picture(title, {"": Chart(title, unit, spec, {"name": names, "value": [values[name] for name in names]})})


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Picture:
    """A table, also as a drawing, so that it can stand in a file."""
    grid = Grid(list(head), [list(row) for row in rows])
    cells: Columns = {"column": [], "row": [], "text": [], "_row": [], "_column": []}
    for i, row in enumerate(grid.rows):
        for j, text in enumerate(row[1:]):
            for name, value in zip(cells, (grid.head[j + 1], row[0], text, i, j), strict=True):
                cells[name].append(value)
    bare: Row = {"title": None, "domain": False, "ticks": False, "labelLimit": 300}
    x = {"field": "column", "type": "nominal", "sort": grid.head[1:], "axis": bare | {"orient": "top", "labelAngle": 0}}
    y = {"field": "row", "type": "nominal", "sort": [row[0] for row in grid.rows], "axis": bare}
    widest = max((len(text) for row in grid.rows for text in row[1:]), default=8)
    mark = {"type": "text", "fontSize": 12}
    spec: Row = {"width": {"step": 24 + 7 * widest}, "height": {"step": 24}, "mark": mark}
    spec |= {"encoding": {"x": x, "y": y, "text": {"field": "text"}}}
    return Picture(title, {"": Chart(title, "", spec, cells)}, table=grid)


def rule_label(names: Mapping[str, str]) -> Label:
    """A run by its rule, as the paper names it."""
    known = {spell_field("rule", rule): name for rule, name in names.items()}
    return lambda run: known.get(run.spec.rule, run.spec.rule)


def attack_label(names: Mapping[str, str]) -> Label:
    """A run by its attack, as the paper names it."""
    known = {spell_field("attack", attack): name for attack, name in names.items()}
    return lambda run: known.get(attack_of(run), attack_text(attack_of(run)))


def _looks(labels: Iterable[str]) -> dict[str, Style]:
    """Colours first, then dashes, in the order in which the labels come."""
    order = list(dict.fromkeys(labels))
    return {
        name: Style(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i, name in enumerate(order)
    }


def _groups(runs: Runs, panel: Label) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(panel(run), []).append(run)
    return found


def _add(columns: Columns, *values: object) -> None:
    for name, value in zip(columns, values, strict=True):
        columns[name].append(value)


def _seed(spec: Spec) -> str:
    assert isinstance(spec.seed, Seeds)
    return seeds_text(spec.seed)


def _strength(run: Run) -> float:
    strength = attack_parts(attack_of(run)).strength
    assert strength is not None
    return strength
