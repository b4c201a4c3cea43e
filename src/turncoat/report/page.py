"""One HTML page on many runs that needs nothing but itself: no network, no installation, no second file."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import msgspec
import vl_convert

from turncoat.report.charts import Style, heat_map, panel, styles
from turncoat.report.compare import CLEAN, Comparison, attack_of, attack_text, compare, metric_of, seed_text
from turncoat.results import Result, write_atomically

INK = "currentColor"  # charts take the page's text colour, so that light, dark and print need no second drawing
CONFIG = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "gridColor": INK,
        "gridOpacity": 0.15,
        "domainColor": INK,
        "domainOpacity": 0.4,
        "tickColor": INK,
        "tickOpacity": 0.4,
        "labelFontSize": 11,
    },
    "text": {"fontSize": 12},
    "title": {"color": INK, "fontSize": 13},
}
FIT = {"type": "fit-x", "contains": "padding"}  # panels are as wide as the screen allows
DRAW = """
const charts = JSON.parse(document.getElementById("charts").textContent);
for (const [id, spec] of Object.entries(charts))
  vegaEmbed("#" + id, spec, {mode: "vega-lite", renderer: "svg", actions: false});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => part.open = true));
"""


def write_page(results: Iterable[Result], path: Path | str, title: str = "turncoat") -> Path:
    """Write the report on some results as one HTML file; raises `ResultError` where the folder cannot be written.

    Per setting: each rule's accuracy without attack and under its worst attack, the heat map of rules against attacks
    and the curves; then all runs with their flags, what their specs share, and what they were computed with. The page
    loads nothing, and its content security policy forbids it to; names in the results are text, never markup.
    """
    results, script = list(results), _script()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("turncoat.report", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    comparisons = compare(results)
    looks = styles(result.spec.rule for result in results)
    charts: dict[str, Any] = {}
    sections = [_section(comparison, looks, charts, f"setting{i}") for i, comparison in enumerate(comparisons)]
    html = environment.get_template("page.html.j2").render(
        title=title,
        facts=_facts(results),
        flagged=sum(bool(result.flags) for result in results),
        sections=sections,
        charts=charts,
        runs=_runs(results),
        shared=_shared(results),
        environments=_environments(results),
        script=script,
        integrity=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        attack_text=attack_text,
    )
    return write_atomically(path, html.encode())


@cache
def _script() -> str:
    """Vega, Vega-Lite and vega-embed, in the version that altair writes for, and what draws the page's charts."""
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return vl_convert.javascript_bundle(DRAW, vl_version=version).replace("\r", "")


def _section(comparison: Comparison, looks: dict[str, Style], charts: dict[str, Any], name: str) -> dict[str, Any]:
    """What the template shows of one setting; its charts go into `charts` by the element that they fill."""
    if len(comparison.runs) > 1:
        charts[f"{name}-heat"] = _plain(heat_map(comparison))
    panels = [f"{name}-panel{i}" for i in range(len(comparison.attacks))]
    for place, attack in zip(panels, comparison.attacks, strict=True):
        charts[place] = _plain(panel(comparison, attack, looks)) | {"width": "container", "autosize": FIT}
    return {
        "name": name,
        "comparison": comparison,
        "missing": any(comparison.missing(rule) for rule in comparison.rules),
        "headline": _headline(comparison),
        "heat": f"{name}-heat" if f"{name}-heat" in charts else None,
        "panels": panels,
        "legend": {rule: looks[rule] for rule in sorted(comparison.rules)},
    }


def _plain(chart: Any) -> dict[str, Any]:
    """A chart's specification in the page's look."""
    spec = chart.to_dict()
    del spec["$schema"]
    return spec | {"config": CONFIG}


def _headline(comparison: Comparison) -> str:
    """The outcome in a sentence."""
    metric, rules = comparison.metric, comparison.rules
    unit = " %" if metric.fraction else ""
    best = next((rule for rule in rules if not comparison.missing(rule)), rules[0])
    last = rules[-1]
    worst, least = comparison.worst(best), comparison.worst(last)
    if worst is None:
        clean = metric.text(comparison.value(best, CLEAN))
        return f"Without attack, {best} ends at {clean}{unit} {metric.title}."
    met = len(comparison.attacks) - (CLEAN in comparison.attacks) - len(comparison.missing(best))
    among = f", the worst of {met} attacks on it" if met > 1 else ""
    text = f"{best} ends at {metric.text(worst.value)}{unit} {metric.title} under {worst.attack}{among}"
    if len(rules) == 1 or least is None:
        return f"{text}."
    return f"{text}; {last} ends at {metric.text(least.value)}{unit} under {least.attack}."


def _facts(results: Sequence[Result]) -> list[str]:
    """What the page is about, in numbers."""
    counts = {
        "run": len(results),
        "rule": len({result.spec.rule for result in results}),
        "attack": len({attack_of(result) for result in results} - {CLEAN}),
        "seed": len({seed_text(result) for result in results}),
    }
    facts = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()]
    return [*facts, *(f"computed {day}" for day in sorted({result.finished[:10] for result in results})[-1:])]


def _runs(results: Sequence[Result]) -> dict[str, Any]:
    """The table of all runs: what was compared, what else varies, how it ended."""
    varying = [key for key, values in _fields(results).items() if len(values) > 1 and key not in ("rule", "attack")]
    rows = []
    for result in results:
        metric = metric_of([result])
        unit = "%" if metric.fraction else metric.title
        names = [result.spec.rule, attack_text(attack_of(result)), *(str(getattr(result.spec, key)) for key in varying)]
        ends = [f"{metric.text(value)} {unit}" for value in (metric.final(result), metric.best(result))]
        speed = result.rounds_per_second
        numbers = [seed_text(result), *ends, f"{speed:.0f}" if speed >= 100 else f"{speed:.3g}"]
        rows.append({"names": names, "numbers": numbers, "flags": result.flags})
    return {"names": ["rule", "attack", *varying], "numbers": ["seed", "final", "best", "rounds/s"], "rows": rows}


def _fields(results: Sequence[Result]) -> dict[str, list[str]]:
    """The different values of each field of the specs but the seeds, as text."""
    names = [name for name in msgspec.structs.asdict(results[0].spec) if name != "seed"] if results else []
    return {name: sorted({str(getattr(result.spec, name)) for result in results}) for name in names}


def _shared(results: Sequence[Result]) -> dict[str, str]:
    """Every field of the specs with its value, or its values."""
    origins = sorted({f"{result.data_origin} (sha256 {result.data_checksum[:12]})" for result in results})
    return {name: " | ".join(values) for name, values in _fields(results).items()} | {"data": " | ".join(origins)}


def _environments(results: Sequence[Result]) -> list[dict[str, Any]]:
    """What the runs were computed with, the most frequent first."""
    found = Counter(
        (tuple(msgspec.structs.asdict(result.environment).items()), result.source_hash[:12]) for result in results
    )
    return [{"runs": runs, **dict(items), "source": source} for (items, source), runs in found.most_common()]
