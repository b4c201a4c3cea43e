"""One HTML page on many runs that needs nothing but itself: no network, no installation, no second file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from turncoat.report.charts import scatter
from turncoat.report.differences import Differences
from turncoat.report.drawing import LARGEST, MEASURED, PAGE, PAPER, Chart, Row, all_printable
from turncoat.report.export import VEGA_LITE, WIDTH, file_stem
from turncoat.report.listings import changes_table, environments, fields, runs_table, seeds
from turncoat.report.sections import Report
from turncoat.report.summary import counted, facts
from turncoat.results.failure import Failure
from turncoat.results.files import write_atomically
from turncoat.results.result import Result, spell_numbers
from turncoat.results.settings import attack_text, seeds_text


def write_page(
    results: Iterable[Result],
    path: Path | str,
    title: str = "turncoat",
    failures: Iterable[Failure] = (),
    superseded: str = "",
) -> Path:
    """Write the report on some results as one HTML file; raises `ResultError` where the folder cannot be written.

    With it go the runs that failed, and a word on results that were left out. The page loads nothing, and its content
    security policy forbids it to; names in the results are text, never markup.
    """
    return write_report(Report(results, failures, superseded), path, title)


def write_report(report: Report, path: Path | str, title: str) -> Path:
    """`write_page` of a report that is drawn already."""
    results = report.results
    values = fields(results)
    page = render(
        "page.html.j2",
        payload_of(report.charts, report),
        title=title,
        facts=facts(results, len(seeds(results))),
        notices=report.notices,
        report=report,
        failures=report.failures,
        runs=runs_table(results),
        shared={name: found[0] for name, found in values.items() if len(found) == 1} | seeds(results),
        varying={name: " | ".join(found) for name, found in values.items() if len(found) > 1},
        environments=environments(results),
    )
    return write_atomically(path, page.encode())


def write_differences(differences: Differences, path: Path | str) -> Path:
    """Write what two folders have in common, and what not, as a page like that of `write_page`."""
    charts = {f"scatter{i}": chart for i, chart in enumerate(scatter(differences))}
    alone = [
        {"name": name, "runs": runs_table(only)}
        for name, only in zip(differences.names, differences.only, strict=True)
        if only
    ]
    page = render(
        "compare.html.j2",
        payload_of(charts),
        title=" and ".join(differences.names),
        facts=[f"{counted(len(differences.pairs), 'run')} in both"],
        notices=differences.notices,
        headline=differences.headline,
        cells=changes_table(differences),
        alone=alone,
        scatters={place: chart.title for place, chart in charts.items()},
    )
    return write_atomically(path, page.encode())


def render(template: str, payload: Row, *, room: str = "turncoat.report", charts: bool = True, **shown: Any) -> str:
    """A page by its template, which lies in a room of the package; one without charts is small."""
    places = [jinja2.PackageLoader(name, "") for name in dict.fromkeys((room, "turncoat.report"))]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(places), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"breakable": _breakable, "capital": lambda text: text[:1].upper() + text[1:]}
    environment.globals |= {"attack_text": attack_text, "seed": seeds_text, "zip": zip}
    script = _script() if charts else _resource("page.js")
    return environment.get_template(template).render(
        payload=payload,
        css=_resource("page.css"),
        script=script,
        integrity=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **shown,
    )


def _breakable(name: str) -> Markup:
    """A call's text, which a narrow column breaks where it must."""
    return Markup("<wbr>").join(re.split(r"(?<=[(_:/])|(?<=>>)", name))


@cache
def _script() -> str:
    """Vega, Vega-Lite and vega-embed, in the version that altair writes for, and what the page does with them."""
    return vl_convert.javascript_bundle(_resource("page.js"), vl_version=VEGA_LITE).replace("\r", "")


def _resource(name: str) -> str:
    return (files("turncoat.report") / name).read_text(encoding="utf-8")


def payload_of(charts: Mapping[str, Chart], report: Report | None = None) -> Row:
    """What a page draws from: the runs once, and drawings that several charts share once."""
    specs: list[Row] = []
    numbers: dict[str, int] = {}

    def number(spec: Row) -> int:
        place = numbers.setdefault(json.dumps(spec), len(specs))
        if place == len(specs):
            specs.append(spec)
        return place

    drawn: Row = {}
    for place, chart in charts.items():
        about = {"title": chart.title, "about": chart.about, "file": file_stem(place, chart), "metric": chart.metric}
        columns = {name: _spelled(values) if name in MEASURED else values for name, values in chart.columns.items()}
        own = {"columns": columns} if columns else {"runs": chart.runs}
        drawn[place] = about | own | {"spec": number(chart.spec)}
    details = {
        section.place: [
            {"title": metric.title, "about": section.comparison.title, "metric": metric.name, "spec": number(spec)}
            for metric, spec in section.details.items()
        ]
        for section in (report.sections if report else ())
    }
    runs = [
        run | {"series": {name: _spelled(values) for name, values in run["series"].items()}}
        for run in (report.runs if report else ())
    ]
    look = {"page": PAGE, "paper": PAPER, "width": WIDTH, "measured": MEASURED, "largest": LARGEST}
    return all_printable(look | {"runs": runs, "specs": specs, "charts": drawn, "details": details})


def _spelled(values: Iterable[float | None]) -> list[float | str | None]:
    """Numbers as a page holds them: four significant digits, and "nan" and "inf", which JSON does not have."""
    short = (float(f"{value:.4g}") if isinstance(value, float) else value for value in values)
    return spell_numbers(list(short))
