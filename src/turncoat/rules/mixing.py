"""Mixings before a rule: averages of neighbours or of random groups, and a filter of copies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Mixing
from turncoat.rules.look import Look


@dataclass(frozen=True)
class NNM(Mixing):
    """Replace every row by the average of the n-f rows nearest to it, itself included."""

    name = "nnm"
    source = "Allouah et al. 2023"
    gram = True

    def matrix(self, look: Look) -> Tensor:
        D = look.squared_distances.clone()
        D.fill_diagonal_(-1.0)  # a row is its own nearest, also among identical ones
        nearest = D.sort(dim=1, stable=True).indices[:, : look.n - look.f]
        share = 1.0 / (look.n - look.f)
        return torch.zeros(D.shape, dtype=torch.float64).scatter_(1, nearest, share)


@dataclass(frozen=True)
class Bucketing(Mixing):
    """Shuffle the rows, cut them into buckets of s and replace each bucket by its average.

    Karimireddy et al. 2022. At most f of the averages hold a Byzantine row: f stays as it is. `last` says what becomes
    of the rows that are left over: a "short" bucket, of ceil(n/s) in all, or "spread" over floor(n/s) buckets.
    """

    name = "bucketing"
    source = "Karimireddy et al. 2022"
    uses_f = False
    draws = True
    permutes = False
    s: int = 2
    last: str = "short"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self.s)
        if self.last not in ("short", "spread"):
            raise SpecError(f'last is "short" or "spread", got {self.last!r}')

    def count(self, n: int) -> int:
        return -(-n // self.s) if self.last == "short" else max(1, n // self.s)

    def matrix(self, look: Look) -> Tensor:
        order = torch.randperm(look.n, generator=look.generator)
        count = self.count(look.n)
        buckets = order.split(self.s) if self.last == "short" else order.tensor_split(count)
        M = torch.zeros((count, look.n), dtype=torch.float64)
        for row, bucket in zip(M, buckets, strict=True):
            row[bucket] = 1.0 / len(bucket)
        return M


@dataclass(frozen=True)
class Resampling(Mixing):
    """Write every row s times, shuffle them and replace them by the averages of n groups of s.

    The older form of Karimireddy et al. 2022, which S2 uses. A group can hold the same row twice. Up to min(n, s f) of
    the averages hold a Byzantine row, and that is what the rule that follows has to tolerate; with `tolerate="f"` it
    is given f as it was, as in S2's experiments.
    """

    name = "resampling"
    source = "Karimireddy et al. 2022; S2"
    uses_f = False
    draws = True
    permutes = False
    s: int = 2
    tolerate: str = "s*f"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self.s)
        if self.tolerate not in ("s*f", "f"):
            raise SpecError(f'tolerate is "s*f" or "f", got {self.tolerate!r}')

    @property
    def robust(self) -> bool:  # type: ignore[override]
        return self.tolerate == "s*f"

    def contaminated(self, f: int, n: int, m: int) -> int:
        return f if self.tolerate == "f" else min(n, self.s * f)

    def matrix(self, look: Look) -> Tensor:
        n = look.n
        copies = torch.arange(n).repeat(self.s)[torch.randperm(n * self.s, generator=look.generator)].view(n, self.s)
        share = torch.full(copies.shape, 1.0 / self.s, dtype=torch.float64)
        return torch.zeros((n, n), dtype=torch.float64).scatter_add_(1, copies, share)


@dataclass(frozen=True)
class SimilarityFilter(Mixing):
    """Drop every row that has another row within eps of it; keep all where fewer than n-f would be left.

    The defence that S2's P1 is built to evade. Honest rows are assumed to lie farther apart than twice `eps`, so no
    Byzantine row takes more than one of them along: at least half of what is dropped is Byzantine, and f falls by it.
    """

    name = "similarity_filter"
    source = "Fung et al. 2020; S2 A.4"
    scales = False
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eps < math.inf:
            raise SpecError(f"eps is a distance, at least 0 and finite, got {self.eps}")

    def contaminated(self, f: int, n: int, m: int) -> int:
        return f - min(f, -((m - n) // 2))

    def matrix(self, look: Look) -> Tensor:
        near = look.squared_distances.sqrt() * look.unit <= self.eps
        alone = near.sum(1) == 1  # each is near itself
        every = torch.eye(look.n, dtype=torch.float64)
        return every[alone] if int(alone.sum()) >= max(1, look.n - look.f) else every


def _check_size(s: int) -> None:
    if isinstance(s, bool) or not isinstance(s, int) or s < 1:
        raise SpecError(f"s is the number of rows in a group, at least 1, got {s!r}")
