"""What a campaign's driver and its workers tell each other, as bytes that are parsed and never unpickled."""

from __future__ import annotations

from typing import Any

import msgspec

from turncoat.spec import Spec

WITHIN = "TURNCOAT_WORKER"  # an environment variable that workers have


class Job(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A run to be computed: which, under what name in which folder, and how carefully."""

    name: str
    key: str
    spec: Spec
    folder: str
    memory: float | None = None
    """GiB that the worker may hold; None: all there is."""
    every: float = 60.0
    """Seconds between checkpoints."""
    save_attack: str | None = None
    trackers: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make the parts of these runs, short of reading data, before any of them begins."""

    specs: list[Spec]
    trackers: tuple[str, ...] = ()


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Save the run under way and stop it."""


class Checked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is wrong with the parts, if anything."""

    error: str | None


class Began(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A run begins, or continues after so many rounds."""

    rounds: int


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Rounds done; or, while a plan is made, rounds simulated of a budget."""

    rounds: int
    simulated: int = 0
    budget: float = 0.0


class Warned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A warning that a run gave."""

    text: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run is a file; what it came to, for whoever watches."""

    accuracy: float | None
    flags: list[str]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run raised, which is a file now; and why, in a line."""

    error: str


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run is not what was planned: code, data or a file of the user's own were changed meanwhile."""

    what: str


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run was stopped, as asked; what was done is saved."""

    rounds: int


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker is no more: said by the engine in its place.

    `killed` tells a signal, or a machine that went away, from a process that left by itself.
    """

    why: str
    killed: bool


Order = Job | Check | Stop
Answer = Checked | Began | Progress | Warned | Done | Failed | Changed | Stopped | Lost
_orders: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Order)
_answers: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Answer)
encode = msgspec.msgpack.Encoder().encode


def decode_order(content: bytes) -> Order:
    return _orders.decode(content)


def decode_answer(content: bytes) -> Answer:
    return _answers.decode(content)
