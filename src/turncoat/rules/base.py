"""The contract of a rule, and the evaluator that owns validation, precision, exclusion and the passes.

A rule is a weighting of the rows decided on their geometry, a coordinate-wise reduction, or a chain of mixings before
one of these. It holds its mathematics only.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from turncoat.errors import InputError, SpecError, ToleranceError
from turncoat.linalg import passes
from turncoat.linalg.rows import examine
from turncoat.registry import Component
from turncoat.rules.inputs import Vectors, read
from turncoat.rules.look import Look

NONFINITE = ("exclude", "raise", "propagate")
OUTLYING = 2.0


@dataclass(frozen=True)
class Aggregation:
    """What a rule made of n rows, and why. Row numbers count all rows that were given."""

    vector: Any
    """The aggregate, in the form in which the rows came."""
    weights: Tensor | None = None
    """(n,) float64 share of each row in the aggregate; None for coordinate-wise rules."""
    suspects: tuple[int, ...] = ()
    """At most f rows: those farther from the aggregate than twice the (n-f)-th smallest distance, and the excluded."""
    excluded: tuple[int, ...] = ()
    """Rows with an entry that is not finite; they took no part."""
    scores: Tensor | None = None
    """float64 what the rule ranked the rows by (mixtures, in a chain), lower is better; nan for excluded rows."""
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What a rule decided on a look: the aggregate is weights @ rows + (1 - sum of weights) * anchor."""

    weights: Tensor
    anchor: Tensor | None = None
    scores: Tensor | None = None
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Part(Component, ABC):
    """What rules and mixings share: f, and the bound on it."""

    f: int | None = field(default=None, kw_only=True)
    needs: ClassVar[str] = "n > 2f"
    uses_f: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    """Whether it draws random numbers, from the server's stream in a run."""

    def __post_init__(self) -> None:
        if self.f is not None and (isinstance(self.f, bool) or not isinstance(self.f, Integral) or self.f < 0):
            raise SpecError(f"f counts Byzantine workers, a whole number from 0 up, got {self.f!r}")

    def most(self, n: int) -> int:
        """The largest f that the definition allows among n rows."""
        return (n - 1) // 2

    def count(self, n: int) -> int:
        """How many rows come out of n."""
        return n

    def parts(self) -> tuple[Part, ...]:
        """The parts of a chain in their order; one that is no chain is its own only part."""
        return (self,)

    def with_f(self, f: int) -> Self:
        """The same part for f Byzantine rows."""
        return replace(self, f=f)

    def __rshift__(self, after: Part) -> Chain:
        if not isinstance(after, Part):
            return NotImplemented
        links = (*self.parts(), *after.parts())
        for before in links[:-1]:
            if not isinstance(before, Mixing):
                raise SpecError(f"{self} >> {after}: only a mixing such as nnm or bucketing can stand before >>")
        tolerances = {part.f for part in links if part.f is not None}
        if len(tolerances) > 1:
            raise SpecError(f"{self} >> {after}: all parts of a chain tolerate the same f, got {sorted(tolerances)}")
        return Chain(links, f=next(iter(tolerances), None), nonfinite=getattr(links[-1], "nonfinite", "exclude"))

    def _tolerate(self, n: int, f: int | None) -> None:
        if f is None:
            if self.uses_f:
                raise SpecError(f"{self.name} needs f, the number of Byzantine rows to tolerate: give f=...")
            return
        if f > self.most(n):
            most = self.most(n)
            hint = f"the largest f at n = {n} is {most}" if most >= 0 else f"n = {n} is too small for any f"
            raise ToleranceError(f"{self.name} needs {self.needs}: f = {f} is too large for n = {n} rows; {hint}")


@dataclass(frozen=True)
class Rule(Part):
    """From n rows to one vector. `rule(X)` is one step from a fresh state."""

    nonfinite: str = field(default="exclude", kw_only=True)
    """Rows that are not finite: "exclude" them and report it, "raise" InputError, or "propagate" them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonfinite not in NONFINITE:
            raise SpecError(f"nonfinite is one of {', '.join(NONFINITE)}, got {self.nonfinite!r}")

    def __call__(self, X: Vectors) -> Any:
        """The aggregate of X, in X's own form: an (n, d) tensor or array, n vectors, n state dicts or lists of layers.

        Raises InputError for vectors that cannot be aggregated and ToleranceError for an f too large.
        """
        return self.step(X, self.init(X), examined=False)[0].vector

    def explain(self, X: Vectors) -> Aggregation:
        """The aggregate with weights, suspects, excluded rows, scores and diagnostics."""
        return self.step(X, self.init(X))[0]

    def init(self, like: Vectors) -> Any:
        """The state before the first round; None for rules without memory."""
        return None

    def step(
        self, X: Vectors, state: Any = None, generator: torch.Generator | None = None, *, examined: bool = True
    ) -> tuple[Aggregation, Any]:
        """One round: the aggregation of X and the next state. Neither X nor the given state is written to.

        A randomised rule draws from the generator, from the system's entropy where none is given. Suspects cost a
        further pass for coordinate-wise rules; `examined=False` leaves them out.
        """
        rows, restore = read(X)
        n = rows.n
        self.check(n)
        rows, bad = examine(rows) if self.nonfinite != "propagate" else (rows, [])
        good = [i for i in range(n) if i not in bad]
        if bad:
            self._refuse(bad, n)
            rows = rows.select(good)
        look = Look(rows, max(0, (self.f or 0) - len(bad)))
        if generator is None and self.draws:
            generator = entropy()
        vector, weights, scores, diagnostics, state = self._run(look, state, generator)
        suspects = [good[i] for i in self._outlying(look, vector, weights)] if examined else []
        aggregation = Aggregation(
            vector=restore(vector),
            weights=_spread(weights, good, n, 0.0),
            suspects=tuple(sorted([*suspects, *bad])),
            excluded=tuple(bad),
            scores=_spread(scores, good, n, float("nan")),
            diagnostics=diagnostics,
        )
        return aggregation, state

    def check(self, n: int) -> None:
        """Raise ToleranceError or SpecError unless the rule can aggregate n rows."""
        for part in self.parts():
            part._tolerate(n, self.f)
            n = part.count(n)

    @abstractmethod
    def _run(self, look: Look, state: Any, generator: torch.Generator | None) -> Outcome:
        """Aggregate the rows of a look."""

    def _refuse(self, bad: list[int], n: int) -> None:
        """Raise unless so many rows may be left out."""
        named = f"row{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad))} of {n}"
        most = (n - 1) // 2 if self.f is None else self.f
        if self.nonfinite == "raise":
            raise InputError(f"{named} have entries that are not finite")
        if len(bad) == n or len(bad) > most:
            raise InputError(f"{named} have entries that are not finite, more than the {most} that may be Byzantine")

    def _outlying(self, look: Look, vector: Tensor, weights: Tensor | None) -> list[int]:
        if look.f == 0 or look.n <= look.f:
            return []
        if weights is not None and "gram" in vars(look.geometry) and abs(float(weights.sum()) - 1) < 1e-9:
            squared = look.squared_distances_to_mixture(weights)  # the rule has paid for the Gram already
        else:
            squared = look.squared_distances_to(vector)
        limit = OUTLYING**2 * squared.kthvalue(look.n - look.f).values
        return (squared > limit).nonzero().flatten().tolist()


Outcome = tuple[Tensor, Tensor | None, Tensor | None, dict[str, float], Any]


@dataclass(frozen=True)
class WeightRule(Rule):
    """A rule whose aggregate is a weighted sum of the rows, decided on their geometry."""

    @abstractmethod
    def decide(self, look: Look, state: Any) -> Decision:
        """The weights (n,) of the rows, float64 on the CPU."""

    def remember(self, vector: Tensor, state: Any) -> Any:
        """The next state, given this round's aggregate."""
        return state

    def _run(self, look: Look, state: Any, generator: torch.Generator | None) -> Outcome:
        decision = self.decide(look, state)
        vector = look.combine(decision.weights)
        if decision.anchor is not None:
            vector = torch.add(vector, decision.anchor, alpha=1.0 - float(decision.weights.sum()))
        weights = decision.weights if look.matrix is None else decision.weights @ look.matrix
        return vector, weights, decision.scores, decision.diagnostics, self.remember(vector, state)


@dataclass(frozen=True)
class CoordinateRule(Rule):
    """A rule that treats every coordinate alone."""

    @abstractmethod
    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        """A function from (n, c) blocks to (c,); it may keep scratch between blocks and must not write to them."""

    def _run(self, look: Look, state: Any, generator: torch.Generator | None) -> Outcome:
        vector = passes.reduce(look.rows, self.reduction(look.n, look.f), look.matrix)
        return vector, None, None, {}, state


@dataclass(frozen=True)
class Mixing(Part):
    """From n rows to m averages of them, for a rule that follows: `NNM(f=5) >> TrimmedMean(f=5)`."""

    @abstractmethod
    def matrix(self, look: Look, generator: torch.Generator | None) -> Tensor:
        """(m, n) float64 on the CPU: row i holds the weights of the i-th average; they sum to 1."""

    def __call__(self, X: Vectors, generator: torch.Generator | None = None) -> Tensor:
        """The (m, d) averages of the rows, which must be finite."""
        rows, _ = read(X)
        self._tolerate(rows.n, self.f)
        rows, bad = examine(rows)
        if bad:
            raise InputError(f"{self.name} alone cannot exclude rows; not finite: {', '.join(map(str, bad))}")
        return passes.mix(rows, self.matrix(Look(rows, self.f or 0), generator or entropy()))


@dataclass(frozen=True)
class Chain(Rule):
    """Mixings in their order, then a rule: `NNM(f=5) >> TrimmedMean(f=5)`. No second n x d matrix is ever made."""

    links: tuple[Part, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        return " >> ".join(part.name for part in self.links)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return any(part.draws for part in self.links)

    def __str__(self) -> str:
        return " >> ".join(str(part) for part in self.links)

    def __repr__(self) -> str:
        return " >> ".join(repr(part) for part in self.links)

    def parts(self) -> tuple[Part, ...]:
        return self.links

    def with_f(self, f: int) -> Self:
        return replace(self, f=f, links=tuple(part.with_f(f) for part in self.links))

    def init(self, like: Vectors) -> Any:
        return self._last().init(like)

    def _last(self) -> Rule:
        last = self.links[-1]
        if not isinstance(last, Rule):
            raise SpecError(f"{self} ends in a mixing: put a rule behind it, such as {self} >> trimmed_mean")
        return last

    def _run(self, look: Look, state: Any, generator: torch.Generator | None) -> Outcome:
        last = self._last()
        for mixing in self.links[:-1]:
            assert isinstance(mixing, Mixing)
            look = look.mixed(mixing.matrix(look, generator))
        return last._run(look, state, generator)


def entropy() -> torch.Generator:
    """A generator that nobody can predict, for calls outside a run."""
    return torch.Generator().manual_seed(secrets.randbits(63))


def _spread(values: Tensor | None, good: list[int], n: int, missing: float) -> Tensor | None:
    """Values of the rows that took part, at their places among all n rows."""
    if values is None or len(values) != len(good) or len(good) == n:
        return values
    spread = torch.full((n,), missing, dtype=values.dtype)
    spread[good] = values
    return spread
