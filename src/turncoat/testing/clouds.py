"""Rows to try rules on: honest clouds, and what traitors put beside them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SIZES = (1.0, 10.0, 1e3, 1e6, 1e30)  # how far off traitors stand, in honest spreads
CENTRE = 0.5  # of every coordinate


def cloud(n: int, d: int, seed: int) -> Tensor:
    """(n, d) float64 Gaussian rows of unit variance."""
    return torch.randn((n, d), generator=_generator(seed), dtype=torch.float64) + CENTRE


def uneven(n: int, d: int, f: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Clouds of several shapes, f rows of them farther out than the others, in a random order."""
    order = torch.randperm(n, generator=_generator(seed + 1))
    X = cloud(n, d, seed)
    X[n - f :] *= 5
    yield "outliers", X[order]
    yield "heavy tails", cloud(n, d, seed) * cloud(n, 1, seed + 2).exp()
    X = cloud(n, d, seed + 3)
    X[: n // 3] += 3
    yield "two groups", X[order]


def far(honest: Tensor, f: int, size: float, seed: int) -> Iterator[tuple[str, Tensor]]:
    """What f traitors may send who stand `size` spreads from the honest mean: (f, d) rows."""
    d = honest.shape[1]
    mean = honest.mean(0)
    length = size * float((honest - mean).norm(dim=1).max())
    directions = torch.randn((f, d), generator=_generator(seed), dtype=honest.dtype)
    directions /= directions.norm(dim=1, keepdim=True)
    alternating = torch.ones(f, 1, dtype=honest.dtype)
    alternating[1::2] = -1
    yield "together", mean + length * directions[:1].expand(f, d)
    yield "apart", mean + length * directions
    yield "on both sides", mean + length * alternating * directions[0]
    yield "against the mean", mean - length * (mean / mean.norm()).expand(f, d)
    growing = torch.linspace(0, 1, f + 1, dtype=honest.dtype)[1:, None]
    yield "at growing distances", mean + max(size, 2.0) ** growing * (length / size) * directions[0]
    yield "in one coordinate", mean + length * torch.eye(d, dtype=honest.dtype)[:1].expand(f, d)


def placed(honest: Tensor, traitors: Tensor, where: str, seed: int) -> Tensor:
    """Both as one matrix, the traitors "first", "last" or "anywhere"."""
    if where == "first":
        return torch.cat([traitors, honest])
    X = torch.cat([honest, traitors])
    return X[torch.randperm(len(X), generator=_generator(seed))] if where == "anywhere" else X


def hostile(h: int, f: int, d: int, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Inputs that break code: what it is, the h honest rows and the f others."""
    info = torch.finfo(dtype)
    honest, like = cloud(h, d, seed).to(dtype), cloud(f, d, seed + 1).to(dtype)
    tight, one = (1e4 + 1e-2 * honest.double()).to(dtype), honest[:1].expand(h, d)
    again = torch.arange(f) % h
    for value in (float("nan"), float("inf"), -float("inf")):
        yield f"rows of {value:+g}", honest, torch.full_like(like, value)
    one_nan, infinities = like.clone(), like.clone()
    one_nan[-1:, d // 2] = float("nan")
    infinities[-1:, :2] = torch.tensor([float("inf"), -float("inf")])[:d]
    yield "one NaN coordinate", honest, one_nan
    yield "+Inf and -Inf in one row", honest, infinities
    yield "the largest numbers", honest, torch.full_like(like, info.max / 3)
    yield "one of the largest numbers, negative", honest, like.index_fill(1, torch.tensor([0]), -info.max / 3)
    yield "subnormal rows", honest, torch.full_like(like, info.smallest_normal / 8)
    yield "only subnormal rows", honest * (info.smallest_normal / 8), like * (info.smallest_normal / 8)
    yield "an offset of 1e4 beside a spread of 1e-2, traitors of the same norm on the other side", tight, -tight[again]
    yield "an offset of 1e4 beside a spread of 1e-2, traitors at a distance of 100 spreads", tight, 1 + tight[again]
    yield "rows of zeros", honest, torch.zeros_like(like)
    yield "only zeros", torch.zeros_like(honest), torch.zeros_like(like)
    yield "identical rows", one, one[again]
    yield "identical rows, and others far off", one, like + 1e6


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
