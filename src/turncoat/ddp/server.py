"""A trusted rank that gathers, aggregates and sends the result to each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from turncoat import errors
from turncoat.ddp.group import Group
from turncoat.ddp.reduce import REDUCING, SEED, Finished, Gaps, Parcel, Reducer, absentees, no_gaps
from turncoat.errors import GroupError, SpecError
from turncoat.linalg.rows import Rows
from turncoat.rules.base import Aggregation, Rule


class Server(Reducer):
    """Rank `server` has all rows; the others send theirs to it, straight, and hear what it says of them."""

    def __init__(self, rule: Rule, group: Group, server: int) -> None:
        super().__init__(rule, group)
        self.mode = f"server, of rank {server}"
        if not 0 <= server < group.n:
            raise SpecError(f"server is a rank of the group, 0 to {group.n - 1}, got {server}")
        self.server = server

    def send(self, flat: Tensor, into: Tensor) -> Parcel:
        columns, pending = self.group.collect(flat, self.server, REDUCING)
        return Parcel(len(flat), 0, columns, into, pending)

    def finish(self, parcels: Sequence[Parcel], note: Tensor | None = None, gaps: Gaps = no_gaps) -> Finished:
        for parcel in parcels:
            parcel.pending.wait()
        notes = None
        if note is not None:
            notes, pending = self.group.collect(note.to(self.group.device), self.server, REDUCING)
            pending.wait()
        finished, failure, message = None, None, b""
        if self.group.rank == self.server:
            try:
                absent = () if notes is None else gaps(notes.cpu())
                rows = Rows.of(*(parcel.columns for parcel in parcels))
                found = self._step(rows, parcels, absent, secrets.token_bytes(SEED))
                self.collect(found.vector, [parcel.into for parcel in parcels])
                finished = Finished(found, absentees(absent))
                message = _encoded(finished)
            except Exception as error:  # whatever it is, the others wait to hear of it
                failure, message = error, _failure(error)
        message = self.group.hand_out_bytes(message, self.server, REDUCING)
        if failure is not None:
            raise failure
        if finished is None:
            finished = _decoded(message)
        for parcel in parcels:
            self.group.hand_out(parcel.into, self.server, REDUCING)
        return finished

    def collect(self, part: Tensor, wholes: Sequence[Tensor]) -> None:
        for whole, piece in zip(wholes, part.split([len(whole) for whole in wholes]), strict=True):
            whole.copy_(piece)

    def own(self, wholes: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(wholes))


def _encoded(finished: Finished) -> bytes:
    said: dict[str, Any] = asdict(replace(finished.found, vector=None)) | {"absent": finished.absent}
    listed = {key: value.tolist() if isinstance(value, Tensor) else value for key, value in said.items()}
    return msgspec.msgpack.encode(listed)


def _failure(error: Exception) -> bytes:
    return msgspec.msgpack.encode([type(error).__name__, str(error), list(getattr(error, "rows", ()))])


def _decoded(message: bytes) -> Finished:
    said = msgspec.msgpack.decode(message)
    if isinstance(said, list):
        name, text, rows = said
        kind = getattr(errors, name, None)
        if kind is errors.NonFiniteError:
            raise errors.NonFiniteError(text, rows)
        if isinstance(kind, type) and issubclass(kind, errors.TurncoatError):
            raise kind(text)
        raise GroupError(f"the server failed: {name}: {text}")
    absent = tuple(said.pop("absent"))
    for key in ("weights", "scores"):
        said[key] = None if said[key] is None else torch.tensor(said[key], dtype=torch.float64)
    for key in ("suspects", "excluded"):
        said[key] = tuple(said[key])
    return Finished(Aggregation(**said), absent)
