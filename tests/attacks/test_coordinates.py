"""Attacks that act on each coordinate by itself, against loops straight from their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc


def cloud(h=8, d=20, seed=0, offset=0.5):
    return torch.randn(h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + offset


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), h=st.integers(1, 9), d=st.integers(1, 20), margin=st.sampled_from([0, 0.5, 3]))
def test_one_sided_lies_beyond_the_honest_values(seed, h, d, margin):
    X = cloud(h, d, seed, offset=0)
    X[:, 0] = 0
    expected = []
    for column in X.numpy().T:
        mean, spread = column.mean(), column.max() - column.min()
        below, above = column.min() - margin * spread, column.max() + margin * spread
        expected.append(below if mean > 0 else above if mean < 0 else mean)
    rows = tc.attack(f"one_sided(margin={margin})", f=2)(X)
    assert np.allclose(rows, expected, rtol=1e-12)


def test_one_sided_moves_the_median_against_the_mean():
    X = cloud(7, 50, offset=0)
    before, after = X.median(0).values, torch.cat([X, tc.attack("one_sided", f=3)(X)]).quantile(0.5, dim=0)
    assert (X.mean(0).sign() * (after - before) <= 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), h=st.integers(1, 9), d=st.integers(1, 20), b=st.sampled_from([1.5, 2, 10]))
def test_fang_draws_between_the_extreme_and_b_times_it(seed, h, d, b):
    X = cloud(h, d, seed, offset=0.3 * (-1) ** seed)
    X[:, -1] = 0
    low, high = [], []
    for column in X.numpy().T:
        mean, least, most = column.mean(), column.min(), column.max()
        if mean > 0:
            edges = (least / b, least) if least > 0 else (b * least, least)
        elif mean < 0:
            edges = (most, b * most) if most > 0 else (most, most / b)
        else:
            edges = (mean, mean)
        low.append(edges[0])
        high.append(edges[1])
    low, high = np.array(low), np.array(high)
    rows = tc.attack(f"fang_trimmed_mean(b={b})", f=4)(X, generator=stream(seed)).numpy()
    slack = 1e-12 * np.maximum(abs(low), abs(high))
    assert (rows >= low - slack).all()
    assert (rows <= high + slack).all()
    draws = torch.rand((4, d), generator=stream(seed)).numpy()
    share = (rows - low) / np.where(high > low, high - low, 1)
    assert np.allclose(np.minimum(share, 1 - share)[:, :-1], np.minimum(draws, 1 - draws)[:, :-1], atol=1e-6)


def test_fang_rows_fill_their_intervals_independently():
    X = cloud(8, 20_000, offset=0)
    rows = tc.attack("fang_trimmed_mean", f=2)(X, generator=stream())
    near = torch.where(X.mean(0) > 0, X.min(0).values, X.max(0).values)
    shares = (rows / near).log2().abs()
    assert torch.allclose((2**shares - 1).mean(), torch.tensor(0.5, dtype=torch.float64), atol=0.02)
    assert abs(float(torch.corrcoef(shares)[0, 1])) < 0.05


def test_fang_with_its_own_vectors_only():
    own = cloud(5, 1000, offset=0)
    rows = tc.attack("fang_trimmed_mean(population=own)", f=5)(cloud(8, 1000), own, stream())
    away = -own.mean(0).sign() * (rows - own.mean(0)) / own.std(0)
    assert 3 - 1e-9 <= float(away.min()) < 3.01
    assert 3.99 < float(away.max()) <= 4 + 1e-9
    single = tc.attack("fang_trimmed_mean(population=own)", f=1)(cloud(8, 1000), own[:1], stream())
    assert torch.equal(single, own[:1])  # of one row: no deviation


@pytest.mark.parametrize("coordinate", [0, 7])
def test_one_coordinate_is_off_by_the_honest_spread(coordinate):
    X = cloud()
    X[:, 7] -= 5
    mean = X.mean(0)
    spread = math.sqrt(sum(float((x - mean).norm()) ** 2 for x in X) / len(X))
    expected = mean.clone()
    expected[coordinate] -= 2 * spread * float(mean[coordinate].sign())
    rows = tc.attack(f"one_coordinate(size=2, coordinate={coordinate})", f=3)(X)
    assert torch.allclose(rows, expected.expand(3, -1), rtol=1e-12)


def test_one_coordinate_hides_from_krum_and_moves_it():
    X = cloud(9, 2000, offset=0.1)
    rows = torch.cat([X, tc.attack("one_coordinate(size=0.5)", f=2)(X)])
    chosen = tc.Krum(f=2)(rows)
    assert torch.equal(chosen, rows[-1])
    assert abs(float((chosen - X.mean(0))[0])) > 10 * float(X[:, 0].std())


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_non_finite_rows(value):
    like = cloud(4, 3)
    everywhere = tc.attack(f'non_finite(value="{value}")', f=2)(like)
    assert torch.allclose(everywhere, torch.full((2, 3), float(value), dtype=torch.float64), equal_nan=True)
    once = tc.attack(f'non_finite(value="{value}", where=one)', f=2)(like)
    assert torch.allclose(once[:, 0], everywhere[:, 0], equal_nan=True)
    assert not once[:, 1:].any()
    assert torch.equal(tc.Mean(f=2)(torch.cat([like, once])), tc.Mean(f=0)(like))  # excluded


def test_random_ipm_draws_every_epsilon():
    X, generator = cloud(), stream()
    attack = tc.attack("random_ipm(epsilons=[0.5, 2, -3])", f=2)
    drawn = [float((attack(X, generator=generator)[0] / X.mean(0)).mean()) for _ in range(300)]
    counts = [sum(abs(value + epsilon) < 1e-9 for value in drawn) for epsilon in (0.5, 2, -3)]
    assert sum(counts) == 300
    assert min(counts) > 70
    assert torch.equal(attack(X, generator=stream(1)), attack(X, generator=stream(1)))
    defaults = {round(float((tc.attack("random_ipm", f=1)(X) / X.mean(0)).mean()), 6) for _ in range(50)}
    assert defaults == {-0.1, -10.0}


def test_random_ipm_is_spelled_as_it_is_read():
    for spelling in ("random_ipm", "random_ipm(epsilons=[0.1, 10])", "random_ipm(epsilons=[-2])"):
        assert str(tc.attack(spelling, f=1)) == spelling
    assert str(tc.attack('non_finite(value="-inf", where=one)', f=1)) == 'non_finite(value="-inf", where=one)'


@pytest.mark.parametrize(
    ("spelling", "message"),
    {
        "one_sided(margin=-1)": "margin is a multiple",
        "fang_trimmed_mean(b=1)": "b is a factor above 1",
        "fang_trimmed_mean(population=all)": "population is",
        "one_coordinate(coordinate=-1)": "coordinate counts from 0",
        "non_finite(value=zero)": 'value is "nan"',
        "non_finite(where=two)": 'where is "all" or "one"',
        "random_ipm(epsilons=[])": "list of numbers",
        "random_ipm(epsilons=0.1)": "list of numbers",
        "random_ipm(epsilons=[a])": "list of numbers",
    }.items(),
)
def test_wrong_parameters(spelling, message):
    with pytest.raises(tc.SpecError, match=message):
        tc.attack(spelling, f=1)


def test_a_coordinate_that_is_not_there():
    with pytest.raises(tc.SpecError, match="20 coordinates, 0 to 19"):
        tc.attack("one_coordinate(coordinate=20)", f=1)(cloud())
