"""The theorems of S2: what holds as printed, what does not, and what is true instead."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.papers import s2_theory as s2


def test_the_constants_of_theorems_1_and_2():
    assert s2.crowding(12, 2) == pytest.approx(5 / 3)
    assert s2.crowding(12, 4) == 5
    values = {1: 166.667, 2: 1.66667, 4: 16.6667, 16: 93.7236}
    assert {p: pytest.approx(s2.krum_factor(12, 2, 100, p), rel=1e-5) for p in values} == values
    assert s2.krum_factor(12, 2, 10**6, 3) == pytest.approx(166.667, rel=1e-5)
    assert s2.theorem_2_bound(12, 2, delta2=1) == pytest.approx(6 + 2 * (13 + 20 / 6) + 84 * 5 / 3)


@given(st.integers(0, 50), st.integers(3, 50), st.integers(1, 1000), st.floats(1, 16))
def test_theorem_2_is_twice_theorem_1_or_a_little_more(f, more, d, p):
    n = 2 * f + more
    ratio = s2.theorem_2_bound(n, f, d, p) / s2.theorem_1_bound(n, f, d, p)
    assert 2 < ratio <= 2.5
    assert ratio == pytest.approx(2 + 1 / (1 + s2.krum_factor(n, f, d, p)))


def rows_of(n, f, ones, value):
    return np.array([0.0] * (n - f - ones) + [1.0] * ones + [value] * f)[:, None]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(3, 10), st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.4, 2.0, 2.7]))
def test_scores_with_multiplicities_are_the_rules(f, more, share, value):
    n = 2 * f + more
    ones = round(share * (n - f))
    found = s2.krum_scores(n, f, np.array(ones), np.array(value))
    scores = tc.rule("krum", f=f).explain(rows_of(n, f, ones, value)).scores
    assert scores is not None
    for kind, first, count in ((0, 0, n - f - ones), (1, n - f - ones, ones), (2, n - f, f)):
        assert scores[first : first + count].tolist() == pytest.approx([found[kind]] * count)


@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 2), (13, 4), (20, 7)])
def test_no_larger_value_is_returned(n, f):
    counts = np.arange(n - f + 1)
    for ones, value in zip(counts.tolist(), s2.largest_returned(n, f, counts).tolist(), strict=True):
        assert s2.returns(n, f, ones, value)
        assert not any(s2.returns(n, f, ones, value + more) for more in (1e-5, 0.01, 0.1, 0.5, 1, 3))


REFUTED = [(400, 147, 0.46, 10.05, 9.95, 9.65), (192, 71, 0.46, 9.93, 9.82, 9.917)]


@pytest.mark.parametrize(("n", "f", "q", "bias", "low", "bound"), REFUTED)
def test_theorem_1_is_refuted(n, f, q, bias, low, bound):
    found = s2.theorem_1(n, f, q, runs=10)
    check(found, bias, low, bound)


@pytest.mark.slow
def test_theorem_1_is_refuted_by_three_thousand():
    found = s2.theorem_1(3000, 1035, 0.49, runs=2)
    check(found, 9.287, 9.25, 8.46)
    assert found.low > found.theorem_1


def check(found, bias, low, bound):
    assert found.refutes
    assert found.returned == 1.0
    assert found.bias == pytest.approx(bias, abs=5e-3)
    assert low <= found.low < found.bias < found.error
    assert found.theorem_1 == pytest.approx(bound, abs=5e-3)
    assert found.bias < found.corrected.bias < found.theorem_2
    assert found.error < found.corrected.error


def test_the_simulated_rounds_refute_theorem_1_too():
    found = s2.theorem_1(runs=1)
    assert found.low > found.theorem_1


def test_the_limit_is_nine_against_eight():
    n, f = 300_000, 100_050
    value = float(s2.largest_returned(n, f, np.array([(n - f) // 2]))[0])
    assert value == pytest.approx(2, abs=1e-3)
    assert (value - 0.5) ** 2 / 0.25 == pytest.approx(9, abs=1e-2)
    assert s2.theorem_1_bound(n, f) == pytest.approx(8, abs=1e-2)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 15), st.integers(3, 30), st.floats(0.05, 0.95))
def test_what_is_proven_holds(f, more, q):
    n = 2 * f + more
    found = s2.theorem_1(n, f, q, draws=50, runs=1)
    assert found.bias <= found.corrected.bias
    assert found.bias <= found.error * (1 + 1e-9) <= found.corrected.error
    assert found.corrected.error <= 1 + tc.rule("krum", f=f).kappa(n, f) + 1e-9
    assert found.bias <= found.theorem_2


@given(st.integers(1, 100), st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0, 1e3), st.floats(1e-3, 1e3))
def test_the_bound_of_proposition_1_is_positive_just_under_its_condition(M, share, beta, lam, L):
    q = max(1, int(share * M))
    needed = 1 + lam * L / beta
    assume(abs(M / q - needed) > 1e-6 * needed)
    assert (s2.mixture_bound(M, q, beta, lam, L) > 0) == (M / q > needed)


def surely(found, sign):
    """Whether M/q is above (sign 1) or below what is needed, with 3 standard errors of room in beta and lambda."""
    beta, lam = found.beta - sign * 3 * found.beta_error, found.lam + sign * 3 * found.lam_error
    return sign * (found.M / found.q - (1 + lam * found.L / beta)) > 0


@pytest.mark.parametrize(("pool", "q"), [(s2.ONE_CLASS, 16), (None, 20)])
def test_proposition_1_holds_where_its_condition_does(pool, q):
    found = s2.proposition_1(pool=pool)
    assert (found.M, found.q, found.L) == (64, q, 1.0)
    assert found.condition
    assert surely(found, 1)
    assert 0 < found.bound <= found.along
    assert found.along > 10 * found.along_error
    assert found.lam == pytest.approx(0.1, abs=4 * found.lam_error)
    assert sum(name.startswith("krum") for name in found.compromised) == 16
    assert all(name.startswith("krum") or "phase2=krum" in name for name in found.compromised)
    assert 0 < found.moments[2] < found.moments[1] < found.moments[0] < 1


def test_proposition_1_is_sufficient_only():
    found = s2.proposition_1("ipm(epsilon=1)")
    assert found.M / found.q == 3.2
    assert not found.condition
    assert surely(found, -1)
    assert found.bound < 0 < found.along - 5 * found.along_error


def test_a_class_without_a_bound_takes_the_pool():
    found = s2.proposition_1("ipm(epsilon=100)", s2.WITH_MEANS, length=3.0)
    assert found.compromised == ("mean",)
    assert found.M / found.q == 4
    assert not found.condition
    assert surely(found, -1)
    assert found.lam == pytest.approx((100 * 2 - 10) / 12 * 3, rel=0.01)
    assert found.bound <= found.along < -20
    assert found.moments[0] > 20
    assert found.moments[0] < found.moments[1] < found.moments[2]


def test_proposition_1_takes_what_the_rules_themselves_return():
    found, g = s2.proposition_1(rounds=4), np.full(20, 1 / math.sqrt(20))
    honest = g + np.random.default_rng(0).standard_normal((4, 10, 20))
    along = []
    for rows in honest:
        X = torch.from_numpy(np.concatenate([rows, np.tile(-0.1 * rows.mean(0), (2, 1))]))
        vectors = {member: member(X).numpy() for member in dict.fromkeys(tc.MixTailor(f=2).members)}
        along.append(np.mean([vectors[member] @ g for member in tc.MixTailor(f=2).members]))
    assert found.along == pytest.approx(np.mean(along), abs=1e-6)


SECOND_LARGEST_OF_FOUR = 0.29701  # mean of that normal order statistic


@pytest.mark.parametrize(("case", "bound", "limit"), [("copies", 18, -0.297), ("skewed", 10, 0.267)])
def test_theorem_3_is_refuted(case, bound, limit):
    found = s2.theorem_3(case)
    assert found.variance_bound == bound
    assert found.squared_gradient == pytest.approx(99.0, abs=0.05)
    assert found.squared_gradient > found.variance_bound
    assert found.progress > 10 * (math.sqrt(found.squared_gradient) - math.sqrt(bound)) > 50
    assert found.squared_rates == pytest.approx(0.10517, abs=1e-5)
    assert max(found.moments) < 1.2

    error = found.spread / 4  # of the mean over 16 seeds
    assert found.limit == pytest.approx(limit, abs=4 * error)
    assert found.limit == pytest.approx(found.turns, abs=4 * error)
    assert abs(found.limit) > 50 * error
    assert not found.aligned
    assert abs(found.bias) < abs(found.limit) + 4 * error < found.corrected < math.sqrt(bound)


def test_the_limit_is_that_of_the_second_largest():
    found = s2.theorem_3("copies")
    assert found.bias == pytest.approx(SECOND_LARGEST_OF_FOUR, abs=4 * found.bias_error)
    rule, rng = tc.rule("krum", f=1), np.random.default_rng(1)
    for rows in rng.standard_normal((200, 4)):
        second = np.sort(rows)[-2]
        assert rule(np.array([*rows, second])[:, None])[0] == second


def test_with_the_missing_hypothesis_the_gradient_goes_to_0():
    found = s2.theorem_3("symmetric")
    assert found.aligned
    assert found.limit == pytest.approx(0, abs=4 * found.spread / 4)


def test_theorem_3_takes_what_the_rule_itself_returns():
    for case, (n, f) in s2.CASES.items():
        _, shifts = s2._noise(case, 50)
        rng = np.random.default_rng(0)
        rows = rng.exponential(size=(50, n)) - 1 if case == "skewed" else rng.standard_normal((50, n))
        if case == "copies":
            rows[:, -1] = np.sort(rows[:, :-1])[:, -2]
        rule = tc.rule("krum", f=f)
        assert shifts.tolist() == pytest.approx([rule(row[:, None] + 7)[0] - 7 for row in rows])  # at F'(w) = 7
