"""What results say together: spreads, worst attacks, paired differences, controls and mixtures."""

import math
import statistics
import time

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from turncoat.errors import SpecError
from turncoat.results import Record
from turncoat.results.comparison import compare, interval, learnt
from turncoat.results.failure import Failure
from turncoat.results.metric import ACCURACY, LOSSES, Spread
from turncoat.results.settings import seed_number, seeds_of, seeds_text, spellings
from turncoat.results.statistics import mixtures, paired, summary, worst
from turncoat.spec import Seeds, Spec, resolve

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="session")
def run(make_result):
    """A run by its rule, attack and seed with the values of a metric; names need not exist."""

    def make(rule, attack, *values, seed=0, metric="test_accuracy", result=None, **fields):
        spec = resolve(Spec(**{"n": 10, "f": 3, "seed": seed, **fields}))
        spec = msgspec.structs.replace(spec, rule=rule, attack=attack)
        records = [
            Record(round=t, **({metric: value} if metric in Record.__struct_fields__ else {"extra": {metric: value}}))
            for t, value in enumerate(values)
        ]
        return make_result(spec=spec, records=records, **(result or {}))

    return make


@pytest.fixture(scope="session")
def failed():
    """The run of a result, had it failed."""

    def make(result):
        told = {"kind": "exception", "error": "singular", "rounds": 3, "seconds": 1.0, "source_hash": "0"}
        told |= {"started": result.started, "finished": result.finished}
        return Failure(spec=result.spec, key="a", environment=result.environment, **told)

    return make


@pytest.fixture
def grid(run):
    """Final accuracies of krum and median under two attacks and none, over two seeds, with their control."""
    ends = {
        ("krum", "none"): [0.9, 0.8],
        ("krum", "alie"): [0.5, 0.7],
        ("krum", "ipm"): [0.4, 0.6],
        ("median", "none"): [0.7, 0.7],
        ("median", "alie"): [0.2, 0.3],
        ("median", "ipm"): [0.6, 0.6],
        ("mean", "none"): [0.9, 0.9],
    }
    return [run(*cell, 0.1, end, seed=seed) for cell, values in ends.items() for seed, end in enumerate(values)]


def test_summary(grid):
    rows = summary(grid)
    assert rows.height == 7
    row = rows.row(by_predicate=(pl.col("rule") == "krum") & (pl.col("attack") == "alie"), named=True)
    assert row == {
        "setting": "digits/softmax, n = 10, f = 3, iid",
        "rule": "krum",
        "attack": "alie",
        "metric": "test_accuracy",
        "seeds": 2,
        "mean": pytest.approx(0.6),
        "sd": pytest.approx(statistics.stdev([0.5, 0.7])),
        "min": 0.5,
        "max": 0.7,
        "failed": 0,
        "learnt": True,
    }


def test_worst(grid, run):
    rows = worst([*grid, run("mean", "lie", 0.1, 0.3)])
    assert rows.select("rule", "attack", "seeds").rows() == [
        ("krum", "ipm", 2),
        ("mean", "lie", 1),
        ("median", "alie", 2),
    ]
    krum, mean, median = rows.iter_rows(named=True)
    assert (krum["clean"], krum["mean"], krum["lost"]) == pytest.approx((0.85, 0.5, 0.35))
    assert (krum["missing"], mean["missing"], median["missing"]) == (1, 2, 1)
    assert mean["sd"] is None


def test_paired(grid):
    rows = paired(grid, "krum", "median")
    assert rows["attack"].to_list() == ["none", "alie", "ipm", "worst"]
    assert rows["seeds"].to_list() == [2] * 4
    assert rows["mean"].to_list() == pytest.approx([0.15, 0.35, -0.1, 0.25])
    assert rows["low"].to_list() == pytest.approx([0.1, 0.3, -0.2, 0.2])  # of two pairs, the smaller one
    assert rows["high"].to_list() == pytest.approx([0.2, 0.4, 0.0, 0.3])
    assert rows["better"].to_list() == [2, 2, 0, 2]
    assert rows.select("attack_a", "attack_b").row(-1) == ("ipm", "alie")
    turned = paired(grid, "median", "krum")
    assert turned["mean"].to_list() == pytest.approx([-mean for mean in rows["mean"]])
    assert turned["better"].to_list() == [0, 0, 1, 0]


def test_every_rule_against_the_best(grid):
    rows = paired(grid)
    assert set(rows["b"]) == {"krum"}
    assert rows.select("a", "attack").rows() == [
        ("median", "none"), ("median", "alie"), ("median", "ipm"), ("median", "worst"), ("mean", "none"),
    ]  # fmt: skip


def test_only_common_seeds_and_attacks_are_paired(run):
    results = [run("a", "alie", 0.1, 0.5, seed=seed) for seed in (0, 1, 2)]
    results += [run("b", "alie", 0.1, 0.3, seed=seed) for seed in (2, 3)]
    results += [
        run("a", "ipm", 0.1, 0.0),
        run("b", "lie", 0.1, 0.0),
        run("a", "foe", 0.1, 0.0),
        run("b", "foe", 0.1, 0.9, seed=1),
    ]
    rows = paired(results, "a", "b")
    assert rows.select("attack", "seeds", "attack_a", "attack_b").rows() == [
        ("alie", 1, "alie", "alie"), ("worst", 1, "alie", "alie"),
    ]  # fmt: skip
    assert rows["low"].to_list() == [None, None]
    assert paired([run("a", "alie", 0.1, 0.5), run("b", "alie", 0.1, 0.5, n=20)], "a", "b").height == 0


def test_a_rule_is_found_by_any_spelling(run):
    results = [run(rule, "alie", 0.1, 0.5) for rule in ("nnm >> trimmed_mean", "Mine", "krum")]
    assert paired(results, "nnm>>trimmed_mean()", "Mine")["a"].unique().to_list() == ["nnm >> trimmed_mean"]
    with pytest.raises(SpecError, match="no result has the rule 'crum': did you mean krum"):
        paired(results, "crum", "Mine")


def test_a_nan_is_worst_and_counts(run):
    ends = {"a": [0.5, NAN], "b": [0.6, 0.7], "c": [NAN, NAN]}
    results = [run(rule, "alie", 0.1, end, seed=seed) for rule, both in ends.items() for seed, end in enumerate(both)]
    results += [run("a", "ipm", 0.1, 0.0, seed=seed) for seed in (0, 1)]
    cells = {(row["rule"], row["attack"]): row for row in summary(results).iter_rows(named=True)}
    row = cells["a", "alie"]
    assert (row["seeds"], row["max"]) == (2, 0.5)
    assert all(math.isnan(row[name]) for name in ("mean", "sd", "min"))
    assert all(math.isnan(cells["c", "alie"][name]) for name in ("mean", "min", "max"))
    assert worst(results).filter(pl.col("rule") == "a")["attack"].to_list() == ["alie"]
    rows = paired(results, "a", "b")
    assert rows["mean"].to_list() == [-INF, -INF]
    assert rows["low"].to_list() == [None, None]
    assert rows["better"].to_list() == [0, 0]
    assert paired(results, "b", "a")["mean"].to_list() == [INF, INF]
    assert paired(results, "c", "a")["mean"].to_list()[0] == -INF  # the second seed is no difference


def test_losses_may_be_infinite(run):
    results = [run("a", "alie", 2.0, end, metric="test_loss", seed=seed) for seed, end in enumerate([INF, 1.0, NAN])]
    (row,) = summary(results).iter_rows(named=True)
    assert (row["metric"], row["min"]) == ("test_loss", 1.0)
    assert not math.isfinite(row["max"])
    (row,) = summary(results[:2]).iter_rows(named=True)
    assert (row["mean"], row["max"]) == (INF, INF)
    assert math.isnan(row["sd"])
    (row,) = summary(
        [run("a", "alie", end, metric="test_loss", seed=i) for i, end in enumerate([1e308, 1.7e308])]
    ).iter_rows(named=True)
    assert row["mean"] == INF


def test_a_task_without_accuracy(run):
    ends = {"mean": [0.5, 0.4], "median": [0.2, 0.1]}
    results = [
        run(rule, "alie", 3.0, end, seed=seed, metric="error")
        for rule, both in ends.items()
        for seed, end in enumerate(both)
    ]
    assert worst(results).select("rule", "metric", "mean").rows() == [
        ("median", "error", pytest.approx(0.15)), ("mean", "error", pytest.approx(0.45)),
    ]  # fmt: skip
    (row,) = paired(results, "median", "mean").filter(pl.col("attack") == "worst").iter_rows(named=True)
    assert (row["mean"], row["better"]) == (pytest.approx(-0.3), 2)


def test_runs_of_one_seed_count_once(run):
    results = [run("a", "alie", 0.1, 0.4), run("a", "alie", 0.1, 0.6, threads=2), run("a", "alie", 0.1, 0.8, seed=1)]
    (row,) = summary(results).iter_rows(named=True)
    assert (row["seeds"], row["mean"]) == (2, pytest.approx(0.65))


def test_what_was_not_measured_is_not_counted(run):
    results = [run("a", "alie", 0.1, 0.4), run("a", "alie", seed=1), run("b", "alie")]
    assert summary(results).select("rule", "seeds").rows() == [("a", 1)]
    assert worst(results).height == 1
    assert paired(results, "a", "b").height == 0


def test_nothing(run):
    assert summary([]).columns == summary([run("a", "alie", 0.1, 0.4)]).columns
    assert (summary([]).height, worst([]).height, paired([]).height, mixtures([])) == (0, 0, 0, {})
    with pytest.raises(SpecError, match="no result has the rule 'krum': there are none"):
        paired([], "krum", "median")


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.1, 0.9], True),
        ([0.1, 0.9, 0.2], False),
        ([0.5, 0.61], True),  # a fifth of what is left
        ([0.5, 0.59], False),
        ([0.1, NAN], False),
        ([NAN, 0.9], False),
        ([1.0, 1.0], True),
        ([0.9], None),
        ([], None),
    ],
)
def test_what_counts_as_learnt(run, accuracies, expected):
    assert learnt(run("mean", "none", *accuracies)) is expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([2.0, 1.0], True), ([2.0, 1.1], False), ([2.0, NAN], False), ([INF, INF], False), ([2.0], None)],
)
def test_a_task_without_accuracy_has_learnt_when_its_loss_is_halved(run, losses, expected):
    assert learnt(run("mean", "none", *losses, metric="test_loss")) is expected


def test_a_setting_has_learnt_when_all_its_controls_have(run):
    attacked, good, bad = (
        run("krum", "alie", 0.1, 0.5),
        run("mean", "none", 0.1, 0.9),
        run("mean", "none", 0.1, 0.2, seed=1),
    )
    assert summary([attacked])["learnt"].to_list() == [None]
    assert summary([attacked, run("krum", "none", 0.1, 0.9), run("mean", "alie", 0.1, 0.9)])[
        "learnt"
    ].unique().to_list() == [None]
    assert summary([attacked, good])["learnt"].to_list() == [True, True]
    assert summary([attacked, run("mean", "alie", 0.1, 0.9, f_actual=0)])["learnt"].to_list() == [True, True]
    assert summary([attacked, good, bad])["learnt"].to_list() == [False, False]
    assert worst([attacked, good, bad])["learnt"].to_list() == [False]
    elsewhere = run("mean", "none", 0.1, 0.2, lr=0.5)
    assert dict(summary([attacked, good, elsewhere]).select("rule", "learnt").rows())["krum"] is True


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_a_spread_is_that_of_the_textbook(values):
    found = Spread.of(values, ACCURACY)
    assert (found.seeds, found.min, found.max) == (len(values), min(values), max(values))
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.sd == (pytest.approx(statistics.stdev(values), abs=1e-12) if len(values) > 1 else None)
    assert Spread.of(values, LOSSES[0]) == found


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12))
def test_an_interval_lies_among_the_differences(values):
    low, high = interval(values) or (None, None)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert interval(values) == (low, high)


def test_the_interval_is_the_percentile_bootstrap():
    values = np.random.default_rng(3).normal(size=30)
    theirs = bootstrap((values,), np.mean, method="percentile").confidence_interval
    assert interval(list(values)) == pytest.approx((theirs.low, theirs.high), abs=0.04)


def test_intervals_of_few_and_of_equal_differences():
    assert interval([]) is None
    assert interval([0.3]) is None
    assert interval([0.3, NAN]) is None
    assert interval([0.3, INF, 0.1]) is None
    assert interval([0.3] * 5) == pytest.approx((0.3, 0.3))
    assert interval([0.0, 0.0]) == (0.0, 0.0)
    assert interval([0.1, 0.2, 0.6]) == pytest.approx((0.1, 0.6))  # one in 27 resamples is all the smallest
    assert interval([0.0, 1.0] * 50_000) == pytest.approx((0.497, 0.503), abs=1e-3)


def test_mixtures(run):
    environment = run("a", "none").environment
    other = msgspec.structs.replace(environment, torch="2.13", device="NVIDIA H200")
    results = [
        run("a", "none", result={"data_files": "d" * 64, "files": {"mine.py": "1" * 64}}),
        run("b", "none", result={"data_files": "d" * 64, "environment": other}),
        run("c", "none", result={"source_hash": "5" * 64, "files": {"mine.py": "2" * 64}}),
    ]
    assert mixtures(results) == {
        "torch": {"2.6": 2, "2.13": 1},
        "device": {"cpu": 2, "NVIDIA H200": 1},
        "turncoat's code": {"0" * 12: 2, "5" * 12: 1},
        "mine.py": {"1" * 12: 1, "2" * 12: 1},
    }
    assert mixtures(results[:1] * 3) == {}


def test_the_best_rule_has_met_every_attack(run):
    ends = {
        ("spared", "alie"): 0.9,
        ("tested", "alie"): 0.8,
        ("tested", "ipm"): 0.5,
        ("weak", "alie"): 0.2,
        ("weak", "ipm"): 0.1,
    }
    (one,) = compare([run(*cell, 0.1, end) for cell, end in ends.items()])
    assert one.rules == ["tested", "weak", "spared"]
    assert one.best == "tested"


def test_a_worst_is_chosen_on_the_seeds_that_are_compared(run):
    results = [run("a", "alie", 0.1, 0.5, seed=seed) for seed in range(2)]
    results += [run("a", "ipm", 0.1, 0.6 if seed < 2 else 0.1, seed=seed) for seed in range(10)]
    results += [run("b", attack, 0.1, 0.4, seed=seed) for attack in ("alie", "ipm") for seed in range(2)]
    row = paired(results, "a", "b").row(-1, named=True)
    assert (row["attack"], row["attack_a"], row["seeds"], row["better"]) == ("worst", "alie", 2, 2)
    assert row["mean"] == pytest.approx(0.1)


def test_attacks_that_tie_are_all_worst(run):
    (one,) = compare([run("a", attack, 0.5, 0.1) for attack in ("alie", "ipm", "rop")] + [run("a", "foe", 0.1, 0.2)])
    assert one.worst("a").attacks == ("alie", "ipm", "rop")
    assert str(one.worst("a")) == "alie and 2 others"
    assert [one.is_worst("a", attack) for attack in one.attacks] == [True, False, True, True]


def test_what_failed_is_no_merit(run, failed):
    results = [run("fragile", "alie", 0.1, 0.8, seed=seed) for seed in range(3)]
    results += [run("sturdy", attack, 0.1, 0.6, seed=seed) for attack in ("alie", "rop") for seed in range(3)]
    failures = [failed(run("fragile", "rop", seed=seed)) for seed in range(3)]
    failures += [
        failed(run("sturdy", "rop", seed=3)),
        failed(run("sturdy", "rop")),
        failed(run("gone", "alie", lr=9.0)),
    ]
    (one,) = compare(results, failures)
    assert one.rules == ["sturdy", "fragile"]
    assert (one.text("fragile", "rop"), one.missing_text("fragile")) == ("3 failed", "rop (3 failed)")
    assert one.failed == {("fragile", "rop"): 3, ("sturdy", "rop"): 1}  # of another, a run of the same seed finished
    assert one.text("sturdy", "rop") == "60.0±0.0 (3 of 4)"
    rows = summary(results, failures).filter(pl.col("failed") > 0)
    assert rows.select("rule", "seeds", "failed").rows() == [("sturdy", 3, 1), ("fragile", 0, 3)]
    assert worst(results, failures)["missing"].to_list() == [0, 1]


def test_an_attack_that_only_failures_met_is_there(run, failed):
    (one,) = compare([run("a", "alie", 0.1, 0.5)], [failed(run("a", "ipm")), failed(run("b", "ipm"))])
    assert (one.rules, one.attacks, one.text("b", "alie")) == (["a", "b"], ["alie", "ipm"], "–")


def test_backdoors_are_compared_by_their_success(run):
    door = Record(round=1, test_accuracy=0.9, extra={"attack_success": 1.0})
    results = [msgspec.structs.replace(run("a", "badnets"), records=[door]), run("a", "alie", 0.1, 0.8)]
    (one,) = compare(results)
    assert one.worst("a").attack == "alie"
    assert one.backdoors.attacks == ["badnets"]
    assert one.backdoors.text("a", "badnets") == "100.0 (1)"
    assert compare(results[1:])[0].backdoors is None


def test_clean_runs_count_in_each_setting_that_they_share(run):
    results = [run("a", "alie", 0.1, 0.5, f_actual=count) for count in (1, 2)] + [run("a", "none", 0.1, 0.9)]
    assert [one.spread("a", "none").seeds for one in compare(results)] == [1, 1]
    started = time.process_time()
    many = [run("a", attack, 0.1, 0.5, lr=lr / 1000) for lr in range(1, 301) for attack in ("alie", "none")]
    assert len(compare(many)) == 300
    assert time.process_time() - started < 10


def test_seeds_have_numbers_where_they_were_derived(run):
    assert seed_number(Seeds.derive(7)) == 7
    mixed = msgspec.structs.replace(Seeds.derive(7), adversary=1)
    assert seed_number(mixed) is None
    assert seeds_text(mixed) == "data 7, model 7, server 7, adversary 1"
    assert seeds_of(run("a", "none", seed=7)) == Seeds.derive(7)


def test_spellings():
    assert spellings("attack", "ipm(2.50)") == {"ipm(2.50)", "ipm(epsilon=2.5)"}
    assert spellings("task", "digits") == {"digits", "digits/softmax"}
    assert spellings("rule", "Mine(x") == {"Mine(x"}
    assert spellings("device", "cpu") == {"cpu"}
