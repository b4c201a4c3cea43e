"""Many runs as one small file: what sets each apart, and what claims and figures take of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from turncoat.errors import ResultError, SpecError
from turncoat.papers.evidence import RULE_PHASE
from turncoat.results.files import write_atomically
from turncoat.results.metric import Metric
from turncoat.results.result import Environment, Record, Result, read_numbers, spell_numbers
from turncoat.spec import from_mapping, resolve

VERSION = 1
MEASURED = ("test_accuracy", "train_loss", "passed", "error", "theta_1", "theta_2")
DIGITS = 5  # significant, of what was measured


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One run: the fields of its spec that all do not share, and what was measured, by round."""

    spec: dict[str, Any]
    rounds: list[int]
    measured: dict[str, list[float | str | None]]
    rule_seconds: float


class Collection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Runs, with the fields that all share, and what the last of them was computed with."""

    version: int = VERSION
    environment: Environment
    source_hash: str
    finished: str
    shared: dict[str, Any]
    runs: list[Kept]


def save(results: Sequence[Result], path: Path | str) -> Path:
    """Write what `load` reads again; raises `ResultError` where it cannot be written."""
    told = [msgspec.to_builtins(result.spec) for result in results]
    shared = {key: value for key, value in told[0].items() if all(spec[key] == value for spec in told)}
    last = max(results, key=lambda result: result.finished)
    kept = Collection(
        environment=last.environment,
        source_hash=last.source_hash,
        finished=last.finished,
        shared=shared,
        runs=[_kept(result, spec, shared) for result, spec in zip(results, told, strict=True)],
    )
    lines = msgspec.json.encode(kept).decode().replace('{"spec":', '\n{"spec":')  # a run a line, for those who compare
    return write_atomically(path, f"{lines}\n".encode())


def _kept(result: Result, spec: dict[str, Any], shared: dict[str, Any]) -> Kept:
    measured = {}
    for name in MEASURED:
        values = [Metric(name, name).of(record) for record in result.records]
        if any(value is not None for value in values):
            measured[name] = spell_numbers(
                [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
            )
    return Kept(
        spec={key: value for key, value in spec.items() if key not in shared},
        rounds=[record.round for record in result.records],
        measured=measured,
        rule_seconds=float(f"{result.timings[RULE_PHASE]:.3g}"),
    )


def load(path: Path | str) -> list[Result]:
    """The runs of a file, without what it does not keep; raises `ResultError` for one that is broken or another's."""
    try:
        kept = msgspec.json.decode(Path(path).read_bytes(), type=Collection)
        if kept.version != VERSION:
            raise ResultError(f"{path} has version {kept.version}, this turncoat reads {VERSION}")
        return [_result(kept, run) for run in kept.runs]
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.MsgspecError, SpecError, UnicodeDecodeError, ValueError) as error:
        raise ResultError(f"{path} holds no runs of turncoat: {error}") from None


def _result(kept: Collection, run: Kept) -> Result:
    measured = read_numbers(run.measured)
    if any(len(values) != len(run.rounds) for values in measured.values()):
        raise ValueError("it lacks the numbers of some rounds")
    return Result(
        spec=resolve(from_mapping(kept.shared | run.spec)),
        records=[
            _record(number, {name: values[i] for name, values in measured.items() if values[i] is not None})
            for i, number in enumerate(run.rounds)
        ],
        timings={RULE_PHASE: run.rule_seconds},
        rounds_per_second=0.0,
        environment=kept.environment,
        flags=[],
        gradients="",
        source_hash=kept.source_hash,
        data_origin="",
        data_checksum="",
        started=kept.finished,
        finished=kept.finished,
    )


def _record(number: int, measured: dict[str, float]) -> Record:
    own = {name: value for name, value in measured.items() if name in Record.__struct_fields__}
    return Record(round=number, **own, extra={name: value for name, value in measured.items() if name not in own})
