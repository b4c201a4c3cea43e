"""The theorems of S2 (MixTailor, Ramezani-Kebrya et al. 2022), computed with the rules themselves.

Proposition 1 holds as printed. Theorem 1 fails for many workers, theorem 3 because its hypotheses only speak of far
away: here are instances of both, and what is true instead.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

import turncoat as tc

# Theorems 1 and 2: how far Krum is from the gradient


def crowding(n: int, f: int) -> float:
    """C(n, f) = 1 + 2f / (n - 2f - 2) of S2's theorems 1 and 2, for n > 2f + 2."""
    return 1 + 2 * f / (n - 2 * f - 2)


def krum_factor(n: int, f: int, d: int, p: float = 2.0) -> float:
    """Lambda(n, f, d, p) of S2's theorems 1 and 2: C(n, f) times what l_p distances in R^d cost over Euclidean ones."""
    return d ** ((max(p, 2) - min(p, 2)) / p) * crowding(n, f)


def theorem_1_bound(n: int, f: int, d: int = 1, p: float = 2.0) -> float:
    """Theorem 1 of S2 on ||E U - gradient||^2 of Krum over sigma^2, for rows drawn from one law: 2 (1 + Lambda).

    sigma^2 = E||V_i - gradient||^2 is the total variance of an honest row. The theorem is false: `theorem_1`.
    """
    return 2 * (1 + krum_factor(n, f, d, p))


def theorem_2_bound(n: int, f: int, d: int = 1, p: float = 2.0, delta2: float = 0.0) -> float:
    """Theorem 2 of S2 on the same over sigma^2, for clients that differ: C1 + C2 Lambda, with delta2 = Delta^2/sigma^2.

    For Delta = 0 it is 6 + 4 Lambda. That is not a slightly larger constant than theorem 1's, as the paper has it, but
    2 + 1/(1 + Lambda) times as much, between 2 and 2.5.
    """
    h = n - f
    c1 = 6 + 2 * (h + 3 + 2 * h / (n - 2 * f - 2)) * delta2
    c2 = 4 + 8 * h * delta2
    return c1 + c2 * krum_factor(n, f, d, p)


@dataclass(frozen=True)
class Corrected:
    """What is true of Krum with Euclidean distances in place of theorem 1, in units of sigma^2."""

    bias: float
    """Bounds ||E U - gradient||^2."""
    error: float
    """Bounds E||U - gradient||^2."""


def corrected(n: int, f: int) -> Corrected:
    """Theorem 1 of S2 corrected for p = 2, from the proven kappa of Krum.

    Let m be the mean of the h = n - f honest rows and V = 1/h sum ||V_i - m||^2. Whatever the f others are, and however
    they depend on the honest ones, ||U - m||^2 <= kappa V. For honest rows drawn independently from one law, E m is the
    gradient g, E V = (1 - 1/h) sigma^2 and E||m - g||^2 = sigma^2 / h, so that

        ||E U - g||   = ||E(U - m)|| <= E sqrt(kappa V) <= sqrt(kappa (1 - 1/h)) sigma,
        E||U - g||^2 <= (sqrt(kappa (1 - 1/h)) + sqrt(1/h))^2 sigma^2 <= (1 + kappa) sigma^2,

    the second by Minkowski, then by Cauchy and Schwarz. No step conditions on which row Krum selects.
    """
    h, kappa = n - f, tc.rule("krum", f=f).kappa(n, f)
    assert kappa is not None
    bias = kappa * (1 - 1 / h)
    return Corrected(bias, (math.sqrt(bias) + math.sqrt(1 / h)) ** 2)


@dataclass(frozen=True)
class KrumBias:
    """Honest values that are 1 with probability q, else 0, and f copies of the largest value that Krum still returns.

    Everything in units of sigma^2 = q (1 - q).
    """

    n: int
    f: int
    q: float
    bias: float
    """(E U - q)^2, summed over the number of ones."""
    low: float
    """The same from `draws` simulated rounds, less 3 standard errors."""
    error: float
    """E(U - q)^2, likewise."""
    returned: float
    """The share of the first `runs` of these in which the rule itself, run on all n rows, returned the value."""
    theorem_1: float
    theorem_2: float
    corrected: Corrected

    @property
    def refutes(self) -> bool:
        """Whether the bias is larger than theorem 1 allows."""
        return self.bias > self.theorem_1


def theorem_1(n: int = 400, f: int = 147, q: float = 0.46, draws: int = 2000, runs: int = 20) -> KrumBias:
    """Theorem 1 of S2 refuted: a bias larger than the bound, in one dimension.

    The proof takes the rows that Krum selects to be unbiased given that they are selected. Zeros and ones are about as
    many; each has to reach for the other to fill its n - f - 2 neighbours, while f copies have but n - 2f - 1 to add.
    As f/n falls to 1/3, at q = 1/2, they can be as far as 2, a bias of 9 sigma^2 where the theorem allows 8. It is
    exceeded at n = 192 already (f = 71, q = 0.46). Theorem 2's larger constants are not exceeded by this construction.
    """
    from scipy.stats import binom

    ones = np.arange(n - f + 1)
    chances = binom.pmf(ones, n - f, q)
    likely = chances > 1e-15
    ones, chances = ones[likely], chances[likely]
    values = largest_returned(n, f, ones)
    variance = q * (1 - q)

    rng = np.random.default_rng(0)
    drawn = rng.choice(len(ones), draws, p=chances / chances.sum())
    sample = values[drawn]
    least = abs(sample.mean() - q) - 3 * sample.std(ddof=1) / math.sqrt(draws)
    returned = [returns(n, f, int(ones[i]), float(values[i])) for i in drawn[:runs]]
    return KrumBias(
        n=n,
        f=f,
        q=q,
        bias=float(chances @ values - q) ** 2 / variance,
        low=float(max(least, 0.0)) ** 2 / variance,
        error=float(chances @ (values - q) ** 2) / variance,
        returned=sum(returned) / runs,
        theorem_1=theorem_1_bound(n, f),
        theorem_2=theorem_2_bound(n, f),
        corrected=corrected(n, f),
    )


def returns(n: int, f: int, ones: int, value: float) -> bool:
    """Whether Krum returns `value`, sent f times, beside that many ones and zeros for the rest.

    The f rows come first, as equal scores go to the first row.
    """
    rows = np.array([value] * f + [0.0] * (n - f - ones) + [1.0] * ones)[:, None]
    return math.isclose(tc.rule("krum", f=f)(rows)[0], value, rel_tol=1e-6)


def krum_scores(n: int, f: int, ones: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(3, ...) Krum scores of a zero, of a one, and of a value that is sent f times; infinite where there is none.

    The same as the rule's, on three different rows with multiplicities in place of n rows.
    """
    ones, value = np.broadcast_arrays(ones.astype(float), value)
    rows = np.stack([np.zeros_like(value), np.ones_like(value), value])
    counts = np.stack([n - f - ones, ones, np.full_like(value, f)])
    scores = np.empty_like(rows)
    for own in range(3):
        squares = (rows - rows[own]) ** 2
        others = counts.copy()
        others[own] -= 1
        order = squares.argsort(axis=0)
        squares, others = np.take_along_axis(squares, order, 0), np.take_along_axis(others, order, 0)
        nearer = others.cumsum(axis=0) - others
        taken = np.clip(n - f - 2 - nearer, 0, others)
        scores[own] = np.where(counts[own] > 0, (taken * squares).sum(0), np.inf)
    return scores


def largest_returned(n: int, f: int, ones: np.ndarray, steps: int = 400) -> np.ndarray:
    """The largest value that Krum returns if it is sent f times, for each number of ones among n - f zeros and ones.

    Found on a grid and by bisection from there; a larger one would only be more harmful.
    """

    def returned(value: np.ndarray, ones: np.ndarray) -> np.ndarray:
        zero, one, sent = krum_scores(n, f, ones, value)
        return sent <= np.minimum(zero, one)

    # n - 2f - 1 neighbours of the value are no copies, at least value - 1 from it, and a zero's score is at most n - f
    grid = np.union1d([1.0], np.linspace(0, 2 + math.sqrt((n - f) / (n - 2 * f - 1)), steps))  # 0 or 1 is returned
    last = len(grid) - 1 - returned(grid, ones[:, None])[:, ::-1].argmax(1)
    low, high = grid[last], grid[np.minimum(last + 1, len(grid) - 1)]
    for _ in range(50):
        middle = (low + high) / 2
        inside = returned(middle, ones)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


# Proposition 1: a random rule of a pool

KRUMS = tuple(f"krum(p={p})" for p in range(1, 17))
ONE_CLASS = (*KRUMS, *["median"] * 16, *["geometric_median"] * 16, *["trimmed_mean"] * 16)
"""A pool of which a small IPM takes one class of four, Krum."""
WITH_MEANS = (*["mean"] * 16, *KRUMS, *["median"] * 16, *["geometric_median"] * 16)
"""A pool with a class that a large IPM takes as far as it likes."""


@dataclass(frozen=True)
class Pool:
    """Proposition 1 at one gradient g: M rules, the q compromised of which have <E U_m, g> <= 0."""

    attack: str
    M: int
    q: int
    compromised: tuple[str, ...]
    """The different rules among them."""
    beta: float
    """The smallest <E U_m, g> of the others; sampling makes it too small, if anything."""
    beta_error: float
    lam: float
    """The largest ||E U_m|| of the compromised, 0 where there are none; sampling makes it too large, if anything."""
    lam_error: float
    L: float
    """||g||."""
    along: float
    """<E U, g> for a rule drawn at random, averaged over the pool in each round."""
    along_error: float
    moments: tuple[float, float, float]
    """E||U||^r / E||G||^r for r = 2, 3, 4, with G an honest row; the paper wants these bounded."""

    @property
    def needed(self) -> float:
        """What M / q has to exceed: 1 + lam L / beta."""
        return 1 + self.lam * self.L / self.beta

    @property
    def condition(self) -> bool:
        return self.q * self.needed < self.M

    @property
    def bound(self) -> float:
        """The proof's lower bound on <E U, g>, positive where the condition holds."""
        return mixture_bound(self.M, self.q, self.beta, self.lam, self.L)


def mixture_bound(M: int, q: int, beta: float, lam: float, L: float) -> float:
    """Proposition 1 of S2: <E U, g> >= (M - q)/M beta - q/M lam L. It is positive just where M/q > 1 + lam L / beta."""
    return (M - q) / M * beta - q / M * lam * L


def proposition_1(
    attack: str = "ipm(epsilon=0.1)", pool: tuple[str, ...] | None = None, length: float = 1.0, rounds: int = 400
) -> Pool:
    """Proposition 1 of S2 measured: n = 12, f = 2, d = 20, honest rows N(g, 1) around a gradient of that length.

    `pool` is the paper's of 64 where it is left out. There, what takes the 16 Krums also takes the four Bulyans whose
    second phase is Krum. The condition is sufficient only: it fails for "ipm(epsilon=1)", where the conclusion holds.
    With `WITH_MEANS` and "ipm(epsilon=100)" at length 3 both fail: lam is as large as the attacker likes.
    """
    import torch

    from turncoat.rules.batched import batched

    n, f, d = 12, 2, 20
    g = np.full(d, length / math.sqrt(d))
    honest = g + np.random.default_rng(0).standard_normal((rounds, n - f, d))
    made = tc.attack(attack, f=f)
    rows = torch.from_numpy(honest)
    rows = torch.cat([rows, torch.stack([made(each) for each in rows])], dim=1)

    members = Counter(tc.MixTailor(f=f, pool=None if pool is None else list(pool)).members)
    M = sum(members.values())
    along, norms, compromised = np.zeros(rounds), np.zeros((3, rounds)), []
    beta, lam = (math.inf, 0.0), (0.0, 0.0)
    for member, copies in members.items():
        form = batched(member, n)
        assert form is not None
        U = form(rows)[0].numpy()
        products, mean = U @ g, U.mean(0)
        along += copies / M * products
        norms += copies / M * np.linalg.norm(U, axis=1) ** np.array([[2], [3], [4]])
        if products.mean() > 0:
            beta = min(beta, (float(products.mean()), _standard_error(products)))
        else:
            compromised.append(member)
            norm = float(np.linalg.norm(mean))
            lam = max(lam, (norm, _standard_error(U @ mean) / norm))
    usual = [float((np.linalg.norm(honest, axis=2) ** r).mean()) for r in (2, 3, 4)]
    r2, r3, r4 = (float(mine) / theirs for mine, theirs in zip(norms.mean(1), usual, strict=True))
    return Pool(
        attack=attack,
        M=M,
        q=sum(members[member] for member in compromised),
        compromised=tuple(map(str, compromised)),
        beta=beta[0],
        beta_error=beta[1],
        lam=lam[0],
        lam_error=lam[1],
        L=length,
        along=float(along.mean()),
        along_error=_standard_error(along),
        moments=(r2, r3, r4),
    )


# Theorem 3: almost sure convergence

CASES = {"copies": (5, 1), "skewed": (6, 0), "symmetric": (6, 0)}
"""n and f of the cases of theorem 3."""


@dataclass(frozen=True)
class Descent:
    """w <- w - U/(t + 10) with Krum on F(w) = 10 sqrt(1 + w^2), all hypotheses of theorem 3, and where it ends.

    Krum moves with its rows, so that U - F'(w) has one law for all w.
    """

    n: int
    f: int
    bias: float
    """E U - F'(w)."""
    bias_error: float
    limit: float
    """F'(w) after the last round, averaged over seeds; theorem 3 says 0."""
    spread: float
    """Its standard deviation over seeds."""
    variance_bound: float
    """C1 + C2 Lambda, theorem 2's bound on the squared bias."""
    squared_gradient: float
    """The smallest F'(w)^2 where w^2 >= R = 100, which has to exceed it; F' points as w does, an angle of 0."""
    progress: float
    """The smallest <w, E U> where w^2 >= R: away from the origin, all is well."""
    squared_rates: float
    """The sum of all squared learning rates; that of the rates is infinite."""
    moments: tuple[float, float, float]
    """The largest E|U|^r / E|G|^r over w for r = 2, 3, 4, with G an honest row."""
    corrected: float
    """b, a proven bound on |E U - F'(w)|: theorem 3 corrected, without its conclusion at 0."""

    @property
    def turns(self) -> float:
        """The F'(w) at which <F'(w), E U> changes its sign; between there and 0, steps lead away from the minimum."""
        return -self.bias

    @property
    def aligned(self) -> bool:
        """Whether <F'(w), E U> > 0 wherever F'(w) is not 0, as far as can be told: the hypothesis that is missing."""
        return abs(self.bias) <= 3 * self.bias_error


def theorem_3(case: str = "copies", seeds: int = 16, rounds: int = 20_000) -> Descent:
    """Theorem 3 of S2 refuted: F'(w_t) does not tend to 0, although all hypotheses hold. They only bind ||w||^2 >= R.

    Honest rows are F'(w) plus noise of variance 1. "copies": the noise is Gaussian, and one Byzantine row copies the
    second largest honest one. Krum returns it: of its k = 2 neighbours one is at no distance. The limit is minus the
    mean of that order statistic, -0.297. "skewed": nobody is Byzantine, the noise is exponential less its mean, and
    the densest place is not the mean. "symmetric": nobody is Byzantine and the noise is Gaussian.

    Corrected. Let F be bounded below with bounded second derivatives, E||U||^2 <= A + B ||grad F||^2, and the rates'
    sum infinite, that of their squares finite. (i) If <grad F, E U> >= c ||grad F||^2 for some c > 0 and **all** w,
    then grad F(w_t) tends to 0 almost surely. (ii) If only ||E U - grad F|| <= b, then liminf ||grad F(w_t)|| <= b.
    Proof. E F(w_{t+1}) <= F(w_t) - rate <grad F, E U> + rate^2 const (1 + ||grad F||^2). Under (i), this is the case of
    Bertsekas and Tsitsiklis (2000, proposition 3). Under (ii), <grad F, E U> >= ||grad F|| (||grad F|| - b); if
    ||grad F|| stayed above b + eta, then by Robbins and Siegmund the sum of rate (b + eta) eta would be finite.

    "symmetric" meets (i), with c = 1. `Descent.corrected` is the b of (ii) that follows from `corrected(n, f)`.
    """
    n, f = CASES[case]
    noise, shifts = _noise(case, seeds * rounds)
    w = np.full(seeds, 3.0)
    for t, shift in enumerate(shifts.reshape(rounds, seeds)):
        w = w - (slope(w) + shift) / (t + 10)
    found, horizon = slope(w), np.array([-10.0, 10.0])
    bias = float(shifts.mean())
    return Descent(
        n=n,
        f=f,
        bias=bias,
        bias_error=_standard_error(shifts),
        limit=float(found.mean()),
        spread=float(found.std(ddof=1)),
        variance_bound=theorem_2_bound(n, f),
        squared_gradient=float((slope(horizon) ** 2).min()),
        progress=float((horizon * (slope(horizon) + bias)).min()),
        squared_rates=math.pi**2 / 6 - math.fsum(1 / t**2 for t in range(1, 10)),
        moments=_moments(noise[:rounds], shifts[:rounds]),
        corrected=math.sqrt(corrected(n, f).bias),
    )


def slope(w: np.ndarray) -> np.ndarray:
    """F'(w) of F(w) = 10 sqrt(1 + w^2)."""
    return 10 * w / np.sqrt(1 + w**2)


def _noise(case: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size,) the noise of an honest row, and (size,) U - F'(w): what Krum makes of the noise of all rows."""
    import torch

    from turncoat.rules.batched import batched

    n, f = CASES[case]
    rng = np.random.default_rng(0)
    rows = rng.exponential(size=(size, n)) - 1 if case == "skewed" else rng.standard_normal((size, n))
    if case == "copies":
        rows[:, -1] = np.sort(rows[:, :-1])[:, -2]
    form = batched(tc.rule("krum", f=f), n)
    assert form is not None
    parts = [form(part[..., None])[0].numpy() for part in torch.from_numpy(rows).split(40_000)]
    return rows[:, 0], np.concatenate(parts)[:, 0]


def _moments(noise: np.ndarray, shifts: np.ndarray) -> tuple[float, float, float]:
    """The largest E|F' + shift|^r / E|F' + noise|^r over |F'| <= 10, for r = 2, 3, 4."""
    ratios = [
        [float((abs(at + shifts) ** r).mean() / (abs(at + noise) ** r).mean()) for at in np.linspace(-10, 10, 41)]
        for r in (2, 3, 4)
    ]
    return max(ratios[0]), max(ratios[1]), max(ratios[2])


def _standard_error(sample: np.ndarray) -> float:
    return float(sample.std(ddof=1)) / math.sqrt(sample.size)
