"""What one run leaves behind, in memory and as a file of strict JSON."""

from __future__ import annotations

import math
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import turncoat
from turncoat.errors import ResultError, SpecError
from turncoat.results.files import write_atomically
from turncoat.spec import Seeds, Spec

if TYPE_CHECKING:
    import altair
    import pandas
    import polars

SCHEMA_VERSION = 1
NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON has no such numbers: they stand as strings
NUMBERS = ("records", "timings", "rounds_per_second")  # where a string can only be one of these


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The state of a run after `round` rounds; None stands for what was not measured.

    Accuracies are fractions of 1, losses means over the examples. `distance` and `cosine` compare the round's
    aggregate with the mean of the honest vectors; `passed` is how far along the way from there to the mean of the
    Byzantine vectors it lies: f/n under the plain mean, 0 where nothing of the attack gets through. A task's own
    metrics stand in `extra`.
    """

    round: int
    test_accuracy: float | None = None
    test_loss: float | None = None
    train_loss: float | None = None
    distance: float | None = None
    cosine: float | None = None
    passed: float | None = None
    extra: dict[str, float] = {}

    def __post_init__(self) -> None:
        for name in self.extra:
            if name in self.__struct_fields__:
                raise SpecError(f"the extra metric {name!r} has the name of one that every record has")


class Planned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an attack that looks ahead chose what it sent in some rounds.

    `value` is what the moves chosen were worth by the `objective` when they were played beforehand, `tried` the best
    that each way of finding some came to, among which `winner` is; losses that are not finite count as 1e31.
    `simulated_rounds` is what it spent.
    """

    round: int
    rounds: int
    objective: str
    winner: str
    value: float
    simulated_rounds: int
    tried: dict[str, float]

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, *self.tried.values()))):
            raise SpecError(f"what a plan of {self.winner} is worth must be finite: 1e31 stands for what is not")


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run was computed with: versions, machine, device by its own name, torch threads."""

    python: str
    turncoat: str
    torch: str
    numpy: str
    platform: str
    device: str
    threads: int

    @classmethod
    def here(cls, device: str, threads: int) -> Environment:
        """This process, without importing torch."""
        return cls(
            python=platform.python_version(),
            turncoat=turncoat.__version__,
            torch=_version("torch"),
            numpy=_version("numpy"),
            platform=platform.platform(),
            device=device,
            threads=threads,
        )


def now() -> str:
    """The time, as results have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, eq=False):
    """One finished run: its resolved spec, what was measured, and what it takes to compute it again.

    `timings` are seconds by phase, `flags` doubts about the run in words, `source_hash` is that of the package's
    files that compute (`results.files.source_hash`), `started` and `finished` are ISO 8601 with their offset. A run of
    a campaign also holds its complete `key`, the sha256 of the user's own `files` by their names, and that of the files
    of its data set. Two results are equal when their files are; so a NaN equals a NaN.
    """

    schema_version: int = SCHEMA_VERSION
    spec: Spec
    records: list[Record]
    timings: dict[str, float]
    rounds_per_second: float
    environment: Environment
    flags: list[str]
    gradients: str
    plans: list[Planned] = []
    source_hash: str
    data_origin: str
    data_checksum: str
    data_files: str = ""
    files: dict[str, str] = {}
    key: str = ""
    started: str
    finished: str

    def __post_init__(self) -> None:
        if not isinstance(self.spec.seed, Seeds) or self.spec.f_actual is None:
            raise SpecError("a result needs its spec resolved: turncoat.spec.resolve(spec)")

    @property
    def label(self) -> str:
        """The run in short: task, rule, attack."""
        return f"{self.spec.task}: {self.spec.rule} under {self.spec.attack}"

    @property
    def last(self) -> Record | None:
        """The last record, None where nothing was measured."""
        return self.records[-1] if self.records else None

    @property
    def final_accuracy(self) -> float | None:
        """The last test accuracy measured, None for a task without."""
        return next(iter(reversed(self._accuracies())), None)

    @property
    def best_accuracy(self) -> float | None:
        """The highest test accuracy of the run, None for a task without."""
        return max(self._accuracies(), key=lambda accuracy: (accuracy == accuracy, accuracy), default=None)

    def _accuracies(self) -> list[float]:
        return [record.test_accuracy for record in self.records if record.test_accuracy is not None]

    def to_polars(self) -> polars.DataFrame:
        """One row a record: round, the metrics of `Record`, then the task's own."""
        import polars as pl

        fixed = [name for name in Record.__struct_fields__ if name != "extra"]
        own = dict.fromkeys(name for record in self.records for name in record.extra)
        schema = {name: pl.Int64 if name == "round" else pl.Float64 for name in (*fixed, *own)}
        rows = [[*(getattr(record, name) for name in fixed), *map(record.extra.get, own)] for record in self.records]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def to_pandas(self) -> pandas.DataFrame:
        """`to_polars` as a pandas frame; raises `ResultError` where pandas is missing."""
        try:
            return self.to_polars().to_pandas()
        except ModuleNotFoundError as error:
            raise ResultError(f"to_pandas needs {error.name}: pip install 'turncoat[pandas]'") from None

    def plot(self, *others: Result) -> altair.HConcatChart:
        """This run over the rounds, and others beside it, one colour a run: panels of what was measured.

        Accuracy and losses; or, where all records hold a model's two coordinates, its way in the plane and its distance
        to the optimum (S0, Figures 1 and 2). The legend says what sets the runs apart. What is not finite is left out,
        an axis over more than two decades is logarithmic, and in the plane a run that goes far off leaves the frame.
        """
        import altair as alt

        from turncoat.results.plots import figure_of

        figure = figure_of((self, *others))
        rows = figure.pop("datasets")
        chart = alt.HConcatChart.from_dict(figure)
        chart.datasets = rows  # from_dict would make an object of each row
        return chart

    def save(self, path: Path | str) -> Path:
        """Write the result as JSON, whole or not at all; raises `ResultError` where the folder cannot be written."""
        return write_atomically(path, self.encode())

    def encode(self) -> bytes:
        """The result as JSON; what is not finite stands as "nan", "inf" or "-inf"."""
        plain = msgspec.to_builtins(self)
        plain |= {key: spell_numbers(plain[key]) for key in NUMBERS}
        return msgspec.json.format(msgspec.json.encode(plain), indent=1)

    @classmethod
    def load(cls, path: Path | str) -> Result:
        """Read a result; raises `ResultError` for a file that is missing, broken, not a result or of another schema."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ResultError(f"cannot read {path}: {error.strerror or error}") from None
        return cls.decode(content, str(path))

    @classmethod
    def decode(cls, content: bytes, where: str) -> Result:
        """The inverse of `encode`; raises `ResultError`, whose message says where the content came from."""
        try:
            plain = msgspec.json.decode(content)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ResultError(f"{where} is not a whole JSON file: {error}") from None
        if not isinstance(plain, dict) or "schema_version" not in plain:
            raise ResultError(f"{where} is not a result of turncoat: it has no schema_version")
        found = plain["schema_version"]
        if type(found) is not int or found != SCHEMA_VERSION:
            raise ResultError(f"{where} has schema_version {found!r}, this turncoat reads {SCHEMA_VERSION}")
        try:
            return msgspec.convert(plain | {key: read_numbers(plain[key]) for key in NUMBERS if key in plain}, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ResultError(f"{where} is not a result of turncoat: {error}") from None

    def __eq__(self, other: object) -> bool:
        return self.encode() == other.encode() if isinstance(other, Result) else NotImplemented

    def __repr__(self) -> str:
        accuracy = self.final_accuracy
        end = "" if accuracy is None else f", final accuracy {accuracy:.1%}"
        flags = f", flags: {'; '.join(self.flags)}" if self.flags else ""
        return f"<Result {self.label}, {self.spec.rounds} rounds{end}{flags}>"


def spell_numbers(value: Any) -> Any:
    """The same lists and tables with numbers that are not finite as strings."""
    if isinstance(value, dict):
        return {key: spell_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spell_numbers(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def read_numbers(value: Any) -> Any:
    """The inverse of `spell_numbers`."""
    if isinstance(value, dict):
        return {key: read_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [read_numbers(item) for item in value]
    return NONFINITE.get(value, value) if isinstance(value, str) else value
