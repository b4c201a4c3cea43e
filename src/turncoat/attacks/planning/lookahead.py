"""The planner that spends a budget on all ways of looking ahead and keeps what hurts most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from turncoat.attacks.alie import ALIE
from turncoat.attacks.base import Attack
from turncoat.attacks.ipm import IPM
from turncoat.attacks.planning.base import Best, Planner, replayed
from turncoat.attacks.planning.gradient import Steering, ascend
from turncoat.attacks.planning.moves import Move, Send, Use
from turncoat.attacks.planning.objective import Objective
from turncoat.attacks.planning.rollout import DERIVED, Rollout, SpentError, Unrolled
from turncoat.attacks.planning.search import evolve, imported, valued
from turncoat.attacks.planning.solvers import Values, climb
from turncoat.attacks.planning.spaces import SPACES, Along, Space, WholeRows, space
from turncoat.attacks.search import logarithmic, maximise
from turncoat.errors import SpecError

PLANNERS = ("best", "gradient", "search", "tuned")
SHARES = {"tuned": 0.15, "search": 0.1, "steer": 0.9, "gradient": 1.0}
SHARES_OF_SMALL = {"tuned": 0.1, "steer": 0.2, "gradient": 0.15, "search": 0.8}
"""Of what is left of the budget when `best` comes to them, for plans of few numbers; Powell takes the rest."""
SMALL = 256  # numbers a plan may consist of for CMA-ES and Powell to vary each
RESTARTS = 8
SCREENED = 64  # points, of which the most promising are begun from
STEADY, NOISE = 2.0, 0.3
"""How far random starts lie from another one, the same way in all rounds and another way in each."""
GRAPH = 2**28  # numbers that derivatives may keep
KEPT = 10  # times the rows of a round, that is
STEPS = 300  # of Adam
CHECKED = 3  # of its ends that are played
LARGEST = 10_000  # numbers that CMA-ES can vary
STEP = 1e-3  # of finite differences, for solvers that take them
DECADES, A_DECADE, FARTHEST = 4, 3, 100.0  # of strengths tried
LIKELY = (1.0, 10.0, 0.3, 0.0, 100.0, 3.0)


@dataclass(frozen=True)
class LookAhead(Planner):
    """Plan what to send in the next l rounds (None: all that are left) by playing them, and keep what hurts most.

    `planner` says how. "gradient" differentiates the objective through the rounds ahead and through the rule, and
    climbs from several starts; "search" is CMA-ES, for rules without a useful derivative; "tuned" replays the classical
    `attacks`, and each at the constant strength that does best; "best" does all of these and finishes with Powell where
    a plan is few numbers. What it varies is `over` "lambdas" (multiples of the honest mean, one a round),
    "span" (multiples of all honest vectors and of their deviation) or "rows" (anything). With `identical`, all traitors
    send one row. `objective` weighs the losses, by default the last one; `measure` says what a loss is.
    The `budget` counts simulated rounds of one plan, three for one that is differentiated.
    """

    name = "lookahead"
    source = "this project, after S0"
    strength = "planner"
    planner: str = "best"
    over: str = "rows"
    l: int | None = None  # noqa: E741
    objective: float | str = "final"
    budget: int = 50000
    identical: bool = True
    attacks: list | None = None  # type: ignore[misc]
    measure: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in (("planner", PLANNERS), ("over", SPACES)):
            if getattr(self, key) not in known:
                raise SpecError(f"{key} is one of {', '.join(known)}, got {getattr(self, key)!r}")
        for key in ("l", "budget"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise SpecError(f"{key} counts rounds, from 1, got {getattr(self, key)!r}")

    @property
    def needs_own(self) -> bool:
        return self.planner in ("best", "tuned") and super().needs_own

    @property
    def goal(self) -> Objective:
        return Objective(self.objective, self.measure)

    def choose(self, rollout: Rollout, best: Best) -> None:
        if not self.identical:  # rows of their own begin where one row for all ended
            rollout.limit = self.budget / 2
            with suppress(SpentError):
                Search(replace(self, identical=True), rollout, best).run()
        rollout.limit = self.budget
        Search(self, rollout, best).run()


class Search:
    """One plan in the making."""

    def __init__(self, attack: LookAhead, rollout: Rollout, best: Best) -> None:
        self.attack, self.rollout, self.best = attack, rollout, best
        self.rounds = min(attack.l or rollout.rounds, rollout.rounds)
        self.view = rollout.view()
        self.space: Space = space(attack.over, self.view, attack.identical)
        self.unrolled = rollout.unrolled(attack.goal)

    @property
    def small(self) -> bool:
        return self.rounds * self.space.size <= SMALL

    def run(self) -> None:
        kind, evolvable = self.attack.planner, imported() is not None
        if kind in ("best", "tuned"):
            self.classical()
            self.share("tuned", self.tuned)
        if kind == "search":
            self.evolved(self.space)
        if kind == "best" and not self.small and evolvable:
            self.share("search", partial(self.evolved, Along(1)))
        if kind == "gradient" and self.unrolled is None:
            raise SpecError(f"{self.view.rule} in such rounds has no form to differentiate: planner=search needs none")
        if self.unrolled is not None and kind in ("best", "gradient"):
            if isinstance(self.space, WholeRows):
                self.share("steer", partial(self.steered, self.unrolled))
            self.share("gradient", partial(self.ascended, self.unrolled))
        if kind == "best" and self.small:
            if evolvable:
                self.share("search", partial(self.evolved, self.space))
            self.polished()

    def share(self, name: str, stage: Callable[[], None]) -> None:
        """Let a stage spend its share of what is left; all of it where it is the only one."""
        whole = self.rollout.limit
        left = whole - self.rollout.spent - self.rounds  # one roll must stay
        if self.attack.planner == "best":
            shares = SHARES_OF_SMALL if self.small else SHARES
            self.rollout.limit = self.rollout.spent + shares[name] * left
        with suppress(SpentError):
            stage()
        self.rollout.limit = whole

    def classical(self) -> None:
        """The classical attacks as they are."""
        for one in self.attack.classical():
            replayed(self.rollout, one, self.rounds, self.attack.goal, self.best)

    def tuned(self) -> None:
        """The classical attacks at the constant strengths that do best, the likely ones first."""
        attacks = self.attack.classical()
        whole, before = self.rollout.limit, self.rollout.spent
        for i, one in enumerate(attacks):
            self.rollout.limit = before + (whole - before) * (i + 1) / len(attacks)
            score = cache(partial(self.strength, one))
            grid = logarithmic(FARTHEST, DECADES, A_DECADE)
            with suppress(SpentError):
                for likely in LIKELY:
                    score(likely)
                maximise(score, [*(-s for s in reversed(grid)), 0.0, *grid], near=3.0)
        self.rollout.limit = whole

    def strength(self, one: Attack, strength: float) -> float:
        """An attack's worth at a constant strength: its own, or a multiple of what it sends less the honest mean."""
        if isinstance(one, IPM | ALIE):
            move = Use(replace(one, **{one.strength: strength}))  # type: ignore[arg-type]
        else:
            move = Use(one, factor=strength)
        return self.verify(f"{one.name} tuned", [move] * self.rounds)

    def steered(self, unrolled: Unrolled) -> None:
        """Rows along the derivative by the aggregates."""

        reached = -np.inf

        def report(value: float, offsets: Sequence[Tensor]) -> None:
            nonlocal reached
            if value > reached:
                reached = value
                self.verify("steering", [Send(offset, about_mean=True) for offset in offsets])

        assert self.view.rule is not None
        steering = Steering(unrolled, self.view.rule, self.view.f, self.rounds, self.attack.goal)
        steering.run(report, [each.mean(0) for each in self.offsets()], self.stream())

    def ascended(self, unrolled: Unrolled) -> None:
        """Adam on the numbers of the plan, from several starts."""
        room = GRAPH // (KEPT * self.rounds * self.view.n * self.view.honest.shape[1])
        starts = self.starts(self.space, max(1, min(RESTARTS, room)))
        left = self.rollout.limit - self.rollout.spent - CHECKED * self.rounds
        steps = int(left / (DERIVED * len(starts) * self.rounds))
        found = ascend(unrolled, self.space, starts, self.attack.goal, min(STEPS, steps))
        for points in found[:CHECKED]:
            self.verify("gradient", self.space.moves(points))

    def evolved(self, space: Space) -> None:
        """CMA-ES on the numbers of a plan in that space, with its restarts."""
        size = self.rounds * space.size
        if size > LARGEST:
            raise SpecError(f"a plan of {size:,} numbers is too much for CMA-ES: over=span or lambdas, or a shorter l")
        reached = -np.inf

        def report(point: Tensor, value: float) -> None:
            nonlocal reached
            if value > reached:
                reached = value
                self.verify("search", space.moves(point.view(self.rounds, -1)))

        def one_by_one(points: Tensor) -> Tensor:
            plans = points.view(len(points), self.rounds, -1)
            return points.new_tensor([self.verify("search", space.moves(plan)) for plan in plans])

        value = one_by_one
        if self.unrolled is not None:
            value = valued(self.unrolled, space, self.rounds, self.attack.goal)
        seed = int(torch.randint(2**31, (), generator=self.view.generator))
        evolve(value, [start.flatten() for start in self.starts(space, RESTARTS)], seed, report)

    def polished(self) -> None:
        """Powell, one number after the other, from the best plan so far."""

        def value(flat: Values) -> float:
            points = torch.from_numpy(np.ascontiguousarray(flat)).view(self.rounds, -1).to(start)
            return self.verify("powell", self.space.moves(points))

        start = self.starts(self.space, 1)[0]
        climb(value, start.double().flatten().numpy(), "powell", self.attack.budget, STEP)

    def verify(self, name: str, moves: Sequence[Move]) -> float:
        """What moves are really worth; they are offered under that name."""
        value = self.rollout(moves, self.attack.goal, floor=self.best.value).value
        self.best.offer(name, moves, value)
        return value

    def stream(self) -> torch.Generator:
        """A stream of its own for each use."""
        return torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=self.view.generator)))

    def offsets(self) -> list[Tensor]:
        """(f, d) what the best plan so far sends less the honest mean, of each round; none where it explodes."""
        if not self.best.moves:
            return []
        rolled = self.rollout(self.best.moves, self.attack.goal, keep_rows=True)
        offsets = [rows - mean for rows, mean in zip(rolled.rows, rolled.means, strict=True)]
        return offsets if len(offsets) == self.rounds else []

    def starts(self, space: Space, count: int) -> Tensor:
        """(count, T, size) points to begin from: the best plan so far, where the space holds it, and promising ones."""
        like = self.view.honest
        known = []
        if isinstance(space, WholeRows) and (offsets := self.offsets()):
            known = [torch.stack([space.point(each) for each in offsets])]
        others = [*space.constants(like)[:, None].expand(-1, self.rounds, -1)]
        if count == 1:
            return (known or others)[0][None]
        generator = self.stream()
        middle = (known or others)[0]
        while len(others) < (SCREENED if self.rounds * space.size <= LARGEST else count):
            steady, noise = (torch.randn((t, space.size), generator=generator).to(like) for t in (1, self.rounds))
            others.append(middle + STEADY * steady + NOISE * noise)
        if self.unrolled is not None and len(others) > count:
            value = valued(self.unrolled, space, self.rounds, self.attack.goal)
            order = value(torch.stack(others).flatten(1)).argsort(descending=True, stable=True)
            others = [others[i] for i in order.tolist()]
        return torch.stack([*known, *others][:count])
