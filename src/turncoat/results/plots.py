"""Pictures of runs, as Vega-Lite writes them: curves over the rounds, trajectories in the plane (S0, Figures 1-2)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from turncoat import registry
from turncoat.results.settings import FOLLOWERS, MACHINERY, attack_text, seeds_text
from turncoat.spec import task_parts

if TYPE_CHECKING:
    from turncoat.results.result import Result

# Okabe and Ito's colours, told apart with any colour vision, without black and yellow, which a background swallows
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8A8A8A")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
SALTIRE = "M-1,-1L1,1M-1,1L1,-1"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", SALTIRE, "triangle-right")
STAR = "M0,-1L.22,-.31L.95,-.31L.36,.12L.59,.81L0,.38L-.59,.81L-.36,.12L-.95,-.31L-.22,-.31Z"
PLANE = ("theta_1", "theta_2")  # a model's two coordinates among a record's metrics
LOG_FROM = 100.0  # values that span more than this factor are drawn on a logarithmic axis
LARGEST = 1e100  # what is larger would overflow in an axis, and counts as not finite
AFAR = 4.0  # so many times as far from the optimum as where it began, a trajectory leaves the frame

Row = dict[str, Any]
Point = tuple[float, float]


def figure_of(results: Sequence[Result]) -> Row:
    """The chart of some runs, as Vega-Lite writes it."""
    runs = dict(zip(_names(results), results, strict=True))

    def each(metric: str) -> dict[str, tuple[Result, str]]:
        return {name: (result, metric) for name, result in runs.items()}

    looks = _looks("run", list(runs), legend=len(runs) > 1)
    if all(_rows(result, *PLANE) for result in results):
        panels = in_the_plane(runs)
    elif len(runs) > 1:
        metrics = {"test accuracy": "test_accuracy", "test loss": "test_loss"}
        if all(_rows(result, "train_loss") for result in results):
            metrics["training loss"] = "train_loss"
        panels = [_curves(title, each(metric), looks) for title, metric in metrics.items()]
    else:
        lines = {name: (results[0], name) for name in ("test_accuracy", "test_loss", "train_loss")}
        looks = _looks("metric", [name for name, line in lines.items() if _rows(*line)])
        accuracy = {"test_accuracy": lines.pop("test_accuracy")}
        panels = [_curves("accuracy", accuracy, looks), _curves("loss", lines, looks)]
    panels = [panel for panel in panels if panel["data"]["values"]]
    datasets = {panel["data"]["name"]: panel["data"].pop("values") for panel in panels}
    return {"title": _title(results), "hconcat": panels, "datasets": datasets}


def in_the_plane(runs: Mapping[str, Result], most: int = 12) -> list[Row]:
    """Two panels, a line a run: the models' ways, and their distances to the optimum (S0, Figures 1 and 2).

    The legend has at most so many columns: few, where a panel is to stand alone.
    """
    looks = _looks("run", list(runs), legend=len(runs) > 1, most=most)
    distances = {name: (result, "error") for name, result in runs.items()}
    return [_trajectories(runs, looks), _curves("distance to the optimum", distances, looks, height=300)]


def _title(results: Sequence[Result]) -> str:
    """What the runs have in common."""
    if len(results) == 1:
        return results[0].label
    met = [{getattr(result.spec, key) for result in results} for key in ("task", "rule", "attack")]
    return ", ".join(values.pop() for values in met if len(values) == 1)


def _names(results: Sequence[Result]) -> list[str]:
    """What sets each run apart from the others, in words."""
    told = [_fields(result) for result in results]
    apart = [key for key in dict.fromkeys(chain(*told)) if len({fields.get(key) for fields in told}) > 1]
    apart = [key for key in apart if key not in MACHINERY] or apart
    if "rule" in apart:
        apart = list(dict.fromkeys(("rule", "attack", *apart)))
    names = [", ".join(fields[key] for key in apart if key in fields) for fields in told]
    names = [name or result.label for name, result in zip(names, results, strict=True)]
    return [f"{name} #{names[:i].count(name) + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _fields(result: Result) -> dict[str, str]:
    """The fields of a run's spec in words: rule and attack come first and bare, the others with their names."""
    spec = result.spec
    fields = msgspec.structs.asdict(spec) | {"seed": seeds_text(spec.seed)}
    bare = {"rule": spec.rule, "attack": attack_text(spec.attack)}
    said = {key: value for key, value in fields.items() if key not in FOLLOWERS or value != fields[FOLLOWERS[key]]}
    return bare | {key: f"{key} = {value}" for key, value in said.items() if key not in bare}


def _rows(result: Result, *metrics: str) -> list[Row]:
    """The records that have all these metrics, all of them finite; about 25 rows, or all, are to be marked."""
    rows = []
    for record in result.records:
        values = {metric: record.extra.get(metric, getattr(record, metric, None)) for metric in metrics}
        if all(value is not None and abs(value) <= LARGEST for value in values.values()):
            marked = len(rows) % math.ceil(len(result.records) / 25) == 0
            rows.append({"round": record.round, **values, "marked": marked})
    return rows


def _looks(kind: str, names: list[str], legend: bool = True, most: int = 12) -> Row:
    """Each line's colour, shape and dashes, so that lines which lie on one another can be told apart."""
    columns = min(most, int(600 * len(names) / sum((6.5 * len(name) + 40 for name in names), start=1.0)))
    key = {"title": None, "orient": "bottom", "columns": max(columns, 1), "labelLimit": 640} if legend else None

    def look(values: Sequence[Any], order: list[str], key: Row | None) -> Row:
        scale = {"domain": order, "range": [values[names.index(name) % len(values)] for name in order]}
        return {"field": kind, "type": "nominal", "scale": scale, "legend": key}

    dashes = look(DASHES, names[::-1], None)  # another order keeps them out of the legend, where they spoil the shapes
    return {"color": look(COLOURS, names, key), "shape": look(SHAPES, names, key), "strokeDash": dashes}


def _panel(title: str, rows: list[Row], place: Row, looks: Row, tips: Mapping[str, str], height: int) -> Row:
    """Lines in the order of the rounds, with marks and, for all points, tooltips: fields with their formats."""
    said = [{"field": looks["color"]["field"], "type": "nominal"}]
    said += [{"field": field, "type": "quantitative", "format": form} for field, form in tips.items()]
    coloured, order = place | {"color": looks["color"]}, {"field": "round", "type": "quantitative"}
    line = {"type": "line", "strokeWidth": 1.5, "clip": True}
    mark = {"type": "point", "size": 45, "strokeWidth": 1.5, "opacity": 1, "clip": True}
    layers = [
        {"mark": line, "encoding": {**coloured, "strokeDash": looks["strokeDash"], "order": order}},
        {"mark": mark, "encoding": {**coloured, "shape": looks["shape"]}, "transform": [{"filter": "datum.marked"}]},
        {"mark": {"type": "circle", "size": 100, "opacity": 0, "clip": True}, "encoding": {**place, "tooltip": said}},
    ]
    look: Row = {"title": {"text": title, "anchor": "start", "frame": "group"}, "width": 300, "height": height}
    return look | {"data": {"name": title, "values": rows}, "layer": layers}


def _curves(title: str, lines: Mapping[str, tuple[Result, str]], looks: Row, height: int = 200) -> Row:
    """The panel of one quantity over the rounds."""
    kind, fraction = looks["color"]["field"], "accuracy" in title
    rows = [
        {kind: name, "round": row["round"], title: row[metric], "marked": row["marked"]}
        for name, (result, metric) in lines.items()
        for row in _rows(result, metric)
    ]
    last = max((record.round for result, _ in lines.values() for record in result.records), default=0)
    scale = {"domain": [0, last or 1], "nice": False, "padding": 6}
    ticks = {"grid": False, "tickCount": 6, "tickMinStep": 1, "format": "~s"}
    x = {"field": "round", "type": "quantitative", "scale": scale, "axis": ticks}
    y = {"field": title, "type": "quantitative", "title": None, **axis([row[title] for row in rows], fraction)}
    y["scale"] |= {"padding": 6}
    return _panel(title, rows, {"x": x, "y": y}, looks, {"round": "d", title: ".1%" if fraction else ".4~g"}, height)


def axis(values: Sequence[float], fraction: bool = False) -> Row:
    """The scale and ticks of a quantity: fractions whole, what spans magnitudes logarithmic; with zeros, even below.

    So a run that diverges does not flatten the others. What is too small for an axis counts as 0.
    """
    if fraction:
        return {"scale": {"domain": [0, 1]}, "axis": {"format": "%", "tickCount": 5}}
    low, high = min(values, default=0.0), max(values, default=1.0)
    positive = [value for value in values if value >= 1 / LARGEST]
    if low >= 0 and high > LOG_FROM * (least := min(positive, default=high)):
        powers = range(math.ceil(math.log10(least)), math.floor(math.log10(high)) + 1)
        ticks = [10.0**power for power in powers][:: -(1 + len(powers) // 6)]
        scale: Row = {"type": "log", "domain": [least, high]}
        if len(positive) < len(values):
            scale, ticks = {"type": "symlog", "constant": least, "domain": [0, high]}, [*ticks, 0.0]
        return {"scale": scale, "axis": {"format": ".3~g", "values": ticks}}
    ends = [min(low, 0.0), max(high, 0.0)]
    return {"scale": {"domain": ends if ends[0] < ends[1] else [0.0, 1.0]}, "axis": {"format": ".4~g", "tickCount": 5}}


def _trajectories(runs: Mapping[str, Result], looks: Row) -> Row:
    """The panel of the models' ways in the plane, both axes in one scale."""
    rows = [{"run": name, **row} for name, result in runs.items() for row in _rows(result, *PLANE)]
    first = {row["run"]: (row["theta_1"], row["theta_2"]) for row in reversed(rows)}
    starts = list(dict.fromkeys(first[name] for name in runs))
    optima = list(dict.fromkeys(optimum for result in runs.values() if (optimum := _optimum(result))))
    place = {}
    for channel, field, title, domain in zip("xy", PLANE, ("θ₁", "θ₂"), _frame(rows, starts, optima), strict=True):
        scale = {"domain": domain, "nice": False, "zero": False, "padding": 12}
        ticks = {"tickCount": 5, "format": ".4~g"}
        place[channel] = {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": ticks}
    panel = _panel("trajectory", rows, place, looks, {"round": "d", **dict.fromkeys(PLANE, ".4~g")}, height=300)
    panel["layer"] += [_mark(place, "fill", "start", "circle", starts, size=60)]
    panel["layer"] += [_mark(place, "stroke", "optimum", STAR, optima, size=130)] if optima else []
    return panel


def _mark(place: Row, channel: str, name: str, shape: str, points: Sequence[Point], size: int) -> Row:
    """A layer of points of interest; on a channel of its own, it has an entry of its own in the legend."""
    legend = {"title": None, "orient": "bottom", "symbolType": shape, "symbolSize": size}
    look = {"field": "mark", "type": "nominal", "scale": {"range": ["black"]}, "legend": legend}
    return {
        "data": {"values": [{"mark": name, **dict(zip(PLANE, point, strict=True))} for point in points]},
        "mark": {"type": "point", "shape": shape, "size": size, "fill": "white", "color": "black", "opacity": 1},
        "encoding": place | {channel: look},
    }


def _frame(rows: list[Row], starts: list[Point], optima: list[Point]) -> list[list[float]]:
    """What to show of each axis, as wide as high; rows far outside are pulled to where a picture can hold them.

    Nothing is shown beyond AFAR times the way from the start to the optimum, or else the median distance from the
    start: so a run that diverges leaves the frame, and what the others do can still be seen.
    """
    centre = (optima or starts)[0]
    far = [math.dist((row["theta_1"], row["theta_2"]), centre) for row in rows]
    way = max(math.dist(start, centre) for start in starts) if optima else 0.0
    reach = AFAR * (way or statistics.median(far) or 1.0)
    shown = [(row["theta_1"], row["theta_2"]) for row, distance in zip(rows, far, strict=True) if distance <= reach]
    for row, distance in zip(rows, far, strict=True):
        if distance > 100 * reach:
            row |= {key: c + (row[key] - c) * (100 * reach / distance) for key, c in zip(PLANE, centre, strict=True)}
    sides = [(min(side), max(side)) for side in zip(*shown, *starts, *optima, strict=True)]
    half = max(high - low for low, high in sides) / 2 or max(map(abs, centre)) or 1.0
    return [[(low + high) / 2 - half, (low + high) / 2 + half] for low, high in sides]


def _optimum(result: Result) -> Point | None:
    """Where a run's model should end, as far as its spec tells."""
    call, _ = task_parts(result.spec.task)
    if call.name != "mean_estimation" or any(flag.startswith("the dataset is an object") for flag in result.flags):
        return None
    entry = registry.find("dataset", call.name)
    mean = float((entry.parameters | registry.bind(entry, call))["mean"])  # type: ignore[arg-type]
    return mean, mean
