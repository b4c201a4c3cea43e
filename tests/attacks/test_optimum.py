"""The optimum of a plan by dynamic programming, against closed forms, dense enumeration and a random search."""

import json
import math
import sys
import warnings

import optimum
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimum import Adversary, Problem, Table

import turncoat as tc
from turncoat.learning.training import Parts
from turncoat.rules.batched import batched
from turncoat.spec import Spec

F, LR, CLIP, TARGET = 5, 0.5, 2.0, torch.tensor([2.0, 2.0], dtype=torch.float64)
RFA = "geometric_median(nu=0.1, iterations=8, start=origin)"


def median(X):
    return X.sort(1).values[:, 5:7].mean(1)


def krum(X):
    squares = (X[:, :, None] - X[:, None]).square().sum(3)
    best = squares.sort(2).values[:, :, :6].sum(2).argmin(1)  # itself and n-f-2 = 5 others
    return X[torch.arange(len(X)), best]


def weiszfeld(X):
    z = torch.zeros_like(X[:, 0])
    for _ in range(8):
        weights = 1 / (X - z[:, None]).norm(dim=2).clamp(min=0.1)
        z = (weights[..., None] * X).sum(1) / weights.sum(1, keepdim=True)
    return z


def geometric_median(X):
    form = batched(tc.rule("geometric_median", f=F), 12)
    assert form is not None
    return form(X)[0]


RULES = {"median": median, "krum": krum, "weiszfeld": weiszfeld, "geometric_median": geometric_median}


def samples(rounds, seed=0):
    return torch.randn(rounds, 7, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 2


def honest(theta, x):
    """(P, 7, 2) what the honest workers send."""
    rows = theta[:, None] - x
    return rows * (CLIP / rows.norm(dim=2, keepdim=True)).clamp(max=1)


def distance(theta):
    return (theta - TARGET).norm(dim=-1)


# What each rule can be brought to by 5 copies of any b beside 7 honest rows, from its definition and without running
# it: C points that fill it densely (P = 1), and the furthest that the model can be from the target after it (P,).


def median_range(rows):
    """The median of 12 averages the ranks 6 and 7: between the two lowest and the two highest honest values."""
    ordered = rows.sort(1).values
    return ordered[:, :2].mean(1), ordered[:, -2:].mean(1)


def median_reach(rows):
    low, high = median_range(rows)
    return low + (high - low) * torch.cartesian_prod(*[torch.linspace(0, 1, 151, dtype=low.dtype)] * 2)


def median_furthest(theta, rows):
    (left, bottom), (right, top) = (ends.unbind(1) for ends in median_range(rows))
    corners = [torch.stack([x, y], dim=1) for x in (left, right) for y in (bottom, top)]
    return distance(theta - LR * torch.stack(corners)).amax(0)


def krum_radius(rows):
    """b's score is its squared distance to the nearest honest row; theirs are at least as high, or as if b were far."""
    squares = (rows[:, :, None] - rows[:, None]).square().sum(3)
    return squares.sort(2).values[:, :, 1:6].sum(2).amin(1).sqrt()


def krum_reach(rows):
    angles = torch.arange(180, dtype=rows.dtype) * (math.pi / 90)
    shares = torch.linspace(0, 1 - 1e-9, 25, dtype=rows.dtype)
    disc = shares[:, None, None] * torch.stack([angles.cos(), angles.sin()], dim=-1)
    return (rows[0, :, None] + krum_radius(rows) * disc.view(-1, 2)).flatten(0, 1)


def krum_furthest(theta, rows):
    return distance(theta[:, None] - LR * rows).amax(1) + LR * krum_radius(rows)


def geometric_reach(rows, side=81):
    """A point is the geometric median for some b if the honest rows' pulls on it sum to at most 5 unit vectors."""
    low, high = rows.amin(1), rows.amax(1)
    unit = torch.cartesian_prod(*[torch.linspace(0, 1, side, dtype=rows.dtype)] * 2)
    points = low[:, None] + (high - low)[:, None] * unit
    away = rows[:, None] - points[:, :, None]
    pull = (away / away.norm(dim=3, keepdim=True).clamp(min=1e-12)).sum(2).norm(dim=2)
    return torch.where((pull <= F)[..., None], points, torch.nan)


def geometric_furthest(theta, rows):
    after = theta[:, None] - LR * torch.cat([geometric_reach(rows, 31), rows], dim=1)
    return distance(after).nan_to_num(nan=0).amax(1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rule", ["median", "krum", "geometric_median"])
def test_two_rounds_against_all_that_a_rule_can_be_brought_to(rule, seed):
    reach, furthest = {
        "median": (median_reach, median_furthest),
        "krum": (krum_reach, krum_furthest),
        "geometric_median": (lambda rows: torch.cat([geometric_reach(rows)[0], rows[0]]), geometric_furthest),
    }[rule]
    x = samples(2, seed)
    start = torch.zeros(1, 2, dtype=torch.float64)
    theta = start - LR * reach(honest(start, x[0]))
    theta = theta[theta.isfinite().all(1)]
    last = torch.cat([furthest(part, honest(part, x[1])) for part in theta.split(500)])
    first = distance(theta)
    enumerated = {
        "final": float(last.max()),
        "mean": float((first + last).max()) / 2,
        "min": float(first.minimum(last).max()),
    }
    found = optimum.optimum(x, F, RULES[rule])
    for name, value in enumerated.items():
        assert found.values[name] == pytest.approx(value, rel=0.01), name
        assert found.reached[name] == pytest.approx(value, rel=0.01), name


@pytest.mark.parametrize("rule", RULES)
def test_two_rounds_against_a_random_search(rule):
    x = samples(2, 5)
    found = optimum.optimum(x, F, RULES[rule])
    problem = Problem(x, F, RULES[rule])
    for name in ("final", "mean", "min"):
        plans = torch.stack([optimum.search(problem, name, seed=restart) for restart in range(3)])
        searched = float(optimum.score(name, problem.losses(plans)).max())
        assert found.values[name] == pytest.approx(searched, rel=0.01)
        assert found.reached[name] >= 0.998 * searched


@pytest.mark.parametrize("rule", ["median", "krum", "weiszfeld"])
def test_two_resolutions_agree_and_plans_do_what_is_said(rule):
    x = samples(3, 1)
    coarse = optimum.optimum(x, F, RULES[rule], step=0.4, directions=8)
    fine = optimum.optimum(x, F, RULES[rule], step=0.2, directions=16)
    assert optimum.disagreement(fine.values, coarse.values, fine.reached) < 0.01
    for name, plan in fine.plans.items():
        theta, losses = torch.zeros(1, 2, dtype=torch.float64), []
        for t, b in enumerate(plan):
            rows = torch.cat([honest(theta, x[t]), b.expand(1, F, 2)], dim=1)
            theta = theta - LR * RULES[rule](rows)
            losses.append(distance(theta)[0])
        losses = torch.stack(losses)
        exact = {"final": losses[-1], "mean": losses.mean(), "min": losses.min()}[name]
        assert fine.reached[name] == pytest.approx(float(exact), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), x=st.floats(-3, 6), y=st.floats(-3, 6), rule=st.sampled_from(["median", "krum"]))
def test_the_best_reply_of_the_last_round_is_exact(seed, x, y, rule):
    problem = Problem(samples(1, seed), F, RULES[rule])
    theta = torch.tensor([[x, y]], dtype=torch.float64)
    furthest = {"median": median_furthest, "krum": krum_furthest}[rule](theta, honest(theta, problem.samples[0]))
    reply = Adversary(problem, ("final",), 32).reply(0, theta, None)
    assert float(reply.values) == pytest.approx(float(furthest), rel=0.01)
    sent = reply.after - (theta - LR * problem.outputs(problem.honest(0, theta), reply.b))
    assert sent.abs().max() < 1e-12


def test_a_table_is_bilinear_within_and_constant_beyond():
    axis = torch.arange(3.0)
    values = torch.stack([axis[:, None] * axis + 2 * axis[:, None], axis[:, None] - axis], dim=-1)
    table = Table(torch.tensor([1.0, -1.0]), 0.5, values)
    u = torch.tensor([[0.25, 1.75], [2.0, 2.0], [1.0, 0.5]])
    expected = torch.stack([u.prod(1) + 2 * u[:, 0], u[:, 0] - u[:, 1]], dim=-1)
    assert torch.allclose(table.at(table.low + 0.5 * u), expected)
    assert table.at(torch.tensor([[-9.0, -9.0], [9.0, 9.0]])).tolist() == [[0, 0], [8, 0]]


@pytest.mark.filterwarnings("ignore:krum has no guarantee")
@pytest.mark.parametrize("rule", ["median", "krum", RFA])
def test_the_problem_is_the_run(rule):
    """A constant attack, and a plan: models of the run itself and of the problem."""
    b = torch.tensor([-0.7, 0.4])
    about = {"n": 12, "f": 5, "lr": 0.5, "clip": 2.0, "batch": 1, "rounds": 8, "seed": 3}
    run = tc.Training(Spec(task="mean_estimation", rule=rule, **about), Parts(attack=lambda rows: b))
    federation = optimum.federation_of(rule, seed=3)
    problem = optimum.problem_of(federation)
    theta, models = torch.zeros(1, 2), []
    for t in range(8):
        run.advance()
        theta = theta - LR * problem.outputs(problem.honest(t, theta), b[None, None])[:, 0]
        assert torch.allclose(theta[0], run.state.parameters, atol=1e-5)
        models.append(theta[0])
    assert torch.allclose(optimum.replay(federation, b.expand(8, 2)), torch.stack(models), atol=1e-5)
    losses = problem.losses(b.expand(1, 8, 2))[0]
    assert torch.allclose(losses, (torch.stack(models) - 2).norm(dim=1), atol=1e-5)


def test_main_writes_what_it_finds_and_does_not_compute_it_again(tmp_path, monkeypatch, capsys):
    path = tmp_path / "optimum.json"
    monkeypatch.setattr(optimum, "RESOLUTIONS", ((0.8, 4), (0.4, 8)))
    monkeypatch.setattr(sys, "argv", ["optimum.py", "--rules", "median", "--seeds", "1", "--output", str(path)])
    with warnings.catch_warnings():  # main hides one
        optimum.main()
        written = json.loads(path.read_text())
        monkeypatch.setattr(optimum, "solve", None)
        optimum.main()
    assert json.loads(path.read_text()) == written
    assert "| `median` | 1 |" in capsys.readouterr().out
    entry = written["problems"]["median"]["0"]
    assert torch.tensor(entry["plans"]["min"]).shape == (8, 2)
    for name, value in entry["values"].items():
        assert entry["reached"][name] == pytest.approx(value, rel=0.03)
