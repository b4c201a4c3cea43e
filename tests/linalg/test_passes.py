import pytest
import torch

from turncoat.linalg import passes
from turncoat.linalg.rows import Rows, examine


def exact_distances(X):
    X = X.double()
    return (X[:, None] - X[None]).square().sum(-1)


def matrix(n=9, d=40_000, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def measured(X):
    rows, bad = examine(Rows.of(X))
    assert not bad
    return passes.squared_distances(rows, passes.gram(rows)) * rows.unit**2


def test_distances_of_ordinary_rows():
    X = matrix()
    assert torch.allclose(measured(X), exact_distances(X), rtol=1e-4)


@pytest.mark.parametrize("n", [4, 30])
def test_distances_survive_a_shared_offset(n):
    X = matrix(n, 1000) * 1e-2 + 1e4 * matrix(1, 1000, seed=1)
    assert torch.allclose(measured(X), exact_distances(X), rtol=1e-3)


def test_distances_survive_an_offset_with_a_traitor_of_the_same_norm_on_the_other_side():
    X = matrix(12, 1000) * 1e-2 + 1e4 * matrix(1, 1000, seed=1)
    X[0], X[5] = -X[0], -X[5]  # whichever row were taken as the pivot
    assert torch.allclose(measured(X), exact_distances(X), rtol=1e-3)


def test_distances_in_several_tight_clusters():
    centres = 1e3 * matrix(4, 500, seed=2)
    X = centres.repeat(5, 1) + 1e-2 * matrix(20, 500)
    assert torch.allclose(measured(X), exact_distances(X), rtol=1e-3)


def test_identical_rows_are_at_distance_exactly_zero():
    X = matrix(10, 3000) * 1e3
    X[4:] = X[4]
    found = measured(X)
    assert (found[4:, 4:] == 0).all()
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e15, 1e30])
def test_distances_of_tiny_and_huge_float32_rows(scale):
    X = matrix(6, 500) * scale
    assert torch.allclose(measured(X), exact_distances(X), rtol=1e-3)


@pytest.mark.parametrize("typical", [1e-3, 1.0, 1e3])
def test_rows_of_most_different_sizes_do_not_overflow(typical):
    X = matrix(9, 100).double()
    X *= typical / X.abs().amax(1, keepdim=True)
    X[7], X[8] = 1e300, -1e308
    rows, bad = examine(Rows.of(X))
    D = passes.squared_distances(rows, passes.gram(rows))
    assert not bad
    assert torch.isfinite(D).all()
    assert torch.allclose(D[:7, :7] * rows.unit**2, exact_distances(X[:7]), rtol=1e-6)


def test_rows_that_are_not_finite_are_named():
    X = matrix(8, 50)
    X[1, 3], X[4, 0], X[6, 49] = torch.nan, torch.inf, -torch.inf
    assert examine(Rows.of(X))[1] == [1, 4, 6]
    X = matrix(3, 50)
    X[1] = 3e38  # the norm overflows, the entries do not
    assert examine(Rows.of(X))[1] == []


def test_segments_and_selections_are_the_same_rows():
    X = matrix(7, 3000)
    pieces = Rows.of(X[:, :1000], [row[1000:1001] for row in X], [row[1001:] for row in X])
    assert pieces.d == 3000
    weights = torch.rand(7, dtype=torch.float64)
    assert torch.allclose(passes.combine(pieces, weights), passes.combine(Rows.of(X), weights))
    assert torch.equal(pieces.dense(), X)
    chosen = Rows.of(X).select([5, 2]).select([1, 0])
    assert torch.equal(chosen.dense(), X[[2, 5]])


def test_mixtures_of_segments_of_any_widths_survive_what_a_reduction_does_with_them():
    X, mixing = matrix(4, 60), torch.rand(3, 4, dtype=torch.float64)
    pieces = Rows.of(X[:, :5], X[:, 5:50], X[:, 50:]).mixed(mixing)
    found = passes.reduce(pieces, lambda block: torch.from_numpy(block.numpy().max(0)))
    assert torch.allclose(found, (mixing.float() @ X).amax(0), atol=1e-6)


def test_a_single_row_of_weight_one_comes_back_bit_for_bit():
    X = matrix(5, 70_000)
    assert torch.equal(passes.combine(Rows.of(X), torch.tensor([0, 0, 1.0, 0, 0], dtype=torch.float64)), X[2])


def test_mean_and_deviation_under_an_offset():
    X = 1e4 + matrix(11, 70_000) * 1e-2
    mean, deviation = passes.mean_and_deviation(Rows.of(X), ddof=1)
    assert torch.allclose(mean.double(), X.double().mean(0), rtol=1e-6)
    assert torch.allclose(deviation.double(), X.double().std(0), rtol=1e-2, atol=1e-5)
    assert (passes.mean_and_deviation(Rows.of(X[:1]), ddof=1)[1] == 0).all()


def test_grams_about_a_point():
    X = matrix(6, 20_000)
    about = X.mean(0)
    exact = (X - about).double() @ (X - about).double().T
    assert torch.allclose(passes.gram(Rows.of(X), about), exact, rtol=1e-4, atol=1e-1)
    assert torch.allclose(passes.squared_norms(Rows.of(X), about), exact.diagonal(), rtol=1e-4)
    assert torch.allclose(passes.products(Rows.of(X), about), (X @ about).double(), rtol=1e-3, atol=1e-2)
