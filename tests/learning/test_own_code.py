"""The user's own code in a run: what it draws, what it remembers, and what a result says of it."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import turncoat as tc
from turncoat.rules.krum import Krum
from turncoat.rules.mixing import NNM
from turncoat.spec import Spec

OWN = """
import random
import numpy as np
import torch
from torch import nn
from turncoat.data.sources import Dataset
from turncoat.rules import Median

def noise(count):
    return torch.randn(count) * random.random() * np.random.rand()

def rule(X):
    return X.mean(0) + 0.1 * noise(X.shape[1])

def attack(honest):
    return noise(honest.shape[1]) - honest.mean(0)

def data():
    x, y = np.random.rand(60, 64), np.random.randint(0, 10, 60)
    return Dataset.of("drawn", x[:40], y[:40], x[40:], y[40:])

class Drawing(Median):
    def init(self, like):
        return noise(like.shape[1])

    def step(self, X, state=None, generator=None, *, examined=True):
        aggregation, _ = super().step(X, None, generator, examined=examined)
        return aggregation, aggregation.vector.add_(state) * 0.5

class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.linear = np.random.rand(), nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(x.flatten(1) + self.scale * torch.randn(x.flatten(1).shape))
"""
SMALL = {"task": "digits/softmax", "n": 6, "f": 1, "rounds": 6, "batch": 8, "evaluate_every": 2, "seed": 3}
DRAWING = {
    "a rule": {"rule": "own.py:rule"},
    "a rule of rules": {"rule": 'mixtailor(pool=[median, "own.py:rule"])'},
    "a rule's memory": {"rule": "own.py:Drawing"},
    "an attack": {"attack": "own.py:attack"},
    "a plan of attacks": {"attack": 'beam(l=2, width=2, attacks=[alie, "own.py:attack"])'},
    "a data set": {"task": "own.py:data/softmax"},
    "a model": {"task": "digits/own.py:Noisy"},
    "a model with a backdoor": {"task": "digits/own.py:Noisy", "attack": "badnets"},
    "a model with local steps": {"task": "digits/own.py:Noisy", "local_steps": 2, "local_lr": 0.1},
}


@pytest.fixture(autouse=True)
def _own_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    yield
    for name in [name for name in sys.modules if name.startswith("turncoat_own_")]:
        del sys.modules[name]


@pytest.mark.parametrize("where", DRAWING)
def test_what_own_code_draws_follows_from_the_seed_alone(where):
    """From torch's, NumPy's and Python's global generators: again, continued in the middle, and with another seed."""
    spec = Spec(**{**SMALL, **DRAWING[where]})
    expected = tc.Training(spec).finish().records
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    run = tc.Training(spec)
    for _ in range(3):
        run.advance()
        torch.rand(3), np.random.rand(3), random.random()
    assert tc.Training.load(run.save("run.safetensors")).finish().records == expected
    assert run.finish().records == expected
    assert tc.Training(Spec(**{**SMALL, **DRAWING[where], "seed": 4})).finish().records != expected


def test_the_global_generators_are_left_as_they_were():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    tc.train(**SMALL, rule="own.py:rule", attack="own.py:attack")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


@pytest.mark.parametrize("rounds", [0, 3])
@pytest.mark.parametrize("fields", [{"rule": "median"}, {"rule": "own.py:rule"}, {"task": "own.py:data/softmax"}])
def test_a_continued_run_says_that_an_own_parts_memory_is_lost(rounds, fields):
    run = tc.Training(Spec(**{**SMALL, **fields}))
    for _ in range(rounds):
        run.advance()
    flags = tc.Training.load(run.save("run.safetensors")).flags
    lost = [f"continued at round {rounds}: what the user's own code remembers by itself is not in a checkpoint"]
    assert flags == (lost if rounds and fields == {"rule": "own.py:rule"} else [])


def test_a_continued_run_says_that_the_code_or_the_environment_is_another_one(monkeypatch):
    saved = tc.Training(Spec(**SMALL)).save("run.safetensors")
    assert tc.Training.load(saved).flags == []
    monkeypatch.setattr("turncoat.learning.training.source_hash", lambda: "0" * 64)
    monkeypatch.setattr("platform.python_version", lambda: "2.7")
    assert [flag.partition(" (")[0] for flag in tc.Training.load(saved).flags] == [
        "continued at round 0 by another version of the source code",
        "continued at round 0 in another environment",
    ]


class Mine(Krum):
    pass


def median(X):
    return X.mean(0)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (Krum(f=1), "krum"),
        (tc.rule("nnm >> bulyan(selection=median)", f=1), "nnm >> bulyan(selection=median)"),
        (Mine(f=1), "object:Mine"),
        (NNM(f=1) >> Mine(f=1), "object:Chain"),
        (tc.rule(median), "object:OwnRule"),
    ],
)
def test_an_object_has_a_name_only_where_the_name_makes_it_again(rule, name):
    result = tc.train(**{**SMALL, "n": 8, "rounds": 1}, rule=rule)
    assert result.spec.rule == name
    assert bool(result.flags) == name.startswith("object:")
