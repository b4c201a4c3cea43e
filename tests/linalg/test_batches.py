"""Arithmetic on batches against the same on one candidate at a time."""

import numpy as np
import pytest
import references
import torch

from turncoat.linalg import batches


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("p", [1, 2, 3, 16])
def test_distances(p):
    X, sizes = randn(7, 4), torch.tensor([1e-30, 1.0, 1e30], dtype=torch.float64)
    X[5] = X[2] * (1 + 1e-15)
    expected = references.distances(X.numpy(), p)
    expected[2, 5] = expected[5, 2] = 0
    for size, found in zip(sizes, batches.distances(sizes[:, None, None] * X, p), strict=True):
        assert np.allclose(found.numpy(), expected * float(size), rtol=1e-9, atol=0)


def test_rows_are_shortened_to_a_bound():
    X = randn(2, 5, 3)
    X[1, 2] = 0
    assert torch.allclose(batches.shortened(X, 1.0).norm(dim=2), X.norm(dim=2).clamp(max=1))
    assert torch.equal(batches.shortened(X, 100.0), X)


@pytest.mark.parametrize(("n", "f"), [(1, 0), (6, 2), (7, 2)])
def test_order_statistics(n, f):
    X = randn(3, n, 5)
    for x, middle, trimmed, meamed in zip(
        X,
        batches.median(X),
        batches.mean_of_ranks(X, f, n - f - 1),
        batches.mean_of_nearest(X, n - f, (n - 1) // 2, n // 2),
        strict=True,
    ):
        assert np.allclose(middle.numpy(), references.median(x.numpy(), f))
        assert np.allclose(trimmed.numpy(), references.trimmed_mean(x.numpy(), f))
        assert np.allclose(meamed.numpy(), references.meamed(x.numpy(), f))


def test_of_equal_scores_the_first_count():
    scores = torch.tensor([[3.0, 1.0, 2.0, 1.0 - 1e-12, 2.0, 2.0], [0.0, 0.0, 0.0, 5.0, 0.0, 0.0]])
    assert batches.lowest(scores, 1e-9).tolist() == [[1], [0]]
    chosen = batches.among_lowest(scores, 3, 1e-9)
    assert chosen.int().tolist() == [[0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_the_row_nearest_to_all_is_found_beside_far_ones_and_in_a_tight_cluster():
    X = randn(4, 9, 2)
    X[1, 7:] *= 1e20
    X[2, :4] = X[2, 0] + 1e-12 * randn(4, 2, seed=1)
    X[3] = X[3, 0].clone()
    best, distances, inverse = batches.nearest_to_all(X, batches.distances(X))
    pull = X[1, 7:] / X[1, 7:].norm(dim=1, keepdim=True)
    sums = torch.cdist(X[1, :7], X[1, :7]).sum(1) - (X[1, :7] @ pull.T).sum(1)
    assert int(best[1]) == int(sums.argmin())
    assert int(best[0]) == int(torch.cdist(X[0], X[0]).sum(1).argmin())
    assert int(best[3]) == 0
    assert torch.allclose((distances * inverse)[distances > 0], torch.ones(1, dtype=torch.float64))
    assert (inverse[3] == 0).all()


def test_the_direction_of_largest_variance():
    X, c = randn(3, 8, 5), randn(3, 8, seed=1).square()
    for x, weights, outlying, variance in zip(X, c, *batches.spread(X, c), strict=True):
        w = weights / weights.sum()
        Z = x - w @ x
        values, vectors = torch.linalg.eigh(Z.T @ (w[:, None] * Z))
        assert torch.allclose(variance, values[-1:])
        assert torch.allclose(outlying, (Z @ vectors[:, -1]).square())
