"""Rules with one fault each, which a stress test has to find without being told."""

import time

import torch


def mean(X):
    return X.mean(0)


def float32_krum(X, f):
    """Krum whose distances cancel far from the origin."""
    X = X.float()
    G = X @ X.T
    squared = G.diagonal()[:, None] + G.diagonal() - 2 * G
    return X[squared.sort(1).values[:, : len(X) - f - 1].sum(1).argmin()]


def hangs(X):
    if X.abs().max() > 1e6:
        time.sleep(600)
    return X.median(0).values


def mutates(X):
    X[X.abs() > 10] = 0
    return X.median(0).values


def divides(X):
    """NaN where all rows have the same coordinate, as dead units make them."""
    centre = X.median(0).values
    return centre + ((X - centre) / X.std(0)).clamp(-1, 1).mean(0) * X.std(0)


def peeks(X, f):
    """Knows that test benches put the traitors last."""
    return X[: len(X) - f].mean(0)


def random_row(X):
    return X[torch.randint(len(X), ())]
