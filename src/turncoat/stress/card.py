"""The score card: all that a stress test says of a rule, as strict JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from turncoat.errors import ResultError
from turncoat.results.files import write_atomically
from turncoat.results.result import Environment, spell_numbers

SCHEMA_VERSION = 1


class Worst(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The worst of one score over all clouds.

    `value` is the mean over the server's seeds, `worst_draw` that of the worst of them; infinite where the damage grows
    without bound. `how` says what found it.
    """

    value: float
    worst_draw: float
    cloud: str
    how: str


class OnCloud(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The worst found on one cloud."""

    cloud: str
    kappa: float
    kappa_by: str
    descent: float
    descent_by: str


class CheckLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A conformance check: its name, `passed`, `failed` or `not applicable`, and what was seen."""

    name: str
    status: str
    detail: str


class Trained(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What trainings under attack came to, each figure a mean over the seeds with its lowest and highest.

    `clean` is the mean over the splits without attack, `plain` that of the plain mean, so that their difference is the
    price of the defence. `worst` is the lowest mean over attacks and splits, with a 95 % bootstrap interval; `doubts`
    say where the plain mean did not learn.
    """

    level: str
    task: str
    clean: float
    plain: float
    worst: float
    low: float | None
    high: float | None
    attack: str
    split: str
    runs: int
    failed: int
    doubts: list[str] = []


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a suite found out about a rule, with f hostile rows among n.

    `kappa` is in units of the honest vectors' mean squared distance to their mean, `descent` minus the inner product
    of the aggregate with their mean over its square: -1 for the mean itself, above 0 uphill, so that more is worse of
    both. No rule can have a worst kappa below `lower_bound`; `bound` is proven for this one, null where none is known
    to us. `any_set` is the ratio of the worst case when any n - f of its rows, not the honest ones, are taken for
    honest. `breakdown` holds the worst kappa with 0, 1, ... n // 2 attackers. `milliseconds` are the median time of
    an aggregation of float32 rows.
    """

    schema_version: int = SCHEMA_VERSION
    suite: str
    suite_checksum: str
    rule: str
    n: int
    f: int
    kappa: Worst
    lower_bound: float
    bound: float | None
    any_set: float
    descent: Worst
    breakdown: list[float]
    clouds: list[OnCloud]
    checks: list[CheckLine]
    flags: list[str]
    calls: int
    seconds: float
    milliseconds: float
    training: Trained | None = None
    files: dict[str, str] = {}
    source_hash: str
    environment: Environment
    finished: str

    @property
    def failed(self) -> list[CheckLine]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == "failed"]

    def encode(self) -> bytes:
        """The card as JSON; what is not finite stands as "nan", "inf" or "-inf"."""
        return msgspec.json.format(msgspec.json.encode(spell_numbers(msgspec.to_builtins(self))), indent=1)

    def save(self, path: Path | str) -> Path:
        """Write the card, whole or not at all; raises `ResultError`."""
        return write_atomically(path, self.encode())

    @classmethod
    def load(cls, path: Path | str) -> Card:
        """Read a card; raises `ResultError` for a file that is missing or none."""
        try:
            return msgspec.json.decode(Path(path).read_bytes(), type=cls, strict=False)
        except OSError as error:
            raise ResultError(f"cannot read {path}: {error.strerror or error}") from None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ResultError(f"{path} is no score card of turncoat: {error}") from None
