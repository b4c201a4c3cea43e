"""Planning by derivatives of the loss through the rounds ahead and through the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turncoat.attacks.planning.objective import EXPLODED, Objective
from turncoat.attacks.planning.rollout import Ahead, SpentError, Unrolled
from turncoat.attacks.planning.spaces import Space
from turncoat.rules import Rule
from turncoat.rules.base import CoordinateRule
from turncoat.rules.look import subset

MEAN, ORIGIN = -1, -2
RATE, DECAY = 0.3, 0.1
"""Adam's step in units of the honest spread, at first, and what is left of it at the end."""
BLENDS = (1.0, 0.3, 0.1, 0.03)
"""How much of the new directions a pass of steering takes, until one is better than before."""
REACHES = (0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1, 1.15, 1.3, 1.45, 1.6, 1.8, 2, 2.25, 2.5, 3, 4, 6, 10, 30, 100, 1000)
"""Lengths of a push, in units of the honest vectors' spread, that are tried on the rule."""
FEWER = (0.5, 1, 1.5, 2, 3, 5, 10, 1000)
"""The same where the rule acts on each coordinate, and every try costs more."""
SHOWN = 512  # coordinates on which a push is tried, where the rule acts on each


def ascend(unrolled: Unrolled, space: Space, starts: Tensor, objective: Objective, steps: int) -> Tensor:
    """(C, T, size) the best points seen by Adam from starts (C, T, size), the most promising one first.

    Derivatives are right almost everywhere; a start that explodes has arrived. A budget that ends, ends it.
    """
    count, rounds, _ = starts.shape
    points = starts.clone().requires_grad_(True)
    adam = torch.optim.Adam([points], lr=RATE, maximize=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, DECAY ** (1 / max(1, steps)))
    best, kept = torch.full((count,), -torch.inf), starts.clone()
    with suppress(SpentError):
        for _ in range(steps):
            losses = unrolled(
                lambda ahead: space.send(points[:, ahead.t], ahead.honest), count, rounds, objective.last_only
            )
            values = objective.values(losses)
            better = values.detach().cpu() > best
            best = torch.where(better, values.detach().cpu(), best)
            kept[better] = points.detach()[better]
            adam.zero_grad()
            values.sum().backward()
            assert points.grad is not None
            points.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            adam.step()
            schedule.step()
    return kept[best.argsort(descending=True, stable=True)]


Report = Callable[[float, list[Tensor]], None]
"""Called with the value of a plan better than before, and its rows' offsets (d,) to the honest mean."""


@dataclass(frozen=True)
class Push:
    """One row that all send: an honest vector, or their mean, or 0, and a length of a direction."""

    base: int
    """Of an honest vector; MEAN, or ORIGIN."""
    reach: float
    direction: Tensor

    def row(self, honest: Tensor) -> Tensor:
        """(C, 1, d) beside honest vectors (C, h, d)."""
        return _base(honest, self.base) + self.reach * _spread(honest)[:, None, None] * self.direction


class Steering:
    """Rows that push the rule's aggregate, in each round, the way that the last loss wants it most.

    The value of a plan is a function of the T aggregates; its derivative by each of them (the costate of Pontryagin's
    maximum principle) says which way to push in that round, and how far the rule gives way is tried. New pushes lead to
    another trajectory and other derivatives: passes repeat for as long as they improve the plan, blending the new
    directions with the old where they go too far. Where no pass does, they begin anew with random directions.
    """

    def __init__(self, unrolled: Unrolled, rule: Rule, f: int, rounds: int, objective: Objective) -> None:
        self.unrolled, self.f, self.rounds, self.objective = unrolled, f, rounds, objective
        last = rule.parts()[-1]
        self.by_coordinate = isinstance(last, CoordinateRule) or getattr(last, "p", 2) != 2

    def run(self, report: Report, known: Sequence[Tensor], generator: torch.Generator) -> None:
        """Improve plans until the budget ends it: one that pushes against descent in each round, then one that pushes
        where a known plan does, if there is one, then random ones."""
        like = self.improve(None, report)
        begin = [_unit(each) for each in known]
        while True:
            if begin:
                self.improve(begin, report)
            begin = [_unit(torch.randn(like.shape, generator=generator).to(like))] * self.rounds

    def improve(self, begin: list[Tensor] | None, report: Report) -> Tensor:
        """Improve one plan until no pass does; returns the last direction."""
        value, directions, pushes, offsets = self.play(begin)
        report(value, offsets)
        while value < EXPLODED:
            wanted = self.derivatives(pushes)
            for blend in BLENDS:
                mixed = [_unit(old.lerp(new, blend)) for old, new in zip(directions, wanted, strict=True)]
                found = self.play(mixed)
                if found[0] > value:
                    break
            else:
                break
            value, directions, pushes, offsets = found
            report(value, offsets)
        return directions[-1]

    @torch.no_grad()
    def play(self, directions: list[Tensor] | None) -> tuple[float, list[Tensor], list[Push], list[Tensor]]:
        """Value, directions (d,), pushes and offsets of a plan that pushes along the directions as far as pays.

        Without directions each round pushes against the descent of the loss there.
        """
        pushes, offsets, taken = [], [], []

        def send(ahead: Ahead) -> Tensor:
            if directions is None:
                direction = _unit(-self.unrolled.slope(ahead.parameters, ahead.round)[0])
            else:
                direction = directions[ahead.t]
            push = self.best(ahead, direction)
            row = push.row(ahead.honest)
            taken.append(direction)
            pushes.append(push)
            offsets.append((row - ahead.honest.mean(1, keepdim=True))[0, 0])
            return row

        losses = self.unrolled(send, 1, self.rounds, self.objective.last_only)
        return float(self.objective.values(losses)), taken, pushes, offsets

    def derivatives(self, pushes: list[Push]) -> list[Tensor]:
        """(d,) unit vectors: how the value grows with each round's aggregate, the rows following the honest vectors."""
        like = pushes[0].direction
        zeros = [torch.zeros_like(like)[None].requires_grad_(True) for _ in pushes]
        with torch.enable_grad():
            losses = self.unrolled(
                lambda ahead: pushes[ahead.t].row(ahead.honest), 1, self.rounds, self.objective.last_only, zeros
            )
            self.objective.values(losses).sum().backward()
        found = [like if zero.grad is None else zero.grad[0] for zero in zeros]
        return [_unit(each.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)) for each in found]

    def best(self, ahead: Ahead, direction: Tensor) -> Push:
        """The push that carries the aggregate farthest along a direction in this round."""
        d, honest = len(direction), ahead.honest
        see = (
            _Columns(d, SHOWN) if self.by_coordinate else _Subspace([*honest[0], direction, *_vectors(ahead.memory, d)])
        )
        seen, farthest = see(honest), int((honest[0] @ direction).argmax())
        if self.by_coordinate:
            signs = direction.sign() * d**-0.5
            kinds, reaches = [(MEAN, signs), (MEAN, direction)], FEWER
        else:
            kinds, reaches = [(base, direction) for base in (MEAN, farthest, ORIGIN)], REACHES
        lengths = _spread(honest) * honest.new_tensor(reaches)
        bases = torch.cat([_base(seen, base)[0] for base, _ in kinds])
        along = torch.stack([see(way) for _, way in kinds])
        rows = (bases[:, None] + lengths[:, None] * along[:, None]).flatten(0, 1)
        received = torch.cat([seen.expand(len(rows), -1, -1), rows[:, None].expand(-1, self.f, -1)], dim=1)
        memory = _remembered(ahead.memory, see, len(rows), d)
        gain = self.unrolled.rule(received, memory, ahead.stream())[0] @ see(direction)
        kind, reach = divmod(int(gain.argmax()), len(reaches))
        return Push(kinds[kind][0], reaches[reach], kinds[kind][1])


def _base(honest: Tensor, base: int) -> Tensor:
    """(C, 1, d) where a push begins."""
    if base >= 0:
        return honest[:, base : base + 1]
    mean = honest.mean(1, keepdim=True)
    return mean if base == MEAN else torch.zeros_like(mean)


class _Columns:
    """Vectors on some of their coordinates."""

    def __init__(self, d: int, most: int) -> None:
        self._chosen = None if d <= most else subset(d, most, torch.Generator().manual_seed(0))

    def __call__(self, vectors: Tensor) -> Tensor:
        return vectors if self._chosen is None else vectors[..., self._chosen.to(vectors.device)]


class _Subspace:
    """Vectors in coordinates of the space that some of them span: rules that turn with their rows see no difference."""

    def __init__(self, spanning: Sequence[Tensor]) -> None:
        stacked = torch.stack(list(spanning)).double()
        few = len(stacked) < stacked.shape[1]
        self._basis = torch.linalg.qr(stacked.T).Q if few else None

    def __call__(self, vectors: Tensor) -> Tensor:
        return vectors.double() if self._basis is None else vectors.double() @ self._basis


def _spread(honest: Tensor) -> Tensor:
    """(C,) the root mean squared distance of honest vectors (C, h, d) to their mean, differentiable."""
    squared = (honest - honest.mean(1, keepdim=True)).square().sum(-1).mean(1)
    return (squared + torch.finfo(honest.dtype).tiny).sqrt()


def _remembered(memory: Any, see: Callable[[Tensor], Tensor], count: int, d: int) -> Any:
    """A rule's memory of one run, as count runs would have it in what `see` leaves of vectors."""
    if isinstance(memory, dict):
        return {key: _remembered(value, see, count, d) for key, value in memory.items()}
    if isinstance(memory, Tensor):
        return (see(memory) if memory.shape[-1] == d else memory).expand(count, *([-1] * (memory.dim() - 1)))
    return memory


def _vectors(memory: Any, d: int) -> list[Tensor]:
    """The vectors (d,) that a rule's memory of one run holds."""
    values = memory.values() if isinstance(memory, dict) else [memory]
    return [row for value in values if isinstance(value, Tensor) and value.shape[-1] == d for row in value.view(-1, d)]


def _unit(vector: Tensor) -> Tensor:
    """A vector of length 1; of 0, any."""
    length = torch.linalg.vector_norm(vector, dtype=torch.float64)
    if length == 0:
        return torch.full_like(vector, len(vector) ** -0.5)
    return vector / length.to(vector.dtype)
