"""MixTailor: each round another rule, drawn after the rows have arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from turncoat.errors import SpecError, ToleranceError
from turncoat.rules.base import Compound, Outcome, Part, Rule
from turncoat.rules.build import rule
from turncoat.rules.look import Look

BASES = ("krum", "mean", "geometric_median", "median")
CLASSES = {
    "krum": [f"krum(p={p})" for p in range(1, 17)],
    "median": ["median"] * 16,
    "geometric_median": ["geometric_median"] * 16,
    "bulyan": [f"bulyan(selection={selection}, phase2={phase2})" for selection in BASES for phase2 in BASES],
}
"""The 64 members of S2's pool. In one dimension every l_p norm is |.|, so all medians are one rule; the geometric
medians are Euclidean, as in the paper's experiments."""


@dataclass(frozen=True)
class MixTailor(Compound):
    """Draw one rule of a pool in each round, after the rows have arrived, and aggregate with it.

    S2. `pool` lists the spellings of the members; left out, it is the paper's 64: Krum with l_1 to l_16, 16 medians, 16
    geometric medians and 16 Bulyans, less the class named by `without`. The draw is uniform and from the server's own
    stream. A member with memory remembers the rounds in which it was drawn.
    """

    name = "mixtailor"
    source = "S2"
    needs = "what its members need"
    pool: list | None = None
    without: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.without is not None and self.without not in CLASSES:
            raise SpecError(f"without is one of {', '.join(CLASSES)}, got {self.without!r}")
        if self.pool is not None and self.without is not None:
            raise SpecError(
                "without names a class of the paper's pool, and this pool is another: leave one of them out"
            )
        if self.pool is not None:
            object.__setattr__(self, "pool", tuple(self.pool))  # hashable, as frozen objects should be
        if not self.members:
            raise SpecError("the pool is empty: give at least one rule")

    @cached_property
    def members(self) -> tuple[Rule, ...]:
        """The rules of the pool."""
        if self.pool is not None:
            return tuple(rule(thing, self.f) for thing in self.pool)
        kept = [name for kind, names in CLASSES.items() if kind != self.without for name in names]
        made = {name: rule(name, self.f) for name in dict.fromkeys(kept)}
        return tuple(made[name] for name in kept)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return True

    def made_of(self) -> Sequence[Part]:
        return tuple(dict.fromkeys(self.members))

    @property
    def robust(self) -> bool:  # type: ignore[override]
        return all(one.robust for one in self.members)

    def trusting(self, loss: Callable[[Tensor], float]) -> Self:
        return replace(self, pool=[one.trusting(loss) for one in self.members], without=None) if self.trusts else self

    def most(self, n: int) -> int:
        return n

    def admit(self, n: int, f: int | None) -> None:
        super().admit(n, f)
        for one in dict.fromkeys(self.members):
            try:
                one.admit(n, f)
            except ToleranceError as error:
                hint = f": leave it out with mixtailor(without={one.name})" if one.name in CLASSES else ""
                raise ToleranceError(f"of mixtailor's pool, {error}{hint}") from None

    def init(self, like: Any) -> dict[str, Tensor] | None:
        return self._states({str(i): one.init(like) for i, one in enumerate(self.members)})

    def outcome(self, look: Look, state: Any) -> Outcome:
        drawn = int(torch.randint(len(self.members), (), generator=look.generator))
        return self.outcome_of(drawn, look, state)

    def outcome_of(self, drawn: int, look: Look, state: Any) -> Outcome:
        """What member number `drawn` makes of the look, with the pool's next state."""
        key = str(drawn)
        found = self.members[drawn].outcome(look, (state or {}).get(key))
        following = self._states((state or {}) | {key: found.state})
        diagnostics = found.diagnostics | {"drawn": float(drawn)}
        return Outcome(found.vector, found.weights, found.scores, diagnostics, following)

    def _states(self, states: dict[str, Any]) -> dict[str, Tensor] | None:
        kept = {key: state for key, state in states.items() if state is not None}
        if any(not isinstance(state, Tensor) for state in kept.values()):
            raise SpecError("mixtailor's members may remember one tensor each, not more")
        return kept or None
