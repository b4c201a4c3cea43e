"""The specification of a campaign: which runs a table stands for, in which order, and what mistakes say."""

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncoat.campaign.axes import MOST
from turncoat.campaign.grid import LARGEST, expand, read_grid, with_settings
from turncoat.errors import SpecError
from turncoat.spec import Seeds, Spec, canonical, control, resolve

ROOT = Path(__file__).parents[2]
BASE = {"n": 10, "f": 2, "control": False}
AXES = {  # two values of every field, and both of them together with `BASE` and with one another
    "task": ["digits", "mnist/cnn"],
    "n": [10, 12],
    "f": [1, 2],
    "f_actual": [0, 3],
    "rule": ["median", "nnm >> krum"],
    "attack": ["sign_flip", "alie(z=8)"],
    "split": ["iid", "dirichlet(0.3)"],
    "rounds": [10, 20],
    "batch": [8, 16],
    "lr": [0.1, 0.2],
    "schedule": ["cosine", "step(30, factor=0.5)"],
    "momentum": [0.0, 0.9],
    "momentum_form": ["damped", "undamped"],
    "server_momentum": [0.0, 0.9],
    "weight_decay": [0.0, 1e-4],
    "clip": [1.0, 2.0],
    "clip_at": ["worker", "aggregate"],
    "local_steps": [1, 2],
    "local_lr": [0.1, 0.5],
    "share": ["all", "honest"],
    "byzantine": ["last", "random"],
    "attack_start": [0, 5],
    "attack_stop": [7, 9],
    "knowledge": ["omniscient", "partial( 3)"],
    "nonfinite": ["exclude", "raise"],
    "evaluate_every": [5, 10],
    "gradients": ["sequential", "grouped"],
    "device": ["cpu", "cuda"],
    "threads": [1, 2],
    "dtype": ["float32", "float64"],
    "seed": [0, 1],
}


def fields(specs, *keys):
    return [tuple(getattr(spec, key) for key in keys) for spec in specs]


def toml(table):
    """A table as TOML, tables within it inline."""
    return "".join(f"{key} = {_inline(value)}\n" for key, value in table.items())


def _inline(value):
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_inline(item)}' for key, item in value.items())} }}"
    return f"[{', '.join(map(_inline, value))}]" if isinstance(value, list) else json.dumps(value)


def test_the_last_list_turns_fastest_and_the_controls_come_last():
    specs = expand({"n": 10, "f": 2, "rule": ["krum", "median"], "attack": ["ipm(2.5)", "alie(8)"], "seed": [0, 1]})
    assert [(rule, attack) for rule, attack in fields(specs, "rule", "attack")[::2]] == [
        ("krum", "ipm(epsilon=2.5)"),
        ("krum", "alie(z=8)"),
        ("median", "ipm(epsilon=2.5)"),
        ("median", "alie(z=8)"),
        ("mean", "none"),
    ]
    assert [spec.seed for spec in specs] == [Seeds.derive(0), Seeds.derive(1)] * 5


def test_grids_share_the_fields_above_them_and_override_them():
    shared = {**BASE, "lr": [0.1, 0.2], "rounds": 50}
    specs = expand({**shared, "grid": [{"rule": ["krum", "mean"]}, {"lr": 0.5, "n": [20, 30]}, {}]})
    assert fields(specs, "lr", "n", "rule", "rounds") == [
        (0.1, 10, "krum", 50),
        (0.1, 10, "mean", 50),
        (0.2, 10, "krum", 50),
        (0.2, 10, "mean", 50),
        (0.5, 20, "mean", 50),
        (0.5, 30, "mean", 50),
    ]  # the third grid has only cells that the first has, too


def test_the_order_of_a_shared_field_is_that_of_the_shared_part():
    specs = expand({**BASE, "lr": [1, 2], "grid": [{"batch": [8, 16], "lr": [3, 4]}]})
    assert fields(specs, "lr", "batch") == [(3, 8), (3, 16), (4, 8), (4, 16)]


def test_a_cell_that_occurs_twice_is_one_run():
    assert len(expand({**BASE, "attack": ["ipm(2.5)", "ipm(epsilon=2.5)", "alie(z=8)", "ipm(epsilon=2.50)"]})) == 2
    assert len(expand({**BASE, "lr": [1, 1.0], "f_actual": 2, "grid": [{}, {"task": "digits/softmax"}, {"f": 2}]})) == 1


def test_an_include_is_the_grid_once_more_with_other_fields():
    table = {**BASE, "rule": ["krum", "median"], "lr": 0.1}
    specs = expand({**table, "include": [{"lr": [0.5, 0.6]}, {"rule": "mda", "n": 8}]})
    assert fields(specs, "rule", "lr", "n") == [
        ("krum", 0.1, 10),
        ("median", 0.1, 10),
        ("krum", 0.5, 10),
        ("krum", 0.6, 10),
        ("median", 0.5, 10),
        ("median", 0.6, 10),
        ("mda", 0.1, 8),
    ]


def test_what_is_excluded_is_compared_in_its_canonical_spelling():
    table = {**BASE, "rule": ["krum", "median"], "attack": ["ipm(2.5)", "alie(z=8.0)"], "clip": [1, 2]}
    assert len(expand({**table, "exclude": [{"rule": 'krum(neighbours="n-f-2")', "attack": "alie(8)"}]})) == 6
    assert len(expand({**table, "exclude": [{"attack": ["ipm(epsilon=2.5)", "alie(z=8)"], "clip": 2.0}]})) == 4
    assert len(expand({**table, "exclude": [{"clip": 1}, {"clip": 1, "rule": "krum"}]})) == 4  # both match something


def test_conditions_see_what_a_run_does_not_say():
    unsaid = {"task": "digits/softmax", "f_actual": 2, "local_lr": 0.1, "evaluate_every": 15, "threads": 1, "seed": 0}
    for key, value in unsaid.items():
        assert len(expand({**BASE, "batch": [8, 16], "exclude": [{"batch": 8, key: value}]})) == 1


def test_a_cell_that_cannot_be_may_be_excluded_or_overridden():
    table = {**BASE, "n": [5, 20], "f": [2, 8]}
    assert fields(expand({**table, "exclude": [{"n": 5, "f": 8}]}), "n", "f") == [(5, 2), (20, 2), (20, 8)]
    mended = {**table, "override": [{"when": {"n": 5, "f": 8}, "set": {"n": 17, "rule": "median"}}]}
    assert fields(expand(mended), "n", "f", "rule") == [
        (5, 2, "mean"),
        (17, 8, "median"),
        (20, 2, "mean"),
        (20, 8, "mean"),
    ]


def test_overrides_come_after_excludes_and_in_order_and_see_one_another():
    table = {**BASE, "rule": ["krum", "median"], "lr": [0.1, 0.2]}
    first = {"when": {"rule": "krum"}, "set": {"lr": 0.3, "momentum": 0.9}}
    specs = expand({**table, "override": [first, {"when": {"lr": 0.3}, "set": {"batch": 1}}]})
    assert fields(specs, "rule", "lr", "momentum", "batch") == [
        ("krum", 0.3, 0.9, 1),  # both of Krum's cells have become this one
        ("median", 0.1, 0, 32),
        ("median", 0.2, 0, 32),
    ]
    excluded = {**table, "exclude": [{"rule": "krum"}], "override": [first]}
    with pytest.raises(SpecError, match="override 1: it matches no cell: none has rule = 'krum'"):
        expand(excluded)


def test_each_stream_of_the_seed_can_be_an_axis():
    specs = expand({**BASE, "seed": {"data": [0, 1], "model": 5, "adversary": [0, 1, 2]}, "lr": [0.1, 0.2]})
    assert len(specs) == 12
    seeds = [spec.seed for spec in specs if isinstance(spec.seed, Seeds)]
    assert [(seed.data, seed.adversary) for seed in seeds[::2]] == [(i, k) for i in (0, 1) for k in range(3)]
    assert {seed.model for seed in seeds} == {5}
    assert {seed.server for seed in seeds} == {Seeds.derive(0).server}


def test_a_seed_is_a_number_a_table_or_a_list_of_both():
    whole = msgspec.structs.asdict(Seeds.derive(7))
    assert fields(expand({**BASE, "seed": [7, whole]}), "seed") == [(Seeds.derive(7),)]
    assert fields(expand({**BASE, "seed": whole}), "seed") == [(Seeds.derive(7),)]
    assert len(expand({**BASE, "seed": [0, {"data": 1}, {"data": 2, "server": 3}]})) == 3
    assert len(expand({**BASE, "seed": range(5)})) == 5


def test_conditions_can_ask_for_one_stream():
    seeds = {"data": [0, 1], "adversary": [0, 1, 2]}
    assert len(expand({**BASE, "seed": seeds, "exclude": [{"seed": {"data": 1, "adversary": [1, 2]}}]})) == 4
    assert len(expand({**BASE, "seed": [3, 4], "exclude": [{"seed": 3}]})) == 1
    (cell,) = expand({**BASE, "override": [{"when": {"seed": 0}, "set": {"seed": {"data": 9}}}]})
    assert cell.seed == msgspec.structs.replace(Seeds.derive(0), data=9)


def test_one_thread_unless_it_is_said():
    assert fields(expand(BASE), "threads") == [(1,)]
    assert fields(expand({**BASE, "threads": 3, "grid": [{}, {"threads": None}]}), "threads") == [(3,), (None,)]


ATTACKERS = {
    "attack": ["alie(z=8)", "ipm(2.5)", "sign_flip"],
    "f_actual": [0, 1, 3],
    "byzantine": ["last", "random"],
    "knowledge": ["omniscient", "own", "partial(2)"],
    "attack_start": [0, 5],
    "attack_stop": [7, 9],
    "rule": ["krum", "median"],
}


def test_one_control_serves_all_attacks_of_a_setting_and_seed():
    for key, values in ATTACKERS.items():
        specs = expand({"n": 10, "f": 2, "rule": "krum", "attack": "mimic", key: values, "seed": [0, 1]})
        controls = [spec for spec in specs if spec.attack == "none"]
        assert len(specs) == 2 * len(values) + 2
        assert controls == [resolve(Spec(n=10, f=2, threads=1, seed=seed)) for seed in (0, 1)]
    specs = expand({"n": 10, "f": 2, "rule": "krum", "attack": "mimic", "lr": [0.1, 0.2], "nonfinite": "raise"})
    assert fields(specs[2:], "rule", "attack", "lr", "nonfinite") == [
        ("mean", "none", 0.1, "raise"),
        ("mean", "none", 0.2, "raise"),
    ]


def test_every_cell_has_its_control_and_a_control_is_its_own():
    specs = expand({"n": 10, "f": 2, **{key: AXES[key] for key in ("rule", "attack", "split", "clip", "share")}})
    assert {control(spec) for spec in specs} <= set(specs)
    assert len(specs) == 2**5 + 2**3
    assert all(control(control(spec)) == control(spec) == resolve(control(spec)) for spec in specs)


def test_a_control_is_not_repeated_for_streams_that_it_does_not_draw_from():
    seed = {"data": [1, 2], "server": [3, 4], "adversary": [5, 6, 7]}
    *cells, first, second = expand({"n": 10, "f": 2, "attack": "mimic", "seed": seed})
    assert len(cells) == 12
    assert (first, second) == (control(cells[0]), control(cells[6]))
    cells = expand({"n": 10, "f": 2, "grid": [{"attack": "mimic", "seed": {"adversary": 5}}, {}]})
    assert fields(cells, "attack") == [("mimic",), ("none",)]  # the cell of the second grid is the control of the first


def test_controls_can_be_refused_for_all_grids_or_one():
    grids = [{"rule": "krum"}, {"rule": "median", "control": False, "lr": 0.5}]
    shared = {"n": 10, "f": 2, "attack": "alie(z=8)"}
    assert fields(expand({**shared, "grid": grids}), "rule", "lr") == [("krum", 0.1), ("median", 0.5), ("mean", 0.1)]
    assert len(expand({**shared, "control": False, "grid": grids})) == 2
    both = expand({**shared, "grid": [{"control": False}, {}]})  # the same cell: whoever wants its control gets it
    assert fields(both, "rule", "attack") == [("mean", "alie(z=8)"), ("mean", "none")]


def test_a_control_that_is_a_cell_is_not_added():
    assert len(read_grid(str(files("turncoat") / "campaign" / "demo.toml"))) == 30
    assert len(read_grid(ROOT / "benchmarks" / "fashion_mnist.toml")) == 9 * 12


@pytest.mark.parametrize(
    "given",
    [
        {"share": "honest"},
        {"share": "honest", "split": "long_tail(0.5)"},
        {"byzantine": "random", "f_actual": 1},
        {"f": 0, "f_actual": 3, "split": "dirichlet(1.0)"},
    ],
)
def test_a_control_can_run_and_leaves_honest_workers_their_data(given):
    from turncoat.learning.training import Parts, set_up

    attacked = resolve(Spec(**{"n": 10, "f": 2, "attack": "ipm(2.5)", **given}))
    clean = control(attacked)
    (_, federation), (_, controlled) = (set_up(spec, Parts()) for spec in (attacked, clean))
    following, sent, _ = controlled.step(controlled.initial())
    assert following.round == 1
    if attacked.share == "all":
        honest = attacked.n - attacked.f_actual
        for held, expected in zip(controlled.batches.workers, federation.batches.workers[:honest], strict=False):
            assert held.tolist() == expected.tolist()
    else:  # nobody attacks: all share the data
        assert sent.honest == clean.n
        assert all(len(held) for held in controlled.batches.workers)


MISTAKES = {
    "g.toml: a run has no 'grids': did you mean grid": "[[grids]]",
    "g.toml: a run has no 'excludes': did you mean exclude": "excludes = [{ lr = 1 }]",
    "g.toml: a run has no 'rul': did you mean rule?": "rul = 'krum'",
    "g.toml: grid 2: a run has no 'rul': did you mean rule?": "[[grid]]\n[[grid]]\nrul = 'krum'",
    "g.toml: grid 1: a run has no 'excludes': did you mean exclude": "[[grid]]\n[[grid.excludes]]\nlr = 1",
    "g.toml: grid 1: a run has no 'grid': ": "[[grid]]\n[[grid.grid]]",
    "g.toml: grid takes a list of tables, got {'lr': 1}": "[grid]\nlr = 1",
    "g.toml: grid takes a list of tables, got 'iid'": "grid = 'iid'",
    "g.toml: grid takes a list of tables, got [1]": "grid = [1]",
    "g.toml: grid is an empty list: there is nothing to run": "grid = []",
    "g.toml: exclude stands beside [[grid]]: it belongs into one of the grids": "exclude = [{ n = 10 }]\n[[grid]]",
    "g.toml: control takes true or false, got 'no'": "control = 'no'",
    "g.toml: control takes true or false, got [True, False]": "control = [true, false]",
    "g.toml: lr is an empty list: it takes at least one value": "lr = []",
    "g.toml: grid 1: seed.data is an empty list": "[[grid]]\nseed = { data = [] }",
    "g.toml: lr has a list within its list: write all values in one": "lr = [0.1, [0.2]]",
    "g.toml: lr takes a number, got {'start': 1}": "lr = { start = 1 }",
    "g.toml: lr takes a number, got 'fast'": "lr = [0.1, 'fast']",
    "g.toml: rounds takes an integer, got 2.5": "rounds = [2.5]",
    "g.toml: rule takes a string, got datetime.date(1979, 5, 27)": "rule = 1979-05-27",
    "g.toml: rule takes a string, got {'a': {'b': {'c': {'d': {'e': {'f': {...}}}}}}}": "rule.a.b.c.d.e.f.g.h = 1",
    "g.toml: grid 1: rule: unknown rule 'krumm': did you mean krum": "[[grid]]\nrule = ['median', 'krumm']",
    "g.toml: attack: ipm(eps=1): ipm has no argument 'eps'": "attack = 'ipm(eps=1)'",
    "g.toml: knowledge is omniscient, partial(k) with k honest vectors seen": "knowledge = 'all'",
    "g.toml: schedule step(every=3): factor must be a number above 0": "schedule = ['cosine', 'step(every=3)']",
    "g.toml: task 'data.py:load' names no model": "task = 'data.py:load'",
    "g.toml: rounds = an integer of too many digits must be at least 0 and below 2**63": f"rounds = 0x{'f' * 9999}",
    "g.toml: f = 5 of n = 10 is no minority": "f = 5",
    "g.toml: cell f = 5: f = 5 of n = 10 is no minority": "f = [1, 5]",
    "g.toml: grid 1: cell n = 4, rule = 'krum': f = 2 of n = 4": "[[grid]]\nn = [10, 4]\nrule = ['krum', 'mda']",
    "g.toml: cell n = 4: f = 2 of n = 4 is no minority": "include = [{ n = 4 }]",
    "g.toml: cell n = 4: f = 2 of n = 4 is no minority: ": "override = [{ when = { n = 10 }, set = { n = 4 } }]",
    "g.toml: include takes a list of tables, got {'lr': 1}": "include = { lr = 1 }",
    "g.toml: include takes a list of tables, got ['iid']": "include = ['iid']",
    "g.toml: include 2: a run has no 'rul': did you mean rule?": "include = [{ lr = 1 }, { rul = 'krum' }]",
    "g.toml: include 1: a run has no 'control'": "include = [{ control = false }]",
    "g.toml: include 1: it names no field": "include = [{}]",
    "g.toml: include 1: lr is an empty list": "include = [{ lr = [] }]",
    "g.toml: exclude 1: a run has no 'rul': did you mean rule?": "exclude = [{ rul = 'krum' }]",
    "g.toml: exclude 1: it names no field": "exclude = [{}]",
    "g.toml: exclude 1: rule: unknown rule 'krumm'": "exclude = [{ rule = 'krumm' }]",
    "g.toml: exclude 2: it matches no cell: none has lr = 0.7": "lr = [1, 2]\nexclude = [{ lr = 1 }, { lr = 0.7 }]",
    "g.toml: exclude 1: it matches no cell: none has seed = 4": "exclude = [{ seed = 4 }]",
    "g.toml: exclude 1: it matches no cell: none has seed.data = 4 or 5": "exclude = [{ seed.data = [4, 5] }]",
    "g.toml: exclude 1: it matches no cell: none has this lr and batch at once": (
        "lr = 1\nbatch = 8\ninclude = [{ lr = 2, batch = 16 }]\nexclude = [{ lr = 1, batch = 16 }]"
    ),
    "g.toml: all its cells are excluded: there is nothing to run": "exclude = [{ n = 10 }]",
    "g.toml: override 1: it takes a table of fields as its when, got None": "override = [{ set = { lr = 1 } }]",
    "g.toml: override 1: it takes a table of fields as its set, got 1": "override = [{ when = { n = 10 }, set = 1 }]",
    "g.toml: override 1: an override has no 'lr': there are set, when": "override = [{ when = { n = 10 }, lr = 1 }]",
    "g.toml: override 1: it names no field": "override = [{ when = { n = 10 }, set = {} }]",
    "g.toml: override 1: a run has no 'lrr': did you mean lr": "override = [{ when = { n = 10 }, set = { lrr = 1 } }]",
    "g.toml: override 1: it matches no cell: none has n = 9": "override = [{ when = { n = 9 }, set = { lr = 1 } }]",
    "g.toml: override 1: it sets lr to 2 values: only a grid or an include spans several": (
        "override = [{ when = { n = 10 }, set = { lr = [1, 2] } }]"
    ),
    "g.toml: override 1: lr takes a number, got 'x'": "override = [{ when = { n = 10 }, set = { lr = 'x' } }]",
    "g.toml: seed has no 'modell': did you mean model?": "seed = { modell = [1, 2] }",
    "g.toml: seed names no stream": "seed = {}",
    "g.toml: seed.data takes an integer, got 1.5": "seed = { data = [0, 1.5] }",
    "g.toml: seed.data takes an integer, got [1]": "seed = [0, { data = [1] }]",
    "g.toml: seed -1 must be at least 0": "seed = [0, -1]",
    "g.toml: seed -2 must be at least 0": "seed = { server = -2 }",
}


@pytest.mark.parametrize(("message", "text"), MISTAKES.items(), ids=list(MISTAKES))
def test_a_mistake_is_one_line_that_says_where_it_stands(message, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "" if re.search(r"^f =", text, re.MULTILINE) else "f = 2\n"
    Path("g.toml").write_text(f"n = 10\n{said}{text}\n")
    with pytest.raises(SpecError) as caught:
        read_grid("g.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_grid_must_say_its_workers():
    with pytest.raises(SpecError, match=r"^a run must say its n$"):
        expand({})
    with pytest.raises(SpecError, match=r"^grid 2: a run must say its f$"):
        expand({"n": 10, "grid": [{"f": 2}, {"lr": 1}]})


def test_absurd_sizes_are_refused_before_anything_is_made():
    many = range(1, 1001)
    assert math.prod([len(many), len(many)]) == MOST
    for table in (
        {"batch": many, "rounds": many, "lr": [0.1, 0.2]},
        {"seed": {"data": many, "model": many, "server": many, "adversary": many}},
        {"grid": [{"batch": many, "rounds": many}, {}]},
        {"batch": many, "include": [{"rounds": many}]},
    ):
        with pytest.raises(SpecError, match=r"^[\d,]+ cells are more than the 1,000,000 that a campaign may have$"):
            expand({**BASE, **table})
    with pytest.raises(SpecError, match="seed has 1,000,000,000,000 values"):
        expand({**BASE, "seed": range(10**12)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\x00[[", "is not TOML"),
        (b"n = ", "is not TOML"),
        (b"n = " + b"9" * 5000, "is not TOML"),
        (b"n = " + b"[" * 100_000, "is nested too deeply"),
        (b"n = " + b"{a=" * 100_000, "is nested too deeply"),
        (b"a." * 400_000 + b"a = 1", "is nested too deeply"),
        (b"[" + b'"a" . ' * 100_000 + b"a]", "is nested too deeply"),
        (b"f = 1\nn = " + b"[" * 200 + b"]" * 200, "list within its list"),
        (b"f = 1\nn = " + b"{a=" * 200 + b"1" + b"}" * 200, "n takes an integer, got {'a': {'a'"),
        (b"f = 1\nn = 10\n" + b"a" * 900_000 + b" = 1", "a run has no 'aaa"),
        (b"# " + b"a.b. " * (LARGEST // 5), "longer than the 1,048,576 bytes"),
        (b"\n" * (LARGEST + 1), "longer than the 1,048,576 bytes"),
        (b"", "a run must say its n"),
    ],
    ids=range(13),
)
def test_hostile_files_are_one_line(content, message, tmp_path):
    path = tmp_path / "g.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_grid(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@given(st.binary(max_size=300))
def test_random_bytes_are_a_grid_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("noise") / "g.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=re.escape(str(path))):
        read_grid(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read .*gone\.toml: No such file"):
        read_grid(tmp_path / "gone.toml")
    with pytest.raises(SpecError, match=r"cannot read .*: Is a directory"):
        read_grid(tmp_path)


def test_the_axes_are_all_fields():
    assert set(AXES) == set(Spec.__struct_fields__)


@pytest.mark.parametrize("key", AXES)
def test_every_field_can_be_an_axis(key):
    specs = expand({**BASE, "local_lr": 0.1, **{key: AXES[key]}})
    assert len(specs) == len(set(map(canonical, specs))) == 2
    excluded = expand({**BASE, "local_lr": 0.1, key: AXES[key], "exclude": [{key: AXES[key][0]}]})
    assert excluded == specs[1:]
    table = {**BASE, "local_lr": 0.1, "override": [{"when": {"n": 10}, "set": {key: AXES[key][1]}}]}
    assert expand(table) == specs[1:]


def test_what_is_said_in_two_ways_is_one_value():
    assert len(expand({**BASE, "knowledge": ["partial(3)", "partial( 3)"], "schedule": ["constant", " constant"]})) == 1


COMPATIBLE = [key for key in AXES if key not in ("byzantine", "f_actual", "evaluate_every")]


@st.composite
def tables(draw):
    """Tables of one or two grids, with the number of their cells."""
    grids, size = [], 0
    for rule in ("krum", "median")[: draw(st.integers(1, 2))]:  # so that no two grids share a cell
        keys = draw(st.lists(st.sampled_from([key for key in COMPATIBLE if key != "rule"]), unique=True, max_size=5))
        lists = {key: AXES[key][: draw(st.integers(1, 2))] for key in keys}
        grid, cells = {"rule": rule, **lists}, math.prod(map(len, lists.values()))
        size += cells
        if keys and cells > (first := cells // len(lists[keys[0]])) and draw(st.booleans()):
            grid["exclude"] = [{keys[0]: lists[keys[0]][0]}]
            size -= first
        grids.append(grid)
    table = {**BASE, "local_lr": 0.1}
    return (table | grids[0] if len(grids) == 1 and draw(st.booleans()) else {**table, "grid": grids}), size


@given(tables())
def test_a_grid_is_the_product_of_its_lists_in_python_and_in_toml_alike(drawn):
    table, size = drawn
    specs = expand(table)
    assert len(specs) == size
    assert expand(tomllib.loads(toml(table))) == specs == expand(table)
    assert [resolve(spec) for spec in specs] == specs


@given(tables(), st.sampled_from(COMPATIBLE), st.booleans())
def test_settings_hold_in_every_run(drawn, key, one):
    value = AXES[key][0] if one else AXES[key]
    table = with_settings(drawn[0], {key: value})
    wanted = {getattr(spec, key) for spec in expand({**BASE, "local_lr": 0.1, key: value})}
    try:
        specs = expand(table)
    except SpecError as error:  # the setting is all that is excluded
        if "all its cells are excluded" not in str(error):
            raise
    else:
        assert {getattr(spec, key) for spec in specs} <= wanted


def test_settings_replace_what_grids_includes_and_overrides_say():
    table = {
        **BASE,
        "rounds": [10, 20],
        "grid": [
            {
                "rounds": 30,
                "lr": [0.1, 1],
                "include": [{"rounds": 5}, {"rounds": 5, "batch": 1}],
                "exclude": [{"rounds": 5, "lr": 1}, {"rounds": [2, 7], "lr": 0.1}],
                "override": [
                    {"when": {"lr": 1}, "set": {"rounds": 1000}},
                    {"when": {"rounds": 5, "batch": 1}, "set": {"momentum": 0.9}},
                    {"when": {"batch": 1}, "set": {"momentum": 0.5, "rounds": 4}},
                ],
            },
            {"rule": "krum"},
        ],
    }
    specs = expand(with_settings(table, {"rounds": 7, "control": True}))
    assert fields(specs, "rounds", "lr", "batch", "momentum", "rule") == [
        (7, 1, 32, 0, "mean"),
        (7, 1, 1, 0.5, "mean"),
        (7, 0.1, 32, 0, "krum"),
        (7, 0.1, 32, 0, "mean"),
    ]
    assert with_settings(table, {}) == table
    assert table["grid"][0]["rounds"] == 30


def test_settings_compare_seeds_and_spellings_and_leave_mistakes_alone():
    table = {
        **BASE,
        "rule": ["krum", "median"],
        "exclude": [{"seed": {"data": 4}, "rule": "krum"}],
        "seed": {"data": 4},
    }
    assert len(expand(with_settings(table, {"seed": 4}))) == 2
    assert len(expand(with_settings(table, {"seed": {"data": [4, 5]}}))) == 3
    assert len(expand(with_settings(table, {"rule": ['krum(neighbours="n-f-2")', "mda"]}))) == 1
    for table, message in (
        ({**BASE, "exclude": 3}, "exclude takes a list"),
        ({**BASE, "exclude": [3]}, "exclude takes a list"),
        ({**BASE, "grid": 3}, "grid takes a list"),
        ({**BASE, "grid": [3]}, "grid takes a list"),
        ({**BASE, "include": [{}]}, "include 1: it names no field"),
        ({**BASE, "exclude": [{"lr": "x"}]}, "exclude 1: lr takes a number"),
        ({**BASE, "override": [{"when": 3, "set": {}}]}, "override 1: it takes a table"),
        ({**BASE, "override": [{"when": {"lr": 0.5}}]}, "override 1: it takes a table"),
    ):
        with pytest.raises(SpecError, match=message):
            expand(with_settings(table, {"lr": 0.5}))
    for settings, message in (
        ({"roundz": 3}, "^a run has no 'roundz': did you mean rounds"),
        ({"rule": []}, "^rule is an empty list"),
        ({"rounds": "many"}, "^rounds takes an integer, got 'many'"),
        ({"exclude": [{"n": 10}]}, "^all its cells are excluded"),
    ):
        with pytest.raises(SpecError, match=message):
            expand(with_settings(BASE, settings))


def test_ten_thousand_cells_without_torch():
    code = (
        "import sys, turncoat.campaign.grid as grid\n"
        "from turncoat.spec import canonical\n"
        "table = {'n': 20, 'f': 4, 'rule': ['krum', 'median', 'nnm >> trimmed_mean', 'mda'], 'seed': range(500),\n"
        "         'attack': ['ipm(2.5)', 'ipm(10)', 'alie(8)', 'mimic', 'sign_flip'],\n"
        "         'exclude': [{'rule': 'mda', 'attack': 'mimic'}],\n"
        "         'override': [{'when': {'rule': 'krum'}, 'set': {'lr': 0.5}}]}\n"
        "specs = grid.expand(table)\n"
        "assert len(set(map(canonical, specs))) == len(specs) == 9500 + 1000\n"
        "heavy = {'torch', 'numpy', 'polars', 'altair', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=60)


def test_the_specifications_in_the_docs_are_right():
    text = (ROOT / "docs" / "campaigns.md").read_text()
    blocks = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (runs,) = re.findall(r"^# (\d+) runs", block, re.MULTILINE)
        assert len(expand(tomllib.loads(block))) == int(runs)
