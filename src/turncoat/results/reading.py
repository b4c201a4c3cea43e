"""Many results at once: the newest of each run in a folder, and frames with one row a run or an evaluation."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from turncoat import registry
from turncoat.errors import ResultError, SpecError
from turncoat.results.failure import Failure, read_failures
from turncoat.results.metric import Metric
from turncoat.results.result import Record, Result
from turncoat.results.settings import Run, in_order, seed_number, seeds_of
from turncoat.spec import Seeds, Spec
from turncoat.spelling import Call, parse

if TYPE_CHECKING:
    import polars

Column = tuple[type, Callable[[Any], object]]
"""The type of a column's values, and how one follows from a row's result or record."""


@dataclass(frozen=True)
class Reading:
    """What is in a folder: the newest result of each spec, put in order, and the files that these supersede."""

    folder: Path
    results: list[Result]
    superseded: list[Path]

    @property
    def note(self) -> str:
        """What was left out, in a line; empty where nothing was."""
        count = len(self.superseded)
        files = "file is" if count == 1 else "files are"
        return f"{count} {files} left out of {self.folder}: it has newer results of the same specs" if count else ""

    def failures(self) -> list[Failure]:
        """The runs that failed and have left no result since; raises `ResultError` for a file that is no failure."""
        keys = {result.key for result in self.results}
        left = (failure for failure in read_failures(self.folder) if failure.key not in keys)
        return sorted(left, key=in_order)


def read(folder: Path | str) -> Reading:
    """All results in a folder's `.json` files, by task, size, split, rule, attack and seed.

    Of several with one resolved spec, the one that finished last counts. Those differ in what computed them: the
    version of the code, the data, the user's own files. Hidden files and folders are skipped. Raises `ResultError`,
    which names the file, for one that is no whole result.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ResultError(f"there is no folder {folder}")
    newest: dict[Spec, tuple[Path, Result]] = {}
    superseded = []
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith(".") or path.is_dir():
            continue
        result = Result.load(path)
        found = [(path, result)]
        if result.spec in newest:
            found = sorted([newest[result.spec], *found], key=lambda each: _finished(each[1]))
            superseded.append(found[0][0])
        newest[result.spec] = found[-1]
    return Reading(folder, sorted((result for _, result in newest.values()), key=in_order), sorted(superseded))


def _finished(result: Result) -> float:
    """When a run finished, in seconds; what is no time is before all others."""
    try:
        return datetime.fromisoformat(result.finished).timestamp()
    except ValueError:
        return float("-inf")


def read_all(folder: Path | str) -> list[Result]:
    """The results of `read`, without a word on those that they supersede."""
    return read(folder).results


def results(folder: Path | str, evaluations: bool = False) -> polars.DataFrame:
    """The results in a folder as a frame with one row a run, see `frame`; or with one row an evaluation.

    Warns where several results have the same spec: only the newest is in the frame. Raises `ResultError`.
    """
    reading = read(folder)
    if reading.superseded:
        warnings.warn(reading.note, stacklevel=2)
    return evaluation_frame(reading.results) if evaluations else frame(reading.results)


def frame(results: Iterable[Result]) -> polars.DataFrame:
    """One row a run, in flat columns.

    First every field of its `Spec` by its name, with `attack_name` and `attack_strength` (the number that the registry
    calls the attack's strength) beside `attack`; `seed` is the small integer that the four streams `seed.data`,
    `seed.model`, `seed.server` and `seed.adversary` were derived from, null where there is none. Then what was measured
    last (`final_accuracy`, `test_loss`, `train_loss`, the task's own metrics) and `best_accuracy`, what it took and by
    what it was computed: `device_name` is the device's own name, `seconds` is the sum over all phases. A task's own
    metric whose name is taken stands as `extra.NAME`.
    """
    runs = list(results)
    measured: dict[str, Column] = {name: (float, attrgetter(name)) for name in ("final_accuracy", "best_accuracy")}
    measured |= {name: (float, Metric(name, name).final) for name in ("test_loss", "train_loss")}
    about: dict[str, Column] = {
        "rounds_per_second": (float, attrgetter("rounds_per_second")),
        "seconds": (float, lambda run: sum(run.timings.values())),
        "flags": (list, attrgetter("flags")),
        "started": (str, attrgetter("started")),
        "finished": (str, attrgetter("finished")),
    }
    about |= {name: (str, attrgetter(f"environment.{name}")) for name in ("turncoat", "torch", "numpy", "python")}
    about |= {"device_name": (str, attrgetter("environment.device"))}
    about |= {name: (str, attrgetter(name)) for name in ("source_hash", "data_checksum", "key")}
    columns = _spec_columns() | measured
    own = {column: (float, Metric(name, name).final) for name, column in _own(runs, columns | about)}
    return _frame(runs, columns | own | about)


def spec_frame(runs: Iterable[Run]) -> polars.DataFrame:
    """One row a run, in those columns of `frame` that say which it is: they are also known of runs that failed."""
    return _frame(list(runs), _spec_columns())


def evaluation_frame(results: Iterable[Result]) -> polars.DataFrame:
    """One row an evaluation: the columns of `frame` that say which run it is, and the fields of its `Record`."""
    import polars as pl

    runs = list(results)
    of_run: dict[str, Column] = _spec_columns() | {"key": (str, attrgetter("key"))}
    fields = [name for name in Record.__struct_fields__ if name != "extra"]
    measured: dict[str, Column] = {name: (int if name == "round" else float, attrgetter(name)) for name in fields}
    for name, column in _own(runs, of_run | measured):
        measured[column] = (float, Metric(name, name).of)
    places = [i for i, run in enumerate(runs) for _ in run.records]
    records = _frame(list(chain.from_iterable(run.records for run in runs)), measured)
    return pl.concat([_frame(runs, of_run)[places], records], how="horizontal")


def _frame(rows: Sequence[object], columns: Mapping[str, Column]) -> polars.DataFrame:
    import polars as pl

    kinds = {int: pl.Int64, float: pl.Float64, str: pl.String, list: pl.List(pl.String)}
    return pl.DataFrame(
        [pl.Series(name, [of(row) for row in rows], kinds[kind]) for name, (kind, of) in columns.items()]
    )


def _spec_columns() -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for key, hint in get_type_hints(Spec).items():
        columns[key] = (_type(hint), attrgetter(f"spec.{key}"))
        if key == "attack":
            columns["attack_name"] = (str, lambda run: attack_parts(run.spec.attack).name)
            columns["attack_strength"] = (float, lambda run: attack_parts(run.spec.attack).strength)
    columns["seed"] = (int, lambda run: seed_number(seeds_of(run)))
    return columns | {f"seed.{stream}": (int, attrgetter(f"spec.seed.{stream}")) for stream in Seeds.__struct_fields__}


def _type(hint: Any) -> type:
    """The type of a spec's field where it is not None."""
    options = (hint,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
    option = next(option for option in options if option is not type(None))
    return str if get_origin(option) is Literal else option


def _own(runs: Iterable[Result], taken: Iterable[str]) -> list[tuple[str, str]]:
    """The tasks' own metrics, each with the name of its column."""
    names = dict.fromkeys(name for run in runs for record in run.records for name in record.extra)
    return [(name, f"extra.{name}" if name in taken else name) for name in names]


class AttackParts(NamedTuple):
    """An attack taken apart: its `strength` is None where the registry knows of none, or it is no finite number."""

    name: str
    strength: float | None = None
    parameter: str = ""
    """What the strength is called."""
    others: str = ""
    """The attack without it."""


@cache
def attack_parts(attack: str) -> AttackParts:
    """An attack's name, its strength, and what there is besides.

    Examples:
        >>> attack_parts("alie(z=1.5, ddof=0)")
        AttackParts(name='alie', strength=1.5, parameter='z', others='alie(ddof=0)')
    """
    try:
        call = parse(attack)
        parameter = str(registry.find("attack", call.name).traits.get("strength"))
    except SpecError:  # the user's own
        return AttackParts(attack.partition("(")[0])
    value = call.kwargs.get(parameter)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        return AttackParts(call.name)
    others = {key: value for key, value in call.kwargs.items() if key != parameter}
    return AttackParts(call.name, float(value), parameter, str(Call(call.name, call.args, others)))
