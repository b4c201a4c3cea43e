"""Attacks that remember: Mimic and the relocated orthogonal perturbation, round by round."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.attacks.mimic import SEED
from turncoat.learning.training import Training
from turncoat.spec import Spec


def cloud(h=8, d=20, seed=0, offset=0.5):
    return torch.randn(h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + offset


def view(honest, f=2, **seen):
    return tc.View(n=len(honest) + f, f=f, honest_rows=honest, **seen)


def play(attack, rounds):
    """What the attack sends, round by round, and its last state; a step must leave its state as it is."""
    state = attack.init(rounds[0])
    sent = []
    for honest in rounds:
        kept = {key: value.clone() for key, value in state.items()}
        rows, following = attack.step(view(honest), state)
        assert all(torch.equal(state[key], kept[key]) for key in kept)
        state = following
        sent.append(rows)
    return sent, state


def mimicked(rounds, warmup, rechoose):
    """Karimireddy et al. 2022, written out: which row is copied in each round."""
    d = rounds[0].shape[1]
    z = torch.randn(d, generator=torch.Generator().manual_seed(SEED)).double().numpy()
    mean, target, chosen = np.zeros(d), 0, []
    for t, honest in enumerate(rounds):
        X = honest.numpy()
        if t < warmup:
            mean = t / (t + 1) * mean + X.mean(0) / (t + 1)
            u = sum(((x - mean) @ z) * (x - mean) for x in X)
            z = t / (t + 1) * z + u / ((t + 1) * np.linalg.norm(u))
            z = z / np.linalg.norm(z)
        if t < warmup or rechoose:
            target = int(np.argmax(X @ z))
        chosen.append(target)
    return chosen, z


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    h=st.integers(2, 9),
    d=st.integers(1, 20),
    warmup=st.integers(1, 5),
    rechoose=st.booleans(),
)
def test_mimic_copies_whom_the_definition_copies(seed, h, d, warmup, rechoose):
    rounds = [cloud(h, d, seed + t) for t in range(7)]
    attack = tc.attack(f"mimic(warmup={warmup}, rechoose={rechoose})", f=2)
    sent, _ = play(attack, rounds)
    for honest, rows, target in zip(rounds, sent, mimicked(rounds, warmup, rechoose)[0], strict=True):
        assert torch.equal(rows, honest[target].expand(2, -1))


def test_mimic_finds_the_direction_of_most_variance():
    base = torch.zeros(1, 30, dtype=torch.float64)
    base[0, 4] = 20
    rounds = [cloud(10, 30, t) + torch.linspace(-1, 1, 10)[:, None] * base for t in range(5)]
    sent, state = play(tc.attack("mimic(warmup=5)", f=2), rounds)
    assert abs(float(state["direction"][4])) > 0.95
    assert torch.equal(sent[-1][0], rounds[-1][-1]) or torch.equal(sent[-1][0], rounds[-1][0])


def test_mimic_of_one_worker_and_of_rows_that_do_not_differ():
    X = cloud()
    assert torch.equal(tc.attack("mimic(worker=3)", f=2)(X), X[3].expand(2, -1))
    assert torch.equal(tc.attack("mimic(warmup=3)", f=2)(X[:1]), X[:1].expand(2, -1))
    same = X[:1].expand(5, -1)
    assert all(torch.equal(rows, same[:2]) for rows in play(tc.attack("mimic(warmup=3)", f=2), [same] * 4)[0])
    with pytest.raises(tc.HiddenError, match="sees 8 honest vectors, 0 to 7"):
        tc.attack("mimic(worker=8)", f=2)(X)
    for spelling, message in {"mimic(warmup=0)": "from 1", "mimic(worker=-1)": "from 0"}.items():
        with pytest.raises(tc.SpecError, match=message):
            tc.attack(spelling, f=1)


def test_mimic_in_half_precision_stays_within_range():
    X = (100 * cloud(6, 5000, offset=0)).half()
    sent, state = play(tc.attack("mimic(warmup=2)", f=2), [X, X])
    assert float(state["direction"].float().norm()) == pytest.approx(1, abs=0.01)
    assert any(torch.equal(sent[-1][0], row) for row in X)


def perturbed(mean, last, z, angle, location, reference):
    """Özfatura et al. 2023, written out."""
    u = reference * last + (1 - reference) * mean
    unit = u / np.linalg.norm(u)
    q = np.ones(len(u)) - (np.ones(len(u)) @ unit) * unit
    q = q / np.linalg.norm(q) if np.linalg.norm(q) > 1e-6 else 0 * q
    turned = math.sin(math.radians(angle)) * q + math.cos(math.radians(angle)) * unit
    return location * last + (1 - location) * mean + z * turned


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 20),
    z=st.floats(0.1, 10),
    angle=st.sampled_from([0, 45, 90, 180, 270]),
    location=st.sampled_from([0, 0.3, 1]),
    reference=st.sampled_from([0, 0.9, 1]),
)
def test_rop_starts_from_the_last_update(seed, d, z, angle, location, reference):
    arguments = {"z": z, "angle": angle, "location": location, "reference": reference}
    attack = tc.attack(f"rop({', '.join(f'{key}={value}' for key, value in arguments.items())})", f=2)
    first, second = cloud(6, d, seed), cloud(6, d, seed + 1)
    theta, update, lr = cloud(1, d, seed + 2)[0], cloud(1, d, seed + 3)[0], 0.2
    rows, state = attack.step(view(first, parameters=theta, lr=lr), attack.init(theta))
    mean = first.mean(0).numpy()
    assert np.allclose(rows, perturbed(mean, mean, **arguments))
    assert torch.equal(rows, attack(first))  # by hand: no past
    rows, state = attack.step(view(second, parameters=theta - lr * update, lr=0.1), state)
    assert np.allclose(rows, perturbed(second.mean(0).numpy(), update.numpy(), **arguments))
    assert float(state["lr"]) == 0.1


def test_rop_goes_z_far_and_orthogonally_by_default():
    X = cloud()
    mean = X.mean(0)
    step = tc.attack("rop(z=3)", f=1)(X)[0] - mean
    assert float(step.norm()) == pytest.approx(3)
    assert float(step @ mean) == pytest.approx(0, abs=1e-9)
    assert float(step.sum()) < 0
    nowhere = tc.attack("rop(z=3)", f=1)(0 * X)[0]
    assert torch.allclose(nowhere, torch.full((20,), -3 / math.sqrt(20), dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("attack", ["mimic(warmup=6)", "mimic(warmup=2, rechoose=True)", "mimic(worker=1)", "rop"])
@pytest.mark.parametrize("knowledge", ["omniscient", "partial(3)"])
def test_runs_continue_with_what_the_attack_remembers(attack, knowledge, tmp_path):
    spec = Spec(n=8, f=2, rule="centered_clipping(tau=1)", attack=attack, knowledge=knowledge, rounds=10, momentum=0.9)
    whole = Training(spec).finish()
    training = Training(spec)
    for _ in range(4):
        training.advance()
    resumed = Training.load(training.save(tmp_path / "checkpoint")).finish()
    assert resumed.records == whole.records
