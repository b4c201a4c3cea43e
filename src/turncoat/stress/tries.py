"""What is tried on every cloud: attacks by name, and rows along lines through the honest mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from turncoat.attacks import attack
from turncoat.errors import TurncoatError
from turncoat.learning.streams import torch_stream
from turncoat.stress.siege import SCORES, Score, Siege
from turncoat.testing.report import Failed

COMPONENTS = 2  # principal ones
DECOYS = ("component 1", "random")  # ways of those that are to be found
OUTSHINE = 3.0  # times as far as the others
NEAR = 0.8  # of the worst so far, from which a line is searched more finely


def attacks(siege: Siege, names: Iterable[str], seed: int) -> None:
    """Attacks of the registry, each at its named strength; the traitors' own vectors are drawn from the honest ones."""
    honest, f = siege.cloud.honest, siege.f
    for name in names:
        stream = torch_stream(seed, "attack", name, siege.cloud.name)
        own = honest[torch.randint(len(honest), (f,), generator=stream)]
        try:
            made = attack(name, f=f)
            given = honest, own, stream, siege.target.rule, siege.mean.to(honest.dtype)
            rows = siege.target.attacking(made, *given)
        except (TurncoatError, Failed):  # what it needs is not to be had of this rule, in time or with so few rows
            continue
        siege.attempt(name, rows)


def copies(siege: Siege) -> None:
    """All traitors send what one honest worker sends."""
    for i, row in enumerate(siege.cloud.honest):
        siege.together(f"copies of honest row {i}", row)


def lines(siege: Siege, directions: Mapping[str, Tensor], strengths: Sequence[float], refine: int) -> None:
    """All traitors at the same point of a line through the mean, on both sides of it and at all distances.

    Along the standard deviations, also with the sign of every coordinate chosen by what the rule did to it.
    """
    for name, direction in directions.items():
        found: list[list[Tensor | None]] = []
        for sign, side in ((1, "+"), (-1, "-")):
            how, step = f"line {side}{name}", sign * direction
            scores: list[dict[Score, float]] = []
            found.append([])
            for t in strengths:
                case = siege.together(f"{how} at {t:g}", siege.mean + t * step)
                scores.append({score: getattr(case, score) for score in SCORES})
                found[-1].append(siege.found)
            for score in SCORES:
                _refine(siege, how, step, strengths, [each[score] for each in scores], score, refine)
        if name == "std":
            _signs(siege, direction, strengths, *found)


def crowds(siege: Siege, directions: Mapping[str, Tensor], strengths: Sequence[float]) -> None:
    """The traitors stand around a point as the honest workers stand around their mean: a second truth."""
    around = siege.cloud.deviations.repeat(2, 1)[: siege.f]
    for name, direction in directions.items():
        for t in strengths:
            siege.attempt(f"a crowd along {name} at {t:g}", siege.mean + t * direction + around)


def decoys(siege: Siege, directions: Mapping[str, Tensor], strengths: Sequence[float]) -> None:
    """One traitor, or half of them, stand out so that a rule spends its suspicion on their way; the rest go another.

    What filters by the direction of largest spread, and looks once, is left with the rest.
    """
    for name in (name for name in DECOYS if name in directions):
        for t in strengths:
            for count in sorted({1, siege.f // 2} - {0, siege.f}):
                far = (siege.mean + OUTSHINE * t * directions[name]).expand(count, -1)
                rest = (siege.mean + t * directions["std"]).expand(siege.f - count, -1)
                siege.attempt(
                    f"{count} of them decoys along {name}, the rest along std, at {t:g}", torch.cat([far, rest])
                )


def directions(siege: Siege, seed: int, only: Sequence[str] | None = None) -> dict[str, Tensor]:
    """(d,) directions as long as the cloud's radius, all or some of them."""
    Z, mean = siege.cloud.deviations, siege.mean
    std = Z.square().mean(0).sqrt()
    found = {"std": std, "mean": mean, "sign": mean.sign() * std}
    components = torch.linalg.svd(Z, full_matrices=False).Vh[:COMPONENTS]
    found |= {f"component {i + 1}": row for i, row in enumerate(components)}
    found["farthest"] = Z[Z.norm(dim=1).argmax()]
    found["random"] = torch.randn(len(mean), generator=torch_stream(seed, "line", siege.cloud.name)).double()
    found["coordinate"] = torch.zeros_like(mean).index_fill_(0, std.argmax(), 1.0)
    chosen = found if only is None else {name: found[name] for name in only if name in found}
    return {name: v / v.norm() * siege.radius for name, v in chosen.items() if v.norm() > 0}


def _refine(
    siege: Siege, how: str, step: Tensor, grid: Sequence[float], values: Sequence[float], score: Score, calls: int
) -> None:
    """A finer search around the grid's best point, where the line is among the worst so far."""
    if not calls:
        return
    best = max(range(len(values)), key=values.__getitem__)
    worst = getattr(siege.worst[score], score)
    if not math.isfinite(worst) or values[best] < worst - (1 - NEAR) * abs(worst):
        return
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]

    def value(t: float) -> float:
        return getattr(siege.together(f"{how} at {t:.4g}", siege.mean + t * step), score)

    golden(value, low, high, calls)


def golden(value: Callable[[float], float], low: float, high: float, calls: int) -> None:
    """Golden sections of a range of positive numbers, on a logarithmic scale."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = math.log(low), math.log(high)
    inner = [b - ratio * (b - a), a + ratio * (b - a)]
    values = [value(math.exp(x)) for x in inner]
    for _ in range(calls - 2):
        if values[0] > values[1]:
            b = inner[1]
            inner, values = [b - ratio * (b - a), inner[0]], [0.0, values[0]]
            values[0] = value(math.exp(inner[0]))
        else:
            a = inner[0]
            inner, values = [inner[1], a + ratio * (b - a)], [values[1], 0.0]
            values[1] = value(math.exp(inner[1]))


def _signs(
    siege: Siege,
    std: Tensor,
    grid: Sequence[float],
    plus: Sequence[Tensor | None],
    minus: Sequence[Tensor | None],
) -> None:
    """Every coordinate on the side on which the rule went farther off, or farther down, when all were on one."""
    mean = siege.mean
    for t, above, below in zip(grid, plus, minus, strict=True):
        if above is None or below is None:
            continue
        off = torch.where((above - mean).abs() >= (below - mean).abs(), 1.0, -1.0)
        down = torch.where(mean * above <= mean * below, 1.0, -1.0)
        for what, signs in (("off", off), ("down", down)):
            siege.together(f"signs {what} along std at {t:g}", mean + t * signs * std)
