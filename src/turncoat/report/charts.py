"""Altair charts of a comparison: accuracy over the rounds, and rules against attacks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

from turncoat.report.compare import Comparison, attack_text
from turncoat.results import Result
from turncoat.results.plots import COLOURS, DASHES

LOG_FROM = 50.0  # a loss that spans more than this factor is drawn on a logarithmic axis
INK = "currentColor"  # the text colour of the page around, light or dark


@dataclass(frozen=True)
class Style:
    """How a rule is drawn on a whole page."""

    colour: str
    dash: list[int]


def styles(rules: Iterable[str]) -> dict[str, Style]:
    """One style a rule, by name: colours first, then dashes."""
    return {
        rule: Style(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, rule in enumerate(sorted(set(rules)))
    }


def curves(comparison: Comparison, columns: int = 3) -> alt.ConcatChart:
    """The metric over the rounds: one panel an attack, one line a rule (the mean over its runs), in one chart."""
    looks = styles(comparison.rules)
    panels = [panel(comparison, attack, looks, legend=True).properties(width=260) for attack in comparison.attacks]
    return alt.concat(*panels, columns=columns, title=comparison.title)


def panel(comparison: Comparison, attack: str, looks: dict[str, Style], legend: bool = False) -> alt.LayerChart:
    """One attack's panel of `curves`; single runs stand behind their mean as faint lines."""
    metric = comparison.metric
    means, singles = _means(comparison, attack), _singles(comparison, attack)
    rules = sorted(rule for rule in comparison.rules if (rule, attack) in comparison.runs)
    x = alt.X("round:Q", title="round", axis=alt.Axis(tickCount=4, grid=False, format="~s"))
    y = alt.Y("value:Q", title=None, **_axis(comparison))
    key = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolOpacity=1) if legend else None
    domain = sorted(looks) if legend else rules
    colour = alt.Color(
        "rule:N", legend=key, scale=alt.Scale(domain=domain, range=[looks[rule].colour for rule in domain])
    )
    dash = alt.StrokeDash(
        "rule:N", legend=key, scale=alt.Scale(domain=domain, range=[looks[rule].dash for rule in domain])
    )
    value = alt.Tooltip("value:Q", title=metric.title, format=".1%" if metric.fraction else ".4~g")
    tooltip = [alt.Tooltip("rule:N"), alt.Tooltip("round:Q"), value]
    mean = alt.Chart(alt.Data(values=means)).encode(x=x, y=y)
    layers: list[Any] = [mean.mark_line(strokeWidth=2, clip=True).encode(color=colour, strokeDash=dash)]
    layers.append(mean.mark_circle(size=90, opacity=0, clip=True).encode(tooltip=tooltip))
    if len(singles) > len(means):
        faint = alt.Chart(alt.Data(values=singles)).mark_line(strokeWidth=1, opacity=0.3, clip=True)
        layers.insert(0, faint.encode(x=x, y=y, color=colour, detail="run:N"))
    title = alt.TitleParams(attack_text(attack), anchor="start", limit=300)
    return alt.LayerChart(layer=layers, height=180, title=title)


def _points(comparison: Comparison, result: Result) -> dict[int, float]:
    """A run's finite values by round; what JSON cannot hold is left out, and so breaks no axis."""
    values = {record.round: comparison.metric.of(record) for record in result.records}
    return {t: value for t, value in values.items() if value is not None and math.isfinite(value)}


def _singles(comparison: Comparison, attack: str) -> list[dict[str, Any]]:
    return [
        {"rule": rule, "run": run, "round": t, "value": value}
        for (rule, met), results in comparison.runs.items()
        if met == attack
        for run, result in enumerate(results)
        for t, value in _points(comparison, result).items()
    ]


def _means(comparison: Comparison, attack: str) -> list[dict[str, Any]]:
    """The mean over a rule's runs, at the rounds that all of them measured."""
    rows: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in _singles(comparison, attack):
        rows[row["rule"], row["round"]].append(row["value"])
    return [
        {"rule": rule, "round": t, "value": sum(value / len(values) for value in values)}
        for (rule, t), values in sorted(rows.items())
        if len(values) == len(comparison.runs[rule, attack])
    ]


def _axis(comparison: Comparison) -> dict[str, Any]:
    """The value axis, the same in all panels of a comparison."""
    if comparison.metric.fraction:
        return {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%", tickCount=5)}
    values = [value for result in comparison.results for value in _points(comparison, result).values()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high > LOG_FROM * low:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [10.0**power for power in powers][:: 1 + len(powers) // 6]
        return {"scale": alt.Scale(type="log", domain=[low, high]), "axis": alt.Axis(format=".3~g", values=ticks)}
    return {"scale": alt.Scale(domain=[min(low, 0.0), high]), "axis": alt.Axis(format=".4~g", tickCount=5)}


def heat_map(comparison: Comparison) -> alt.LayerChart:
    """Final values of rules (best under its worst attack first) under attacks; each rule's worst one is framed."""
    metric = comparison.metric
    rows = _cells(comparison)
    value = alt.Tooltip("text:N", title=f"{metric.title}{' in %' if metric.fraction else ''}")
    tooltip = [alt.Tooltip("rule:N"), alt.Tooltip("attack:N"), value, alt.Tooltip("runs:Q")]
    bare: dict[str, Any] = {"title": None, "domain": False, "ticks": False}
    top = alt.Axis(orient="top", labelAngle=-40, labelLimit=220, **bare)
    left = alt.Axis(labelExpr=r"split(replace(datum.label, / >> /g, '\n>> '), '\n')", labelLimit=220, **bare)
    gap = alt.Scale(paddingInner=0.05, paddingOuter=0.05)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("attack:N", sort=alt.EncodingSortField("column", op="min"), axis=top, scale=gap),
        y=alt.Y("rule:N", sort=alt.EncodingSortField("row", op="min"), axis=left, scale=gap),
        tooltip=tooltip,
    )
    shade = alt.Color("shade:Q", scale=alt.Scale(scheme="redyellowblue", domain=[0, 1]), legend=None)
    cells = base.mark_rect(cornerRadius=3).encode(
        color=shade,
        stroke=alt.when("datum.worst").then(alt.value(INK)).otherwise(alt.value(None)),
        strokeWidth=alt.value(2),
    )
    ink = alt.when("datum.shade === null").then(alt.value(INK))
    ink = ink.when("datum.shade < 0.15 || datum.shade > 0.85").then(alt.value("white"))
    numbers = base.mark_text().encode(text="text:N", color=ink.otherwise(alt.value("black")))
    return alt.LayerChart(layer=[cells, numbers], width=alt.Step(62), height=alt.Step(36))


def _cells(comparison: Comparison) -> list[dict[str, Any]]:
    """One row a cell; its shade runs from 0, worst, to 1, best, and is None where nothing was run."""
    values = {
        (rule, attack): comparison.value(rule, attack) for rule in comparison.rules for attack in comparison.attacks
    }
    shades = _shades(comparison, [value for value in values.values() if value is not None])
    rows: list[dict[str, Any]] = []
    for (rule, attack), value in values.items():
        worst = comparison.is_worst(rule, attack)
        rows.append(
            {
                "rule": rule,
                "attack": attack_text(attack),
                "row": comparison.rules.index(rule),  # orders the names: as literals they would be part of a program
                "column": comparison.attacks.index(attack),
                "runs": len(comparison.runs.get((rule, attack), ())),
                "text": comparison.metric.text(value) + "*" * worst,
                "worst": worst,
                "shade": None if value is None else shades(value),
            }
        )
    return rows


def _shades(comparison: Comparison, values: list[float]) -> Callable[[float], float]:
    """How a value is shaded: accuracies as they are, losses from the highest to the lowest, large ones by magnitude."""
    if comparison.metric.fraction:
        return lambda value: value if math.isfinite(value) else 0.0
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = (math.asinh(high) - math.asinh(low)) or 1.0
    return lambda value: (math.asinh(high) - math.asinh(value)) / span if math.isfinite(value) else 0.0
