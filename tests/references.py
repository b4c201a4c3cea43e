"""Slow float64 references, each written straight from its definition."""

from __future__ import annotations

import numpy as np


def mean(X: np.ndarray, f: int) -> np.ndarray:
    return np.add.reduce(X) / len(X)


def median(X: np.ndarray, f: int) -> np.ndarray:
    return np.median(X, axis=0)


def trimmed_mean(X: np.ndarray, f: int) -> np.ndarray:
    n = len(X)
    return np.array([np.mean(sorted(column)[f : n - f]) for column in X.T])


def distances(X: np.ndarray) -> np.ndarray:
    return np.array([[np.linalg.norm(a - b) for b in X] for a in X])


def krum_scores(X: np.ndarray, f: int, neighbours: int | None = None) -> np.ndarray:
    n = len(X)
    k = max(1, n - f - 2) if neighbours is None else neighbours
    D = distances(X) ** 2
    return np.array([sum(sorted(D[i, j] for j in range(n) if j != i)[:k]) for i in range(n)])


def krum(X: np.ndarray, f: int) -> np.ndarray:
    return X[np.argmin(krum_scores(X, f))]


def multi_krum(X: np.ndarray, f: int) -> np.ndarray:
    return X[np.argsort(krum_scores(X, f), kind="stable")[: len(X) - f]].mean(0)


def geometric_median(X: np.ndarray, f: int) -> np.ndarray:
    y = np.median(X, axis=0)
    for _ in range(20000):
        weights = 1 / np.maximum(np.linalg.norm(X - y, axis=1), 1e-9)
        y = weights @ X / weights.sum()
    return y


def centered_clipping(X: np.ndarray, f: int, tau: float = 10.0, iterations: int = 1) -> np.ndarray:
    v = np.zeros(X.shape[1])
    for _ in range(iterations):
        lengths = [np.linalg.norm(x - v) for x in X]
        v = v + sum((x - v) * min(1, tau / max(a, 1e-300)) for x, a in zip(X, lengths, strict=True)) / len(X)
    return v


def nnm(X: np.ndarray, f: int) -> np.ndarray:
    n = len(X)
    return np.array([X[np.argsort(np.linalg.norm(X - x, axis=1), kind="stable")[: n - f]].mean(0) for x in X])


RULES = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "geometric_median": geometric_median,
    "centered_clipping": centered_clipping,
}
