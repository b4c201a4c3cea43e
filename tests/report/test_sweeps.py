"""Strength sweeps go across settings that differ in nothing but the split."""

from turncoat.report.drawing import rows, styles
from turncoat.report.sweeps import level, sweeps_of
from turncoat.results.comparison import compare


def swept(results):
    return sweeps_of(compare(results), styles(result.spec.rule for result in results))


def test_one_panel_a_split_in_order(run):
    splits = ["iid", "dirichlet", "dirichlet(0.1)", "dirichlet(10)", "dirichlet(2)"]
    results = [
        run(rule, f"alie(z={z})", [0.1, z / 10], split=split, seed=seed)
        for split in splits
        for rule in ("mean", "krum")
        for z in (8, 1.5)
        for seed in range(2)
    ]
    (sweep,) = swept(results)
    assert (sweep.attack, sweep.parameter, sweep.setting) == ("alie", "z", "digits/softmax, n = 10, f = 3")
    betas = [f"dirichlet(beta={beta})" for beta in (0.1, 0.5, 2, 10)]
    assert list(sweep.panels) == [*betas, "iid"]
    found = rows(sweep.panels["iid"], [])
    assert [(row["rule"], row["strength"], row["seed"], row["value"]) for row in found[:5]] == [
        ("mean", 1.5, "0", 0.15),
        ("mean", 1.5, "1", 0.15),
        ("krum", 1.5, "0", 0.15),
        ("krum", 1.5, "1", 0.15),
        ("mean", 8.0, "0", 0.8),
    ]


def test_what_is_swept(run):
    attacks = [
        "none",
        "alie",
        "alie(z=1)",
        "ipm(epsilon=1)",
        "ipm(epsilon=2)",
        "sign_flip",
        "mine.py:x",
        "ipm(",
        "x(1)",
        "lookahead(planner=best)",
        f"alie(z={'9' * 400})",
    ]
    assert [sweep.attack for sweep in swept([run(attack=attack) for attack in attacks])] == ["ipm"]


def test_other_parameters_and_other_settings_are_other_sweeps(run):
    attacks = ["alie(z=1)", "alie(z=2)", "alie(z=1, ddof=0)", "alie(z=2, ddof=0)"]
    found = swept([run(attack=attack, lr=lr) for attack in attacks for lr in (0.1, 0.2)])
    assert [sweep.attack for sweep in found] == ["alie", "alie(ddof=0)"] * 2
    assert len({sweep.setting for sweep in found}) == 2


def test_strengths_over_magnitudes_have_a_logarithmic_axis(run):
    def scale(*strengths):
        (sweep,) = swept([run(attack=f"ipm(epsilon={strength})") for strength in strengths])
        return sweep.panels["iid"].spec["layer"][0]["layer"][1]["encoding"]["x"]["scale"]

    assert scale(0.1, 100)["type"] == "log"
    assert scale(1, 8)["zero"]
    assert scale(0, 100)["zero"]


def test_levels():
    assert level("dirichlet(by=label)") == "dirichlet(beta=0.5, by=label)"
    assert level("mine.py:split") == "mine.py:split"
