"""The charts of a report as files: PNG and SVG, drawn without a browser, and their data as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import altair as alt
import vl_convert

from turncoat.report.drawing import PAPER, Chart, Row, all_printable, drawn, rows
from turncoat.report.sections import Report
from turncoat.results.files import write_atomically

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
WIDTH, NARROW = 420, 260  # of a chart that does not say its own, alone and in a sheet
SHARPNESS = 2  # pixels of a PNG for each of the chart's


def write_charts(report: Report, folder: Path | str, watch: Callable[[int], None] = lambda done: None) -> list[Path]:
    """Write every chart of a report into a folder, as `.png`, `.svg` and `.csv`; raises `ResultError`.

    Panels that belong together are also drawn side by side, as `.png` and `.svg`. `watch` is called with the number of
    drawings done, of as many as `drawings` says.
    """
    written, folder = [], Path(folder)
    for done, (place, chart) in enumerate(report.charts.items(), start=1):
        stem = folder / file_stem(place, chart)
        written += write_drawing(standalone(chart, report.runs), stem)
        written.append(write_atomically(_file(stem, "csv"), table(chart, report.runs).encode()))
        watch(done)
    for done, (name, spec) in enumerate(sheets(report).items(), start=len(report.charts) + 1):
        written += write_drawing(spec, folder / name)
        watch(done)
    return written


def drawings(report: Report) -> int:
    """How many charts and sheets `write_charts` draws."""
    return len(report.charts) + len(sheets(report))


def write_drawing(spec: Row, stem: Path) -> list[Path]:
    """Draw a chart into `.svg` and `.png` files of that name."""
    svg = vl_convert.vegalite_to_svg(all_printable(spec), vl_version=VEGA_LITE)
    png = vl_convert.svg_to_png(svg, scale=SHARPNESS)
    return [write_atomically(_file(stem, "svg"), svg.encode()), write_atomically(_file(stem, "png"), png)]


def _file(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")


def file_stem(place: str, chart: Chart) -> str:
    """A file's name for a chart: its place on the page, and what it shows."""
    return f"{place}-{re.sub(r'[^a-z0-9]+', '-', chart.title.lower()).strip('-')[:60]}".rstrip("-")


def standalone(chart: Chart, runs: list[Row]) -> Row:
    """A chart with its data, title and legends, dark on white, as it stands outside of the page."""
    title = {"text": chart.title, "subtitle": chart.about, "anchor": "start", "frame": "group"}
    return {"width": WIDTH, **chart.spec, "title": title, "data": {"values": drawn(chart, runs)}, "config": PAPER}


def sheets(report: Report) -> dict[str, Row]:
    """Panels that belong together side by side, with one legend, by their files' names."""
    found = {}
    for section in report.sections:
        one = section.comparison
        measures = {"curves": (one.metric.title, section.curves)}
        measures |= {name.split()[0]: (name, places) for name, places in section.aggregate.items()}
        for name, (title, places) in measures.items():
            if len(places) > 1:
                charts = {heading: report.charts[place] for place, heading in places.items()}
                above = f"{title} over the rounds"
                found[f"{section.place}-{name}"] = sheet(above, one.title, charts, report.runs)
    for i, (sweep, places) in enumerate(report.sweeps):
        if len(places) > 1:
            charts = {heading: report.charts[place] for place, heading in places.items()}
            title = f"{sweep.attack}: final {sweep.metric.title} over {sweep.parameter}"
            found[f"sweep{i}"] = sheet(title, sweep.setting, charts, report.runs)
    return found


def sheet(title: str, about: str, charts: Mapping[str, Chart], runs: list[Row]) -> Row:
    """Charts side by side under their headings, three in a row, with one legend."""
    panels = []
    for heading, chart in charts.items():
        panel = {name: value for name, value in standalone(chart, runs).items() if name != "config"}
        above = {"text": heading, "anchor": "start", "frame": "group", "offset": 6}
        panels.append(panel | {"width": NARROW, "title": above})
    return {"concat": panels, "columns": 3, "title": {"text": title, "subtitle": about}, "config": PAPER}


def table(chart: Chart, runs: list[Row]) -> str:
    """A chart's data as CSV, in full precision, with one row a point; the value's column is named after the metric."""
    names = [name for name in chart.columns or ("rule", "attack", "seed", "round", "value") if not name.startswith("_")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([chart.metric if name == "value" and chart.metric else name for name in names])
    writer.writerows([row[name] for name in names] for row in rows(chart, runs))
    return file.getvalue()
