"""turncoat's rules and attacks behind the same pipe as the peers', and the machine's limits beside them."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from peer_rules_common import Library, Make
from peers import TUNED

import turncoat as tc
from turncoat.registry import entries

LIMITS: dict[str, Make] = {
    "X.sum()": lambda n, f: torch.sum,
    "X.mean(0)": lambda n, f: lambda X: X.mean(0),
    "X @ X.T": lambda n, f: lambda X: X @ X.T,
}


class Rounds:
    """A rule that keeps its state from call to call, as a server does."""

    def __init__(self, spelling: str, n: int, f: int) -> None:
        self.rule = tc.rule(spelling, f=f)
        self.state: Any = None

    def __call__(self, X: Any) -> Any:
        if self.state is None:
            self.state = self.rule.init(X)
        aggregation, self.state = self.rule.step(X, self.state, examined=False)
        return aggregation.vector


def rules() -> dict[str, Make]:
    """All registered rules that need no loss of the server's; mixings stand before a trimmed mean."""
    found = {}
    for entry in entries("rule").values():
        if not entry.traits.get("trusts"):
            spelling = f"{entry.name} >> trimmed_mean" if issubclass(entry.load(), tc.Mixing) else entry.name
            found[spelling] = partial(Rounds, spelling)
    return found


def mixings() -> dict[str, Make]:
    spellings = [f"{name} >> mean" for name in ("nnm", "bucketing", "arc") if name in entries("rule")]
    return {spelling: partial(Rounds, spelling) for spelling in spellings}


def strongest(n: int, f: int) -> Any:
    rule = tc.rule("nnm >> trimmed_mean", f=f)
    return partial(tc.attack("strongest(alie)", f=f), rule=rule)


def attacks() -> dict[str, Make]:
    """Those that the peers have too, as far as they are registered."""
    plain = {name: (lambda n, f, name=name: tc.attack(name, f=f)) for name in ("alie", "ipm", "min_max", "min_sum")}
    return plain | ({"strongest(alie)": strongest} if "strongest" in entries("attack") else {})


if __name__ == "__main__":
    if TUNED.keys() <= os.environ.keys():
        tc.tune_allocator()
    Library(rules(), mixings(), attacks() | {"X.mean(0)": LIMITS["X.mean(0)"]}, LIMITS).serve()
