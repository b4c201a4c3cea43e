"""The toys and theorems of S1 (Fall of Empires, Xie et al. 2019), computed with the rules themselves.

Both toys and theorem 2 hold as they are printed. Theorem 1 does not: it bounds the smallest of N values by the
deviation of their law, where only that of the sample bounds it. Here are laws under which it fails, and what is true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

import turncoat as tc

EQUAL = 1e-9  # relative: hypotheses that are met with equality must not fail by rounding

# Toys


@dataclass(frozen=True)
class MedianToy:
    """Three honest values whose mean is positive, two Byzantine ones, and a negative median."""

    honest: tuple[float, ...]
    byzantine: tuple[float, ...]
    mean: float
    """Of the honest values."""
    output: float
    reach: float
    """s / sqrt(N - 1), below which the mean has to be for the median to turn (`realised_bound`)."""


def toy_median() -> MedianToy:
    """The toy on the median (S1): what it returns, and why it can."""
    honest, byzantine = (-0.1, 0.1, 0.3), (-4.0, -2.0)
    bound = realised_bound(honest)
    return MedianToy(honest, byzantine, bound.mean, _median([*honest, *byzantine]), bound.mean - bound.bound)


@dataclass(frozen=True)
class KrumToy:
    """What one Krum makes of the toy."""

    rule: str
    scores: tuple[float, ...]
    """Of the three Byzantine rows, then of the honest ones in ascending order."""
    lowest: tuple[float, ...]
    """The different rows that share the lowest score: where they are two, the order of the rows decides."""
    output: float
    mean: float
    """Of the honest rows."""

    @property
    def turned(self) -> bool:
        """Whether the output opposes the honest mean, whatever the order of the rows."""
        return max(self.lowest) * self.mean < 0

    @property
    def as_printed(self) -> bool:
        """Whether all scores are the paper's, to its digits."""
        return all(round(score, 4) == digits for score, digits in zip(self.scores, PRINTED, strict=True))


TOY_HONEST = (0.0, 0.02, 0.14, 0.26, 0.38, 0.5)
TOY_BYZANTINE = (-0.1, -0.1, -0.1)
PRINTED = (0.0244, 0.0244, 0.0244, 0.0304, 0.0436, 0.1060, 0.1440, 0.2160, 0.4320)
CONVENTIONS = (
    "krum",
    "krum(preset=byzfl)",
    "krum(neighbours='n-f')",
    "krum(preset=epfml)",
    "krum(preset=byzantinemomentum)",
    "krum(preset=mixtailor)",
)
"""All that differ: byzpy's Krum is byzfl's, flpoison's is byzantinemomentum's."""


def toy_krum(rule: str = "krum") -> KrumToy:
    """The toy on Krum (S1; m = 9, q = 3) under one convention: its scores and its output."""
    rows = np.array([*TOY_BYZANTINE, *TOY_HONEST])[:, None]
    made = tc.rule(rule, f=len(TOY_BYZANTINE))
    found = made.explain(rows)
    assert found.scores is not None
    scores = tuple(found.scores.tolist())
    limit = min(scores) * (1 + EQUAL)
    lowest = sorted({float(row) for row, score in zip(rows[:, 0], scores, strict=True) if score <= limit})
    return KrumToy(str(made), scores, tuple(lowest), float(found.vector[0]), math.fsum(TOY_HONEST) / len(TOY_HONEST))


def toy_krum_conventions() -> tuple[KrumToy, ...]:
    """The toy on Krum under every convention that is in use; only the paper's own has the printed scores.

    Two return -0.1 whatever the order of the rows: the paper's, and the sum of plain distances to as many rows.
    """
    return tuple(toy_krum(rule) for rule in CONVENTIONS)


# Theorem 1, on the median


@dataclass(frozen=True)
class RealisedBound:
    """The smallest of some values beside what their own mean and deviation say of it."""

    lowest: float
    mean: float
    bound: float
    """mean - s / sqrt(N - 1), which the lowest value never exceeds."""

    @property
    def turns(self) -> bool:
        """Whether the mean is positive and the bound below 0, so that the median can be made negative."""
        return self.bound < 0 < self.mean


def realised_bound(values: Sequence[float]) -> RealisedBound:
    """Theorem 1 of S1 corrected: of N values with mean v and deviation s (ddof 0), min <= v - s / sqrt(N - 1).

    Proof. Let d_i = v_i - v and a = -min d_i. The d_i sum to 0, none is below -a, so none is above (N - 1) a. Hence
    (d_i + a)(d_i - (N - 1) a) <= 0; summed over i, N s^2 <= N (N - 1) a^2.

    With m - 2q = 1, q Byzantine values below all N = m - q honest ones make the honest minimum the median. So
    wherever 0 < v < s / sqrt(N - 1), in the rows that were sent, the median is negative. No law enters; in expectation,
    E[median] <= g - E[s] / sqrt(N - 1), which is the paper's bound with E[s] for sigma.
    """
    N = len(values)
    mean = math.fsum(values) / N
    s = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / N)
    return RealisedBound(min(values), mean, mean - s / math.sqrt(N - 1))


@dataclass(frozen=True)
class MedianTheorem:
    """Theorem 1 for one law of the honest values, with mean g > 0 and deviation sigma, in one coordinate.

    The best attack puts all q values below the honest ones: m - 2q = 1, so no choice makes the median smaller than
    the honest minimum.
    """

    law: str
    m: int
    q: int
    g: float
    sigma: float
    claimed: float
    """g - sigma / sqrt(N - 1), which the proof says is at least E[median] under attack."""
    expected: float
    """E[median] under the best attack, exactly."""
    corrected: float
    """g - E[s] / sqrt(N - 1), which is at least that (`realised_bound`)."""
    simulated: float
    """The average of real medians of attacked rows."""
    error: float
    """Its standard error."""

    @property
    def condition(self) -> bool:
        """The theorem's: g < sigma / sqrt(N - 1)."""
        return self.claimed < 0

    @property
    def conclusion(self) -> bool:
        """The theorem's: some attack makes g E[median] negative."""
        return self.expected < 0

    @property
    def corrected_condition(self) -> bool:
        """g < E[s] / sqrt(N - 1), which implies the conclusion for every law."""
        return self.corrected < 0


def theorem_1_gaussian(q: int, g: float, trials: int = 20_000) -> MedianTheorem:
    """Theorem 1 of S1 for Gaussian values of deviation 1; m = 2q + 1.

    At q = 1 and g = 0.8 the condition holds and the conclusion does not. From N = 3 on the theorem is true of this law.
    """
    from scipy import integrate, stats

    N = q + 1
    # E[min] = -E[max], and the largest of N has the density N pdf cdf^(N - 1)
    largest = integrate.quad(lambda x: x * N * stats.norm.pdf(x) * stats.norm.cdf(x) ** (N - 1), -9, 9)[0]
    s = math.sqrt(2 / N) * math.exp(math.lgamma(N / 2) - math.lgamma((N - 1) / 2))
    honest = np.random.default_rng(0).normal(g, 1.0, (N, trials))
    return _theorem_1("Gaussian", honest, g, 1.0, g - largest, s)


def theorem_1_two_points(q: int = 12, p: float = 0.01, trials: int = 20_000) -> MedianTheorem:
    """Theorem 1 of S1 for values that are 1 with probability p, else 0; m = 2q + 1.

    The median of m - 2q = 1 is never below the honest minimum, and no honest value is negative: nobody can turn it.
    """
    N = q + 1
    shares = [(math.comb(N, k) * p**k * (1 - p) ** (N - k), k / N) for k in range(N + 1)]
    s = math.fsum(chance * math.sqrt(share * (1 - share)) for chance, share in shares)
    honest = (np.random.default_rng(0).random((N, trials)) < p).astype(float)
    return _theorem_1("two points", honest, p, math.sqrt(p * (1 - p)), p**N, s)


def _theorem_1(law: str, honest: np.ndarray, g: float, sigma: float, expected: float, s: float) -> MedianTheorem:
    """The theorem beside the median of (N, trials) honest values with N - 1 Byzantine ones below them all."""
    N, trials = honest.shape
    below = np.broadcast_to(honest.min(0) - 1, (N - 1, trials))
    medians = tc.rule("median", f=N - 1)(np.concatenate([honest, below]))  # every coordinate is a trial of its own
    claimed, corrected = (g - deviation / math.sqrt(N - 1) for deviation in (sigma, s))
    error = float(medians.std(ddof=1)) / math.sqrt(trials)
    simulated = float(medians.mean())
    return MedianTheorem(law, 2 * N - 1, N - 1, g, sigma, claimed, expected, corrected, simulated, error)


def _median(values: Sequence[float]) -> float:
    return float(tc.rule("median")(np.array(values)[:, None])[0])


# Theorem 2, on Krum


@dataclass(frozen=True)
class KrumTheorem:
    """The hypotheses of theorem 2 on N = m - q honest rows v_i, and what Krum makes of them with q rows -eps mean(v).

    Hypotheses: m - 2q = 3, ||v_i - mean|| <= ||mean||, ||v_i - v_j||^2 >= eps^2 ||mean||^2, and enough rows.
    """

    m: int
    q: int
    eps: float
    length: float
    """||mean||, which must not be 0."""
    radius: float
    """The largest ||v_i - mean||."""
    gap: float
    """The smallest ||v_i - v_j||^2."""
    honest_score: float
    """The lowest of the honest rows' Krum scores."""
    byzantine_score: float
    """The lowest of the Byzantine rows' Krum scores."""
    output: float
    """<Krum, mean> / ||mean||^2."""
    selected: bool
    """Whether Krum returned a Byzantine row."""

    @property
    def in_ball(self) -> bool:
        return self.length > 0 and self.radius <= self.length * (1 + EQUAL)

    @property
    def apart(self) -> bool:
        return self.gap >= (self.eps * self.length) ** 2 * (1 - EQUAL)

    @property
    def enough(self) -> bool:
        return self.m - self.q > rows_needed(self.eps)

    @property
    def hypotheses(self) -> bool:
        """Whether all of them hold."""
        return self.m - 2 * self.q == 3 and self.in_ball and self.apart and self.enough


def rows_needed(eps: float) -> float:
    """What m - q has to exceed in theorem 2 of S1: 2 (eps + 2)^2 / eps^2 + 2."""
    return 2 * (1 + 2 / eps) ** 2 + 2


def packing(eps: float, d: int) -> float:
    """How many rows fit at most: points of a ball of radius r in R^d with gaps of eps r are at most (1 + 2/eps)^d.

    Balls of half the gap around them are disjoint and lie within (1 + eps/2) r. For d <= 2 this is always less than
    `rows_needed`, 2 (1 + 2/eps)^2 + 2: there theorem 2 is about nothing, and the paper's toy (d = 1) is no case of it.
    """
    return (1 + 2 / eps) ** d


def largest_eps(N: int) -> float:
    """The largest eps that N honest rows allow in theorem 2 of S1, in any dimension: sqrt(2N / (N - 1)).

    The squared gaps of N rows around their mean are 2N / (N - 1) times their mean squared distance to it on average,
    thus at most 2N / (N - 1) ||mean||^2.
    """
    return math.sqrt(2 * N / (N - 1))


def fewest_rows() -> int:
    """The smallest N = m - q of which theorem 2 of S1 says anything: below it no eps is small and large enough."""
    return next(N for N in range(2, 100) if rows_needed(largest_eps(N)) < N)


def krum_theorem(honest: np.ndarray, q: int, eps: float, rule: str = "krum") -> KrumTheorem:
    """Theorem 2 of S1 on honest rows (N, d): its hypotheses, and Krum with q rows of -eps times their mean beside them.

    Any rule that scores rows may stand for Krum, such as "krum(preset=byzfl)".
    """
    N, mean = len(honest), honest.mean(0)
    length = float(np.linalg.norm(mean))
    gaps = [float(((honest[i + 1 :] - honest[i]) ** 2).sum(1).min()) for i in range(N - 1)]
    found = tc.rule(rule, f=q).explain(np.concatenate([honest, np.tile(-eps * mean, (q, 1))]))
    assert found.scores is not None
    assert found.weights is not None
    return KrumTheorem(
        m=N + q,
        q=q,
        eps=eps,
        length=length,
        radius=float(np.linalg.norm(honest - mean, axis=1).max()),
        gap=min(gaps),
        honest_score=float(found.scores[:N].min()),
        byzantine_score=float(found.scores[N:].min()),
        output=float(found.vector @ mean) / length**2,
        selected=bool(found.weights[N:].sum() == 1),
    )


def theorem_2(eps: float = 1.0, N: int = 21, rule: str = "krum") -> KrumTheorem:
    """Theorem 2 of S1 on a simplex: N honest rows (1, w_i), w_i the corners of a regular simplex of radius 1 around 0.

    m = 2N - 3. All gaps are as large as N rows allow. At N = 21 all hypotheses hold for eps = 1; for eps = 0.5 there
    are too few rows, and Krum returns the Byzantine one all the same.
    """
    corners = (np.eye(N) - 1 / N) / math.sqrt(1 - 1 / N)
    return krum_theorem(np.concatenate([np.ones((N, 1)), corners], axis=1), N - 3, eps, rule)


def theorem_2_in_space() -> KrumTheorem:
    """Theorem 2 of S1 in three dimensions, the fewest: the cubic lattice of spacing eps = 1/4 in a ball of radius 1."""
    points = np.array([point for point in product(range(-4, 5), repeat=3) if np.dot(point, point) <= 16]) / 4
    return krum_theorem(points + np.array([1.0, 0.0, 0.0]), len(points) - 3, 0.25)


def toy_krum_hypotheses() -> KrumTheorem:
    """The toy on Krum as a case of theorem 2 of S1, which it is not: no hypothesis but m - 2q = 3 holds."""
    mean = math.fsum(TOY_HONEST) / len(TOY_HONEST)
    return krum_theorem(np.array(TOY_HONEST)[:, None], len(TOY_BYZANTINE), -TOY_BYZANTINE[0] / mean)
