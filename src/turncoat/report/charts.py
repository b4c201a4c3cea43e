"""What a report draws beside curves: the heat map, the time per phase, the plans of attacks that look ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from turncoat.report.differences import Differences
from turncoat.report.drawing import Chart, Columns, Row, finite, seeds_text, value_axis
from turncoat.results.comparison import Comparison, Where
from turncoat.results.metric import Metric, metric_of
from turncoat.results.plots import COLOURS
from turncoat.results.result import Result
from turncoat.results.settings import attack_of, attack_text

SCALE = ("#9a2f1d", "#d9744f", "#f2d9b8", "#a9c7d9", "#2f6c9c")  # from worst to best, told apart with any vision
WIDEST = 12  # columns of a heat map
EVEN_CONTRAST = 0.179  # the luminance that black and white stand out from alike (WCAG 2)
PHASES = ("gradients", "attack", "rule", "update", "evaluation")
NOT_FINITE = 1e30  # what attacks that look ahead write for a loss that is not finite is above it


def heat_map(comparison: Comparison) -> Chart:
    """Final values of rules, best under its worst attack first, under attacks; each rule's worst one is framed."""
    bare: Row = {"title": None, "domain": False, "ticks": False, "labelLimit": 280}
    top = bare | {"orient": "top", "labelAngle": -40}
    across, down = ("rule", "attack") if turned(comparison) else ("attack", "rule")
    place = {"x": _names(across) | {"axis": top}, "y": _names(down) | {"axis": bare}}
    scale = {"domain": [i / (len(SCALE) - 1) for i in range(len(SCALE))], "range": list(SCALE), "interpolate": "rgb"}
    frame = {"condition": {"test": "datum.worst", "value": "black"}, "value": None}
    ink = {"condition": {"test": "datum._ink === '#fff'", "value": "white"}, "value": "black"}
    fill = {"field": "_shade", "type": "quantitative", "scale": scale, "legend": None}
    small = {"type": "text", "dy": 9, "fontSize": 9}
    layers: list[Row] = [
        {"mark": {"type": "rect", "strokeWidth": 2}, "encoding": place | {"color": fill, "stroke": frame}},
        {"mark": {"type": "text", "dy": -5}, "encoding": place | {"text": {"field": "_mean"}, "color": ink}},
        {"mark": small, "encoding": place | {"text": {"field": "_beside"}, "color": ink}},
    ]
    spec = {"width": {"step": 66}, "height": {"step": 38}, "layer": layers}
    title = f"final {comparison.metric.quantity}: rules against attacks"
    about = f"{comparison.title}; mean±standard deviation (seeds), framed: the worst"
    return Chart(title, about, spec, _cells(comparison))


def turned(comparison: Comparison) -> bool:
    """Whether the attacks stand in rows: paper has no room for so many columns."""
    return len(comparison.attacks) > max(WIDEST, len(comparison.rules))


def _names(field: str) -> Row:
    """An axis of names, ordered by a number of theirs."""
    gap = {"paddingInner": 0.05, "paddingOuter": 0.05}
    return {"field": field, "type": "nominal", "sort": {"field": f"_{field}", "op": "min"}, "scale": gap}


def _cells(comparison: Comparison) -> Columns:
    """The heat map's data, a row a cell."""
    shaded = shades(comparison)
    columns: Columns = {}
    for i, rule in enumerate(comparison.rules):
        for j, attack in enumerate(comparison.attacks):
            where, spread = (rule, attack), comparison.spread(rule, attack)
            cell = {
                "rule": rule,
                "attack": attack_text(attack),
                "_rule": i,
                "_attack": j,
                "seeds": spread.seeds if spread else 0,
                "failed": comparison.failed.get(where, 0),
                "value": spread and spread.mean,
                "sd": spread and spread.sd,
                "worst": comparison.is_worst(*where),
                "_mean": comparison.mean_text(*where),
                "_beside": comparison.beside(*where).strip(),
                "_shade": shaded.get(where),
                "_ink": colour(shaded[where])[1] if where in shaded else None,
            }
            for name, item in cell.items():
                columns.setdefault(name, []).append(item)
    return columns


def shades(comparison: Comparison) -> Mapping[Where, float]:
    """Each cell from 0, worst, to 1, best: fractions as they are, others between a setting's extremes, by magnitude."""
    metric = comparison.metric
    places = {where: spread.mean for where, spread in comparison.spreads.items() if math.isfinite(spread.mean)}
    if not metric.fraction:
        if min(places.values(), default=0.0) >= 0:
            least = min((mean for mean in places.values() if mean > 0), default=1.0)
            places = {where: math.log10(max(mean, least)) for where, mean in places.items()}
        low, high = min(places.values(), default=0.0), max(places.values(), default=0.0)
        places = {where: (place - low) / ((high - low) or 1.0) for where, place in places.items()}
    if not metric.higher_is_better:
        places = {where: 1 - place for where, place in places.items()}
    return dict.fromkeys(comparison.spreads, 0.0) | places


def colour(shade: float) -> tuple[str, str]:
    """The colour of a shade, as the heat map has it, and the ink on it."""
    place = min(max(shade, 0.0), 1.0) * (len(SCALE) - 1)
    left = min(int(place), len(SCALE) - 2)
    ends = [[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in SCALE[left : left + 2]]
    mixed = [round(a + (place - left) * (b - a)) for a, b in zip(*ends, strict=True)]
    linear = [(part / 255) ** 2.2 for part in mixed]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#" + "".join(f"{part:02x}" for part in mixed), "#fff" if luminance < EVEN_CONTRAST else "#000"


def phases(comparison: Comparison) -> Chart | None:
    """Where the time of a run goes: seconds by phase, a bar a rule, the mean over its runs."""
    columns: Columns = {"rule": [], "phase": [], "_order": [], "seconds": []}
    for rule in sorted(comparison.rules):
        results = [result for (name, _), found in comparison.runs.items() if name == rule for result in found]
        for order, phase in enumerate(PHASES):
            spent = [result.timings.get(phase) for result in results]
            if known := finite(spent):
                for name, item in zip(columns, (rule, phase, order, sum(known) / len(known)), strict=True):
                    columns[name].append(item)
    if not columns["rule"]:
        return None
    scale = {"domain": list(PHASES), "range": list(COLOURS[: len(PHASES)])}
    seconds: Row = {"field": "seconds", "type": "quantitative"}
    legend = {"title": None, "symbolType": "square"}
    encoding = {
        "y": {"field": "rule", "type": "nominal", "title": None, "axis": {"labelLimit": 200, "ticks": False}},
        "x": seconds | {"title": "seconds a run", "axis": {"tickCount": 5}},
        "color": {"field": "phase", "type": "nominal", "scale": scale, "legend": legend},
        "order": {"field": "_order", "type": "quantitative"},
        "tooltip": [{"field": "rule"}, {"field": "phase"}, seconds | {"format": ".3~g"}],
    }
    spec = {"height": 26 * len(comparison.rules), "mark": "bar", "encoding": encoding}
    return Chart("time per phase, seconds a run", comparison.title, spec, columns)


def plans(results: Sequence[Result], title: str, about: str) -> Chart | None:
    """What the plans of an attack that looks ahead came to: each way of finding moves, the winner's filled."""
    columns: Columns = {"seed": [], "round": [], "way": [], "value": [], "won": []}
    for result in results:
        for plan in result.plans:
            for way, value in plan.tried.items():
                known = value if value < NOT_FINITE else math.inf
                row = (seeds_text(result.spec.seed), plan.round, way, known, way == plan.winner)
                for name, item in zip(columns, row, strict=True):
                    columns[name].append(item)
    if not columns["round"]:
        return None
    known = finite(columns["value"])
    ways = sorted(set(columns["way"]))
    scale = {"domain": ways, "range": [COLOURS[i % len(COLOURS)] for i in range(len(ways))]}
    tips: list[Row] = [{"field": "way"}, {"field": "round", "type": "quantitative"}, {"field": "seed"}]
    tips.append({"field": "value", "type": "quantitative", "format": ".4~g"})
    objective = Metric("value", "value")
    encoding = {
        "x": {"field": "round", "type": "quantitative", "title": "round", "axis": {"tickMinStep": 1, "grid": False}},
        "y": {"field": "value", "type": "quantitative", "title": None, **value_axis(objective, known)},
        "color": {"field": "way", "type": "nominal", "scale": scale, "legend": {"title": None}},
        "fillOpacity": {"condition": {"test": "datum.won", "value": 1}, "value": 0},
        "tooltip": tips,
    }
    mark = {"type": "point", "size": 40, "filled": True, "opacity": 1, "strokeWidth": 1}
    spec = {"height": 190, "transform": [{"filter": {"field": "value", "valid": True}}], "mark": mark}
    return Chart(title, about, spec | {"encoding": encoding}, columns)


def scatter(differences: Differences) -> list[Chart]:
    """The final value of each run in the second folder over that in the first, a chart a metric."""
    first, second = differences.names
    found: dict[Metric, Columns] = {}
    for pair in differences.pairs:
        metric = metric_of([pair.a, pair.b])
        a, b = metric.final(pair.a), metric.final(pair.b)
        if a is None or b is None:
            continue
        columns = found.setdefault(metric, {name: [] for name in ("rule", "attack", "seed", "first", "second", "bits")})
        names = (pair.a.spec.rule, attack_text(attack_of(pair.a)), seeds_text(pair.a.spec.seed))
        row = (*names, a, b, "identical" if pair.identical else "not identical")
        for name, item in zip(columns, row, strict=True):
            columns[name].append(item)
    return [
        Chart(f"final {metric.title}", f"{second} over {first}", _scattered(metric, columns, first, second), columns)
        for metric, columns in found.items()
    ]


def _scattered(metric: Metric, columns: Columns, first: str, second: str) -> Row:
    """A dot a run, and the line on which nothing has changed."""
    shared = value_axis(metric, finite([*columns["first"], *columns["second"]]))
    form = {"type": "quantitative", "format": ".1%" if metric.fraction else ".4~g"}
    tips: list[Row] = [{"field": name} for name in ("rule", "attack", "seed", "bits")]
    tips += [{"field": "first", "title": first, **form}, {"field": "second", "title": second, **form}]
    place = {
        "x": {"field": "first", "type": "quantitative", "title": first, **shared},
        "y": {"field": "second", "type": "quantitative", "title": second, **shared},
    }
    looks = {"domain": ["identical", "not identical"], "range": [COLOURS[0], COLOURS[3]]}
    dots = place | {"color": {"field": "bits", "type": "nominal", "title": None, "scale": looks}, "tooltip": tips}
    ends = {"values": [{"first": end, "second": end} for end in shared["scale"]["domain"]]}
    line = {"data": ends, "mark": {"type": "line", "color": "gray", "strokeWidth": 1}, "encoding": place}
    return {"height": 320, "layer": [line, {"mark": {"type": "circle", "opacity": 0.8}, "encoding": dots}]}
