"""How a report draws: charts as Vega-Lite writes them, by the browser in a page and without one into files.

A chart is a drawing without data, and what it draws: rows of its own, or one metric of some of the report's runs. Names
in results stand in the data and in lists of values only, where Vega-Lite takes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turncoat.results.metric import ACCURACY, LOSSES, Metric, own_metrics
from turncoat.results.plots import COLOURS, DASHES, LARGEST, LOG_FROM, axis
from turncoat.results.result import Result
from turncoat.results.settings import attack_of, attack_text, printable, seeds_text

FONT = "system-ui, sans-serif"
DISTANCE = Metric("distance", "distance to the honest mean")
COSINE = Metric("cosine", "cosine with the honest mean", higher_is_better=True)

MEASURED = ("value", "sd", "first", "second", "seconds")  # columns of what may not be finite

Row = dict[str, Any]
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Style:
    """How a rule is drawn in a whole report."""

    colour: str
    dash: list[int]


@dataclass(frozen=True)
class Chart:
    """A drawing, and what it draws: rows of its own by column, or a `metric` of `runs`, by their numbers.

    Columns whose names begin with `_` serve the drawing only.
    """

    title: str
    about: str
    """The setting, in words."""
    spec: Row
    columns: Columns = field(default_factory=dict)
    runs: tuple[int, ...] = ()
    metric: str = ""


def styles(rules: Iterable[str]) -> dict[str, Style]:
    """One style a rule, by name: colours first, then dashes."""
    return {
        rule: Style(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, rule in enumerate(sorted(set(rules)))
    }


def metrics_of(results: Iterable[Result]) -> list[Metric]:
    """What was measured in some runs: accuracy, the task's own metrics, losses, then how far the aggregate is off."""
    results = list(results)
    choices = (ACCURACY, *own_metrics(results), *LOSSES, DISTANCE, COSINE)
    return [metric for metric in choices if any(metric.final(result) is not None for result in results)]


def drawable(value: float | None) -> float | None:
    """The value; None for what is not finite, or so large that an axis cannot hold it."""
    return None if value is None or not abs(value) <= LARGEST else value


def series(result: Result) -> Row:
    """A run as charts take it: its names, and each metric by round, None where it was not measured."""
    measured: Row = {"round": [record.round for record in result.records]}
    for metric in metrics_of([result]):
        measured[metric.name] = [metric.of(record) for record in result.records]
    flags = {"flags": result.flags} if result.flags else {}
    names = {"rule": result.spec.rule, "attack": attack_text(attack_of(result)), "seed": seeds_text(result.spec.seed)}
    return names | {"series": measured} | flags


def rows(chart: Chart, runs: Sequence[Row]) -> list[Row]:
    """The data of a chart in a report of such series: what was measured, as it was."""
    if chart.columns:
        return [dict(zip(chart.columns, row, strict=True)) for row in zip(*chart.columns.values(), strict=True)]
    found = []
    for number in chart.runs:
        run = runs[number]
        names = {"_run": number, **{name: run[name] for name in ("rule", "attack", "seed")}}
        for t, value in zip(run["series"]["round"], run["series"].get(chart.metric, ()), strict=False):
            if value is not None:
                found.append({**names, "round": t, "value": value})
    return found


def drawn(chart: Chart, runs: Sequence[Row]) -> list[Row]:
    """The same as it is drawn: a gap where what was measured is not finite."""
    found = rows(chart, runs)
    for row in found:
        row |= {name: drawable(row[name]) for name in MEASURED if name in row}
    return found


def all_printable(value: Any) -> Any:
    """The same with no text in it that an SVG cannot hold."""
    if isinstance(value, dict):
        return {name: all_printable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def curves(
    metric: Metric, results: Iterable[Result], looks: Mapping[str, Style], singles: bool = False, by: str = "rule"
) -> Row:
    """A metric over the rounds: a line a rule, the mean over its seeds, in a band from the lowest to the highest.

    The axis holds all values of `results`, so that panels of the same runs can be compared. A mean has a
    gap where one of its runs is not finite. `singles` draws each run as well, on an axis of what is drawn. `by` is the
    column that a line has to itself, in place of the rule.
    """
    records = [record for result in results for record in result.records]
    ends = [0, max((record.round for record in records), default=0) or 1]
    ticks = {"tickCount": 4, "tickMinStep": 1, "grid": False, "format": "~s"}
    x = {"field": "round", "type": "quantitative", "title": "round", "scale": {"domain": ends}, "axis": ticks}
    values = map(metric.of, records)
    spec = _lines(x, metric, finite(values), looks, by, [by])
    if singles:
        _add_singles(spec, fixed=metric.fraction or metric == COSINE)
    return spec


def _add_singles(spec: Row, fixed: bool) -> None:
    """Each run as a thin line, behind the mean; an axis that is not fixed holds what is drawn, a legend is needless."""
    layers = spec["layer"][0]["layer"]
    for layer in layers:
        place = layer["encoding"]
        place |= {name: place[name] | {"legend": None} for name in ("color", "strokeDash") if name in place}
        if not fixed:
            kind = {name: value for name, value in place["y"]["scale"].items() if name in ("type", "constant")}
            ticks = {"format": ".3~g", "tickCount": 2 if kind else 5}  # powers of ten, where there are several
            place["y"] |= {"axis": ticks, "scale": kind or {"zero": False}}
    place = layers[1]["encoding"]
    thin = {"type": "line", "strokeWidth": 1, "opacity": 0.6, "clip": True}
    single = place | {"detail": {"field": "_run"}, "y": place["y"] | {"field": "value"}}
    spec["layer"].insert(0, {"mark": thin, "encoding": single})


def strengths(
    metric: Metric,
    parameter: str,
    levels: Sequence[float],
    finals: Iterable[float | None],
    looks: Mapping[str, Style],
    by: str = "rule",
) -> Row:
    """Final values over an attack's strength: a line a rule, the mean over its seeds, in a band of all of them."""
    ticks = {"values": sorted(levels), "grid": False, "format": ".4~g", "labelOverlap": True, "labelSeparation": 4}
    far = min(levels) > 0 and max(levels) > LOG_FROM * min(levels)
    scale = {"type": "log"} if far else {"zero": True}
    scale |= {"nice": False, "padding": 8}
    x = {"field": "strength", "type": "quantitative", "title": parameter, "scale": scale, "axis": ticks}
    spec = _lines(x, metric, finite(finals), looks, by, [by, "strength"])
    spec["layer"][0]["layer"][1]["mark"] |= {"point": {"size": 30, "opacity": 1, "filled": True}}
    return spec


def _lines(
    x: Row, metric: Metric, values: Sequence[float], looks: Mapping[str, Style], by: str, line: Sequence[str]
) -> Row:
    """A mean line a rule in its band, with tooltips, over seeds, whose runs count as one with their mean.

    It has points where all the seeds that share `line` were measured, and gaps where one of them is not finite.
    """
    form = ".1%" if metric.fraction else ".4~g"
    tips: list[Row] = [{"field": by}, {"field": x["field"], "type": "quantitative", "format": ".4~g"}]
    for name, title in {"mean": metric.title, "low": "lowest", "high": "highest"}.items():
        tips.append({"field": name, "title": title, "type": "quantitative", "format": form})
    tips.append({"field": "seeds", "type": "quantitative"})
    y = {"type": "quantitative", "title": None, **value_axis(metric, values)}
    place = {"x": x, "y": y | {"field": "mean"}}
    colour = {"color": _look("color", looks, by)}
    band = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, **colour}
    layers = [
        {"mark": {"type": "area", "fillOpacity": 0.18, "clip": True}, "encoding": band},
        {
            "mark": {"type": "line", "strokeWidth": 2, "clip": True},
            "encoding": place | colour | {"strokeDash": _look("strokeDash", looks, by)},
        },
        {"mark": {"type": "circle", "size": 90, "opacity": 0}, "encoding": place | {"tooltip": tips}},
    ]
    of_seed = [{"op": op, "field": "value", "as": name} for name, op in {"value": "mean", "valid": "valid"}.items()]
    ops = {"mean": "mean", "low": "min", "high": "max"}
    over_seeds = [{"op": op, "field": "value", "as": name} for name, op in ops.items()]
    over_seeds += [{"op": "max", "field": "all", "as": "all"}, {"op": "min", "field": "whole", "as": "whole"}]
    transform: list[Row] = [
        {"aggregate": [*of_seed, {"op": "count", "as": "runs"}], "groupby": [by, x["field"], "seed"]},
        {"calculate": "datum.valid === datum.runs", "as": "whole"},
        {"joinaggregate": [{"op": "distinct", "field": "seed", "as": "all"}], "groupby": list(line)},
        {"aggregate": [*over_seeds, {"op": "count", "as": "seeds"}], "groupby": [by, x["field"]]},
        {"filter": "datum.seeds === datum.all"},
        *({"calculate": f"datum.whole ? datum.{name} : null", "as": name} for name in ops),
    ]
    return {"height": 190, "layer": [{"transform": transform, "layer": layers}]}


def _look(channel: str, looks: Mapping[str, Style], by: str) -> Row:
    """A channel that tells the rules apart."""
    names = list(looks)
    given = [looks[name].colour if channel == "color" else looks[name].dash for name in names]
    columns = int(560 / (6.5 * max(map(len, names)) + 40))  # pixels, of which a letter takes about 6.5
    legend = {"symbolType": "stroke", "symbolStrokeWidth": 2, "symbolOpacity": 1, "columns": min(max(columns, 1), 3)}
    scale = {"domain": names, "range": given}
    return {"field": by, "type": "nominal", "title": None, "scale": scale, "legend": legend}


def finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in map(drawable, values) if value is not None]


def value_axis(metric: Metric, values: Sequence[float]) -> Row:
    """The axis of a metric: as `plots.axis` has it, cosines up to 1."""
    if metric == COSINE:
        ends = [-1 if min(values, default=0.0) < 0 else 0, 1]
        return {"scale": {"domain": ends}, "axis": {"format": ".2~f", "tickCount": 5}}
    return axis(values, metric.fraction)


def _config(ink: str, soft: str, line: str, faint: float) -> Row:
    """The look of charts in some colours of what stands around the data."""
    text = {"labelColor": soft, "labelFontSize": 11, "labelFontWeight": "normal", "titleColor": soft}
    axis = {"titleFontWeight": "normal", "titleFontSize": 11, "gridColor": line, "domainColor": line, "tickColor": line}
    below = {"layout": {"bottom": {"direction": "vertical"}}}  # legends, where there are several
    pale = {"gridOpacity": faint, "domainOpacity": faint, "tickOpacity": faint}
    return {
        "font": FONT,
        "view": {"stroke": None},
        "axis": text | axis | pale,
        "legend": text | below | {"orient": "bottom", "columns": 3, "labelLimit": 400},
        "text": {"fontSize": 12},
        "title": {"color": ink, "fontSize": 13, "subtitleColor": soft, "subtitleFontSize": 11, "offset": 12},
    }


PAPER = _config("#1b1f24", "#59636e", "#d8dde3", 1.0) | {"background": "white", "padding": 12}
PAGE = _config("currentColor", "currentColor", "currentColor", 0.16) | {"background": None}
