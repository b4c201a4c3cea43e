"""Figures in the papers' own form: curves, strength sweeps, trajectories, bars, and tables with the papers' beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from turncoat.papers.evidence import Measure, Runs, Undecided
from turncoat.report.drawing import Chart, Columns, Row, Style, curves, strengths
from turncoat.results.metric import ACCURACY, Metric
from turncoat.results.plots import COLOURS, DASHES, in_the_plane
from turncoat.results.reading import attack_parts
from turncoat.results.result import Result
from turncoat.results.settings import seeds_text
from turncoat.spec import Spec

Label = Callable[[Spec], str]
LINE = "line"  # the column that tells lines apart
FAR = 30.0  # times as long: bars are then points on a logarithmic axis


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
    title: str, runs: Runs, line: Label, panel: Label = lambda spec: "", metric: Metric = ACCURACY
) -> Picture:
    """A metric over the rounds: a line each, the mean over its seeds in a band from the lowest to the highest."""
    done = _done(runs)
    looks = _looks(line(spec) for spec, _ in done)
    drawing = curves(metric, [result for _, result in done], looks, by=LINE)
    panels = {}
    for heading, found in _panels(done, panel).items():
        columns: Columns = {name: [] for name in (LINE, "seed", "_run", "round", "value")}
        for number, (spec, result) in enumerate(found):
            for record in result.records:
                if (value := metric.of(record)) is not None:
                    _add(columns, line(spec), seeds_text(spec.seed), number, record.round, value)
        panels[heading] = Chart(title, heading, drawing, columns, metric=metric.name)
    return Picture(title, panels, looks)


def over_strengths(title: str, runs: Runs, measure: Measure, line: Label, panel: Label, metric: Metric) -> Picture:
    """A measure over an attack's strength, of runs under one attack."""
    done = _done(runs)
    looks = _looks(line(spec) for spec, _ in done)
    levels = sorted({_strength(spec) for spec, _ in done})
    parameter = attack_parts(done[0][0].attack).parameter
    drawing = strengths(metric, parameter, levels, (measure.of(result) for _, result in done), looks, by=LINE)
    panels = {}
    for heading, found in _panels(done, panel).items():
        columns: Columns = {name: [] for name in (LINE, "strength", "seed", "_run", "value")}
        for number, (spec, result) in enumerate(found):
            _add(columns, line(spec), _strength(spec), seeds_text(spec.seed), number, measure.of(result))
        panels[heading] = Chart(title, heading, drawing, columns, metric=metric.name)
    return Picture(title, panels, looks)


def trajectories(title: str, runs: Runs, line: Label) -> Picture:
    """Where the model goes in the plane and its distance to the optimum (S0, Figure 1), of the first seed."""
    done = _done(runs)
    first = done[0][0].seed
    panels = {}
    for panel in in_the_plane({line(spec): run for spec, run in done if spec.seed == first}, most=3):
        data, heading = panel.pop("data"), panel.pop("title")["text"]
        columns = {name: [row[name] for row in data["values"]] for name in data["values"][0]}
        panels[heading] = Chart(title, heading, panel, columns)
    return Picture(f"{title}, seed {seeds_text(first)}", panels)


def bars(title: str, values: Mapping[str, float], unit: str) -> Picture:
    """One number a name, the smallest first; points on a logarithmic axis where they span magnitudes."""
    names = sorted(values, key=values.__getitem__)
    far = values[names[-1]] > FAR * values[names[0]] > 0
    x = {"field": "value", "type": "quantitative", "title": unit, "scale": {"type": "log"} if far else {"zero": True}}
    y = {"field": "name", "type": "nominal", "title": None, "sort": names, "axis": {"labelLimit": 300}}
    place = {"x": x, "y": y}
    text = {"type": "text", "align": "left", "dx": 6}
    said = {"text": {"field": "value", "type": "quantitative", "format": ".3~g"}}
    mark = {"type": "point" if far else "bar", "filled": True, "color": COLOURS[0]}
    layers = [{"mark": mark, "encoding": place}, {"mark": text, "encoding": place | said}]
    columns: Columns = {"name": names, "value": [values[name] for name in names]}
    return Picture(title, {"": Chart(title, unit, {"height": {"step": 26}, "layer": layers}, columns)})


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Picture:
    """A table, also as a drawing, so that it can stand in a file."""
    grid = Grid(list(head), [list(row) for row in rows])
    cells: Columns = {"column": [], "row": [], "text": [], "_row": [], "_column": []}
    for i, row in enumerate(grid.rows):
        for j, text in enumerate(row[1:]):
            _add(cells, grid.head[j + 1], row[0], text, i, j)
    x = {"field": "_column", "type": "ordinal", "axis": _names(grid.head[1:]) | {"orient": "top", "labelAngle": 0}}
    y = {"field": "_row", "type": "ordinal", "axis": _names([row[0] for row in grid.rows])}
    widest = max((len(text) for row in grid.rows for text in row[1:]), default=8)
    size = {"width": {"step": 24 + 7 * widest}, "height": {"step": 24}}
    spec = size | {"mark": {"type": "text", "fontSize": 12}, "encoding": {"x": x, "y": y, "text": {"field": "text"}}}
    return Picture(title, {"": Chart(title, "", spec, cells)}, table=grid)


def _names(texts: Sequence[str]) -> Row:
    """An axis of names, of which two may be the same."""
    quoted = ", ".join("'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" for text in texts)
    return {"title": None, "domain": False, "ticks": False, "labelLimit": 300, "labelExpr": f"[{quoted}][datum.value]"}


def _done(runs: Runs) -> list[tuple[Spec, Result]]:
    found = list(runs.done)
    if not found:
        raise Undecided(f"there are no runs of {runs.named}")
    return found


def _looks(labels: Iterable[str]) -> dict[str, Style]:
    """Colours first, then dashes, in the order in which the labels come."""
    order = list(dict.fromkeys(labels))
    return {
        name: Style(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i, name in enumerate(order)
    }


def _panels(done: Iterable[tuple[Spec, Result]], panel: Label) -> dict[str, list[tuple[Spec, Result]]]:
    found: dict[str, list[tuple[Spec, Result]]] = {}
    for spec, result in done:
        found.setdefault(panel(spec), []).append((spec, result))
    return found


def _add(columns: Columns, *values: object) -> None:
    for name, value in zip(columns, values, strict=True):
        columns[name].append(value)


def _strength(spec: Spec) -> float:
    strength = attack_parts(spec.attack).strength
    assert strength is not None
    return strength
