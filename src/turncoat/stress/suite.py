"""The frozen suites: which clouds, attacks, budgets and seeds a score stands for."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import msgspec

from turncoat.errors import SpecError
from turncoat.registry import suggest

FOLDER = Path(__file__).parent
MODULES = "adapters breakdown card clouds flags peers recorded run searches siege suite target tries worst"
JUDGING = ("testing/*.py", *(f"stress/{name}.py" for name in MODULES.split()))
"""What decides a card's figures, beside the suite and what a training depends on."""


class CloudSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cloud of honest vectors, or several recorded ones."""

    kind: str
    d: int = 0
    mean: float = 0.0
    names: tuple[str, ...] = ()


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Budgets of the searches, in calls of the rule."""

    strengths: tuple[float, ...]
    crowds: tuple[float, ...]
    decoys: tuple[float, ...]
    refine: int
    clouds: dict[str, int]
    starts: int
    rounds: int
    gradient: int
    span: int
    looks: int


class Breakdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the attackers do while their number grows."""

    clouds: tuple[str, ...]
    directions: tuple[str, ...]
    strengths: tuple[float, ...]


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trainings of a level: a campaign but for the rule, n and f."""

    task: str
    rounds: int
    lr: float
    batch: int
    momentum: float
    evaluate_every: int
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    attacks: tuple[str, ...]


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the whole stress test; `checksum` is that of its file."""

    name: str
    seed: int
    draws: int
    patience: float
    clouds: tuple[CloudSpec, ...]
    attacks: tuple[str, ...]
    search: Search
    breakdown: Breakdown
    training: dict[str, Training]

    @property
    def checksum(self) -> str:
        """sha256 of the suite's file."""
        return hashlib.sha256(_file(self.name).read_bytes()).hexdigest()


def _file(name: str) -> Path:
    return FOLDER / f"{name}.toml"


@cache
def load_suite(name: str = "standard-1") -> Suite:
    """The suite of that name; raises `SpecError` where there is none."""
    names = sorted(path.stem for path in FOLDER.glob("*.toml"))
    if name not in names:
        raise SpecError(f"there is no suite {name!r}: {suggest(name, names)}")
    return msgspec.toml.decode(_file(name).read_bytes(), type=Suite)
