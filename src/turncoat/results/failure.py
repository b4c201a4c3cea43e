"""What a run that failed leaves behind: a file beside the results, so that nobody has to guess."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from turncoat.errors import ResultError
from turncoat.results.files import source_hash, write_atomically
from turncoat.results.result import SCHEMA_VERSION, Environment, now
from turncoat.spec import Spec

Kind = Literal["exception", "timeout", "memory", "killed"]
FAILED = "failed"  # the folder, below that of the results


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A run that came to no result.

    `kind` says whether it raised, took too long, took too much memory, or its process was killed again and again;
    `error` says it in a line. `rounds` were done before, in `seconds` since its last start.
    """

    schema_version: int = SCHEMA_VERSION
    spec: Spec
    key: str
    kind: Kind
    error: str
    traceback: str = ""
    rounds: int
    seconds: float
    environment: Environment
    source_hash: str
    started: str
    finished: str

    @classmethod
    def of(
        cls, spec: Spec, key: str, kind: Kind, error: str, *, rounds: int, seconds: float, started: str, trace: str = ""
    ) -> Failure:
        """A run that fails now, here."""
        return cls(
            spec=spec,
            key=key,
            kind=kind,
            error=error,
            traceback=trace,
            rounds=rounds,
            seconds=seconds,
            environment=Environment.here(spec.device, spec.threads or 1),
            source_hash=source_hash(),
            started=started,
            finished=now(),
        )

    def save(self, path: Path | str) -> Path:
        """Write the failure as JSON, whole or not at all; raises `ResultError`."""
        return write_atomically(path, msgspec.json.format(msgspec.json.encode(self), indent=1))

    @classmethod
    def load(cls, path: Path | str) -> Failure:
        """Read a failure; raises `ResultError` for a file that is none."""
        try:
            return msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except OSError as error:
            raise ResultError(f"cannot read {path}: {error.strerror or error}") from None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ResultError(f"{path} is no record of a failed run: {error}") from None


def read_failures(folder: Path | str) -> list[Failure]:
    """The failed runs of a results folder, by file name, hidden ones skipped; raises `ResultError` for what is none."""
    paths = sorted((Path(folder) / FAILED).glob("*.json"))
    return [Failure.load(path) for path in paths if not path.name.startswith(".")]
