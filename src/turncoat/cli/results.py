"""`turncoat results`: what a folder of results holds, as rows or as statistics."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from turncoat.cli.base import Json, app
from turncoat.cli.report import say, to_json
from turncoat.errors import SpecError
from turncoat.registry import suggest

if TYPE_CHECKING:
    import polars

    from turncoat.results.comparison import Comparison
    from turncoat.results.failure import Failure
    from turncoat.results.reading import Reading
    from turncoat.results.result import Result

FORMATS = ("table", "csv", "parquet", "json")
ALIKE = ("task", "n", "f", "split", "rounds")  # what all runs have of these stands above their table
ASIDE = ("train_loss", "rounds_per_second", "seconds")  # shown on request


@app.command("results")
def results_(
    folder: Annotated[Path, Argument(help="Folder of result files.")],
    filter_: Annotated[
        list[str] | None,
        Option("--filter", metavar="FIELD=VALUE", help="Only these; also != < <= > >=, and ~ for contains. Repeat."),
    ] = None,
    statistics: Annotated[
        bool, Option("--statistics", help="Means over the seeds, worst attacks, differences between rules.")
    ] = False,
    evaluations: Annotated[bool, Option("--evaluations", help="One row an evaluation instead of a run.")] = False,
    columns: Annotated[str | None, Option(metavar="A,B", help="Only these columns, in this order.")] = None,
    sort: Annotated[str | None, Option(metavar="COLUMN", help="By this column; -COLUMN: the largest first.")] = None,
    format_: Annotated[
        str | None,
        Option("--format", metavar="FORMAT", help="table, csv, parquet or json; by default a table, in a pipe csv."),
    ] = None,
    output: Annotated[Path | None, Option("--output", "-o", help="Write to this .csv, .parquet or .json file.")] = None,
    json: Json = False,
) -> None:
    """What a folder of results holds: one row a run, or what they say together.

    Fields are those of a run's specification and what was measured: rule, attack, attack_name, attack_strength, seed,
    final_accuracy, flags and many more; an unknown one is answered with the nearest. Put < and > into quotes.

    Examples:

        turncoat results results --filter attack_name=ipm --sort attack_strength

        turncoat results results --filter "final_accuracy<0.5" --filter "rule~nnm" --columns rule,attack,seed

        turncoat results results --evaluations -o curves.parquet

        turncoat results results --statistics
    """
    from turncoat.results.reading import evaluation_frame, frame, read

    if statistics and (evaluations or columns or sort):
        raise SpecError("--statistics has rows and columns of its own: leave out --evaluations, --columns and --sort")
    to = _format("json" if json else format_, output, statistics)
    reading = read(folder)
    failures = reading.failures()
    _warn(_notes(reading, failures))
    rows = evaluation_frame(reading.results) if evaluations else frame(reading.results)
    rows, numbers = _select(rows, filter_ or [])
    if statistics:
        _statistics([reading.results[i] for i in numbers], _meeting(failures, filter_ or []), to, output)
        return
    rows = _arranged(rows, columns, sort)
    if to == "table":
        _print_rows(rows, whole=columns is not None)
    else:
        _write(_encode(rows, to), output)


def _format(wanted: str | None, output: Path | None, statistics: bool) -> str:
    """The format asked for, else that of the file's name, else what suits where the output goes."""
    terminal = output is None and sys.stdout.isatty()
    if wanted is None and output is not None:
        wanted = output.suffix.removeprefix(".")
    to = wanted or ("table" if terminal or statistics else "csv")
    if to not in FORMATS:
        raise SpecError(f"unknown format {to!r}: {suggest(to, FORMATS)}")
    if to == "table" and output is not None:
        raise SpecError("a file takes csv, parquet or json, not a table")
    if to == "parquet" and terminal:
        raise SpecError("parquet is binary: write it to a file with -o FILE, or into a pipe")
    return to


def _warn(notes: Iterable[str]) -> None:
    for note in notes:
        say(f"turncoat: {note}", sys.stderr)


def _notes(reading: Reading, failures: Sequence[Failure]) -> list[str]:
    """What must be known about a folder beside its rows."""
    from turncoat.results.failure import FAILED

    notes = [reading.note] if reading.note else []
    if failed := len(failures):
        notes.append(f"{failed} run{'s' * (failed > 1)} failed and left no result: see {reading.folder / FAILED}")
    if not reading.results:
        notes.append(f"there are no results in {reading.folder}")
    return notes


def _select(rows: polars.DataFrame, conditions: Sequence[str]) -> tuple[polars.DataFrame, list[int]]:
    """The rows that meet all conditions, and their numbers."""
    from turncoat.results.selection import meets, nearest

    numbers = list(range(rows.height))
    for condition in conditions:
        met = meets(rows, condition)
        if rows.height and not met.any():
            _warn([f"none of {rows.height} rows has {condition}; {nearest(rows, condition)}"])
        rows, numbers = rows.filter(met), list(compress(numbers, met))
    return rows, numbers


def _meeting(failures: Sequence[Failure], conditions: Sequence[str]) -> list[Failure]:
    """The failed runs that meet conditions, of which none does where one is about what only finished runs have."""
    from turncoat.results.reading import spec_frame
    from turncoat.results.selection import meets

    rows = spec_frame(failures)
    try:
        found = [meets(rows, condition) for condition in conditions]
    except SpecError:
        return []
    return [failure for failure, *met in zip(failures, *found, strict=True) if all(met)]


def _arranged(rows: polars.DataFrame, columns: str | None, sort: str | None) -> polars.DataFrame:
    from turncoat.results.selection import column

    if sort:
        by, down = column(rows, sort.removeprefix("-")), sort.startswith("-")
        rows = rows.sort(by, descending=down, nulls_last=True, maintain_order=True)
    if columns is not None:
        rows = rows.select(list(dict.fromkeys(column(rows, name.strip()) for name in columns.split(","))))
    return rows


def _encode(rows: polars.DataFrame, to: str) -> bytes:
    from turncoat.results.selection import flat

    if to == "csv":
        return flat(rows).write_csv().encode()
    if to == "json":
        return to_json(rows.to_dicts())
    buffer = BytesIO()
    rows.write_parquet(buffer)
    return buffer.getvalue()


def _write(content: bytes, output: Path | None) -> None:
    from turncoat.results.files import write_atomically

    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_atomically(output, content)


def _print_rows(rows: polars.DataFrame, whole: bool) -> None:
    """A table: of all columns, or of those in which the runs differ and what was measured."""
    from rich.console import Console

    from turncoat.report.tables import print_table
    from turncoat.results.selection import flat

    shown = flat(rows if whole else rows.select(_telling(rows)))
    alike = [name for name in ALIKE if name not in shown.columns and rows.height and not whole]
    title = ", ".join(f"{name} = {rows[name][0]}" for name in alike)
    lines = [shown.columns, *([_cell(value) for value in row] for row in shown.iter_rows())]
    right = [name for name, kind in shown.schema.items() if kind.is_numeric()]
    print_table(Console(highlight=False), title, lines, right)


def _telling(rows: polars.DataFrame) -> list[str]:
    """The columns that a reader wants unasked."""
    from turncoat.results.settings import FOLLOWERS
    from turncoat.spec import Seeds, Spec

    names = rows.columns
    streams = [f"seed.{stream}" for stream in Seeds.__struct_fields__]
    fields = [name for name in (*Spec.__struct_fields__, *streams) if name not in ("rule", "attack", "seed")]
    fields = [name for name in fields if not (name in FOLLOWERS and rows[name].equals(rows[FOLLOWERS[name]]))]
    fields = [name for name in fields if rows[name].n_unique() > 1]
    if not rows["seed"].null_count():
        fields = [*(name for name in fields if name not in streams), "seed"]
    if "round" in names:
        measured = names[names.index("round") :]
    else:
        measured = [name for name in names[names.index("final_accuracy") : names.index("started")] if name not in ASIDE]
    measured = [name for name in measured if rows[name].count() and (name != "flags" or rows[name].list.len().sum())]
    return ["rule", "attack", *fields, *measured]


def _cell(value: object) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _statistics(results: Sequence[Result], failures: Sequence[Failure], to: str, output: Path | None) -> None:
    """What runs say together: as tables, as JSON, or as the rows of the summary."""
    from turncoat.results import statistics

    summary = statistics.summary(results, failures)
    if to in ("csv", "parquet"):
        _write(_encode(summary, to), output)
        return
    mixed = statistics.mixtures(results)
    if to == "table":
        _print_statistics(statistics.compare(results, failures), mixed)
        return
    frames = {"summary": summary, "worst": statistics.worst(results, failures)}
    frames["paired"] = statistics.paired(results, failures=failures)
    made = {name: rows.to_dicts() for name, rows in frames.items()}
    _write(to_json(made | {"mixtures": mixed}), output)


def _print_statistics(comparisons: Sequence[Comparison], mixed: Mapping[str, Mapping[str, int]]) -> None:
    from rich.console import Console

    from turncoat.report.tables import print_comparison, print_worst

    console = Console(highlight=False)
    for one in comparisons:
        print_comparison(console, one)
        if any(one.worst(rule) for rule in one.rules):
            print_worst(console, one)
    for name, found in mixed.items():
        versions = ", ".join(f"{version or 'none'} in {count}" for version, count in found.items())
        say(f"Not all runs were computed alike: {name} {versions}.")
