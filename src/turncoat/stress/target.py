"""The rule under stress: every aggregation is counted and timed, and may raise, hang or be no vector."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from turncoat.errors import TurncoatError
from turncoat.learning.streams import derive
from turncoat.registry import accepted
from turncoat.rules import OwnRule, Rule
from turncoat.rules.batched import batched
from turncoat.testing.calls import Calls
from turncoat.testing.report import Failed

PROBES = 8  # calls in which a callable shows whether it is randomised
PROBE = 8  # coordinates of the rows on which a rule shows whether it is randomised
Form = Callable[[Tensor], Tensor]
"""(n, d) -> (looks, d) aggregates through which autograd finds its way."""


class Target:
    """A rule with n rows to aggregate, fresh for every call: no call knows of another.

    A randomised rule is looked at with several seeds, always the same ones. `loss` is what a server with data of its
    own would say to an update, for rules that ask it.
    """

    def __init__(self, rule: Rule, n: int, *, looks: int, seed: int, patience: float) -> None:
        self.rule, self.n, self.seed = rule, n, seed
        self.calls = Calls(patience)
        self.seconds = 0.0
        self.excluded = 0
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

    def trusting(self, loss: Callable[[Tensor], float]) -> None:
        """Give the rule a server's loss, if it asks for one."""
        if self.rule.trusts:
            self.rule = self.rule.trusting(loss)

    def __call__(self, X: Tensor, case: str = "", looks: int | None = None) -> Tensor | None:
        """(looks, d) aggregates in float64; None where one could not be had or is not finite, which is noted."""
        try:
            found = [self.calls(self._aggregate, X, look) for look in range(self.looks if looks is None else looks)]
        except Failed as seen:
            self.failures.setdefault(str(seen), case)
            return None
        vectors = torch.stack(found)
        if not vectors.isfinite().all():
            self.failures.setdefault("the aggregate is not finite", case)
            return None
        return vectors

    def _aggregate(self, X: Tensor, look: int) -> Tensor:
        started = time.perf_counter()
        aggregation, _ = self.rule.step(X, self.rule.init(X), self._stream(look), examined=False)
        self.seconds += time.perf_counter() - started
        self.excluded += bool(aggregation.excluded)
        return aggregation.vector.double()

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
