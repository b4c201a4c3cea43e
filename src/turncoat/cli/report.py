"""`turncoat report`: a folder of results as a page, or two folders beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from typer import Argument, Option

from turncoat.cli.base import Json, Quiet, app
from turncoat.errors import SpecError

if TYPE_CHECKING:
    from turncoat.report.sections import Report


@app.command()
def report(
    folders: Annotated[list[Path], Argument(metavar="FOLDER", help="Folder of result files; two with --compare.")],
    compare: Annotated[
        bool, Option("--compare", help="Two folders: what changed beyond the seeds' spread, what is bit-identical.")
    ] = False,
    output: Annotated[
        Path | None, Option("--output", "-o", help="The page; by default report.html, or compare.html.")
    ] = None,
    charts: Annotated[Path | None, Option(metavar="FOLDER", help="Write every chart here: PNG, SVG, CSV.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Results as one HTML page that needs no network: worst cases, heat maps, curves, sweeps, all runs.

    Examples:

        turncoat report results -o report.html --charts figures

        turncoat report --compare results-before results-after
    """
    if len(folders) != 1 + compare:
        wanted = "two folders: --compare A B" if compare else "one folder; two are compared with --compare"
        raise SpecError(f"report takes {wanted}, got {len(folders)}")
    if compare and charts:
        raise SpecError("--charts is about one folder: leave out --compare")
    if compare:
        _compare(folders[0], folders[1], output or Path("compare.html"), json)
    else:
        _report(folders[0], output, charts, json, quiet)


def _report(folder: Path, output: Path | None, charts: Path | None, json: bool, quiet: bool) -> None:
    from turncoat.progress import progress
    from turncoat.report.export import drawings, write_charts
    from turncoat.report.folders import PAGE, read_folder, title_of
    from turncoat.report.page import write_report
    from turncoat.report.summary import counted, headline

    drawn = read_folder(folder)
    page = write_report(drawn, output or PAGE, title_of(folder))
    if charts:
        with progress(drawings(drawn), quiet) as show:
            write_charts(drawn, charts, lambda done: show(done, "drawing"))
    if json:
        print(to_json(_numbers(drawn, page)).decode(), end="")
        return
    for one in drawn.comparisons:
        say(f"{one.title}: {headline(one)}")
    for notice in drawn.notices:
        say(notice.text)
    print(f"report on {counted(len(drawn.results), 'run')}: {page}")
    if charts:
        print(f"{counted(len(drawn.charts), 'chart')}, each as PNG, SVG and CSV: {charts}")


def _numbers(drawn: Report, page: Path) -> dict[str, Any]:
    """The headline figures for machines."""
    from turncoat.report.summary import numbers
    from turncoat.results.statistics import mixtures

    return {
        "page": str(page),
        "runs": len(drawn.results),
        "failed": len(drawn.failures),
        "settings": [numbers(one) for one in drawn.comparisons],
        "mixtures": mixtures(drawn.results),
        "notices": [notice.text for notice in drawn.notices],
    }


def _compare(a: Path, b: Path, output: Path, json: bool) -> None:
    from turncoat.report.folders import compare_folders
    from turncoat.report.page import write_differences

    found = compare_folders(a, b)
    page = write_differences(found, output)
    if json:
        print(to_json({"page": str(page), **found.plain()}).decode(), end="")
        return
    say(found.headline)
    for notice in found.notices:
        say(notice.text)
    print(f"comparison: {page}")


def say(text: str, to: TextIO | None = None) -> None:
    """A line for a terminal, which names in results cannot command."""
    from turncoat.results.settings import printable

    print(printable(text), file=to)


def to_json(value: Any) -> bytes:
    """A line of JSON in which what is not finite stands as "nan", "inf" or "-inf", as in the result files."""
    import msgspec

    from turncoat.results.result import spell_numbers

    return msgspec.json.encode(spell_numbers(value)) + b"\n"
