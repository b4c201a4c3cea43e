"""What the workers of rules.py and hostile.py share: the same data, clock and answers for every library.

A worker script says what its library has, in tables from a name (turncoat's spelling) to a constructor (n, f) ->
callable, and in which form the library takes its rows.
"""

from __future__ import annotations

import ctypes
import json
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Make = Callable[[int, int], Callable[[Any], Any]]
BLOCK = 2**20
STATUS = Path("/proc/self/status")


def rows(n: int, f: int, d: int, seed: int) -> Tensor:
    """n - f honest rows about 0.1, then f rows at their mean less 1.5 standard deviations; made in place."""
    X = torch.empty(n, d)
    honest = X[: n - f].normal_(0.1, 1.0, generator=torch.Generator().manual_seed(seed))
    for at in range(0, d, BLOCK):
        block = honest[:, at : at + BLOCK]
        X[n - f :, at : at + BLOCK] = block.mean(0) - 1.5 * block.std(0)
    return X


def chain(*parts: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Pre-aggregations in their order, then a rule."""
    return lambda X: reduce(lambda given, part: part(given), parts, X)


class TooLong(BaseException):
    """A call took longer than it may; no library's `except Exception` gets hold of it."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass
class Library:
    """A library behind a pipe. Each job is a method; None answers what the library does not have."""

    rules: dict[str, Make]
    mixings: dict[str, Make] = field(default_factory=dict)
    """Before a plain mean, which hides nothing of what they make of hostile rows."""
    attacks: dict[str, Make] = field(default_factory=dict)
    limits: dict[str, Make] = field(default_factory=dict)
    form: Callable[[Tensor], Any] = lambda X: X

    def names(self, mixings: bool = False) -> list[str]:
        return [*self.rules, *(self.mixings if mixings else {})]

    def set_up(self, n: int, f: int, d: int, seed: int, threads: int, numpy: bool = False) -> None:
        """Make the rows, which later jobs aggregate."""
        torch.set_num_threads(threads)
        self.n, self.f, self.X = n, f, rows(n, f, d, seed)
        self.given_form = Tensor.numpy if numpy else self.form
        self.made: dict[str, Callable[[Any], Any]] = {}

    def time(self, kind: str, name: str, seconds: float, limit: float) -> dict[str, Any] | None:
        """The median time of as many calls as fit into `seconds`, at least one; attacks get the honest rows only."""
        table: dict[str, Make] = getattr(self, kind)
        if name not in table:
            return None
        X = self.X[: self.n - self.f] if kind == "attacks" else self.X
        try:
            if name not in self.made:
                made = table[name](self.n, self.f)
                with at_most(limit):
                    made(self.given_form(X))
                self.made[name] = made
            return {"seconds": self._median(self.made[name], X, seconds)}
        except TooLong:
            return {"failed": f"> {limit:g} s"}
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}

    def _median(self, call: Callable[[Any], Any], X: Tensor, seconds: float) -> float:
        taken: list[float] = []
        while not taken or sum(taken) < seconds:
            given = self.given_form(X)
            started = time.perf_counter()
            call(given)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    def damage(self, name: str) -> float | None:
        """How far the rows of an attack move nnm >> trimmed_mean (as defined, in plain torch) from the honest mean."""
        if name not in self.attacks:
            return None
        n, f, honest = self.n, self.f, self.X[: self.n - self.f]
        bad = torch.as_tensor(self.attacks[name](n, f)(self.given_form(honest)))
        X = torch.cat([honest, bad.reshape(-1, honest.shape[1]).expand(f, -1)])
        distances = torch.stack([(X - row).norm(dim=1, dtype=torch.float64) for row in X])
        mixed = torch.stack([X[nearest].mean(0) for nearest in distances.argsort(1)[:, : n - f]])
        aggregate = mixed.sort(0).values[f : n - f].mean(0)
        return float((aggregate - honest.mean(0)).norm(dtype=torch.float64))

    def craft(self, name: str, path: str, f: int) -> list[Any]:
        """What an attack sends beside the honest rows in a file."""
        honest = torch.from_numpy(np.load(path))
        return torch.as_tensor(self.attacks[name](len(honest) + f, f)(self.form(honest))).tolist()

    def memory(self, name: str, n: int, f: int, d: int, seed: int, threads: int) -> dict[str, Any]:
        """By how many MiB the process grows at most while a rule runs, once its code is loaded by a small call."""
        torch.set_num_threads(threads)
        try:
            call = self.rules[name](n, f)
            call(self.form(rows(n, f, 100, seed)))
            call, given = self.rules[name](n, f), self.form(rows(n, f, d, seed))
            ctypes.CDLL(None).malloc_trim(0)  # memory that making the rows has left behind would hide the rule's
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
            before = resident("VmRSS")
            call(given)
            return {"MiB": (resident("VmHWM") - before) / 1024}
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}

    def call(self, name: str, paths: list[str], f: int, limit: float) -> dict[str, Any]:
        """What a rule answers to rows in files, one round after the other: the last answer, or how it failed."""
        *earlier, X = (torch.from_numpy(np.load(path)) for path in paths)
        before, given = X.clone(), self.form(X)
        try:
            with at_most(limit):
                rule = (self.rules | self.mixings)[name](len(X), f)
                for rows in earlier:
                    with suppress(Exception):
                        rule(self.form(rows))
                vector = rule(given)
        except TooLong:
            return {"hangs": True}
        except Exception as error:
            return {"raised": f"{type(error).__name__}: {error}"}
        if vector is None:
            return {"raised": "returns None"}
        vector = torch.as_tensor(vector)
        unchanged = len(given) == len(X) and torch.equal(X.nan_to_num(), before.nan_to_num())
        return {"vector": vector.tolist(), "dtype": str(vector.dtype).removeprefix("torch."), "unchanged": unchanged}

    def serve(self) -> None:
        for line in sys.stdin:
            job = json.loads(line)
            answer = getattr(self, job.pop("do"))(**job)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def resident(field: str) -> int:
    """KiB, of a line of /proc/self/status."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field))
