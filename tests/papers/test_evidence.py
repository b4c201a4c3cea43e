"""Comparisons over seeds: what holds, fails, and stays open."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncoat.papers.evidence import (
    BEST,
    ERROR,
    FINAL,
    LEAST_ERROR,
    SECOND_HALF,
    SWING,
    WHOLE_WAY,
    Evidence,
    Sample,
    Undecided,
    every,
    known,
    some,
)
from turncoat.papers.run import FIGURES
from turncoat.results import Record

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=5)


def sample(*values):
    return Sample(dict(enumerate(values)), "what")


def evidence(verdict):
    return Evidence(verdict, (verdict,))


@pytest.mark.parametrize(
    ("values", "bound", "verdict"),
    [
        ((0.80, 0.81, 0.82), 0.7, "holds"),
        ((0.80, 0.81, 0.82), 0.9, "fails"),
        ((0.80, 0.81, 0.82), 0.8, "undecided"),
        ((0.1, 0.9), 0.0, "undecided"),  # two seeds so far apart tell nothing
        ((0.9,), 0.0, "undecided"),
        ((0.5, 0.5), 0.5, "holds"),
    ],
)
def test_a_comparison_needs_the_whole_interval_on_its_side(values, bound, verdict):
    assert (sample(*values) >= bound).verdict == verdict


@given(VALUES, st.floats(-10, 10))
def test_at_most_mirrors_at_least(values, bound):
    assert (sample(*values) <= bound).verdict == (sample(*(-value for value in values)) >= -bound).verdict


def test_the_interval_is_students():
    low, high = sample(1.0, 2.0, 3.0).interval
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_two_samples_are_compared_seed_by_seed():
    noisy, better = sample(0.1, 0.5, 0.9), sample(0.15, 0.56, 0.95)
    assert (better >= noisy).verdict == "holds"
    assert (noisy >= better).verdict == "fails"
    assert (Sample({0: 0.9, 7: 0.1}, "other") >= noisy).verdict == "undecided"  # one seed in common


def test_near_is_both_ways():
    assert sample(0.50, 0.51, 0.52).near(sample(0.51, 0.52, 0.53), 0.05).verdict == "holds"
    assert sample(0.50, 0.51, 0.52).near(sample(0.71, 0.72, 0.73), 0.05).verdict == "fails"
    assert sample(0.71, 0.72, 0.73).near(sample(0.50, 0.51, 0.52), 0.05).verdict == "fails"


@pytest.mark.parametrize("a", ["holds", "fails", "undecided"])
@pytest.mark.parametrize("b", ["holds", "fails", "undecided"])
def test_three_valued_logic(a, b):
    both, either = evidence(a) & evidence(b), evidence(a) | evidence(b)
    assert both.verdict == ("fails" if "fails" in (a, b) else "undecided" if "undecided" in (a, b) else "holds")
    assert either.verdict == (~(~evidence(a) & ~evidence(b))).verdict
    assert both.numbers == (a, b)


def test_every_and_some():
    assert every(map(evidence, ("holds", "holds"))).verdict == "holds"
    assert some(map(evidence, ("fails", "holds", "undecided"))).verdict == "holds"
    assert known(False, "1 > 2").verdict == "fails"


def test_runs_are_chosen_by_the_papers_spellings(make_runs):
    figure = FIGURES["S0-F1"]
    _, _, runs = make_runs(figure)
    planned = runs.at(attack="nlp(objective=0)")
    assert {run.spec.attack for run in planned} == {"nlp(objective=0)"}
    assert {run.result.spec.attack for run in planned} == {"nlp(objective=0, budget=10000)"}
    assert len(runs.at(attack=["alie", "ipm()"])) == 10
    assert len(runs.without(attack="alie")) == len(runs) - 5
    with pytest.raises(Undecided, match="no runs of krum"):
        runs.at(rule="krum")
    assert set(runs.each("attack")) == {run.spec.attack for run in runs}


def test_extremes_are_taken_seed_by_seed(make_runs):
    _, _, runs = make_runs(FIGURES["S0-F1"])
    lowest, highest, mean = runs.lowest(ERROR), runs.highest(ERROR), runs.mean(ERROR)
    assert len(lowest.of) == 5
    assert all(lowest.of[seed] < mean.of[seed] < highest.of[seed] for seed in lowest.of)
    assert "lowest of 11" in str(lowest)


def test_measures(make_runs):
    _, (result, *_), _ = make_runs(FIGURES["S0-F1"])
    distances = [record.extra["error"] for record in result.records[1:]]
    assert ERROR.of(result) == distances[-1]
    assert LEAST_ERROR.of(result) == min(distances)
    assert WHOLE_WAY.of(result) == pytest.approx(sum(distances) / 8)
    assert SECOND_HALF.of(result) == pytest.approx(sum(distances[4:]) / 4)
    with pytest.raises(Undecided, match="no test accuracy"):
        FINAL.of(result)


def test_what_is_no_number_is_the_worst(make_result):
    broken = make_result(records=[Record(round=0, test_accuracy=0.5), Record(round=1, test_accuracy=math.nan)])
    assert FINAL.of(broken) == 0
    assert BEST.of(broken) == 0.5
    far = make_result(records=[Record(round=1, extra={"error": math.inf})])
    assert ERROR.of(far) == 1e31


def test_the_swing_is_that_of_the_last_quarter(make_result):
    values = [0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.4, 0.6]
    assert SWING.of(make_result(records=[Record(round=t, test_accuracy=v) for t, v in enumerate(values)])) == (
        pytest.approx(0.1)
    )
