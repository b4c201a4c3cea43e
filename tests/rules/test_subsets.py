"""Rules that average the best n-f rows: against all subsets, within and past their budget."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from turncoat.errors import BudgetError, SpecError
from turncoat.rules.mda import MDA, CoverSearch, smallest_diameter
from turncoat.rules.smea import SMEA, smallest_eigenvalue

TOLERANCE = 1e-9
SEARCHES = {"mda": smallest_diameter, "smea": smallest_eigenvalue}
RULES = [MDA, SMEA]


def distances(X):
    return torch.from_numpy(np.square(X[:, None] - X[None, :]).sum(-1))


def best_subset(X, size, measure):
    subsets = list(itertools.combinations(range(len(X)), size))
    values = [measure(X[list(subset)]) for subset in subsets]
    best = min(values)
    return next(list(s) for s, value in zip(subsets, values, strict=True) if value <= best + TOLERANCE * best), best


def diameter(X):
    return max(np.linalg.norm(a - b) for a in X for b in X)


def largest_eigenvalue(X):
    value = np.linalg.norm(X - X.mean(0), 2) ** 2 / len(X)
    return 0.0 if value < 1e-24 else value  # identical rows


MEASURES = {"mda": diameter, "smea": largest_eigenvalue}


@st.composite
def rows(draw):
    """(n, d) rows and f: on a grid (many ties), few of them repeated, in clusters, with outliers, or plain."""
    n = draw(st.integers(1, 10))
    f = draw(st.integers(0, (n - 1) // 2))
    d = draw(st.integers(1, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = random.standard_normal((n, d))
    match draw(st.sampled_from(["grid", "repeated", "clusters", "outliers", "plain"])):
        case "grid":
            X = random.integers(0, 3, (n, min(d, 3))).astype(float)
        case "repeated":
            X = X[random.integers(0, n, n)]
        case "clusters":
            X = X[random.integers(0, 3, n) % n] + 1e-3 * X
        case "outliers":
            X[random.permutation(n)[:f]] *= draw(st.sampled_from([1.5, 3.0, 10.0, 1e5]))
    return X, f


@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=200, deadline=None)
@given(rows())
def test_the_first_of_the_best_of_all_subsets_is_found(name, given_rows):
    X, f = given_rows
    expected, best = best_subset(X, len(X) - f, MEASURES[name])
    found = SEARCHES[name](distances(X), len(X) - f, TOLERANCE, 10_000)
    assert found.exact
    assert found.rows == expected
    assert found.value == pytest.approx(best, rel=1e-6)
    assert found.at_least == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=100, deadline=None)
@given(rows())
def test_past_the_budget_the_bounds_hold(name, given_rows):
    X, f = given_rows
    _, best = best_subset(X, len(X) - f, MEASURES[name])
    found = SEARCHES[name](distances(X), len(X) - f, TOLERANCE, 0)
    assert len(set(found.rows)) == len(X) - f
    assert found.rows == sorted(found.rows)
    assert found.value == pytest.approx(MEASURES[name](X[found.rows]), rel=1e-6)
    assert found.at_least <= best * (1 + 1e-6) <= found.value * (1 + 2e-6)
    if found.exact:
        assert found.rows == SEARCHES[name](distances(X), len(X) - f, TOLERANCE, 10_000).rows


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_mda_needs_no_metric_and_no_finite_distances(n, seed):
    random = np.random.default_rng(seed)
    D = random.choice([0.0, 1.0, 1.0, 2.0, 5.0, np.nan, np.inf, 1e300], (n, n))
    D = np.maximum(D, D.T)
    np.fill_diagonal(D, 0)
    size = n - random.integers(0, (n - 1) // 2 + 1)
    known = np.where(np.isnan(D), np.inf, D)
    subsets = list(itertools.combinations(range(n), size))
    best = min(known[np.ix_(s, s)].max() for s in subsets)
    found = smallest_diameter(torch.from_numpy(D), size, TOLERANCE, 1000)
    assert found.rows == list(next(s for s in subsets if known[np.ix_(s, s)].max() == best))
    assert found.value == np.sqrt(best)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_covers_are_found_exactly_where_there_are_some(n, density, seed):
    adjacent = np.triu(np.random.default_rng(seed).random((n, n)) < density, 1)
    edges = list(zip(*adjacent.nonzero(), strict=True))
    graph = [sum(1 << j for j in range(n) if adjacent[i, j] or adjacent[j, i]) for i in range(n)]
    smallest = next(
        k for k in range(n) if any(all({*e} & {*c} for e in edges) for c in itertools.combinations(range(n), k))
    )
    search = CoverSearch(1000)
    cover = search.cover(graph, (1 << n) - 1, smallest)
    assert cover.bit_count() <= smallest
    assert all(cover >> i & 1 or cover >> j & 1 for i, j in edges)
    assert search.cover(graph, (1 << n) - 1, smallest - 1) is None
    assert not search.spent


def test_distances_that_differ_by_rounding_are_equal():
    D = torch.ones(5, 5, dtype=torch.float64).fill_diagonal_(0)
    D[0] = D[:, 0] = 1 + 1e-12
    assert smallest_diameter(D.fill_diagonal_(0), 3, TOLERANCE, 10).rows == [0, 1, 2]
    assert smallest_eigenvalue(D, 3, TOLERANCE, 10).rows == [0, 1, 2]
    D[0, 1:] = D[1:, 0] = 1 + 1e-6
    assert smallest_diameter(D, 3, TOLERANCE, 10).rows == [1, 2, 3]
    assert smallest_eigenvalue(D, 3, TOLERANCE, 10).rows == [1, 2, 3]


def test_a_vertex_of_most_neighbours_need_not_be_in_the_smallest_cover():
    # 0 is tied to 1, 2 and 3, and 4, 5, 6 stand between two of these each: {1, 2, 3} covers all
    graph = [0b0001110, 0b1010001, 0b0110001, 0b1100001, 0b0000110, 0b0001100, 0b0001010]
    assert CoverSearch(100).cover(graph, 0b1111111, 3) == 0b0001110
    assert CoverSearch(100).cover(graph, 0b1111111, 2) is None


def cloud(n, d, seed=0, far=0, dtype=torch.float64):
    X = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    X[n - far :] += 10
    return X.to(dtype)


@pytest.mark.parametrize(
    ("n", "f", "d", "far"),
    [(25, 11, 100, 0), (25, 11, 2, 0), (100, 20, 50, 0), (100, 20, 50, 20), (100, 49, 5, 0), (60, 0, 5, 0)],
)
def test_mda_is_exact_in_a_few_steps(n, f, d, far):
    found = MDA(f=f, budget=1000).explain(cloud(n, d, far=far))
    assert found.diagnostics["exact"] == 1.0
    assert found.diagnostics["diameter"] == pytest.approx(found.diagnostics["at_least"], rel=1e-12)
    assert not found.weights[n - far :].any()


@pytest.mark.parametrize("d", [3, 40, 1000])
def test_smea_compares_all_subsets_of_twenty_five_rows(d):
    X = cloud(25, d)
    G = X @ X.T
    gone = torch.combinations(torch.arange(25), 5)
    kept = torch.ones(len(gone), 25, dtype=torch.bool).scatter_(1, gone, False).nonzero()[:, 1].reshape(-1, 20)
    values = []
    for part in kept.split(5000):
        K = G[part[:, :, None], part[:, None, :]]
        K = K - K.mean(1, keepdim=True)
        values.append(torch.linalg.eigvalsh(K - K.mean(2, keepdim=True))[:, -1] / 20)
    values = torch.cat(values)
    found = SMEA(f=5).explain(X)
    assert found.diagnostics["exact"] == 1.0
    assert found.diagnostics["eigenvalue"] == pytest.approx(float(values.min()), rel=1e-9)
    assert found.weights.nonzero().flatten().tolist() == kept[values.argmin()].tolist()


def test_smea_leaves_hopeless_rows_aside():
    found = SMEA(f=20, budget=1).explain(cloud(100, 300, far=20))
    assert found.diagnostics["exact"] == 1.0
    assert not found.weights[80:].any()


@pytest.mark.parametrize(
    ("rule", "X"),
    [(MDA(f=29, budget=3), cloud(60, 1000)), (SMEA(f=5, budget=53_129), cloud(25, 2000))],
)
def test_past_the_budget_there_is_an_error_or_a_search(rule, X):
    says = rf"{rule.name} at n = {len(X)}, f = {rule.f} .* {rule.budget} steps"
    with pytest.raises(BudgetError, match=says) as error:
        rule(X)
    assert "\n" not in str(error.value)
    searched = type(rule)(f=rule.f, budget=rule.budget, beyond="search").explain(X).diagnostics
    exact = type(rule)(f=rule.f).explain(X).diagnostics
    assert (searched["exact"], exact["exact"]) == (0.0, 1.0)
    assert searched["at_least"] < exact[rule.measure] <= searched[rule.measure] * (1 + 1e-9)
    assert searched[rule.measure] < 1.2 * exact[rule.measure]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("parameters", "message"), [({"budget": -1}, "from 0 up, got -1"), ({"beyond": "stop"}, "error.*search.*'stop'")]
)
def test_parameters_are_checked(rule, parameters, message):
    with pytest.raises(SpecError, match=message):
        rule(f=1, **parameters)


@pytest.mark.parametrize("rule", RULES)
def test_equal_subsets_are_taken_in_order(rule):
    simplex = torch.eye(14)
    assert rule(f=4).explain(simplex).weights.nonzero().flatten().tolist() == list(range(10))
    twins = cloud(6, 30, dtype=torch.float32).repeat_interleave(2, dim=0)
    chosen = rule(f=3).explain(twins).weights > 0
    assert not (chosen[1::2] & ~chosen[::2]).any()  # never the second of a pair without the first
    assert (chosen[::2] & ~chosen[1::2]).any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beyond", [{}, {"budget": 0, "beyond": "search"}])
def test_repeatable_and_the_same_in_any_order(rule, beyond):
    for seed in range(5):
        X = cloud(13, 20, seed)
        order = torch.randperm(13, generator=torch.Generator().manual_seed(seed))
        vector = rule(f=4, **beyond)(X)
        assert torch.equal(rule(f=4, **beyond)(X), vector)
        if not beyond:
            assert torch.allclose(rule(f=4)(X[order]), vector, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1e3, 1e38, 1e150, 1e300])
def test_far_rows_do_not_drown_the_others(rule, size):
    X = cloud(13, 20)
    X[11:] = size * X[11:]
    alone, beside = rule(f=0).explain(X[:11]), rule(f=2).explain(X)
    assert torch.allclose(beside.vector, alone.vector, rtol=1e-9)
    assert beside.diagnostics[rule.measure] == pytest.approx(alone.diagnostics[rule.measure], rel=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_identical_rows_need_no_search(rule):
    X = cloud(100, 5)
    X[20:] = X[50].clone()
    found = rule(f=20, budget=0).explain(X)
    assert torch.allclose(found.vector, X[50], rtol=1e-12)
    assert found.diagnostics[rule.measure] == 0.0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("value", "bad"), [(torch.nan, 2), (torch.inf, 2), (torch.nan, 9), (torch.nan, 13)])
def test_propagated_rows_are_chosen_last(rule, value, bad):
    X = cloud(13, 6)
    X[13 - bad :] = value
    found = rule(f=2, nonfinite="propagate").explain(X)
    assert found.weights.nonzero().flatten().tolist() == list(range(11))
    assert np.isfinite(found.diagnostics[rule.measure]) == (bad == 2)
