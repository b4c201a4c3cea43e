"""Comparisons over seeds: what holds, fails, and is undecided."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from turncoat.papers.evidence import (
    BEST,
    EARLY,
    ERROR,
    FINAL,
    FIRST_HALF,
    LEAST_ERROR,
    LOG_LOSS,
    SECOND_HALF,
    SWING,
    UNDER_ATTACK,
    WHOLE_WAY,
    Evidence,
    Extreme,
    NotLearnt,
    Runs,
    Sample,
    Undecided,
    every,
    known,
    measured,
    mostly,
    some,
)
from turncoat.papers.run import FIGURES
from turncoat.results import Record

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=5)
CHANCES = {"holds": (0.001, 0.999), "fails": (0.999, 0.001), "undecided": (0.4, 0.6)}


def sample(*values, percent=False):
    return Sample(dict(enumerate(values)), "what", percent)


def evidence(verdict):
    return Evidence(*CHANCES[verdict], (verdict,))


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
    one, other = sample(*values) <= bound, sample(*(-value for value in values)) >= -bound
    if sample(*values).mean != bound:
        assert one.verdict == other.verdict


def test_chances_are_students():
    found = sample(1.0, 2.0, 3.0) >= 1.5
    assert found.holds == pytest.approx(1 - t.cdf(0.5 / (1 / math.sqrt(3)), 2))
    assert found.fails == pytest.approx(1 - found.holds)


def test_accuracies_that_happen_to_agree_are_no_certainty():
    assert (sample(0.099, 0.099, percent=True) <= 0.1).verdict == "undecided"
    assert (sample(0.099, 0.099) <= 0.1).verdict == "holds"


def test_two_samples_are_compared_seed_by_seed():
    noisy, better = sample(0.1, 0.5, 0.9), sample(0.15, 0.56, 0.95)
    assert (better >= noisy).verdict == "holds"
    assert (noisy >= better).verdict == "fails"
    assert (Sample({0: 0.9, 7: 0.1}, "other") >= noisy).verdict == "undecided"  # one seed in common
    with pytest.raises(Undecided, match="no seed in common"):
        Sample({7: 0.1}, "other") - noisy


def test_near_is_both_ways():
    assert sample(0.50, 0.51, 0.52).near(sample(0.51, 0.52, 0.53), 0.05).verdict == "holds"
    assert sample(0.50, 0.51, 0.52).near(sample(0.71, 0.72, 0.73), 0.05).verdict == "fails"
    assert sample(0.71, 0.72, 0.73).near(sample(0.50, 0.51, 0.52), 0.05).verdict == "fails"


@pytest.mark.parametrize("a", CHANCES)
@pytest.mark.parametrize("b", CHANCES)
def test_three_valued_logic(a, b):
    both, either = evidence(a) & evidence(b), evidence(a) | evidence(b)
    assert both.verdict == ("fails" if "fails" in (a, b) else "undecided" if "undecided" in (a, b) else "holds")
    assert either.verdict == (~(~evidence(a) & ~evidence(b))).verdict
    decides = next(verdict for verdict in ("fails", "undecided", "holds") if verdict in (a, b))
    assert both.numbers in ((a, b), (b, a))
    assert both.numbers[0] == decides
    assert either.numbers[0] == next(verdict for verdict in ("holds", "undecided", "fails") if verdict in (a, b))


def test_what_decides_stands_first_and_the_rest_is_counted():
    many = every(Evidence(0.001 * i, 1 - 0.001 * i, (str(i),)) for i in range(1, 25))
    assert (many.numbers[0], len(many.numbers), many.count) == ("24", 20, 24)
    found = [Evidence(0.001 * i, 1 - 0.001 * i, (str(i),)) for i in (3, 20, 1)]
    assert every(found).numbers[0] == "20"
    assert some(found).numbers[0] == "1"
    assert (~some(~one for one in found)).numbers[0] == "20"


def test_the_highest_is_any_and_the_lowest_all_of_many():
    low, middle, high = (sample(a, a + 0.001, a + 0.002) for a in (0.1, 0.5, 0.8))
    best, worst = Extreme([low, middle, high], highest=True), Extreme([low, middle, high], highest=False)
    assert (best >= 0.7).holds == pytest.approx(3 * (high >= 0.7).holds)  # any of three
    assert (best <= 0.9).holds == (high <= 0.9).holds  # all of them
    assert (best >= 0.9).fails == (high >= 0.9).fails
    assert (worst >= 0.05).verdict == (worst <= 0.2).verdict == "holds"
    assert (worst >= 0.2).verdict == (worst <= 0.05).verdict == "fails"
    assert (best - worst >= 0.6).verdict == (middle - worst >= 0.3).verdict == (best - middle <= 0.4).verdict == "holds"
    assert (best - worst >= 0.8).verdict == "fails"
    assert (middle <= best).verdict == (middle >= worst).verdict == (best >= best).verdict == "holds"
    assert (best >= worst).count == 9


def test_every_one_of_many_counts_however_unsteady():
    """Not the lowest mean only: another setting may be lower in some seed."""
    steady, unsteady = sample(0.840, 0.841, 0.842), sample(0.60, 0.98, 0.98)
    assert (steady >= 0.8).verdict == "holds"
    assert (Extreme([steady, unsteady], highest=False) >= 0.8).verdict == "undecided"


def test_what_is_yes_or_no_in_each_seed_is_counted():
    assert mostly(sample(1.0, 1.0, 1.0)).verdict == mostly(sample(0.0, 0.0, 0.0)).verdict == "undecided"
    assert mostly(Sample(dict.fromkeys(range(6), 1.0), "")).verdict == "holds"
    assert mostly(Sample(dict.fromkeys(range(6), 0.0), "")).verdict == "fails"
    assert mostly(sample(1.0, 0.0, 1.0)).numbers == ("what: in 2 of 3 seeds",)


def test_equals_are_at_least_and_at_most_each_other():
    same = Sample({0: 2.0, 1: 2.0, 2: 2.0}, "same")
    assert (same >= 2.0).verdict == (same <= 2.0).verdict == (same <= same).verdict == "holds"


def test_one_of_many_has_to_fail_by_more():
    doubtful = Evidence(0.98, 0.02, ("doubtful",))
    assert doubtful.verdict == "fails"
    assert every([doubtful, evidence("holds")]).verdict == "undecided"
    assert every([*[evidence("holds")] * 3, doubtful]).fails == pytest.approx(0.08)
    assert some([*[evidence("fails")] * 3, ~doubtful]).verdict == "undecided"


@pytest.mark.parametrize(
    ("margin", "verdict"), [(0.4, "holds"), (0.2, "undecided"), (-0.2, "undecided"), (-0.4, "fails")]
)
def test_what_is_simulated_needs_three_standard_errors(margin, verdict):
    assert measured(margin, 0.1, "").verdict == verdict


def test_known():
    assert known(True, "1 < 2").verdict == "holds"
    assert known(False, "1 > 2").verdict == "fails"


def test_runs_are_chosen_by_the_papers_spellings(make_runs):
    _, _, runs = make_runs(FIGURES["S0-F1"])
    planned = runs.at(attack="nlp(objective=0)")
    assert {run.spec.attack for run in planned} == {"nlp(objective=0)"}
    assert {run.result.spec.attack for run in planned} == {"nlp(objective=0, budget=3000)"}
    assert len(runs.at(attack=["alie", "ipm()"])) == 20
    assert len(runs.without(attack="alie")) == len(runs) - 10
    with pytest.raises(Undecided, match="no runs of Krum"):
        runs.at(rule="krum")
    assert set(runs.each("attack")) == {run.spec.attack for run in runs}


def test_extremes_are_of_all_settings(make_runs):
    _, _, runs = make_runs(FIGURES["S0-F1"])
    means = {attack: met.of(ERROR).mean for attack, met in runs.each("attack").items()}
    assert [one.mean for one in runs.lowest(ERROR).among] == list(means.values())
    assert [one.mean for one in runs.highest(ERROR).among] == list(means.values())
    assert (runs.highest(ERROR).highest, runs.lowest(ERROR).highest) == (True, False)
    with pytest.raises(ValueError, match="12 settings where one is meant"):
        runs.of(ERROR)


def test_a_run_that_is_missing_leaves_open_what_it_is_about(make_runs):
    figure = FIGURES["S0-F1"]
    cells, results, _ = make_runs(figure)
    runs = figure.runs(cells, [result for result in results if result.spec.attack != "alie"])
    assert len(runs.at(attack="ipm()").of(ERROR).of) == 10
    for ask in (lambda: runs.at(attack="alie").of(ERROR), lambda: runs.lowest(ERROR)):
        with pytest.raises(Undecided, match="failed or is missing"):
            ask()


def test_only_the_control_of_a_setting_counts(make_runs):
    figure = FIGURES["S3-T1-fashion"]
    cells, results, _ = make_runs(figure)

    def reached(result):
        poor = result.spec.rule == "mean" and result.spec.split == "dirichlet(beta=0.3)"
        return msgspec.structs.replace(result, records=[Record(round=9, test_accuracy=0.1 if poor else 0.9)])

    runs = figure.runs(cells, map(reached, results)).at(rule="dnc", attack="min_max")
    assert runs.at(split="dirichlet(beta=0.5)").of(BEST).mean == 0.9
    said = r"the control on fashion_mnist/lenet5, β = 0\.3 reached 10\.0%, of at least 75%"
    with pytest.raises(NotLearnt, match=said):
        runs.at(split="dirichlet(beta=0.3)").of(BEST)
    without = figure.runs(cells, [result for result in results if result.spec.rule != "mean"])
    with pytest.raises(Undecided, match=r"the control on fashion_mnist/lenet5, β = 0\.5 failed or is missing"):
        without.at(rule="dnc", attack="min_max", split="dirichlet(beta=0.5)").of(BEST)


def test_measures(make_runs):
    _, (result, *_), _ = make_runs(FIGURES["S0-F1"])
    distances = [record.extra["error"] for record in result.records[1:]]
    assert ERROR.of(result) == distances[-1]
    assert LEAST_ERROR.of(result) == min(distances)
    assert WHOLE_WAY.of(result) == pytest.approx(sum(distances) / 8)
    assert FIRST_HALF.of(result) == pytest.approx(sum(distances[:4]) / 4)
    assert SECOND_HALF.of(result) == pytest.approx(sum(distances[4:]) / 4)
    with pytest.raises(Undecided, match="no test accuracy"):
        FINAL.of(result)


def test_what_is_no_number_is_the_worst(make_result):
    broken = make_result(
        [Record(round=0, test_accuracy=0.5), Record(round=1, test_accuracy=math.nan, train_loss=math.inf)]
    )
    assert FINAL.of(broken) == 0
    assert BEST.of(broken) == 0.5
    assert LOG_LOSS.of(broken) == pytest.approx(3)
    assert ERROR.of(make_result([Record(round=1, extra={"error": math.inf})])) == 1e31


def test_early_and_late(make_result):
    values = [0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.4, 0.6]
    result = make_result([Record(round=t, test_accuracy=value) for t, value in enumerate(values)])
    assert EARLY.of(result) == pytest.approx(0.4)
    assert SWING.of(result) == pytest.approx(0.1)


def test_what_is_gained_under_attack(make_result):
    records = [Record(round=t, test_accuracy=0.1 * t) for t in range(5)]
    attacked = make_result(records)
    late = msgspec.structs.replace(attacked, spec=msgspec.structs.replace(attacked.spec, attack_start=2))
    assert UNDER_ATTACK.of(late) == pytest.approx(0.1)
    with pytest.raises(Undecided, match="under attack"):
        UNDER_ATTACK.of(make_result(records[:1]))


def test_nothing_comes_of_nothing():
    with pytest.raises(Undecided):
        Runs([]).highest(FINAL)
