"""The toys and theorems of S1: what is printed, what holds, and what does not."""

import math

import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.papers import s1_theory as s1

VALUES = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=2, max_size=30)  # halves must exist


def test_the_toy_on_the_median_turns_as_printed():
    toy = s1.toy_median()
    assert (toy.honest, toy.byzantine) == ((-0.1, 0.1, 0.3), (-4.0, -2.0))
    assert toy.mean == pytest.approx(0.1)
    assert toy.output == -0.1 == np.median([*toy.honest, *toy.byzantine])
    assert toy.reach == pytest.approx(0.1633 / math.sqrt(2), abs=1e-4)
    assert toy.mean < toy.reach == pytest.approx(0.1155, abs=1e-4)


def test_the_toy_on_krum_has_every_printed_digit():
    toy = s1.toy_krum()
    assert toy.scores == pytest.approx((0.0244, 0.0244, 0.0244, 0.0304, 0.0436, 0.1060, 0.1440, 0.2160, 0.4320))
    assert toy.mean == pytest.approx(0.216667, abs=1e-6)
    assert toy.output == -0.1
    assert toy.turned
    assert toy.as_printed


SCORES = {  # convention: first scores, the rows that share the lowest
    "krum": ((0.0244, 0.0244, 0.0244, 0.0304), (-0.1,)),
    'krum(neighbours="n-f-1")': ((0.082, 0.082, 0.082, 0.05, 0.058, 0.1636, 0.2116, 0.3604, 0.682), (0.0,)),
    'krum(neighbours="n-f")': ((0.2116, 0.2116, 0.2116, 0.1176, 0.1156), (0.02,)),
    "krum(power=4)": ((0.000307, 0.000307, 0.000307, 0.000300, 0.000622), (0.0,)),
    'krum(neighbours="n-f-1", power=1)': ((0.46, 0.46, 0.46, 0.46), (-0.1, 0.0)),
    "krum(power=1)": ((0.22, 0.22, 0.22, 0.32), (-0.1,)),
}


def test_only_the_papers_convention_has_the_papers_toy():
    toys = {toy.rule: toy for toy in s1.toy_krum_conventions()}
    assert toys.keys() == SCORES.keys()
    for rule, (scores, lowest) in SCORES.items():
        assert toys[rule].scores[: len(scores)] == pytest.approx(scores, abs=5e-7), rule
        assert toys[rule].lowest == lowest, rule
        assert toys[rule].output == lowest[0], rule
    assert [rule for rule, toy in toys.items() if toy.turned] == ["krum", "krum(power=1)"]
    assert [rule for rule, toy in toys.items() if toy.as_printed] == ["krum"]


@pytest.mark.parametrize(("less", "power"), [(2, 2), (1, 2), (0, 2), (2, 4), (1, 1), (2, 1)])
def test_the_toys_scores_are_those_of_the_definition(less, power):
    rows = np.array([*s1.TOY_BYZANTINE, *s1.TOY_HONEST])[:, None]
    neighbours = ("n-f", "n-f-1", "n-f-2")[less]
    toy = s1.toy_krum(f'krum(neighbours="{neighbours}", power={power})')
    assert toy.scores == pytest.approx(references.krum_scores(rows, 3, less, 2, power))


@given(VALUES)
def test_the_lowest_value_is_a_deviation_below_the_mean(values):
    found = s1.realised_bound(values)
    assert found.lowest <= found.bound + 1e-9 * (1 + max(map(abs, values)))
    assert found.bound == pytest.approx(np.mean(values) - np.std(values) / math.sqrt(len(values) - 1), abs=1e-9)


@given(st.integers(2, 30), st.floats(0.1, 10))
def test_the_bound_is_reached_where_all_values_but_one_are_equal(N, gap):
    found = s1.realised_bound([0.0] * (N - 1) + [gap])
    assert found.lowest == pytest.approx(found.bound, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(VALUES)
def test_a_mean_below_the_bound_is_turned(values):
    found, q = s1.realised_bound(values), len(values) - 1
    attacked = np.array([*values, *[min(values) - 1] * q])[:, None]
    median = float(tc.rule("median", f=q)(attacked)[0])
    assert median == min(values)
    if found.turns and found.bound < -1e-9:
        assert median < 0 < found.mean
    assert float(tc.rule("median", f=q)(attacked + 5)[0]) >= min(values)


def test_theorem_1_fails_for_two_gaussian_values():
    found = s1.theorem_1_gaussian(q=1, g=0.8)
    assert (found.m, found.q) == (3, 1)
    assert found.claimed == pytest.approx(0.8 - 1)
    assert found.expected == pytest.approx(0.8 - 1 / math.sqrt(math.pi))  # 0.8 - 0.564
    assert found.expected == pytest.approx(0.236, abs=5e-4)
    assert abs(found.simulated - found.expected) < 4 * found.error < 0.03
    assert found.simulated - 4 * found.error > 0 > found.claimed
    assert found.condition
    assert not found.conclusion
    assert found.corrected == pytest.approx(found.expected)  # of two values, the bound is an equality
    assert not found.corrected_condition


def test_theorem_1_fails_for_a_law_without_negative_values():
    found = s1.theorem_1_two_points()
    assert (found.m, found.q, found.g) == (25, 12, 0.01)
    assert found.claimed == pytest.approx(-0.0187, abs=5e-5)
    assert found.expected == pytest.approx(1e-26)
    assert found.simulated == 0.0
    assert found.condition
    assert not found.conclusion
    assert found.corrected > 0


def test_theorem_1_holds_for_thirteen_gaussian_values():
    found = s1.theorem_1_gaussian(q=12, g=0.2)
    assert (found.m, found.q) == (25, 12)
    assert found.expected - found.g == pytest.approx(-1.66799, abs=5e-6)
    assert found.claimed - found.g == pytest.approx(-0.289, abs=5e-4)
    assert abs(found.simulated - found.expected) < 4 * found.error
    assert found.condition
    assert found.conclusion
    assert found.corrected_condition


@pytest.mark.parametrize("N", range(2, 26))
def test_of_gaussian_values_theorem_1_fails_for_two_only(N):
    found = s1.theorem_1_gaussian(q=N - 1, g=0.999 / math.sqrt(N - 1), trials=2)
    assert found.condition
    assert found.conclusion == (N > 2)
    assert found.expected <= found.corrected + 1e-9


def test_the_rows_that_theorem_2_needs():
    needed = {0.1: 884, 0.2: 244, 0.5: 52, 1: 20, 10: 4.88}
    assert {eps: pytest.approx(s1.rows_needed(eps)) for eps in needed} == needed


def test_theorem_2_has_an_instance():
    found = s1.theorem_2()
    assert (found.m, found.q) == (39, 18)
    assert found.hypotheses
    assert found.honest_score == pytest.approx(39.9)
    assert found.byzantine_score == pytest.approx(10.0)
    assert found.output == pytest.approx(-1.0)
    assert found.selected
    other = s1.theorem_2(rule="krum(preset=byzfl)")
    assert (other.honest_score, other.byzantine_score) == pytest.approx((42, 15))
    assert other.selected


def test_krum_falls_beyond_theorem_2_too():
    found = s1.theorem_2(eps=0.5)
    assert found.byzantine_score == pytest.approx(6.5)
    assert found.output == pytest.approx(-0.5)
    assert found.selected
    assert (found.in_ball, found.apart, found.enough, found.hypotheses) == (True, True, False, False)


def test_the_toy_is_no_case_of_theorem_2():
    found = s1.toy_krum_hypotheses()
    assert found.eps == pytest.approx(0.4615, abs=5e-5)
    assert s1.rows_needed(found.eps) == pytest.approx(58.9, abs=0.05)
    assert found.m - found.q == 6
    assert found.m - 2 * found.q == 3
    assert found.gap == pytest.approx(0.0004)
    assert (found.eps * found.length) ** 2 == pytest.approx(0.01)
    assert found.radius == pytest.approx(0.5 - 0.216667, abs=1e-6)
    assert (found.in_ball, found.apart, found.enough) == (False, False, False)
    assert found.selected


@given(st.floats(1e-3, 1e3), st.integers(1, 2))
def test_theorem_2_is_about_nothing_on_a_line_or_in_the_plane(eps, d):
    assert s1.packing(eps, d) < s1.rows_needed(eps)


def test_theorem_2_is_about_something_in_space():
    found = s1.theorem_2_in_space()
    assert found.m - found.q == 257 <= s1.packing(found.eps, 3)
    assert found.hypotheses
    assert found.output == pytest.approx(-0.25)


def test_theorem_2_needs_fourteen_rows_and_a_small_eps():
    assert s1.fewest_rows() == 14
    assert s1.largest_eps(14) == pytest.approx(1.4676, abs=5e-5)
    assert s1.rows_needed(1.5) > 1 / (1.5**2 / 2 - 1)  # with eps = 1.5, as many as N rows could have are too few
    assert not any(s1.rows_needed(s1.largest_eps(N)) < N for N in range(2, 14))
    edge = s1.theorem_2(eps=1.46, N=14)
    assert edge.hypotheses
    assert edge.selected
    assert not s1.theorem_2(eps=10).apart


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**31))
def test_no_rows_have_larger_gaps_than_a_simplex(N, d, seed):
    rows = np.random.default_rng(seed).standard_normal((N, d))
    rows -= rows.mean(0)
    radius = np.linalg.norm(rows, axis=1).max()
    gap = min(np.linalg.norm(rows[i] - rows[j]) for i in range(N) for j in range(i))
    assert gap <= s1.largest_eps(N) * radius * (1 + 1e-9)
    assert s1.packing(gap / radius, d) * (1 + 1e-9) >= N
