"""A run from its description to its result, interrupted and continued."""

import math
from functools import lru_cache

import pytest
import torch
from torch import nn

import turncoat as tc
from turncoat.data.sources import load
from turncoat.learning.training import Parts
from turncoat.spec import Spec, from_mapping

SMALL = {"task": "digits/softmax", "n": 6, "f": 1, "rounds": 12, "batch": 8, "evaluate_every": 4, "seed": 3}


def test_a_result_says_what_happened():
    result = tc.train(**SMALL, rule="nnm >> trimmed_mean", attack="alie(z=1.5)")
    assert [record.round for record in result.records] == [0, 4, 8, 12]
    assert result.records[0].train_loss is None
    last = result.records[-1]
    assert 0 < last.test_accuracy <= 1
    assert last.test_loss > 0
    assert last.train_loss > 0
    assert last.distance > 0
    assert 0 < last.cosine <= 1
    assert set(result.timings) == {"gradients", "attack", "rule", "update", "evaluation"}
    assert result.rounds_per_second > 0
    assert result.spec.attack == "alie(z=1.5)"
    assert isinstance(result.spec.seed, tc.Seeds)
    assert result.spec.gradients in ("sequential", "vmap", "grouped")
    assert result.spec.threads == torch.get_num_threads()
    assert result.to_polars().height == 4


@pytest.mark.parametrize("attack", ["ipm(epsilon=3)", "gaussian"])
def test_what_passes_of_an_attack_is_its_weight(attack):
    def last(rule):
        return tc.train(**SMALL, rule=rule, attack=attack).records[-1].passed

    assert last("mean") == pytest.approx(1 / 6, rel=1e-4)
    assert abs(last("geometric_median")) < 1 / 6
    assert tc.train(**SMALL | {"f": 0}).records[-1].passed is None


def test_the_same_spec_gives_the_same_bits():
    once, again = (tc.train(**SMALL, rule="krum", attack="gaussian") for _ in range(2))
    assert once.records == again.records
    assert tc.train(**{**SMALL, "seed": 4}, rule="krum", attack="gaussian").records != once.records


def test_training_learns():
    result = tc.train("digits/mlp", n=10, f=2, rounds=200, lr=0.5, rule="median", attack="none", seed=1)
    assert result.final_accuracy > 0.85


class Noisy(nn.Module):
    """Dropout and batch normalisation: masks and running statistics have to survive, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("stop", [0, 1, 5, 12])
@pytest.mark.parametrize(
    "fields",
    [
        {"rule": "centered_clipping(tau=1)", "momentum": 0.9, "attack": "gaussian(sigma=1)"},
        {"rule": "bucketing >> median", "server_momentum": 0.9, "attack": "label_flip", "schedule": "cosine"},
        {
            "rule": "krum",
            "local_steps": 2,
            "local_lr": 0.1,
            "attack": "sign_flip",
            "byzantine": "random",
            "momentum": 0.5,
        },
    ],
)
def test_a_run_saved_and_loaded_at_any_round_goes_on_bit_for_bit(tmp_path, fields, stop):
    spec, parts = Spec(**SMALL, **fields), Parts(model=Noisy)
    through = tc.Training(spec, parts)
    expected = through.finish()
    first = tc.Training(spec, parts)
    for _ in range(stop):
        first.advance()
    second = tc.Training.load(first.save(tmp_path / "run.safetensors"), parts)
    assert second.finish().records == expected.records
    for name, tensor in through.state.tensors().items():
        assert torch.equal(tensor, second.state.tensors()[name])


def test_an_interrupted_run_continues_from_its_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    expected = tc.train(**SMALL)

    def interrupt(done, record):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tc.train(**SMALL, checkpoint=path, watch=interrupt)
    rounds = []
    result = tc.train(**SMALL, checkpoint=path, watch=lambda done, record: rounds.append(done))
    assert rounds == [8, 9, 10, 11, 12]
    assert result.records == expected.records
    with pytest.raises(tc.ResultError, match="belongs to another run"):
        tc.train(**{**SMALL, "lr": 0.2}, checkpoint=path)


def test_an_evaluation_cut_short_is_made_up_for(tmp_path, monkeypatch):
    expected = tc.train(**SMALL, momentum=0.9)
    run = tc.Training(Spec(**SMALL, momentum=0.9))
    for _ in range(3):
        run.advance()
    evaluate = run.federation.learner.evaluate
    monkeypatch.setattr(run.federation.learner, "evaluate", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.advance()
    monkeypatch.setattr(run.federation.learner, "evaluate", evaluate)
    saved = run.save(tmp_path / "run.safetensors")
    assert run.finish().records == expected.records
    assert tc.Training.load(saved).finish().records == expected.records


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"\xff" * 8 + b"{}"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(tc.ResultError, match="no checkpoint"):
        tc.Training.load(path)
    with pytest.raises(tc.ResultError, match="no checkpoint"):
        tc.Training.load(tmp_path / "nowhere")


@pytest.mark.parametrize("nonfinite", ["exclude", "propagate"])
def test_a_run_that_explodes_ends_with_a_flag_and_not_with_a_crash(nonfinite):
    result = tc.train(**SMALL, attack="ipm(epsilon=1e37)", rule="mean", nonfinite=nonfinite, lr=1e3)
    assert any("diverged" in flag or "not finite" in flag for flag in result.flags)
    assert len(result.records) > 1


def test_a_rule_that_raises_on_nan_raises_in_a_run():
    with pytest.raises(tc.InputError, match="not finite"):
        tc.train(**SMALL, attack=lambda honest: honest[0] * math.nan, rule="mean", nonfinite="raise")
    result = tc.train(**SMALL, attack=lambda honest: honest[0] * math.nan, rule="mean")
    assert result.records[-1].test_accuracy > 0.1
    assert "object" in " ".join(result.flags)


def test_mean_estimation():
    result = tc.train("mean_estimation", n=12, f=5, rule="median", attack="none", batch=1, lr=0.5, clip=2.0, rounds=8)
    errors = [record.extra["error"] for record in result.records]
    assert errors[0] == pytest.approx(8**0.5)  # from (0, 0) to (2, 2)
    assert errors[-1] < 1
    assert result.final_accuracy is None


def test_own_parts(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "def rule(X, f):\n    return X.median(0).values\n"
        "def attack(honest):\n    return -honest.mean(0)\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        "def split(labels, n, rng):\n    return [list(range(i, len(labels), n)) for i in range(n)]\n"
    )
    names = {"task": f"digits/{path}:Net", "rule": f"{path}:rule", "attack": f"{path}:attack", "split": f"{path}:split"}
    result = tc.train(**{**SMALL, **names})
    assert result.spec.rule == f"{path}:rule"
    assert not result.flags
    assert tc.train(**SMALL, model=Noisy(), rule=lambda X: X.mean(0)).records[-1].test_accuracy > 0


def test_float64_and_other_learning_rates():
    result = tc.train(**SMALL, dtype="float64", schedule="step(every=5, factor=0.1)")
    assert result.records[-1].test_loss < result.records[0].test_loss


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"f": 3}, "no minority"),
        ({"rule": "krum", "f": 2, "n": 5}, "krum needs n >= 2f"),
        ({"rule": "medan"}, "did you mean median"),
        ({"task": "digits/lenet6"}, "lenet5"),
        ({"task": "digts"}, "did you mean digits"),
        ({"split": "dirichlet(beta=-1)"}, "beta"),
        ({"lr": -1.0}, "lr"),
        ({"bach": 3}, "did you mean batch"),
        ({"device": "gpu"}, "unknown device"),
        ({"gradients": "magic"}, "gradients"),
        ({"rounds": "many"}, "rounds takes an integer"),
        ({"local_steps": 3}, "needs local_lr"),
        ({"task": "mean_estimation", "attack": "label_flip"}, "has none"),
        ({"device": "meta"}, "not supported"),
    ],
)
def test_mistakes_get_one_clear_line(fields, message):
    with pytest.raises(tc.TurncoatError, match=message) as error:
        tc.train(**{**SMALL, **fields})
    assert "\n" not in str(error.value)


def test_from_mapping_is_what_train_takes():
    assert from_mapping({**SMALL, "rule": "median"}).rule == "median"


def test_memory_is_flat_after_the_second_round():
    import tracemalloc

    run = tc.Training(Spec(**{**SMALL, "rounds": 10**6, "evaluate_every": 10**6}, rule="median", momentum=0.9))
    for _ in range(70):  # past the first chunk of indices
        run.advance()
    before = {tensor.data_ptr() for tensor in run.federation._spare}
    tracemalloc.start()
    for _ in range(60):
        run.advance()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(run.federation._spare) <= 2
    assert before <= {t.data_ptr() for t in run.federation._spare} | {run.state.momenta.data_ptr()}
    assert grown < 200_000


def test_what_a_run_computes_with_begins_where_the_last_bits_do_not_depend_on_it(tmp_path):
    """In their last bits, MKL's products depend on the alignment of their factors; files are aligned to 8 bytes."""
    training = tc.Training(Spec(task="digits/mlp(hidden=16)", n=5, f=1, rounds=3, momentum=0.9))
    training.advance()
    loaded = tc.Training.load(training.save(tmp_path / "a.safetensors"))
    data = [loaded.dataset.x_train, loaded.dataset.x_test]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in (*loaded.state.tensors().values(), *data))


def test_runs_that_differ_in_the_seed_share_what_it_does_not_draw(monkeypatch):
    """A large data set that is read anew for each seed fragments the memory of whoever runs a grid."""
    read = []
    once = lru_cache(maxsize=2)(lambda call, seed: read.append((call, seed)) or load(call, seed=seed))
    monkeypatch.setattr("turncoat.learning.training._load_once", once)
    for seed in (0, 1, 2):
        tc.train("digits", n=4, f=1, rule="median", attack="none", rounds=1, seed=seed)
    assert read == [("digits", 0)]
    for seed in (0, 1):
        tc.train("mean_estimation", n=4, f=1, rule="median", attack="none", rounds=1, seed=seed)
    assert len({seed for call, seed in read if call.startswith("mean")}) == 2
