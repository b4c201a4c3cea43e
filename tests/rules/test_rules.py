"""Every registered rule against its definition, and properties that all of them share."""

import copy
import warnings

import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.registry import entries
from turncoat.rules import Mixing

RULES = sorted(name for name, entry in entries("rule").items() if not issubclass(entry.load(), Mixing))
MIXINGS = sorted(set(entries("rule")) - set(RULES))
CHAINS = [*RULES, *(f"{mixing} >> {name}" for mixing in MIXINGS for name in RULES)]
ROBUST = [name for name in CHAINS if "mean" not in name.split() and "centered_clipping" not in name]
DETERMINISTIC = [name for name in CHAINS if "bucketing" not in name]


def cloud(n=11, d=30, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def stepped(spelling, X, f, seed=0):
    rule = tc.rule(spelling, f=f)
    return rule.step(X, rule.init(X), torch.Generator().manual_seed(seed))[0]


@pytest.fixture(autouse=True)
def _no_warning_at_the_edge_of_krum():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no guarantee at n = 2f")
        yield


def test_every_rule_has_a_reference():
    assert set(references.RULES) == set(RULES)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("n", "f", "d"), [(1, 0, 1), (7, 2, 1), (11, 3, 30), (12, 5, 2), (30, 7, 200)])
def test_rules_agree_with_their_definition(name, n, f, d):
    X = cloud(n, d, seed=n)
    X[n - f :] *= 5
    expected = references.RULES[name](X.numpy(), f)
    assert np.allclose(tc.rule(name, f=f)(X).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert np.allclose(tc.rule(name, f=f)(X.float()).numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", RULES)
def test_nnm_before_a_rule_agrees_with_its_definition(name):
    X = cloud(13, 20)
    X[10:] += 4
    expected = references.RULES[name](references.nnm(X.numpy(), 3), 3)
    assert np.allclose(tc.rule(f"nnm >> {name}", f=3)(X).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert np.allclose(tc.NNM(f=3)(X).numpy(), references.nnm(X.numpy(), 3))


def test_centered_clipping_keeps_its_state_and_iterates():
    rule = tc.CenteredClipping(tau=2.0, iterations=3)
    X = cloud(9, 25)
    first, state = rule.step(X, rule.init(X))
    assert np.allclose(first.vector.numpy(), references.centered_clipping(X.numpy(), 0, 2.0, 3))
    shifted = X - first.vector  # the second round starts at the first's aggregate
    second, _ = rule.step(X, state)
    expected = first.vector.numpy() + references.centered_clipping(shifted.numpy(), 0, 2.0, 3)
    assert np.allclose(second.vector.numpy(), expected)


def test_rfa_from_the_origin_is_the_fixed_number_of_smoothed_weiszfeld_steps():
    X = cloud(9, 25)
    y = np.zeros(25)
    for _ in range(8):
        weights = 1 / np.maximum(0.1, np.linalg.norm(X.numpy() - y, axis=1))
        y = weights @ X.numpy() / weights.sum()
    rule = tc.GeometricMedian(nu=0.1, iterations=8, start="origin")
    assert np.allclose(rule(X).numpy(), y)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda X: X[20:].fill_(1e3),
        lambda X: X[20:].copy_(X[:5] + 1e-4),
        lambda X: X[10:].mul_(1e-3),
        lambda X: X[14:].copy_(X[14].clone()),
        lambda X: X[:, 1:].zero_(),
        lambda X: X.add_(1e3),
        lambda X: X[1:].mul_(1e-5),
    ],
)
def test_geometric_median_reaches_its_minimum(spoil):
    X = cloud(25, 100, dtype=torch.float32)
    spoil(X)
    rule = tc.GeometricMedian()
    assert rule.explain(X).diagnostics["steps"] < 40
    objective = (X.double() - rule(X).double()).norm(dim=1).sum()
    best = (X.double() - torch.from_numpy(references.geometric_median(X.double().numpy(), 0))).norm(dim=1).sum()
    assert objective <= best * (1 + 1e-6)


def test_bucketing_averages_disjoint_buckets_of_all_rows():
    for n, s in [(12, 2), (13, 2), (13, 4), (5, 9)]:
        X = torch.eye(n, dtype=torch.float64)
        M = tc.Bucketing(s=s)(X, torch.Generator().manual_seed(1))
        assert M.shape == (-(-n // s), n)
        assert ((M > 0).sum(0) == 1).all()
        assert torch.allclose(M.sum(1), torch.ones(len(M), dtype=torch.float64))


# The worked examples of Xie et al. 2019 (Fall of Empires), section 4.


def test_the_median_example():
    X = torch.tensor([[-0.1], [0.1], [0.3], [-4.0], [-2.0]], dtype=torch.float64)
    assert float(tc.Median(f=2)(X)) == -0.1  # the honest mean is +0.1


HONEST = [0.0, 0.02, 0.14, 0.26, 0.38, 0.5]
KRUM_SCORES = {
    "n-f-2": ([0.0244, 0.0244, 0.0244, 0.0304, 0.0436, 0.1060, 0.1440, 0.2160, 0.4320], -0.1),
    "n-f-1": ([0.082, 0.082, 0.082, 0.05, 0.058, 0.1636, 0.2116, 0.3604, 0.682], 0.0),
    "n-f": ([0.2116, 0.2116, 0.2116, 0.1176, 0.1156], 0.02),
}


@pytest.mark.parametrize("neighbours", KRUM_SCORES)
def test_the_krum_example_tells_the_conventions_apart(neighbours):
    X = torch.tensor([*[-0.1] * 3, *HONEST], dtype=torch.float64)[:, None]
    scores, chosen = KRUM_SCORES[neighbours]
    found = tc.Krum(f=3, neighbours=neighbours).explain(X)
    assert found.scores[: len(scores)].tolist() == pytest.approx(scores, abs=1e-9)
    assert float(found.vector) == chosen


def test_krum_with_the_most_traitors_for_which_it_is_proven_wrong():
    """Xie et al. 2019, theorem 2: 21 honest rows on a simplex, 18 traitors at minus their mean, which Krum picks."""
    N, q = 21, 18
    simplex = torch.eye(N, dtype=torch.float64) - 1 / N
    honest = torch.cat([torch.ones(N, 1, dtype=torch.float64), simplex / simplex[0].norm()], dim=1)
    X = torch.cat([honest, (-honest.mean(0)).expand(q, -1)])
    found = tc.Krum(f=q).explain(X)
    assert found.scores[0] == pytest.approx(39.9)
    assert found.scores[-1] == pytest.approx(10.0)
    assert torch.allclose(found.vector, -honest.mean(0))


# Properties of all rules.


@pytest.mark.parametrize("name", DETERMINISTIC)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_rows_does_not_matter(name, seed):
    X = cloud(9, 6, seed)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(tc.rule(name, f=2)(X), tc.rule(name, f=2)(X[order]), atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CHAINS if "centered_clipping" not in name])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_rules_move_and_scale_with_the_rows(name, seed, shift, scale):
    X = cloud(12, 6, seed)
    moved = stepped(name, X * scale + shift, 2).vector
    assert torch.allclose(moved, stepped(name, X, 2).vector * scale + shift, atol=1e-5 * (scale + abs(shift)))


@pytest.mark.parametrize("name", CHAINS)
def test_equal_rows_are_their_own_aggregate(name):
    X = cloud(1, 300, dtype=torch.float32).expand(12, -1)
    if "centered_clipping" in name:
        X = X / X[0].norm()  # shorter than tau
    assert torch.allclose(tc.rule(name, f=2)(X), X[0], rtol=1e-6)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("size", [10.0, 1e6, 1e20, 1e38])
def test_far_traitors_cannot_drag_a_robust_rule_away(name, size):
    X = cloud(17, 40, dtype=torch.float32)
    X[14:] = torch.tensor([1.0, -1.0]).repeat(20) * size
    found = tc.rule(name, f=3)(X)
    assert torch.isfinite(found).all()
    assert (found - X[:14].mean(0)).norm() <= 3 * (X[:14] - X[:14].mean(0)).norm(dim=1).max()


HOSTILE = {
    "nan": lambda X: X[-2:].fill_(torch.nan),
    "one nan": lambda X: X[-1, 3:4].fill_(torch.nan),
    "inf": lambda X: X[-1:].fill_(torch.inf),
    "-inf and nan": lambda X: (X[-1].fill_(-torch.inf), X[-2, :1].fill_(torch.nan)),
    "inf, then -inf": lambda X: (X[-1, 0].fill_(torch.inf), X[-1, 1].fill_(-torch.inf)),
    "1e38": lambda X: X[-2:].fill_(1e38),
    "1e3": lambda X: X[-2:].fill_(1e3),
    "subnormal": lambda X: X.mul_(1e-40),
    "zero": lambda X: X.zero_(),
    "zero row": lambda X: X[0].zero_(),
    "identical": lambda X: X.copy_(X[:1].clone().expand_as(X)),
    "offset": lambda X: X.mul_(1e-2).add_(1e4),
    "tiny beside huge": lambda X: (X[:4].mul_(1e-30), X[-1].mul_(1e30)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_hostile_rows_never_blank_or_break_the_server(name, hostile, dtype):
    X = cloud(13, 50)
    if dtype == torch.float16 and hostile in ("1e38", "offset", "tiny beside huge"):
        X = X.clamp(-1, 1)
    HOSTILE[hostile](X)
    X = X.to(dtype)
    before = X.clone()
    found = stepped(name, X, 2)
    assert found.vector.dtype == dtype
    assert torch.isfinite(found.vector).all()
    assert torch.equal(X.nan_to_num(), before.nan_to_num())
    bad = (~torch.isfinite(X)).any(1).nonzero().flatten().tolist()
    assert list(found.excluded) == bad
    assert set(bad) <= set(found.suspects)


@pytest.mark.parametrize("name", CHAINS)
def test_an_excluded_row_leaves_a_rule_for_the_rest(name):
    X = cloud(16, 20)
    X[4, 2] = torch.nan
    rest = torch.cat([X[:4], X[5:]])
    if "bucketing" not in name:
        assert torch.allclose(tc.rule(name, f=3)(X), tc.rule(name, f=2)(rest))
    found = stepped(name, X, 3)
    if found.weights is not None:
        assert len(found.weights) == 16
        assert found.weights[4] == 0


@pytest.mark.parametrize("name", CHAINS)
def test_steps_are_reproducible_and_leave_their_state_alone(name):
    rule = tc.rule(name, f=2)
    X = cloud(11, 20, dtype=torch.float32)
    _, state = rule.step(X, rule.init(X), torch.Generator().manual_seed(3))
    kept = copy.deepcopy(state)
    vectors = [rule.step(X, state, torch.Generator().manual_seed(4))[0].vector for _ in range(2)]
    assert torch.equal(*vectors)
    if state is not None:
        assert torch.equal(state, kept)


@pytest.mark.parametrize("name", CHAINS)
def test_weights_are_those_of_the_aggregate(name):
    X = cloud(11, 20)
    found = stepped(name, X, 2)
    if found.weights is not None:
        assert torch.allclose(found.weights @ X, found.vector)


def test_suspects_lie_far_out_and_are_no_more_than_f():
    X = cloud(25, 1000, dtype=torch.float32)
    assert tc.rule("median", f=5).explain(X).suspects == ()
    assert tc.rule("krum", f=5).explain(X).suspects == ()  # not being selected is no suspicion
    X[[3, 8]] *= -10
    for name in ("median", "nnm >> trimmed_mean", "geometric_median", "multi_krum"):
        assert tc.rule(name, f=5).explain(X).suspects == (3, 8)
    X[:10] *= 10
    assert len(tc.rule("median", f=5).explain(X).suspects) <= 5
