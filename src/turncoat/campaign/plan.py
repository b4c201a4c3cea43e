"""What a campaign would do: which runs are done, which are left, why, and how long they may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from turncoat.campaign.keys import Key, keys_of
from turncoat.campaign.store import Store
from turncoat.errors import ResultError
from turncoat.results.failure import Failure
from turncoat.results.result import SCHEMA_VERSION
from turncoat.spec import Spec

Status = Literal["done", "failed", "stopped", "new", "again"]
ALIKE = (  # what two runs share whose rounds should take alike, the surest sign first
    ("task", "n", "batch", "local_steps", "device", "threads", "rule", "attack"),
    ("task", "n", "attack"),
    ("task", "n"),
    ("task",),
)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a campaign as it stands.

    `status` is done, failed, stopped (a checkpoint waits), new, or again: there is a result of the same spec, and `why`
    says what it was computed with that is no longer so. `seconds` is what the run may take, None where nothing tells.
    """

    name: str
    key: Key
    status: Status
    why: str = ""
    seconds: float | None = None


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What planning wants to know of a result."""

    schema_version: Literal[SCHEMA_VERSION]  # type: ignore[valid-type]
    spec: Spec
    key: str = ""
    files: dict[str, str] = {}
    data_files: str = ""
    source_hash: str
    timings: dict[str, float | str]
    finished: str

    @property
    def seconds(self) -> float:
        return sum(spent for spent in self.timings.values() if isinstance(spent, int | float))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A campaign as it stands, in the order of its runs, and how long runs of the folder took."""

    folder: str
    cells: list[Cell]
    times: Times = field(default_factory=lambda: Times(), repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs by status."""
        return dict(Counter(cell.status for cell in self.cells))

    def left(self, retry_failed: bool = False) -> list[Cell]:
        """The runs that are to be computed."""
        return [cell for cell in self.cells if cell.status != "done" and (retry_failed or cell.status != "failed")]

    def seconds(self, retry_failed: bool = False) -> float | None:
        """What the runs left take one after the other, None where nothing like them was ever measured."""
        times = [cell.seconds for cell in self.left(retry_failed)]
        known = [time for time in times if time is not None]
        return sum(known) / len(known) * len(times) if known else (0.0 if not times else None)


def survey(specs: Iterable[Spec], folder: Path | str) -> Plan:
    """How each of these runs stands in a folder; a run asked for twice stands there once.

    Raises `SpecError` and `DataUnavailableError` for what is not there to be computed with.
    """
    store = Store(folder)
    keys = {store.name(key): key for key in keys_of(specs)}
    headers = _headers(store)
    times = Times(headers.values())
    same: dict[bytes, list[Header]] = {}
    for header in sorted(headers.values(), key=lambda header: header.finished):
        same.setdefault(_comparable(header.spec), []).append(header)
    cells = []
    for name, key in keys.items():
        status, why = _status(store, name, key, headers, same)
        cells.append(Cell(name=name, key=key, status=status, why=why, seconds=times.of(key.spec)))
    return Plan(folder=str(folder), cells=cells, times=times)


def _headers(store: Store) -> dict[str, Header]:
    """Every result of the folder by name; what is none is none here, and `results` will complain about it."""
    decoder, found = msgspec.json.Decoder(Header), {}
    for path in store.folder.glob("*.json"):
        try:
            found[path.stem] = decoder.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            continue
    return found


def _status(
    store: Store, name: str, key: Key, headers: dict[str, Header], same: dict[bytes, list[Header]]
) -> tuple[Status, str]:
    """How a run stands, and why it has to be computed again where it was before."""
    if name in headers and headers[name].key == key.digest:
        return "done", ""
    if store.failure(name).exists():
        try:
            failure = Failure.load(store.failure(name))
        except ResultError:
            return "new", "its record of a failure cannot be read"
        return "failed", f"{failure.kind}: {failure.error}"
    if store.checkpoint(name).exists():
        return "stopped", "continues from its checkpoint"
    if before := same.get(_comparable(key.spec)):
        return "again", _changed(key, before[-1])
    return "new", ""


def _comparable(spec: Spec) -> bytes:
    """A spec as a key has it and as its result has it, alike: the trainer fills in the method of the gradients."""
    return msgspec.json.encode(msgspec.structs.replace(spec, gradients=None))


def _changed(key: Key, before: Header) -> str:
    """What a result of the same spec was computed with that is no longer so."""
    if not before.key:
        return "its result is not of a campaign"
    changes = [name for name in key.files.keys() | before.files.keys() if key.files.get(name) != before.files.get(name)]
    changes += ["the data"] if key.data != before.data_files else []
    changes += ["turncoat's own code"] if key.source != before.source_hash else []
    return f"{' and '.join(sorted(changes))} changed" if changes else "its result is not whole"


class Times:
    """How long runs take, judged by those that were measured."""

    def __init__(self, measured: Iterable[Header] = ()) -> None:
        self._sums: dict[tuple[Any, ...], tuple[float, int]] = {}
        for header in measured:
            self.add(header.spec, header.seconds, header.spec.rounds)

    def add(self, spec: Spec, seconds: float, played: int) -> None:
        """So many rounds of a run took so long."""
        for fields in ALIKE:
            total, rounds = self._sums.get(_sign(spec, fields), (0.0, 0))
            self._sums[_sign(spec, fields)] = total + seconds, rounds + max(played, 1)

    def of(self, spec: Spec) -> float | None:
        """What a run may take: its rounds at the speed of the runs most like it; None where there are none."""
        for fields in ALIKE:
            if found := self._sums.get(_sign(spec, fields)):
                return found[0] / found[1] * max(spec.rounds, 1)
        return None


def _sign(spec: Spec, fields: Sequence[str]) -> tuple[Any, ...]:
    return (len(fields), *(getattr(spec, field) for field in fields))
