"""One cloud under siege: what the rule makes of f hostile rows beside it, and the worst seen so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import torch
from torch import Tensor

from turncoat.learning.streams import torch_stream
from turncoat.stress.clouds import Cloud
from turncoat.stress.target import Target

Score = Literal["kappa", "descent"]
SCORES: tuple[Score, ...] = ("kappa", "descent")
TRUSTED = 4  # honest vectors whose mean a server's own data stands for


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Both scores over the draws of a randomised rule, mean and worst; the same number twice for any other."""

    kappa: float
    worst_kappa: float
    descent: float
    worst_descent: float

    def of(self, score: Score) -> tuple[float, float]:
        """Mean and worst of a score."""
        return (self.kappa, self.worst_kappa) if score == "kappa" else (self.descent, self.worst_descent)


@dataclass(frozen=True)
class Case:
    """f hostile rows and what they did; both scores grow with the damage."""

    how: str
    rows: Tensor = field(repr=False)
    kappa: float
    """||F - mean||^2 in units of the honest vectors' mean squared distance to their mean."""
    descent: float
    """-<F, mean> / ||mean||^2: above 0, the update points away from the descent."""


class Siege:
    """The rule, the cloud, and the worst case for each score; `attempt` may only make them worse."""

    def __init__(self, target: Target, cloud: Cloud, f: int) -> None:
        self.cloud, self.f = cloud, f
        stream = torch_stream(target.seed, "order", cloud.name)
        self.order = torch.randperm(target.n, generator=stream) if target.rule.permutes else torch.arange(target.n)
        """Of the rows as the rule gets them: nothing tells it where the traitors stand, unless it is made to know."""
        self.mean, self.radius = cloud.mean, cloud.radius
        self.length = float(self.mean @ self.mean)
        self.worst: dict[Score, Case] = {}
        self.followed: dict[Score, float] = {}
        """The worst when the gradient had first been followed to its end."""
        self.searched: dict[Score, float] = {}
        """The worst when the blind search that began there had ended."""
        self.endless: dict[Score, tuple[Case, bool]] = {}
        """Whether the damage of a case grows on and on, once that was asked."""
        self.found: Tensor | None = None
        """The mean aggregate of the last attempt."""
        trusted = cloud.exact[:TRUSTED].mean(0)
        self.target = target.trusting(lambda update: float((update.double() - trusted).square().sum()) / 2)

    def attempt(self, how: str, rows: Tensor) -> Case:
        """What (f, d) rows do, remembered where it is the worst so far."""
        case = self.look(how, rows)
        for score in SCORES:
            if score not in self.worst or getattr(case, score) > getattr(self.worst[score], score):
                self.worst[score] = case
        return case

    def look(self, how: str, rows: Tensor) -> Case:
        """What the rule makes of (f, d) rows beside the cloud; no vector at all is the worst there is."""
        rows = rows.to(self.cloud.honest.dtype)
        self.found = None
        if not rows.isfinite().all():
            return Case(how, rows, -math.inf, -math.inf)
        vectors = self.target(self.received(rows), f"{how} on {self.cloud.name}")
        if vectors is None:
            return Case(how, rows, math.inf, math.inf)
        self.found = vectors.mean(0)
        return Case(how, rows, *self.judge(vectors))

    def received(self, rows: Tensor) -> Tensor:
        """(n, d) the honest vectors and the hostile rows as the rule gets them."""
        return torch.cat([self.cloud.honest.to(rows.dtype), rows])[self.order]

    def see(self, rows: Tensor, draws: int) -> Seen:
        """Both scores of (f, d) rows over so many draws of a randomised rule."""
        looks = draws if self.target.draws else 1
        vectors = self.target(self.received(rows), "the worst case", looks)
        if vectors is None:
            return Seen(kappa=math.inf, worst_kappa=math.inf, descent=math.inf, worst_descent=math.inf)
        kappas, descents = zip(*(self.judge(vector[None]) for vector in vectors), strict=True)
        return Seen(
            kappa=sum(kappas) / len(kappas),
            worst_kappa=max(kappas),
            descent=sum(descents) / len(descents),
            worst_descent=max(descents),
        )

    def judge(self, vectors: Tensor) -> tuple[float, float]:
        """Both scores of (looks, d) aggregates, averaged."""
        apart = float((vectors - self.mean).square().sum(1).mean())
        return apart / self.cloud.spread, -float((vectors @ self.mean).mean()) / self.length

    def together(self, how: str, row: Tensor) -> Case:
        """All f rows alike."""
        return self.attempt(how, row.expand(self.f, -1))
