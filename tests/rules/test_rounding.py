"""Rows that nearly coincide, copies and rows at 1e25: what rounding must not decide."""

import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.linalg.rows import Rows
from turncoat.rules.batched import batched
from turncoat.rules.look import Look

GEOMETRIC_MEDIAN = tc.GeometricMedian()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_batch(X):
    form = batched(GEOMETRIC_MEDIAN, len(X))
    assert form is not None
    return form(X[None])[0][0]


def rise(X, y, z):
    """How much larger the sum of distances is at y than at z, as differences that a far row does not drown."""
    to_y, to_z = X - y, X - z
    total = to_y.norm(dim=1) + to_z.norm(dim=1)
    return float(torch.where(total > 0, ((z - y) * (to_y + to_z)).sum(1) / total, 0.0).sum())


def best_row(X):
    rises = [[rise(X, y, z) for z in X] for y in X]
    return X[int(np.argmin(np.max(rises, axis=1)))]


def polished(X, y):
    """A Weiszfeld step further, from a point that is no row."""
    pull = 1 / (X - y).norm(dim=1).clamp(min=1e-300)
    return (pull / pull.sum()) @ X


def hostile(seed):
    """Rows of all that is hard at once: clusters far tighter than their distances, copies, lines, far rows, offsets."""
    r = np.random.default_rng(seed)
    n, d = int(r.integers(3, 26)), int(r.choice([1, 2, 3, 10, 30]))
    X = r.standard_normal((n, d))
    if r.random() < 0.2:
        X = r.integers(-3, 4, n)[:, None] * r.standard_normal(d)
    if r.random() < 0.3:
        X = X + 10 ** r.uniform(0, 4) * r.standard_normal(d)
    for _ in range(r.integers(0, 3)):
        members = r.permutation(n)[: r.integers(2, n + 1)]
        X[members] = X[members[0]] + 10 ** r.uniform(-17, -6) * r.standard_normal((len(members), d))
    if r.random() < 0.3:
        members = r.permutation(n)[: r.integers(2, n + 1)]
        X[members] = X[members[0]]
    if r.random() < 0.4:
        members = r.permutation(n)[: r.integers(1, (n + 1) // 2)]
        X[members] = 10 ** r.uniform(3, 25, (len(members), 1)) * r.standard_normal((len(members), d))
    return torch.from_numpy(X)


@settings(max_examples=150)
@given(seed=st.integers(0, 10**6))
def test_the_geometric_median_is_a_minimum_whatever_the_rows(seed):
    X = hostile(seed)
    found = {"exact": GEOMETRIC_MEDIAN(X), "batched": by_batch(X)}
    known = [best_row(X), *found.values(), *(polished(X, y) for y in found.values())]
    size = float(X.norm(dim=1).median()) or 1.0
    for y in found.values():
        assert torch.isfinite(y).all()
        assert max(rise(X, y, z) for z in known) <= 1e-9 * size


@pytest.mark.parametrize("apart", [1e-17, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7])
@pytest.mark.parametrize("traitors", [2, 4, 5])
def test_a_minority_of_near_copies_cannot_blank_the_geometric_median(apart, traitors):
    for seed in range(10):
        X = randn(11, 3, seed=seed)
        X[11 - traitors :] = X[0] + apart * randn(traitors, 3, seed=100 + seed)
        found = GEOMETRIC_MEDIAN.explain(X)
        least = torch.from_numpy(references.geometric_median(X.numpy(), 0))
        total, bound = ((X - y).norm(dim=1).sum() for y in (found.vector, least))
        assert total <= bound * (1 + 1e-9)
        assert found.diagnostics["steps"] < 40


def test_near_copies_in_single_precision():
    X = randn(11, 300, seed=1)
    X[7:] = X[0] + 1e-4 * randn(4, 300, seed=2)
    found = GEOMETRIC_MEDIAN(X.float()).double()
    assert rise(X, found, GEOMETRIC_MEDIAN(X)) < 1e-5


@pytest.mark.parametrize("mixing", ["nnm", "bucketing(s=1)", "arc"])
def test_mixtures_of_copies_are_copies_to_the_rule_that_follows(mixing):
    for seed in range(10):
        X = 100 + randn(11, 100, seed=seed)
        X[7:] = X[3]
        found = tc.rule(f"{mixing} >> geometric_median", f=4)(X)
        assert torch.isfinite(found).all()
        if mixing == "nnm":
            Y = tc.NNM(f=4)(X)
            assert max(rise(Y, found, y) for y in (best_row(Y), by_batch(Y))) < 1e-9


@pytest.mark.parametrize("aggregate", [GEOMETRIC_MEDIAN, by_batch])
@pytest.mark.parametrize("size", [1e6, 1e15, 1e25, 1e60])
def test_far_rows_do_not_drown_the_choice_among_the_others(aggregate, size):
    for seed in range(40):
        X = randn(7, 2, seed=seed)  # the minimum is often one of the four near rows
        X[4:] *= size
        found = aggregate(X)
        assert max(rise(X, found, y) for y in (*X, polished(X, found))) < 1e-12


def test_rfa_starts_at_the_best_row_beside_a_far_one():
    X = randn(12, 3)
    near = tc.GeometricMedian(iterations=1)(X)
    X = torch.cat([X, randn(1, 3, seed=1) * 1e25])
    assert (tc.GeometricMedian(iterations=1)(X) - near).norm() < 1


@pytest.mark.parametrize("name", ["caf", "krum", "geometric_median", "geometric_median(iterations=3)", "nnm >> median"])
@pytest.mark.parametrize("size", [1e25, 1e160, 1e308])
def test_one_huge_row_among_rows_of_length_one(name, size):
    X = randn(9, 3)
    X /= X.abs().amax(1, keepdim=True)
    X[8] = size
    assert tc.rule(name, f=1)(X).abs().max() < 2


def test_rfa_among_many_copies_of_the_largest_numbers():
    X = torch.full((40, 3), 1e305, dtype=torch.float64)
    assert torch.allclose(tc.GeometricMedian(iterations=3)(X), X[0])


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 1e-5), (torch.float64, 1e-7), (torch.float64, 1e-12)])
@pytest.mark.parametrize("offset", [0, 20])
@pytest.mark.parametrize("mixed", [False, True])
def test_inner_products_about_a_row_know_its_neighbours(dtype, apart, offset, mixed):
    X = (offset + randn(10, 50)).to(dtype)
    X[6:] = X[2] + apart * randn(4, 50, seed=1).to(dtype)
    matrix = torch.full((10, 10), 0.02, dtype=torch.float64) + 0.8 * torch.eye(10) if mixed else None
    found = Look(Rows.of(X), 0, matrix=matrix).gram_about(2)
    Y = (X - X[2]).double() * (0.8 if mixed else 1)
    error = torch.finfo(dtype).eps * float(X.norm(dim=1).max()) if mixed else 0.0  # of the mixtures, once they are made
    length = Y.norm(dim=1) + error
    assert ((found - Y @ Y.T).abs() <= 1e-2 * length[:, None] * length + 4 * error * (length[:, None] + length)).all()


# CAF.


@pytest.mark.parametrize("chain", ["caf", "nnm >> caf"])
@pytest.mark.parametrize("spoil", ["far", "near", "offset", "two groups", "nothing"])
def test_the_order_of_copies_does_not_matter_to_caf(chain, spoil):
    for seed in range(15):
        X = randn(13, 5, seed=seed)
        if spoil != "nothing":
            X[10:] = X[12] * {"far": 1e3, "near": 2, "offset": 3, "two groups": 3}[spoil]
        if spoil == "offset":
            X += 20 * randn(5, seed=99)
        if spoil == "two groups":
            X[:3] = X[0].clone()
        rule = tc.rule(chain, f=3)
        order = torch.randperm(13, generator=torch.Generator().manual_seed(seed))
        assert torch.allclose(rule(X[order]), rule(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copies_of_the_farthest_row_leave_caf_at_once(dtype):
    X = randn(13, 40).to(dtype)
    X[10:] = X[12] * 10
    found = tc.CAF(f=3).explain(X)
    assert (found.weights[10:] == 0).all()
    assert found.diagnostics["stages"] <= 5


# Signs.


@pytest.mark.parametrize("spelling", ["sign_majority", "nnm >> sign_majority", "bulyan(phase2=sign_majority)"])
@pytest.mark.parametrize("size", [1e25, 1e300, 1e-25, 1e-310])
def test_signs_have_no_unit(spelling, size):
    X = randn(9, 3)
    X[8] = size
    assert set(tc.rule(spelling, f=1)(X).tolist()) <= {-1.0, 0.0, 1.0}
    assert set(tc.rule(spelling, f=1)(X * 1e-20).tolist()) <= {-1.0, 0.0, 1.0}
    majority = tc.SignMajority()(torch.cat([X, X[:1]]))
    assert torch.equal(majority, torch.cat([X, X[:1]]).sign().sum(0).sign())


def test_signs_of_tiny_single_precision():
    X = randn(9, 3).float() * 1e-40
    assert torch.equal(tc.SignMajority()(X), X.sign().sum(0).sign())


@pytest.mark.parametrize("spelling", ["medoid", "nnm >> medoid"])
def test_a_row_at_the_end_of_the_world_does_not_make_a_far_one_the_medoid(spelling):
    X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    X[7], X[8] = 1e8, 1e25
    rule = tc.rule(spelling, f=2)
    assert rule(X).norm() < 10
    form = batched(rule, 9)
    assert form is not None
    assert torch.allclose(form(X[None])[0][0], rule(X))
