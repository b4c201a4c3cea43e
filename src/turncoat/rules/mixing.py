"""Mixings before a rule: nearest-neighbour mixing and bucketing."""

from __future__ import annotations

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

    def matrix(self, look: Look, generator: torch.Generator | None) -> Tensor:
        D = look.squared_distances.clone()
        D.fill_diagonal_(-1.0)  # a row is its own nearest, also among identical ones
        nearest = D.sort(dim=1, stable=True).indices[:, : look.n - look.f]
        share = 1.0 / (look.n - look.f)
        return torch.zeros(D.shape, dtype=torch.float64).scatter_(1, nearest, share)


@dataclass(frozen=True)
class Bucketing(Mixing):
    """Shuffle the rows, cut them into buckets of s and replace each bucket by its average.

    Karimireddy et al. 2022. ceil(n/s) rows come out, of which at most f hold a Byzantine row: f stays as it is.
    """

    name = "bucketing"
    source = "Karimireddy et al. 2022"
    uses_f = False
    draws = True
    s: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.s, bool) or not isinstance(self.s, int) or self.s < 1:
            raise SpecError(f"s is the number of rows in a bucket, at least 1, got {self.s!r}")

    def count(self, n: int) -> int:
        return -(-n // self.s)

    def matrix(self, look: Look, generator: torch.Generator | None) -> Tensor:
        order = torch.randperm(look.n, generator=generator)
        M = torch.zeros((self.count(look.n), look.n), dtype=torch.float64)
        for row, bucket in zip(M, order.split(self.s), strict=True):
            row[bucket] = 1.0 / len(bucket)
        return M
