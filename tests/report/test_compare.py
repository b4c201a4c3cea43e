"""Which runs are compared, and what comes out."""

import math
import re
from io import StringIO

import pytest
from rich.console import Console

from turncoat.report.tables import print_comparison
from turncoat.results.comparison import compare


def printed(results, width=100):
    console = Console(width=width, record=True, file=StringIO())
    for one in compare(results):
        print_comparison(console, one)
    return console.export_text()


def test_the_worst_attack_of_each_rule(run):
    ends = {
        "mean": {"none": 0.9, "alie": 0.3, "sign_flip": 0.5},
        "median": {"none": 0.8, "alie": 0.7, "sign_flip": 0.6},
    }
    results = [run(rule, attack, [0.1, end]) for rule, row in ends.items() for attack, end in row.items()]
    (comparison,) = compare(results)
    assert comparison.rules == ["median", "mean"]
    assert comparison.attacks == ["none", "alie", "sign_flip"]
    assert [(rule, comparison.worst(rule).attack) for rule in comparison.rules] == [
        ("median", "sign_flip"),
        ("mean", "alie"),
    ]
    assert comparison.lost("mean") == pytest.approx(0.6)
    assert comparison.is_worst("mean", "alie")
    assert not comparison.is_worst("mean", "none")


def test_values_are_means_over_seeds(run):
    results = [run(attack="alie", values=[0.1, end], seed=seed) for seed, end in enumerate([0.2, 0.4])]
    (comparison,) = compare(results)
    assert comparison.value("mean", "alie") == pytest.approx(0.3)
    assert comparison.value("mean", "none") is None
    assert comparison.lost("mean") is None


def test_a_nan_is_worse_than_anything(run):
    ends = {"alie": math.nan, "ipm": 0.0, "none": 0.9}
    (comparison,) = compare([run(attack=attack, values=[end]) for attack, end in ends.items()])
    assert comparison.worst("mean").attack == "alie"
    losses = {"alie": math.nan, "ipm": 1e30, "none": 0.1}
    (comparison,) = compare([run(attack=attack, values=[end], metric="test_loss") for attack, end in losses.items()])
    assert comparison.worst("mean").attack == "alie"


def test_a_task_without_accuracy_is_compared_by_its_own_metric(run):
    ends = {"none": 0.5, "alie": 2.0, "ipm": 1.0}
    (comparison,) = compare([run(attack=attack, values=[3.0, end], metric="error") for attack, end in ends.items()])
    assert comparison.metric.name == "error"
    assert comparison.worst("mean").attack == "alie"
    assert comparison.lost("mean") == 1.5
    assert comparison.metric.best(run(values=[3.0, 0.5, 0.7], metric="error")) == 0.5


def test_other_settings_are_not_compared(run):
    results = [
        run("krum", "none"),
        run("krum", "alie", values=[0.5]),
        run("krum", "alie", values=[0.4], f_actual=4),
        run("krum", "alie", values=[0.3], lr=0.2),
        run("krum", "none", values=[0.7], f_actual=0),
    ]
    plain, more, faster = compare(results)
    assert plain.title == "digits/softmax, n = 10, f = 3, iid, f_actual = 3, lr = 0.1, local_lr = 0.1"
    assert more.title == "digits/softmax, n = 10, f = 3, iid, f_actual = 4, lr = 0.1, local_lr = 0.1"
    assert faster.title == "digits/softmax, n = 10, f = 3, iid, f_actual = 3, lr = 0.2, local_lr = 0.2"
    assert plain.value("krum", "none") == more.value("krum", "none") == pytest.approx(0.8)  # 0.9 and 0.7
    assert faster.value("krum", "none") is None


def test_a_run_without_attackers_is_clean_whatever_it_names(run):
    (comparison,) = compare([run(attack="alie", f_actual=0)])
    assert comparison.attacks == ["none"]


def test_device_and_threads_make_no_other_setting(run):
    assert len(compare([run(), run("median", threads=2, gradients="vmap", evaluate_every=3)])) == 1


def test_what_a_rule_was_spared_is_said(run):
    results = [run("krum", "alie", [0.5]), run("mean", "alie", [0.4]), run("mean", "ipm", [0.3])]
    (comparison,) = compare(results)
    assert comparison.missing("krum") == ["ipm"]
    assert comparison.missing("mean") == []


def test_the_table_marks_the_worst(run):
    text = printed([run(values=[0.9]), run(attack="alie", values=[0.25]), run(attack="ipm", values=[0.5])])
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    assert [row for row in rows if row[0] in ("no attack", "alie", "ipm", "lost")] == [
        ["no attack", "90.0 (1)"], ["alie", "25.0 (1)*"], ["ipm", "50.0 (1)"], ["lost", "65.0"],
    ]  # fmt: skip


def test_many_attacks_stand_in_rows(run):
    attacks = [f"alie(z={z})" for z in range(9)]
    text = printed([run(attack=attack, values=[0.1 * i]) for i, attack in enumerate(attacks)], width=60)
    assert [line.split() for line in text.splitlines() if line.strip().startswith("alie(z=0)")] == [
        ["alie(z=0)", "0.0", "(1)*"]
    ]


def test_names_are_not_markup(run):
    assert "[red]krum[/red]" in printed([run("[red]krum[/red]", "[bold]")])


def test_tables_of_nothing_and_of_several_settings(run):
    assert printed([]) == ""
    text = printed([run(n=10), run(n=20)])
    assert "n = 10" in text
    assert "n = 20" in text
