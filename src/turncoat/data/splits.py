"""Splits: which training samples each worker holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from turncoat.errors import SpecError
from turncoat.registry import Component

TRIES = 1000  # draws of a Dirichlet split before it is given up


@dataclass(frozen=True, eq=False)
class Partition:
    """What a split deals: for each worker the indices of its training samples (int64, in no order that means anything).

    `test` holds the indices of the test samples to keep, None where all are kept.
    """

    workers: tuple[np.ndarray, ...]
    test: np.ndarray | None = None


def deal(
    split: Split | Callable[..., Any],
    y_train: np.ndarray,
    y_test: np.ndarray,
    n: int,
    f: int,
    rng: np.random.Generator,
    share: str = "all",
    minimum: int = 1,
) -> Partition:
    """`split.partition`, also for a function of the user's own: (labels, n, rng) -> n arrays of indices."""
    if not isinstance(split, Split):
        split = OwnSplit(split)
    return split.partition(y_train, y_test, n, f, rng, share, minimum)


class Split(Component):
    """How the training samples are dealt to the workers.

    A split says in `assign` who gets what; `partition` asks it, and checks what its traits promise: that every sample
    is dealt (`covers`), that none is dealt twice (`exclusive`), whether it goes by class (`by_class`).
    """

    covers = True
    exclusive = True
    by_class = True
    feeds = False  # whether the Byzantine workers hold data where the honest ones share it

    def partition(
        self,
        y_train: np.ndarray,
        y_test: np.ndarray,
        n: int,
        f: int,
        rng: np.random.Generator,
        share: str = "all",
        minimum: int = 1,
    ) -> Partition:
        """Deal samples with these labels (N,) to n workers, of which the last f are Byzantine.

        The data is shared by `"all"` workers or by the `"honest"` ones, the first n - f; then the Byzantine ones hold
        none, unless the split gives them data of their own. Every worker that takes part gets at least `minimum`
        samples. Raises `SpecError` where that cannot be, and where a split by class finds no classes.
        """
        if n < 1 or not 0 <= f < n:
            raise SpecError(f"{self}: cannot deal data to {n} workers of which {f} are Byzantine: 0 <= f < n must hold")
        if share not in ("all", "honest"):
            raise SpecError(f"{self}: share must be 'all' or 'honest', got {share!r}")
        if minimum < 1:
            raise SpecError(f"{self}: every worker needs at least 1 sample, got minimum = {minimum}")
        if self.by_class and (y_train.ndim != 1 or y_train.dtype.kind not in "iu"):
            raise SpecError(f"{self} deals by class, and these samples have none: iid can split them")
        holders = n if share == "all" else n - f
        if self.exclusive and len(y_train) < holders * minimum:
            raise SpecError(f"{self}: {len(y_train)} samples are too few to give {holders} workers {minimum} each")
        workers = [_indices(held) for held in self.assign(y_train, holders, rng, minimum)]
        self._check(workers, holders, len(y_train), minimum)
        return Partition((*workers, *self.rest(y_train, n - holders, rng)), self.thin(y_test))

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        """n arrays of indices into the labels."""
        raise NotImplementedError

    def rest(self, labels: np.ndarray, f: int, rng: np.random.Generator) -> list[np.ndarray]:
        """What the f Byzantine workers hold where the data is shared by the honest ones."""
        return [np.empty(0, np.int64)] * f

    def thin(self, y_test: np.ndarray) -> np.ndarray | None:
        """Indices of the test samples to keep; None: all."""
        return None

    def _check(self, workers: Sequence[np.ndarray], n: int, samples: int, minimum: int) -> None:
        if len(workers) != n:
            raise SpecError(f"{self} must deal to {n} workers, and dealt to {len(workers)}")
        for i, held in enumerate(workers):
            if len(held) < minimum:
                raise SpecError(f"{self} leaves worker {i} of {n} with {len(held)} samples, fewer than {minimum}")
            if held.min() < 0 or held.max() >= samples:
                raise SpecError(f"{self} gives worker {i} an index outside 0..{samples - 1}")
        dealt = np.bincount(np.concatenate(workers), minlength=samples)
        if self.exclusive and dealt.max() > 1:
            raise SpecError(f"{self} deals sample {int(dealt.argmax())} more than once")
        if self.covers and dealt.min() == 0:
            raise SpecError(f"{self} does not deal sample {int(dealt.argmin())}")


@dataclass(frozen=True)
class IID(Split):
    """Everyone alike: the samples shuffled and cut into n parts, whose sizes differ by at most one."""

    name = "iid"
    by_class = False

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        return np.array_split(rng.permutation(len(labels)), n)


@dataclass(frozen=True)
class Dirichlet(Split):
    """Unlike shares of the classes: the smaller beta, the fewer classes a worker sees.

    `by="class"`: for each class, shares p ~ Dir(beta 1_n) of the n workers; its samples, shuffled, are cut where the
    sums of p tell. The shares are drawn again, up to 1,000 times, until every worker has its minimum.

    `by="client"`: for each worker, a mixture of classes q ~ Dir(beta 1_C); it draws |D| / n samples without
    replacement. Once a class has run out, q is scaled up on those that are left; where they have no share in q, they
    are drawn as often as they are left. The workers draw in random order, as the last one gets what is left.
    """

    name = "dirichlet"
    source = "Li et al. 2022; S3"
    beta: float = 0.5
    by: str = "class"

    def __post_init__(self) -> None:
        if not _is_number(self.beta) or not 1e-300 <= self.beta <= 1e300:
            raise SpecError(f"beta must be a positive number, got {self.beta!r}")
        if self.by not in ("class", "client"):
            raise SpecError(f"by must be class or client, got {self.by!r}")

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        classes = [rng.permutation(members) for members in _members(labels)]
        sizes = np.array([len(members) for members in classes])
        counts = self._by_class(sizes, n, rng, minimum) if self.by == "class" else self._by_client(sizes, n, rng)
        cuts = counts.cumsum(axis=0)[:-1]
        parts = [np.split(members, cuts[:, k]) for k, members in enumerate(classes)]
        return [np.concatenate(held) for held in zip(*parts, strict=True)]

    def _by_class(self, sizes: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> np.ndarray:
        """(n, C) samples of each class that each worker gets."""
        for _ in range(TRIES):
            ends = draw_dirichlet(self.beta, (len(sizes), n), rng).cumsum(axis=1) * sizes[:, None]
            ends[:, -1] = sizes
            counts = np.diff(ends.astype(np.int64), axis=1, prepend=0).T
            if counts.sum(axis=1).min() >= minimum:
                return counts
        raise SpecError(
            f"{self}: no draw of {TRIES} gave each of {n} workers at least {minimum} of {sizes.sum()} samples: "
            "take a larger beta, fewer workers or a smaller minimum"
        )

    def _by_client(self, sizes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        left, total = sizes.copy(), sizes.sum()
        counts = np.zeros((n, len(sizes)), np.int64)
        mixtures = draw_dirichlet(self.beta, (n, len(sizes)), rng)
        for worker in rng.permutation(n):
            wanted = total // n + (worker < total % n)
            while wanted > 0:  # every pass but the last empties a class
                weights = mixtures[worker] * (left > 0)
                weights = weights if weights.sum() > 0 else left.astype(np.float64)
                drawn = np.minimum(rng.multinomial(wanted, weights / weights.sum()), left)
                counts[worker] += drawn
                left -= drawn
                wanted -= drawn.sum()
        return counts


@dataclass(frozen=True)
class SortByLabel(Split):
    """One kind a worker: the samples sorted by label and cut into n consecutive parts of equal size.

    Sizes differ by at most one. Within a class the order is random.
    """

    name = "sort_by_label"
    source = "S2"

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        return np.array_split(_sorted(labels, rng.permutation(len(labels))), n)


@dataclass(frozen=True)
class LongTail(Split):
    """Rare classes: class i keeps its first int(N_i beta^i) samples, which are sorted by label and cut in equal parts.

    The parts are filled up from the beginning of the sorted samples, so that all are of the same size: up to n - 1
    samples are dealt twice. Where the data is shared by the honest workers, each Byzantine one holds an iid part of the
    full training set. The test set is thinned in the same way.
    """

    name = "long_tail"
    source = "Karimireddy et al. 2022; S0"
    covers = False
    exclusive = False
    feeds = True
    beta: float = 0.5

    def __post_init__(self) -> None:
        if not _is_number(self.beta) or not 0 < self.beta <= 1:
            raise SpecError(f"beta must be above 0 and at most 1, got {self.beta!r}")

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        kept = _sorted(labels, self._keep(labels))
        if len(kept) < n * minimum:
            raise SpecError(f"{self} keeps {len(kept)} samples, too few to give {n} workers {minimum} each")
        return np.resize(kept, (n, -(-len(kept) // n)))

    def rest(self, labels: np.ndarray, f: int, rng: np.random.Generator) -> list[np.ndarray]:
        return np.array_split(rng.permutation(len(labels)), f) if f else []

    def thin(self, y_test: np.ndarray) -> np.ndarray:
        return self._keep(y_test)

    def _keep(self, labels: np.ndarray) -> np.ndarray:
        kept = [members[: int(len(members) * self.beta**i)] for i, members in enumerate(_members(labels))]
        return np.sort(np.concatenate(kept))


@dataclass(frozen=True)
class GammaSimilarity(Split):
    """Between iid and sorted: a fraction gamma of the samples is dealt iid, the rest sorted by label.

    gamma = 1 is `iid`, gamma = 0 is `sort_by_label`.
    """

    name = "gamma_similarity"
    source = "Karimireddy et al. 2020"
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if not _is_number(self.gamma) or not 0 <= self.gamma <= 1:
            raise SpecError(f"gamma must lie in 0..1, got {self.gamma!r}")

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        order = rng.permutation(len(labels))
        alike, rest = np.split(order, [round(self.gamma * len(order))])
        pairs = zip(np.array_split(alike, n), np.array_split(_sorted(labels, rest), n)[::-1], strict=True)
        return [np.concatenate(pair) for pair in pairs]


@dataclass(frozen=True)
class OwnSplit(Split):
    """A function of the user's own, (labels, n, rng) -> n arrays of indices, which need not cover or be disjoint."""

    covers = False
    exclusive = False
    by_class = False
    function: Callable[..., Any]

    def __str__(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def assign(self, labels: np.ndarray, n: int, rng: np.random.Generator, minimum: int) -> Iterable[Any]:
        dealt = self.function(labels, n, rng)
        if not isinstance(dealt, Iterable):
            raise SpecError(f"{self} must return a list of {n} index arrays, returned {type(dealt).__name__}")
        return dealt


def draw_dirichlet(beta: float, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Independent rows from Dir(beta 1), for every positive beta.

    A gamma variable of shape beta is one of shape beta + 1 times U^(1 / beta). In logarithms that holds its ground
    where beta is so small that the variables themselves all vanish, and their ratio would not be a number.
    """
    logs = np.log(rng.standard_gamma(beta + 1, shape)) + np.log1p(-rng.random(shape)) / beta
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """The samples of each class, in their order."""
    return [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]


def _sorted(labels: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """These samples sorted by label, in their order within each class."""
    return samples[np.argsort(labels[samples], kind="stable")]


def _indices(held: Any) -> np.ndarray:
    indices = np.asarray(held)
    if indices.size == 0:
        return np.empty(0, np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise SpecError(f"a split deals index arrays, not {indices.dtype} of shape {indices.shape}")
    return indices.astype(np.int64)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
