"""The worst case as a file: honest vectors, hostile rows, and what the rule made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from turncoat.errors import ResultError
from turncoat.learning.machine import threads
from turncoat.results.files import write_atomically
from turncoat.results.result import spell_numbers
from turncoat.stress.adapters import make
from turncoat.stress.clouds import Cloud
from turncoat.stress.siege import Seen, Siege
from turncoat.stress.suite import load_suite
from turncoat.stress.target import Target


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a witness says of itself: the rule by its spelling and its f, the suite, the case and what was seen."""

    rule: str
    rule_f: int
    n: int
    f: int
    suite: str
    cloud: str
    how: str
    unbounded: bool
    seen: Seen


@dataclass(frozen=True)
class Witness:
    """(h, d) honest vectors and (f, d) hostile rows with what was seen; `replay` sees it again."""

    about: About
    honest: Tensor = field(repr=False)
    rows: Tensor = field(repr=False)

    def save(self, path: Path | str) -> Path:
        """Write the witness as one safetensors file; raises `ResultError`."""
        about = msgspec.json.encode(spell_numbers(msgspec.to_builtins(self.about)))
        tensors = {"honest": self.honest.contiguous(), "rows": self.rows.contiguous()}
        return write_atomically(path, save_tensors(tensors, {"turncoat": about.decode()}))

    @classmethod
    def load(cls, path: Path | str) -> Witness:
        """Read a witness; raises `ResultError` for a file that is none. Nothing in it is evaluated."""
        try:
            with safe_open(str(path), framework="pt") as file:
                about = msgspec.json.decode((file.metadata() or {})["turncoat"], type=About, strict=False)
                honest, rows = (file.get_tensor(name).clone() for name in ("honest", "rows"))
        except (SafetensorError, KeyError, OSError, msgspec.MsgspecError) as error:
            raise ResultError(f"{path} is no witness of turncoat: {error}") from None
        if honest.dim() != 2 or rows.dim() != 2 or honest.shape[1] != rows.shape[1] or len(rows) != about.f:
            raise ResultError(f"{path} is no witness of turncoat: its rows do not fit together")
        return cls(about, honest, rows)

    @threads(1)
    def replay(self, rule: str | None = None) -> Seen:
        """What the same rule, or another one, makes of the case; raises what making the rule raises."""
        about, suite = self.about, load_suite(self.about.suite)
        made = make(rule or about.rule, about.n, about.rule_f)
        made.check(about.n)
        return Siege(Target.of(made, about.n, suite), Cloud(about.cloud, self.honest), about.f).see(
            self.rows, suite.draws
        )
