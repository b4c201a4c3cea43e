"""Clouds of honest vectors on which rules are stressed: drawn from laws, or recorded in trainings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.learning.streams import torch_stream
from turncoat.registry import suggest
from turncoat.stress.recorded import recorded
from turncoat.stress.suite import CloudSpec, Suite

GROUPS = 5  # of a clustered cloud
RANK = 3  # of a cloud of low rank
NOISE = 0.01  # in all directions, beside those


@dataclass(frozen=True)
class Cloud:
    """(h, d) honest vectors, as workers send them."""

    name: str
    honest: Tensor = field(repr=False)

    @cached_property
    def exact(self) -> Tensor:
        return self.honest.double()

    @cached_property
    def mean(self) -> Tensor:
        """(d,) what a rule should return."""
        return self.exact.mean(0)

    @cached_property
    def deviations(self) -> Tensor:
        """(h, d) from the mean."""
        return self.exact - self.mean

    @cached_property
    def spread(self) -> float:
        """The mean squared distance to the mean."""
        return float(self.deviations.square().sum(1).mean())

    @property
    def radius(self) -> float:
        return self.spread**0.5


def clouds(suite: Suite, h: int) -> Iterator[Cloud]:
    """Those of a suite with h honest vectors each."""
    return (named(suite, name, h) for name in _specs(suite))


def named(suite: Suite, name: str, h: int) -> Cloud:
    """The cloud of that name; raises `SpecError` where there is none."""
    specs = _specs(suite)
    if name not in specs:
        raise SpecError(f"{suite.name} has no cloud {name!r}: {suggest(name, specs)}")
    rows = (
        _of(recorded(name), h, suite, name) if specs[name].kind == "recorded" else _drawn(name, specs[name], h, suite)
    )
    return Cloud(name, rows)


def near(name: str) -> str:
    """The cloud that has the vectors of the named one, not far from the origin."""
    return name.replace("offset", "gaussian")


def _specs(suite: Suite) -> dict[str, CloudSpec]:
    """The clouds of a suite by their names, in its order."""
    return {name: spec for spec in suite.clouds for name in spec.names or [f"{spec.kind}-{spec.d}"]}


def _of(rows: Tensor, h: int, suite: Suite, name: str) -> Tensor:
    """h of the recorded workers' vectors, drawn once."""
    if h > len(rows):
        raise SpecError(f"{name} was recorded with {len(rows)} workers, too few for {h} honest ones")
    return rows[torch.randperm(len(rows), generator=_stream(suite, name))[:h].sort().values].float()


def _drawn(name: str, spec: CloudSpec, h: int, suite: Suite) -> Tensor:
    """Vectors of a law, moved so that its mean has the length that the suite says."""
    d = spec.d
    stream = _stream(suite, near(name))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=stream, dtype=torch.float64)

    match spec.kind:
        case "gaussian" | "offset":
            rows = normal(h, d)
        case "heavy_tailed":
            rows = normal(h, d) / (normal(3, h, d).square().mean(0)).sqrt() * normal(h, 1).exp()
        case "low_rank":
            rows = normal(h, RANK) @ normal(RANK, d) + NOISE * normal(h, d)
        case "clustered":
            rows = 3 * normal(GROUPS, d)[torch.arange(h) % GROUPS] + normal(h, d)
        case _:
            raise SpecError(f"{suite.name} has a cloud of the unknown kind {spec.kind!r}")
    rows, direction = rows - rows.mean(0), normal(d)
    radius = rows.square().sum(1).mean().sqrt()
    return (rows + spec.mean * radius * direction / direction.norm()).float()


def _stream(suite: Suite, name: str) -> torch.Generator:
    return torch_stream(suite.seed, "cloud", name)
