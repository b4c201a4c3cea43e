"""The rule under stress: every aggregation is counted and timed, and may raise, hang or be no vector."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from turncoat.errors import TurncoatError
from turncoat.learning.streams import derive
from turncoat.registry import accepted
from turncoat.rules import Aggregation, OwnRule, Rule
from turncoat.rules.batched import batched
from turncoat.stress.suite import Suite
from turncoat.testing.calls import Calls
from turncoat.testing.report import Failed

ATTACKING = 60.0  # seconds that an attack may take, which may ask the rule itself many times
PROBES = 8  # calls in which a callable shows whether it is randomised
PROBE = 8  # coordinates of the rows on which a rule shows whether it is randomised
Form = Callable[[Tensor], Tensor]
"""(n, d) -> (looks, d) aggregates through which autograd finds its way."""


def trusted(rule: Rule) -> Rule:
    """A rule that asks the server for a loss, with one for which small updates are good; any other as it is."""
    return rule.trusting(lambda update: float(update.double().square().sum())) if rule.trusts else rule


class Target:
    """A rule with n rows to aggregate, fresh for every call: no call knows of another.

    A randomised rule is looked at with several seeds, always the same ones.
    """

    def __init__(self, rule: Rule, n: int, *, looks: int, seed: int, patience: float) -> None:
        self.rule, self.n, self.seed = trusted(rule), n, seed
        self.calls, self.attacking = Calls(patience), Calls(ATTACKING)
        self.excluded: list[str] = []
        """Cases in which rows were left out as not finite."""
        self.failures: dict[str, str] = {}
        """What went wrong, with the first case in which it did."""
        X = torch.randn((n, PROBE), generator=self._stream(0))
        once, again = (self(X, "an attempt with several seeds", PROBES) for _ in range(2))
        self.repeats = once is None or again is None or torch.equal(once, again)
        """Whether the same seed gives the same aggregate."""
        differs = once is not None and not bool((once == once[0]).all())
        self.draws = not self.repeats or (differs if isinstance(rule.parts()[-1], OwnRule) else rule.draws)
        """Whether it is randomised, which a callable does not say of itself."""
        self.looks = looks if self.draws else 1

    @classmethod
    def of(cls, rule: Rule, n: int, suite: Suite) -> Target:
        """As a suite looks at it."""
        return cls(rule, n, looks=suite.search.looks, seed=suite.seed, patience=suite.patience)

    def trusting(self, loss: Callable[[Tensor], float]) -> Target:
        """The same target, its notes shared, with a server's loss for the rule, if it asks for one."""
        if not self.rule.trusts:
            return self
        other = copy.copy(self)
        other.rule = self.rule.trusting(loss)
        return other

    def __call__(self, X: Tensor, case: str = "", looks: int | None = None) -> Tensor | None:
        """(looks, d) aggregates in float64; None where one could not be had or is not finite, which is noted."""
        try:
            found = [self._patiently(X, look, case) for look in range(self.looks if looks is None else looks)]
        except Failed as seen:
            self.failures.setdefault(str(seen), case)
            return None
        vectors = torch.stack(found)
        if not vectors.isfinite().all():
            self.failures.setdefault("the aggregate is not finite", case)
            return None
        return vectors

    def _patiently(self, X: Tensor, look: int, case: str) -> Tensor:
        """An aggregation, tried twice where the first takes too long: the machine may have slept, and not the rule."""
        lost = self.calls.lost
        try:
            aggregation, _ = self.calls(self._step, X, look)
        except Failed:
            if self.calls.lost == lost:
                raise
            aggregation, _ = self.calls(self._step, X, look)
            self.calls.lost = lost
        if aggregation.excluded:
            self.excluded.append(case)
        return aggregation.vector.double()

    def _step(self, X: Tensor, look: int) -> tuple[Aggregation, Any]:
        return self.rule.step(X, self.rule.init(X), self._stream(look), examined=False)

    def form(self) -> Form | None:
        """The rule, or a model of it, as autograd sees it; None where it sees nothing."""
        *mixings, last = self.rule.parts()
        if isinstance(last, OwnRule):
            return None if mixings else self._own_form(last)
        try:
            known = batched(self.rule, self.n)
        except TurncoatError:
            return None
        if known is None:
            return None

        def aggregate(X: Tensor) -> Tensor:
            some = [known(X[None], known.init(X[None]), self._stream(look))[0][0] for look in range(self.looks)]
            return torch.stack(some)

        return aggregate

    def _own_form(self, own: OwnRule) -> Form | None:
        """A callable of torch tensors, if derivatives come back from it."""
        known = {"n": self.n} | ({} if own.f is None else {"f": own.f})

        def aggregate(X: Tensor) -> Tensor:
            streams = [self._stream(look) for look in range(self.looks)]
            given = (accepted(own.function, generator=stream, **known) for stream in streams)
            return torch.stack([self.calls(own.function, X, **some) for some in given])

        X = torch.randn((self.n, 2), generator=self._stream(0)).requires_grad_()
        try:
            return aggregate if aggregate(X).requires_grad else None
        except (Failed, TypeError, RuntimeError):  # it raises, or returns no vectors of torch
            return None

    def _stream(self, look: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, "look", look))
