"""Slow float64 references, each written straight from its definition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

LOSS_AT = 0.5  # where the loss that Zeno is tested with is smallest, in every coordinate


def mean(X: np.ndarray, f: int) -> np.ndarray:
    return np.add.reduce(X) / len(X)


def median(X: np.ndarray, f: int) -> np.ndarray:
    return np.median(X, axis=0)


def trimmed_mean(X: np.ndarray, f: int) -> np.ndarray:
    n = len(X)
    return np.array([np.mean(sorted(column)[f : n - f]) for column in X.T])


def nearest_values(X: np.ndarray, centre: np.ndarray, count: int) -> np.ndarray:
    """The mean of the `count` values of every coordinate that lie nearest to the centre's."""
    pairs = zip(X.T, centre, strict=True)
    return np.array([np.mean(sorted(column, key=lambda x: abs(x - c))[:count]) for column, c in pairs])


def meamed(X: np.ndarray, f: int) -> np.ndarray:
    return nearest_values(X, median(X, f), len(X) - f)


def phocas(X: np.ndarray, f: int) -> np.ndarray:
    return nearest_values(X, trimmed_mean(X, f), len(X) - f)


def sign_majority(X: np.ndarray, f: int) -> np.ndarray:
    return np.sign(np.sign(X).sum(0))


def distances(X: np.ndarray, p: float = 2) -> np.ndarray:
    return np.array([[np.linalg.norm(a - b, ord=p) for b in X] for a in X])


def krum_scores(X: np.ndarray, f: int, less: int = 2, p: float = 2, power: float = 2) -> np.ndarray:
    n = len(X)
    k = max(1, n - f - less)
    D = distances(X, p) ** power
    return np.array([sum(sorted(D[i, j] for j in range(n) if j != i)[:k]) for i in range(n)])


def krum(X: np.ndarray, f: int, less: int = 2, p: float = 2, power: float = 2) -> np.ndarray:
    return X[np.argmin(krum_scores(X, f, less, p, power))]


def mean_of_lowest(X: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    return X[np.argsort(scores, kind="stable")[:count]].mean(0)


def multi_krum(X: np.ndarray, f: int) -> np.ndarray:
    return mean_of_lowest(X, krum_scores(X, f), len(X) - f)


def medoid(X: np.ndarray, f: int) -> np.ndarray:
    return X[np.argmin(distances(X).sum(1))]


def monna(X: np.ndarray, f: int, trusted: int = 0) -> np.ndarray:
    return mean_of_lowest(X, np.linalg.norm(X - X[trusted], axis=1), len(X) - f)


def aksel(X: np.ndarray, f: int) -> np.ndarray:
    return mean_of_lowest(X, np.linalg.norm(X - median(X, f), axis=1), len(X) - f)


def cge(X: np.ndarray, f: int) -> np.ndarray:
    return mean_of_lowest(X, np.linalg.norm(X, axis=1), len(X) - f)


def loss(x: np.ndarray) -> float:
    return float(((x - LOSS_AT) ** 2).sum())


def zeno(X: np.ndarray, f: int, rho: float = 0.0005) -> np.ndarray:
    gains = np.array([loss(0 * x) - loss(x) - rho * (x @ x) for x in X])
    return mean_of_lowest(X, -gains, len(X) - f)


def geometric_median(X: np.ndarray, f: int) -> np.ndarray:
    y = np.median(X, axis=0)
    for _ in range(20000):
        weights = 1 / np.maximum(np.linalg.norm(X - y, axis=1), 1e-9)
        before, y = y, weights @ X / weights.sum()
        if np.abs(y - before).max() == 0:
            break
    return y


def centered_clipping(X: np.ndarray, f: int, tau: float = 10.0, iterations: int = 1) -> np.ndarray:
    v = np.zeros(X.shape[1])
    for _ in range(iterations):
        lengths = [np.linalg.norm(x - v) for x in X]
        v = v + sum((x - v) * min(1, tau / max(a, 1e-300)) for x, a in zip(X, lengths, strict=True)) / len(X)
    return v


def bulyan(
    X: np.ndarray,
    f: int,
    selection: Callable[[np.ndarray, int], np.ndarray] = krum,
    phase2: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> np.ndarray:
    left, picked = list(range(len(X))), []
    for _ in range(len(X) - 2 * f):
        towards = selection(X[left], f)
        picked.append(left.pop(int(np.argmin(np.linalg.norm(X[left] - towards, axis=1)))))
    S = X[sorted(picked)]
    return phase2(S, f) if phase2 else nearest_values(S, median(S, f), len(X) - 4 * f)


def subset(X: np.ndarray, f: int, measure: Callable[[np.ndarray], float]) -> np.ndarray:
    """The mean of the n-f rows whose measure is smallest, of equal ones the lexicographically first."""
    sets = list(combinations(range(len(X)), len(X) - f))
    return X[list(min(sets, key=lambda rows: measure(X[list(rows)])))].mean(0)


def mda(X: np.ndarray, f: int) -> np.ndarray:
    D = distances(X)
    sets = np.array(list(combinations(range(len(X)), len(X) - f)))
    diameters = [D[np.ix_(rows, rows)].max() for rows in sets]
    return X[sets[int(np.argmin(diameters))]].mean(0)


def smea(X: np.ndarray, f: int) -> np.ndarray:
    return subset(X, f, lambda S: np.linalg.norm(S - S.mean(0), ord=2))


def principal(X: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Squared projections on the first principal direction under weights, and the variance along it."""
    centred = X - weights @ X / weights.sum()
    values, vectors = np.linalg.eigh((weights * centred.T) @ centred / weights.sum())
    return (centred @ vectors[:, -1]) ** 2, values[-1]


def dnc(X: np.ndarray, f: int, c: float = 1.0) -> np.ndarray:
    outlying, _ = principal(X, np.ones(len(X)))
    return mean_of_lowest(X, outlying, len(X) - int(c * f))


def caf(X: np.ndarray, f: int) -> np.ndarray:
    weights = np.ones(len(X))
    best, narrowest = X.mean(0), np.inf
    while weights.sum() > len(X) - 2 * f:
        outlying, value = principal(X, weights)
        if value < narrowest:
            best, narrowest = weights @ X / weights.sum(), value
        weights = weights * (1 - outlying / outlying[weights > 0].max())
        weights[weights < 1e-12] = 0
    return best


def ls_reconstruction(X: np.ndarray, f: int, q: float = 1.0) -> np.ndarray:
    d = np.linalg.norm(X - median(X, f), axis=1)
    trusted = np.argsort(d, kind="stable")[: len(X) - f]
    weights = np.minimum(1, (d[trusted].mean() / np.maximum(d, 1e-300)) ** q)
    weights[trusted] = 1
    return weights @ X / weights.sum()


def sign_guard(X: np.ndarray, f: int, low: float = 0.1, high: float = 3.0) -> np.ndarray:
    """With the signs of all coordinates."""
    from sklearn.cluster import MeanShift, estimate_bandwidth

    norms = np.linalg.norm(X, axis=1)
    usual = np.sort(norms)[(len(X) - 1) // 2]
    shares = np.array([[(x > 0).mean(), (x == 0).mean(), (x < 0).mean()] for x in X])
    bandwidth = estimate_bandwidth(shares, quantile=0.5)
    if bandwidth > 1e-9:
        labels = MeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=False).fit(shares).labels_
    else:
        labels = np.array([np.flatnonzero(np.isclose(shares, row).all(1))[0] for row in shares])
    largest = np.bincount(labels[labels >= 0]).argmax()
    usually = [i for i in range(len(X)) if low * usual <= norms[i] <= high * usual]
    kept = [i for i in usually if labels[i] == largest] or usually
    return np.mean([X[i] * min(1, usual / norms[i]) for i in kept], axis=0)


RULES = {
    "aksel": aksel,
    "bulyan": bulyan,
    "caf": caf,
    "centered_clipping": centered_clipping,
    "cge": cge,
    "dnc": dnc,
    "geometric_median": geometric_median,
    "krum": krum,
    "ls_reconstruction": ls_reconstruction,
    "mda": mda,
    "meamed": meamed,
    "mean": mean,
    "median": median,
    "medoid": medoid,
    "monna": monna,
    "multi_krum": multi_krum,
    "phocas": phocas,
    "sign_guard": sign_guard,
    "sign_majority": sign_majority,
    "smea": smea,
    "trimmed_mean": trimmed_mean,
    "zeno": zeno,
}


def nnm(X: np.ndarray, f: int) -> np.ndarray:
    n = len(X)
    return np.array([X[np.argsort(np.linalg.norm(X - x, axis=1), kind="stable")[: n - f]].mean(0) for x in X])


def clipping(X: np.ndarray, f: int, bound: float = 1.0) -> np.ndarray:
    return np.array([x * min(1, bound / max(np.linalg.norm(x), 1e-300)) for x in X])


def arc(X: np.ndarray, f: int) -> np.ndarray:
    n = len(X)
    clipped = int(np.floor(2 * f / n * (n - f)))
    norms = sorted(np.linalg.norm(x) for x in X)
    return clipping(X, f, norms[n - 1 - clipped])


def similarity_filter(X: np.ndarray, f: int, eps: float = 1e-6) -> np.ndarray:
    alone = [i for i in range(len(X)) if all(np.linalg.norm(X[i] - X[j]) > eps for j in range(len(X)) if j != i)]
    return X[alone] if len(alone) >= len(X) - f else X


MIXINGS = {"arc": arc, "clipping": clipping, "nnm": nnm, "similarity_filter": similarity_filter}


def pool(X: np.ndarray, f: int) -> list[np.ndarray]:
    """What the 64 members of S2's pool make of X, class by class."""
    bases = [krum, mean, geometric_median, median]
    pairs = [bulyan(X, f, selection, phase2) for selection in bases for phase2 in bases]
    krums = [krum(X, f, p=p) for p in range(1, 17)]
    return [*krums, *[median(X, f)] * 16, *[geometric_median(X, f)] * 16, *pairs]
