"""A run's complete description: short forms, canonical spelling, range errors."""

import math
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncoat.errors import SpecError
from turncoat.spec import Seeds, Spec, canonical, from_mapping, resolve, schedule, task_parts


def test_resolving_leaves_nothing_to_guess():
    spec = resolve(Spec(n=10, f=3, lr=0.5, seed=7))
    assert spec.task == "digits/softmax"
    assert spec.f_actual == 3
    assert spec.local_lr == 0.5
    assert spec.evaluate_every == 15
    assert spec.seed == Seeds.derive(7)
    assert resolve(spec) == spec


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("rule", "nnm>>krum( neighbours = 'n-f-1' )", 'nnm >> krum(neighbours="n-f-1")'),
        ("rule", "krum(neighbours='n-f-2')", "krum"),
        ("attack", "ipm(2.5)", "ipm(epsilon=2.5)"),
        ("attack", "ipm(epsilon=10.0)", "ipm(epsilon=10)"),
        ("attack", "ipm(population='honest', epsilon=2.5)", "ipm(epsilon=2.5)"),
        ("split", "dirichlet(0.3)", "dirichlet(beta=0.3)"),
        ("task", "mnist", "mnist/cnn"),
        ("task", "digits/mlp(32)", "digits/mlp(hidden=32)"),
        ("schedule", "step(30, factor=0.5)", "step(every=30, factor=0.5)"),
        ("rule", "my/rules.py:mine", "my/rules.py:mine"),
    ],
)
def test_one_spelling_for_one_meaning(key, written, meant):
    spec = Spec(n=10, f=3, **{key: written})
    assert getattr(resolve(spec), key) == meant
    assert canonical(spec) == canonical(Spec(n=10, f=3, **{key: meant}))
    assert resolve(resolve(spec)) == resolve(spec)


@pytest.mark.parametrize(
    ("task", "dataset", "model"),
    [
        ("digits", "digits", "softmax"),
        ("digits/my/models.py:Net", "digits", "my/models.py:Net"),
        ("my/data.py:load/mlp(hidden=8)", "my/data.py:load", "mlp(hidden=8)"),
        ("/abs/data.py:load/my/models.py:Net", "/abs/data.py:load", "my/models.py:Net"),
        ("package.data:load/softmax", "package.data:load", "softmax"),
    ],
)
def test_a_task_is_cut_where_its_data_set_ends(task, dataset, model):
    assert tuple(map(str, task_parts(task))) == (dataset, model)


MISTAKES = {
    "n = 0 must be at least 1": {"n": 0, "f": 0},
    "f = 6 of n = 10 is no minority: f must be below n/2, here at most 4": {"f": 6},
    "f = 5 of n = 10 is no minority: f must be below n/2, here at most 4": {"f": 5},
    "f = -1 must be at least 0": {"f": -1},
    "f_actual = 10 of n = 10 leaves no honest worker: at most 9": {"f_actual": 10},
    "rounds = -1 must be at least 0": {"rounds": -1},
    "batch = 0 must be at least 1": {"batch": 0},
    "local_steps = 0 must be at least 1": {"local_steps": 0},
    "threads = 0 must be at least 1": {"threads": 0},
    "lr = 0.0 must be positive and finite": {"lr": 0},
    "lr = nan must be positive and finite": {"lr": math.nan},
    "local_lr = inf must be positive and finite": {"local_lr": math.inf},
    "clip = -2.0 must be positive and finite": {"clip": -2},
    "momentum = 1.0 must be at least 0 and below 1": {"momentum": 1},
    "server_momentum = nan must be at least 0 and below 1": {"server_momentum": math.nan},
    "weight_decay = inf must be at least 0 and finite": {"weight_decay": math.inf},
    "attack_stop = 5 must come after attack_start = 5": {"attack_start": 5, "attack_stop": 5},
    "byzantine = 'random' makes every worker honest in some round: it needs share = 'all'": {
        "byzantine": "random",
        "share": "honest",
    },
    "seed -1 must be at least 0 and below 2**63": {"seed": -1},
    "seed 9223372036854775808 must be at least 0 and below 2**63": {"seed": 2**63},
    "unknown rule 'krumm': did you mean krum or": {"rule": "krumm"},
    "unknown attack 'allie': did you mean alie": {"attack": "allie"},
    "unknown dataset 'fashon_mnist': did you mean fashion_mnist": {"task": "fashon_mnist/lenet5"},
    "unknown model 'softmaxx': did you mean softmax": {"task": "digits/softmaxx"},
    "unknown split 'direchlet': did you mean dirichlet": {"split": "direchlet(0.3)"},
    "unknown schedule 'cosin': did you mean cosine": {"schedule": "cosin"},
    "schedule step(every=0.5, factor=0.1): every must be a whole number above 0": {
        "schedule": "step(every=0.5, factor=0.1)"
    },
    "schedule step(every=3): factor must be a number above 0": {"schedule": "step(every=3)"},
    "ipm has no argument 'epsilom': did you mean epsilon": {"attack": "ipm(epsilom=1)"},
    "task 'data.py:load' names no model": {"task": "data.py:load"},
    "'none >> alie' is a chain where one name is wanted": {"attack": "none >> alie"},
    "n takes an integer, got 'ten'": {"n": "ten"},
    "n takes an integer, got True": {"n": True},
    "clip takes a number or None, got '2'": {"clip": "2"},
    "clip_at takes 'worker' or 'server_inputs' or 'aggregate', got 'server'": {"clip_at": "server"},
    "seed takes an integer or a table of data, model, server and adversary, got 1.5": {"seed": 1.5},
    "seed must say its adversary": {"seed": {"data": 1, "model": 2, "server": 3}},
    "seed has no 'modell': did you mean model?": {"seed": {"data": 1, "modell": 2}},
    "a run has no 'roudns': did you mean rounds": {"roudns": 3},
}


@pytest.mark.parametrize(("message", "fields"), MISTAKES.items(), ids=list(MISTAKES))
def test_a_mistake_is_one_line_that_says_what_would_be_right(message, fields):
    with pytest.raises(SpecError) as caught:
        resolve(from_mapping({"n": 10, "f": 3, **fields}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_must_say_its_workers():
    with pytest.raises(SpecError, match="a run must say its f"):
        from_mapping({"n": 10})


def test_types_are_checked_however_a_spec_was_made():
    with pytest.raises(SpecError, match="rounds takes an integer, got '300'"):
        resolve(Spec(n=10, f=3, rounds="300"))  # type: ignore[arg-type]


def test_seeds_are_derived_alike_for_ever():
    assert Seeds.derive(7) == Seeds(
        data=4137957872384763,
        model=8047689018778267,
        server=8764557345647588,
        adversary=3390803061486205,
    )


@given(st.integers(0, 2**63 - 1))
def test_streams_of_a_seed_differ_and_survive_any_json_reader(seed):
    streams = msgspec.structs.astuple(Seeds.derive(seed))
    assert len(set(streams)) == 4
    assert all(0 <= stream < 2**53 for stream in streams)


@given(
    n=st.integers(1, 60),
    f=st.integers(0, 30),
    rounds=st.integers(0, 5000),
    lr=st.floats(1e-6, 10),
    z=st.floats(allow_nan=False, allow_infinity=False, width=32),
    seed=st.integers(0, 2**63 - 1),
)
def test_resolved_specs_survive_json_and_resolving(n, f, rounds, lr, z, seed):
    spec = Spec(n=n, f=min(f, (n - 1) // 2), rounds=rounds, lr=lr, attack=f"alie({z!r})", seed=seed)
    resolved = resolve(spec)
    assert msgspec.json.decode(canonical(spec), type=Spec) == resolved
    assert canonical(resolved) == canonical(spec)
    assert rounds < 20 or 13 <= rounds / (resolved.evaluate_every or 1) <= 40


def test_schedules():
    def rates(text, rounds=4):
        rate = schedule(resolve(Spec(n=1, f=0, lr=2.0, rounds=rounds, schedule=text)))
        return [rate(t) for t in range(rounds)]

    assert rates("constant") == [2, 2, 2, 2]
    assert rates("step(every=2, factor=0.5)") == [2, 2, 1, 1]
    assert rates("linear_warmup(rounds=4)", 6) == [0.5, 1, 1.5, 2, 2, 2]
    assert rates("cosine") == pytest.approx([2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5)])


def test_specs_and_results_need_no_torch():
    code = "import sys, turncoat.spec, turncoat.results; sys.exit('torch' in sys.modules or 'polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
