"""What a planner varies from round to round: one number, multiples of the honest vectors, or whole rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turncoat.attacks.base import View
from turncoat.attacks.ipm import IPM
from turncoat.attacks.planning.moves import Mix, Move, Send, Use

SPACES = ("lambdas", "span", "rows")


@dataclass(frozen=True)
class Space(ABC):
    """Points of `size` numbers a round, where 0 is the honest mean and 1 is about as far as honest vectors spread."""

    size: int

    @abstractmethod
    def send(self, points: Tensor, honest: Tensor) -> Tensor:
        """(C, f, d) or (C, 1, d) what points (C, size) stand for beside honest vectors (C, h, d), differentiable."""

    @abstractmethod
    def move(self, point: Tensor) -> Move:
        """The same of one point, as a move."""

    @abstractmethod
    def constants(self, like: Tensor) -> Tensor:
        """(m, size) points that are worth beginning from, in every round the same, with the dtype of honest vectors."""

    def moves(self, points: Tensor) -> list[Move]:
        """A move for each point (T, size)."""
        return [self.move(point) for point in points.detach()]


@dataclass(frozen=True)
class Along(Space):
    """(1 - 2 lambda) times the honest mean: S0's lambda."""

    def send(self, points: Tensor, honest: Tensor) -> Tensor:
        return (1 - 2 * points[:, :, None]) * honest.mean(1, keepdim=True)

    def move(self, point: Tensor) -> Move:
        return Use(IPM(epsilon=2 * float(point) - 1))

    def constants(self, like: Tensor) -> Tensor:
        return like.new_tensor([[1.0], [0.55], [5.0], [0.0], [2.0], [0.75], [20.0], [-1.0]])


@dataclass(frozen=True)
class InSpan(Space):
    """The honest mean, plus multiples of it, of each honest vector's difference to it and of the standard deviation."""

    k: int
    """1 for one row that all send, f for a row each."""

    def send(self, points: Tensor, honest: Tensor) -> Tensor:
        mean = honest.mean(1, keepdim=True)
        spread = (honest - mean).square().sum(1, keepdim=True) / max(1, honest.shape[1] - 1)
        basis = torch.cat([honest, (spread + torch.finfo(honest.dtype).tiny).sqrt()], dim=1)
        return self._weights(points) @ basis

    def move(self, point: Tensor) -> Move:
        weights = self._weights(point.double()[None])[0]
        return Mix(weights[0] if self.k == 1 else weights)

    def constants(self, like: Tensor) -> Tensor:
        alone = like.new_zeros((6, self.k, self.size // self.k))
        alone[:3, :, 0] = like.new_tensor([-2.0, -1.2, -10.0])[:, None]
        alone[3:, :, -1] = like.new_tensor([-1.5, 1.5, -8.0])[:, None]
        return alone.flatten(1)

    def _weights(self, points: Tensor) -> Tensor:
        """(C, k, h + 1) multiples of the honest vectors and of their deviation."""
        points = points.unflatten(1, (self.k, -1))
        along, each, deviation = points[..., :1], points[..., 1:-1], points[..., -1:]
        h = each.shape[-1]
        return torch.cat([(1 + along) / h + each - each.mean(-1, keepdim=True), deviation], dim=-1)


@dataclass(frozen=True)
class WholeRows(Space):
    """The honest mean, plus anything."""

    k: int
    scale: float
    """How far honest vectors spread in each coordinate at the first of the rounds."""

    def send(self, points: Tensor, honest: Tensor) -> Tensor:
        return honest.mean(1, keepdim=True) + self.scale * points.unflatten(1, (self.k, -1))

    def move(self, point: Tensor) -> Move:
        rows = self.scale * point.unflatten(0, (self.k, -1))
        return Send(rows[0] if self.k == 1 else rows, about_mean=True)

    def constants(self, like: Tensor) -> Tensor:
        mean, deviation = like.mean(0), like.var(0, correction=0).sqrt()
        rows = torch.stack([-2 * mean, -1.2 * mean, -mean, -10 * mean, -1.5 * deviation])  # -mean: rows of 0
        return rows.repeat(1, self.k) / self.scale

    def point(self, offsets: Tensor) -> Tensor:
        """(size,) the point of offsets (f, d), of their mean where all send the same."""
        return (offsets.mean(0) if self.k == 1 else offsets).flatten() / self.scale


def space(over: str, view: View, identical: bool) -> Any:
    """The space of that name for the run in view."""
    h, d = view.honest.shape
    k = 1 if identical else view.f
    if over == "lambdas":
        return Along(1)
    if over == "span":
        return InSpan(k * (h + 2), k)
    spread = float((view.honest - view.honest.mean(0)).double().square().mean().sqrt())
    return WholeRows(k * d, k, spread or float(view.honest.double().square().mean().sqrt()) or 1.0)
