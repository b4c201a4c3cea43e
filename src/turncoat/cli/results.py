"""`turncoat results`: what a folder of results holds, as rows or as statistics."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from turncoat.cli.base import Json, app
from turncoat.errors import SpecError
from turncoat.registry import suggest

if TYPE_CHECKING:
    import polars

    from turncoat.results.reading import Reading
    from turncoat.results.result import Result
    from turncoat.results.statistics import Comparison, Metric, Spread

FORMATS = ("table", "csv", "parquet", "json")
ROW = "#"  # a column for the number of a run, which is no run's own
ALIKE = ("task", "n", "f", "split", "rounds")  # what all runs have of these stands above their table
FOLLOWERS = {"f_actual": "f", "local_lr": "lr"}  # fields that say nothing new where they equal these
UNLEARNT = "plain mean without attack did not learn, so these figures say nothing of the rules"
UNTOLD = "no run of plain mean without attack tells whether it can be learnt at all"
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
    _say(_notes(reading))
    rows = evaluation_frame(reading.results) if evaluations else frame(reading.results)
    rows = rows.with_row_index(ROW)
    for condition in filter_ or []:
        rows = _select(rows, condition)
    if statistics:
        _statistics([reading.results[i] for i in rows[ROW]], to, output)
        return
    rows = _arranged(rows.drop(ROW), columns, sort)
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


def _say(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"turncoat: {note}", file=sys.stderr)


def _notes(reading: Reading) -> list[str]:
    """What must be known about a folder beside its rows."""
    from turncoat.results.failure import FAILED, read_failures

    keys = {result.key for result in reading.results}
    failed = sum(failure.key not in keys for failure in read_failures(reading.folder))
    notes = [reading.note] if reading.note else []
    if failed:
        notes.append(f"{failed} run{'s' * (failed > 1)} failed and left no result: see {reading.folder / FAILED}")
    if not reading.results:
        notes.append(f"there are no results in {reading.folder}")
    return notes


def _select(rows: polars.DataFrame, condition: str) -> polars.DataFrame:
    from turncoat.results.selection import nearest, select

    left = select(rows, condition)
    if rows.height and not left.height:
        _say([f"none of {rows.height} rows has {condition}; {nearest(rows, condition)}"])
    return left


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
        return _json(rows.to_dicts())
    buffer = BytesIO()
    rows.write_parquet(buffer)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    """JSON in which what is not finite stands as "nan", "inf" or "-inf", as in the result files."""
    import msgspec

    return msgspec.json.encode(_spell(value)) + b"\n"


def _spell(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spell(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


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
    from turncoat.results.selection import flat

    shown = flat(rows if whole else rows.select(_telling(rows)))
    alike = [name for name in ALIKE if name not in shown.columns and rows.height and not whole]
    title = ", ".join(f"{name} = {rows[name][0]}" for name in alike)
    lines = [shown.columns, *([_cell(value) for value in row] for row in shown.iter_rows())]
    _print_table(title, lines, right=[name for name, kind in shown.schema.items() if kind.is_numeric()])


def _telling(rows: polars.DataFrame) -> list[str]:
    """The columns that a reader wants unasked."""
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


def _print_table(title: str, lines: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """A head and lines of cells, as they are and without markup; those that end in a star stand out."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in _widths(list(zip(*lines, strict=True)), console.width):
        side = "right" if column[0] in right else "left"
        made.add_column(Text(column[0]), justify=side, width=width, overflow="fold")
    for line in lines[1:]:
        made.add_row(*(Text(cell, style="bold red" if cell.endswith("*") else "") for cell in line))
    console.print(Text(title), made, sep="\n")


def _widths(columns: Sequence[tuple[str, ...]], width: int) -> Iterator[tuple[tuple[str, ...], int | None]]:
    """Columns with their widths: no word broken if that can be, and the first columns whole; else left to rich."""
    words = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    spare = width - sum(words) - 2 * len(columns)
    for column, least in zip(columns, words, strict=True):
        more = min(max(map(len, column)) - least, max(spare, 0))
        yield column, least + more if spare >= 0 else None
        spare -= more


def _statistics(results: Sequence[Result], to: str, output: Path | None) -> None:
    """What runs say together: as tables, as JSON, or as the rows of the summary."""
    from turncoat.results import statistics

    if to in ("csv", "parquet"):
        _write(_encode(statistics.summary(results), to), output)
        return
    comparisons, mixed = statistics.compare(results), statistics.mixtures(results)
    if to == "table":
        for one in comparisons:
            _print_comparison(one)
        for name, found in mixed.items():
            versions = ", ".join(f"{version or 'none'} in {count}" for version, count in found.items())
            print(f"Not all runs were computed alike: {name} {versions}.")
        return
    frames = {"summary": statistics.summary(results), "worst": statistics.worst(results)}
    frames["paired"] = statistics.paired(results)
    made = {name: rows.to_dicts() for name, rows in frames.items()}
    _write(_json(made | {"mixtures": mixed}), output)


def _print_comparison(one: Comparison) -> None:
    """One setting: rules against attacks, then each rule under its worst attack and against the best."""
    from turncoat.results.settings import attack_text

    metric = one.metric
    lines = [["", *map(attack_text, one.attacks)]]
    for rule in one.rules:
        cells = [_text(metric, one.spread(rule, attack)) + "*" * one.is_worst(rule, attack) for attack in one.attacks]
        lines.append([rule, *cells])
    if len(one.attacks) > len(one.rules):
        lines = [list(line) for line in zip(*lines, strict=True)]
    unit = " in %" if metric.fraction else ""
    title = f"{one.title}: final {metric.title}{unit}, mean±standard deviation (seeds); * worst attack of a rule"
    _print_table(title, lines, right=lines[0][1:])
    if any(one.worst(rule) for rule in one.rules):
        _print_worst(one)
    if one.learnt is not True:
        print(f"{one.title}: {UNLEARNT if one.learnt is False else UNTOLD}\n")


def _print_worst(one: Comparison) -> None:
    """Each rule under its worst attack, and what it then is away from the best, seed by seed."""
    from turncoat.results.statistics import WORST, differences

    text = one.metric.text
    lines = [["rule", "worst attack", "ends at", "difference", "95 % interval", "better in", "not met"]]
    for rule in one.rules:
        worst = one.worst(rule)
        ends = [worst.attack, _text(one.metric, one.spread(rule, worst.attack))] if worst else ["–", "–"]
        found = next((each for each in differences(one, rule, one.best) if each.attack == WORST), None)
        away = ["", "", ""]
        if found and rule != one.best:
            bounds = "–" if found.low is None else f"{text(found.low)} to {text(found.high)}"
            away = [f"{text(found.mean)} ({found.seeds})", bounds, f"{found.better} of {found.seeds}"]
        lines.append([rule, *ends, *away, ", ".join(one.missing(rule))])
    if not any(line[-1] for line in lines[1:]):
        lines = [line[:-1] for line in lines]
    _print_table(f"Each rule under its worst attack, and its difference to {one.best} there, seed by seed", lines)


def _text(metric: Metric, spread: Spread | None) -> str:
    """`80.1±2.3 (5)`: mean, standard deviation, seeds."""
    if spread is None:
        return "–"
    deviation = "" if spread.sd is None else f"±{metric.text(spread.sd)}"
    return f"{metric.text(spread.mean)}{deviation} ({spread.seeds})"
