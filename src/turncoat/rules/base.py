"""The contract of a rule, and the evaluator that owns validation, precision, exclusion and the passes.

A rule is a weighting of the rows decided on their geometry, a coordinate-wise reduction, or a chain of mixings before
one of these. It holds its mathematics only.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from turncoat.errors import InputError, NonFiniteError, SpecError, ToleranceError
from turncoat.linalg.rows import examine
from turncoat.registry import Component
from turncoat.rules.inputs import Vectors, read
from turncoat.rules.look import Geometry, Look

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
class Outcome:
    """What a rule made of a look."""

    vector: Tensor
    weights: Tensor | None = None
    """Of the rows that were received; None where the aggregate is no weighted sum of them."""
    scores: Tensor | None = None
    diagnostics: dict[str, float] = field(default_factory=dict)
    state: Any = None
    """The next one."""


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
    gram: ClassVar[bool] = False
    """Whether it begins with the Gram, whose diagonal then tells of rows that are not finite."""
    permutes: ClassVar[bool] = True
    """Whether the order of the rows does not matter, ties aside."""
    translates: ClassVar[bool] = True
    """Whether it moves with the rows: F(X + v) = F(X) + v."""
    scales: ClassVar[bool] = True
    """Whether it scales with the rows: F(c X) = c F(X) for c > 0."""
    robust: ClassVar[bool] = True
    """Whether f rows anywhere leave the aggregate near the others."""

    def __post_init__(self) -> None:
        if self.f is not None and (isinstance(self.f, bool) or not isinstance(self.f, Integral) or self.f < 0):
            raise SpecError(f"f counts Byzantine workers, a whole number from 0 up, got {self.f!r}")

    def most(self, n: int) -> int:
        """The largest f that the definition allows among n rows."""
        return (n - 1) // 2

    def count(self, n: int) -> int:
        """How many rows come out of n."""
        return n

    def contaminated(self, f: int, n: int, m: int) -> int:
        """How many of the m rows that came out of n may be Byzantine where f of the n are."""
        return f

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

    def admit(self, n: int, f: int | None) -> None:
        """Raise ToleranceError or SpecError unless n rows may come, f of them Byzantine."""
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

    trusts: ClassVar[bool] = False
    """Whether it asks the server for a loss on data of its own."""
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
        with torch.autocast(rows.device.type, enabled=False):  # whose half precision is not a rule's
            n = rows.n
            self.check(n)
            geometry = Geometry(rows)
            bad: list[int] = []
            if self.nonfinite != "propagate":
                rows, bad = examine(rows, geometry.gram.diagonal().sqrt().tolist() if self.gram else None)
            good = [i for i in range(n) if i not in bad]
            if bad:
                self._refuse(bad, n)
                rows = rows.select(good)
            if generator is None and self.draws:
                generator = entropy()
            look = Look(
                rows,
                max(0, (self.f or 0) - len(bad)),
                generator,
                geometry=geometry if rows is geometry.rows else Geometry(rows),
            )
            outcome = self.outcome(look, state)
            suspects = [good[i] for i in _outlying(look, outcome)] if examined else []
            aggregation = Aggregation(
                vector=restore(outcome.vector),
                weights=_spread(outcome.weights, good, n, 0.0),
                suspects=tuple(sorted([*suspects, *bad])),
                excluded=tuple(bad),
                scores=_spread(outcome.scores, good, n, float("nan")),
                diagnostics=outcome.diagnostics,
            )
            return aggregation, outcome.state

    @abstractmethod
    def outcome(self, look: Look, state: Any) -> Outcome:
        """Aggregate the rows of a look, which are finite."""

    def check(self, n: int) -> None:
        """Raise ToleranceError or SpecError unless the rule can aggregate n rows."""
        f = self.f
        for part in self.parts():
            part.admit(n, f)
            n, f = part.count(n), None if f is None else part.contaminated(f, n, part.count(n))

    def kappa(self, n: int, f: int) -> float | None:
        """A proven bound, None where none is known to us: for all sets S of n-f rows, with mean m,
        ||F(X) - m||^2 <= kappa / |S| sum_S ||x_i - m||^2.

        Allouah et al. 2023, definition 2 and table 1. No rule can be below f / (n - 2f).
        """
        return None

    def trusting(self, loss: Callable[[Tensor], float]) -> Self:
        """The same rule with the server's own loss after the update by a (d,) vector, where it asks for one."""
        return self

    def _refuse(self, bad: list[int], n: int) -> None:
        """Raise unless so many rows may be left out."""
        named = f"row{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad))} of {n}"
        most = (n - 1) // 2 if self.f is None else self.f
        if self.nonfinite == "raise":
            raise NonFiniteError(f"{named} have entries that are not finite", bad)
        if len(bad) == n or len(bad) > most:
            raise NonFiniteError(
                f"{named} have entries that are not finite, more than the {most} that may be Byzantine", bad
            )


@dataclass(frozen=True)
class WeightRule(Rule):
    """A rule whose aggregate is a weighted sum of the rows, decided on their geometry."""

    @abstractmethod
    def decide(self, look: Look, state: Any) -> Decision:
        """The weights (n,) of the rows, float64 on the CPU."""

    def remember(self, look: Look, vector: Tensor, state: Any) -> Any:
        """The next state, given this round's aggregate."""
        return state

    def outcome(self, look: Look, state: Any) -> Outcome:
        decision = self.decide(look, state)
        vector = look.combine(decision.weights)
        if decision.anchor is not None:
            vector.add_(decision.anchor, alpha=1.0 - float(decision.weights.sum()))
        weights = look.received(decision.weights)
        return Outcome(vector, weights, decision.scores, decision.diagnostics, self.remember(look, vector, state))


@dataclass(frozen=True)
class CoordinateRule(Rule):
    """A rule that treats every coordinate alone."""

    @abstractmethod
    def reduction(self, n: int, f: int) -> Callable[[Tensor], Tensor]:
        """A function from (n, c) blocks to (c,); it may keep scratch between blocks and must not write to them."""

    def outcome(self, look: Look, state: Any) -> Outcome:
        return Outcome(look.reduce(self.reduction(look.n, look.f)), state=state)


@dataclass(frozen=True)
class Mixing(Part):
    """From n rows to m weighted sums of them, for a rule that follows: `NNM(f=5) >> TrimmedMean(f=5)`."""

    @abstractmethod
    def matrix(self, look: Look) -> Tensor:
        """(m, n) float64 on the CPU: row i holds the weights of the i-th mixture; averages' sum to 1."""

    def __call__(self, X: Vectors, generator: torch.Generator | None = None) -> Tensor:
        """The (m, d) mixtures of the rows, which must be finite."""
        rows, _ = read(X)
        self.admit(rows.n, self.f)
        rows, bad = examine(rows)
        if bad:
            raise InputError(f"{self.name} alone cannot exclude rows; not finite: {', '.join(map(str, bad))}")
        look = Look(rows, self.f or 0, generator or entropy())
        return look.mixed(self.matrix(look)).dense()


@dataclass(frozen=True)
class Compound(Rule):
    """A rule made of other parts, whose properties follow from theirs."""

    @abstractmethod
    def made_of(self) -> Sequence[Part]:
        """The parts."""

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return any(part.draws for part in self.made_of())

    @property
    def permutes(self) -> bool:  # type: ignore[override]
        return all(part.permutes for part in self.made_of())

    @property
    def translates(self) -> bool:  # type: ignore[override]
        return all(part.translates for part in self.made_of())

    @property
    def scales(self) -> bool:  # type: ignore[override]
        return all(part.scales for part in self.made_of())

    @property
    def trusts(self) -> bool:  # type: ignore[override]
        return any(isinstance(part, Rule) and part.trusts for part in self.made_of())


@dataclass(frozen=True)
class Chain(Compound):
    """Mixings in their order, then a rule: `NNM(f=5) >> TrimmedMean(f=5)`. No second n x d matrix is ever made."""

    links: tuple[Part, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        return " >> ".join(part.name for part in self.links)

    def kappa(self, n: int, f: int) -> float | None:
        if [part.name for part in self.links[:-1]] != ["nnm"] or n <= 2 * f:
            return None
        last = self._last().kappa(n, f)
        return None if last is None else 8 * f / (n - f) * (last + 1)  # Allouah et al. 2023, lemma 1

    def __str__(self) -> str:
        return " >> ".join(str(part) for part in self.links)

    def __repr__(self) -> str:
        return " >> ".join(repr(part) for part in self.links)

    def parts(self) -> tuple[Part, ...]:
        return self.links

    def made_of(self) -> Sequence[Part]:
        return self.links

    @property
    def gram(self) -> bool:  # type: ignore[override]
        return self.links[0].gram

    @property
    def robust(self) -> bool:  # type: ignore[override]
        return all(part.robust for part in self.links)

    def check(self, n: int) -> None:
        super().check(n)
        for mixing in self.links[:-1]:
            if not mixing.permutes and not self._last().permutes:
                raise SpecError(f"{self._last().name} tells rows apart by their number, which {mixing.name} shuffles")

    def with_f(self, f: int) -> Self:
        return replace(self, f=f, links=tuple(part.with_f(f) for part in self.links))

    def init(self, like: Vectors) -> Any:
        return self._last().init(like)

    def _last(self) -> Rule:
        last = self.links[-1]
        if not isinstance(last, Rule):
            raise SpecError(f"{self} ends in a mixing: put a rule behind it, such as {self} >> trimmed_mean")
        return last

    def outcome(self, look: Look, state: Any) -> Outcome:
        for mixing in self.links[:-1]:
            assert isinstance(mixing, Mixing)
            matrix = mixing.matrix(look)
            look = look.mixed(matrix, mixing.contaminated(look.f, look.n, len(matrix)))
        return self._last().outcome(look, state)

    def trusting(self, loss: Callable[[Tensor], float]) -> Self:
        return replace(self, links=(*self.links[:-1], self._last().trusting(loss)))


def _outlying(look: Look, outcome: Outcome) -> list[int]:
    """Rows farther from the aggregate than twice the (n-f)-th smallest distance to it."""
    if look.f == 0 or look.n <= look.f:
        return []
    squared = look.squared_distances_to(outcome.vector, outcome.weights)
    limit = OUTLYING**2 * squared.kthvalue(look.n - look.f).values
    return (squared > limit).nonzero().flatten().tolist()


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
