"""The round against plain PyTorch and hand-written formulas."""

import numpy as np
import pytest
import torch
from torch import nn

import turncoat as tc
from turncoat.learning.batches import Batches
from turncoat.learning.training import Parts
from turncoat.spec import Spec

SPEC = {"task": "digits/softmax", "n": 6, "f": 1, "rounds": 50, "batch": 8, "lr": 0.1, "seed": 3}


def training(**fields):
    parts = {key: fields.pop(key) for key in ("rule", "attack", "model") if not isinstance(fields.get(key, ""), str)}
    return tc.Training(Spec(**{**SPEC, **fields}), Parts(**parts))


def batch(run, round):
    indices = run.federation.batches.indices(round, run.spec.n)
    return run.federation.x[indices], run.federation.y[indices]


def worker_gradients(run, parameters, round):
    """(n, d) by autograd, one worker after the other, on a fresh module."""
    model = nn.Linear(64, 10)
    x, y = batch(run, round)
    rows = []
    for i in range(run.spec.n):
        nn.utils.vector_to_parameters(parameters, model.parameters())
        loss = nn.functional.cross_entropy(model(x[i].flatten(1)), y[i])
        rows.append(nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(model.parameters()))))
    return torch.stack(rows)


def test_the_mean_without_attack_is_plain_training():
    run = training(server_momentum=0.9, weight_decay=1e-3)
    model = nn.Linear(64, 10)
    nn.utils.vector_to_parameters(run.state.parameters.clone(), model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for round in range(50):
        x, y = batch(run, round)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x.flatten(0, 1).flatten(1)), y.flatten()).backward()
        optimiser.step()
        run.advance()
        plain = nn.utils.parameters_to_vector(model.parameters())
        assert torch.allclose(run.state.parameters, plain, atol=1e-5)


@pytest.mark.parametrize(("form", "beta"), [("damped", 0.9), ("undamped", 0.9), ("damped", 0.0)])
@pytest.mark.parametrize("attack", ["none", "ipm(epsilon=3)", "sign_flip"])
def test_worker_momentum_and_attacks(form, beta, attack):
    run = training(momentum=beta, momentum_form=form, attack=attack)
    theta, m = run.state.parameters.clone(), torch.zeros(6, run.state.parameters.numel())
    for round in range(8):
        g = worker_gradients(run, theta, round)
        m = beta * m + (1 - beta if form == "damped" else 1) * g
        sent = m.clone()
        if attack != "none":
            sent[5] = -m[5] if attack == "sign_flip" else -3 * m[:5].mean(0)
        theta = theta - 0.1 * sent.mean(0)
        run.advance()
        assert torch.allclose(run.state.parameters, theta, atol=1e-5)


def test_clipping_places():
    x = training(clip=0.05, attack="ipm(epsilon=10)")
    rows = worker_gradients(x, x.state.parameters, 0)
    clipped = rows * (0.05 / rows.norm(dim=1, keepdim=True)).clamp(max=1)
    sent = x.federation.prepare(x.state)
    assert torch.allclose(sent.rows[:5], clipped[:5], atol=1e-6)
    _, aggregation = x.federation.round(x.state, sent, x.federation.craft(x.state, sent)[0])
    assert torch.allclose(aggregation.vector, (clipped[:5].sum(0) - 10 * clipped[:5].mean(0)) / 6, atol=1e-6)
    for place in ("server_inputs", "aggregate"):
        run = training(clip=0.05, clip_at=place, attack="ipm(epsilon=10)")
        following, _, _ = run.federation.step(run.state)
        assert float((following.parameters - run.state.parameters).norm()) <= 0.1 * 0.05 + 1e-6


def test_the_servers_clipping_does_not_reach_the_workers_momenta():
    for attack in ("none", "ipm(epsilon=10)"):
        run = training(clip=0.001, clip_at="server_inputs", momentum=0.9, attack=attack)
        following, _, _ = run.federation.step(run.state)
        assert float(following.momenta[:5].norm(dim=1).min()) > 0.01
    run = training(clip=0.001, clip_at="aggregate", rule="centered_clipping")
    following, _, _ = run.federation.step(run.state)
    assert float(following.rule.norm()) > 0.01


def test_several_answers_can_be_tried_on_what_was_sent():
    run = training(attack="sign_flip", momentum=0.9)
    sent = run.federation.prepare(run.state)
    kept = sent.rows.clone()
    answers = [run.federation.round(run.state, sent, rows)[0].parameters for rows in (sent.rows[5:] * 2, -kept[5:])]
    assert torch.equal(sent.rows, kept)
    assert torch.equal(answers[1], run.federation.step(run.state)[0].parameters)
    assert not torch.equal(*answers)
    assert sent.rows.data_ptr() not in {run.federation.prepare(run.state).rows.data_ptr() for _ in range(3)}


def test_what_an_attack_crafts_is_checked():
    class Odd(tc.Attack):
        name = "odd"

        def craft(self, view):
            return torch.zeros(1)

    with pytest.raises(tc.InputError, match=r"crafted \(1,\)"):
        training(attack=Odd()).advance()
    run = training(attack=tc.SignFlip(), f=2)
    sent = run.federation.prepare(run.state)
    same = sent.rows[4:5].expand(2, -1)  # shares memory with the rows that it replaces
    following, _ = run.federation.round(run.state, sent, same)
    expected = torch.cat([sent.rows[:5], sent.rows[4:5]]).mean(0)
    assert torch.allclose(following.parameters, run.state.parameters - 0.1 * expected, atol=1e-6)


def test_local_steps_with_one_step_are_gradients_and_with_more_are_sgd():
    run = training(local_steps=1)
    same = training(local_steps=2, local_lr=0.05)
    theta = same.state.parameters
    model = nn.Linear(64, 10)
    federation = same.federation
    sent = federation.prepare(same.state)
    for i in range(5):
        nn.utils.vector_to_parameters(theta.clone(), model.parameters())
        for step in range(2):
            indices = federation.batches.indices(step, 6)[i]
            loss = nn.functional.cross_entropy(model(federation.x[indices].flatten(1)), federation.y[indices])
            gradient = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, g in zip(model.parameters(), gradient, strict=True):
                    p -= 0.05 * g
        moved = theta - nn.utils.parameters_to_vector(model.parameters())
        assert torch.allclose(sent.rows[i], moved, atol=1e-6)
    assert torch.allclose(
        run.federation.prepare(run.state).rows[:5], worker_gradients(run, run.state.parameters, 0)[:5], atol=1e-6
    )


def test_label_flipping_poisons_the_traitors_data_only():
    run, clean = training(attack="label_flip"), training(attack="none")
    sent, honest = run.federation.prepare(run.state), clean.federation.prepare(clean.state)
    assert torch.equal(sent.rows[:5], honest.rows[:5])
    x, y = batch(run, 0)
    model = nn.Linear(64, 10)
    nn.utils.vector_to_parameters(run.state.parameters.clone(), model.parameters())
    loss = nn.functional.cross_entropy(model(x[5].flatten(1)), 9 - y[5])
    flipped = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(model.parameters())))
    assert torch.allclose(sent.rows[5], flipped, atol=1e-6)
    assert torch.equal(run.federation.y, clean.federation.y)  # the data set itself is not written to


def test_attacks_start_and_stop():
    plain, attacked = training(), training(attack="ipm(epsilon=5)", attack_start=2, attack_stop=4)
    for round in range(6):
        plain.advance(), attacked.advance()
        same = torch.equal(plain.state.parameters, attacked.state.parameters)
        assert same == (round < 2)
    assert [attacked.federation.attacked(round) for round in range(6)] == [False, False, True, True, False, False]


def test_random_traitors_change_from_round_to_round():
    run = training(byzantine="random", attack="ipm(epsilon=5)", f=2, momentum=0.9)
    traitors = [run.federation._identities(round)[4:].tolist() for round in range(30)]
    assert {i for pair in traitors for i in pair} == set(range(6))
    sent = run.federation.prepare(run.state)
    order = run.federation._identities(0)
    rows = 0.1 * worker_gradients(run, run.state.parameters, 0)
    assert torch.allclose(sent.rows, rows[order], atol=1e-6)
    following, _ = run.federation.round(run.state, sent, run.federation.craft(run.state, sent)[0])
    assert torch.allclose(following.momenta, rows, atol=1e-6)  # in the workers' order, and never the traitors' rows


def test_a_round_is_a_function_of_its_state():
    run = training(rule="bucketing >> centered_clipping", attack="gaussian", momentum=0.9, f=1)
    for _ in range(3):
        run.advance()
    kept = run.state.clone()
    once, _, _ = run.federation.step(run.state)
    first = once.clone()
    twice, _, _ = run.federation.step(run.state)
    for name, tensor in run.state.tensors().items():
        assert torch.equal(tensor, kept.tensors()[name])
    for name, tensor in twice.tensors().items():
        assert torch.equal(tensor, first.tensors()[name])


def test_a_rollout_leaves_the_live_run_alone_and_foretells_it():
    live, other = (training(rule="centered_clipping", attack="alie(z=1.5)", momentum=0.9) for _ in range(2))
    for _ in range(5):
        live.advance(), other.advance()
    state = live.state
    for _ in range(4):
        state, _, _ = live.federation.step(state)
    for _ in range(4):
        live.advance(), other.advance()
    assert torch.equal(state.parameters, live.state.parameters)
    assert torch.equal(live.state.parameters, other.state.parameters)


@pytest.mark.parametrize(
    ("stream", "attack", "rule", "differs"),
    [
        ("adversary", "gaussian", "median", True),
        ("adversary", "alie(z=1)", "bucketing >> median", False),
        ("server", "gaussian", "median", False),
        ("server", "alie(z=1)", "bucketing >> median", True),
        ("data", "none", "mean", True),
        ("model", "none", "mean", True),
    ],
)
def test_the_random_streams_are_apart(stream, attack, rule, differs):
    seeds = tc.Seeds.derive(1)
    other = tc.Seeds(**{**{name: getattr(seeds, name) for name in seeds.__struct_fields__}, stream: 12345})
    runs = [training(attack=attack, rule=rule, seed=seed, rounds=3) for seed in (seeds, other)]
    for run in runs:
        run.finish()
    assert torch.equal(*(run.state.parameters for run in runs)) != differs


def test_batches_visit_every_sample_once_an_epoch():
    workers = [np.arange(10), np.arange(10, 5010), np.array([7])]
    batches = Batches(workers, 5, seed=1, device=torch.device("cpu"))
    small = torch.cat([batches.indices(step, 3)[0] for step in range(200)]).view(-1, 10)
    assert all(set(epoch.tolist()) == set(range(10)) for epoch in small)
    assert len({tuple(epoch.tolist()) for epoch in small}) > 90
    large = torch.cat([batches.indices(step, 3)[1] for step in range(2000)]).view(-1, 5000)
    assert all(torch.equal(epoch.sort().values, torch.arange(10, 5010)) for epoch in large)
    assert (batches.indices(3, 3)[2] == 7).all()
    again = Batches(workers, 5, seed=1, device=torch.device("cpu"))
    assert torch.equal(again.indices(150, 3), batches.indices(150, 3))
    assert torch.equal(again.indices(150, 2), batches.indices(150, 3)[:2])
    assert not torch.equal(Batches(workers, 5, seed=2, device=torch.device("cpu")).indices(0, 3), again.indices(0, 3))


def test_an_adversary_who_sees_its_own_data_only():
    with pytest.raises(tc.HiddenError, match='takes the honest workers\' vectors, and knowledge = "own" hides them'):
        training(attack="ipm", knowledge="own").advance()
    training(attack="ipm(population=own)", knowledge="own").advance()


def test_an_adversary_who_sees_some_honest_workers():
    run = training(attack="ipm(epsilon=2)", knowledge="partial(3)")
    sent = run.federation.prepare(run.state)
    rows, _ = run.federation.craft(run.state, sent)
    assert torch.allclose(rows[0], -2 * sent.rows[:3].mean(0), atol=1e-6)
    for knowledge in ("partial", "partial(0)", "partial(k=3)", "all", "own(1)"):
        with pytest.raises(tc.SpecError, match="knowledge is omniscient"):
            training(knowledge=knowledge)


def test_byzantine_workers_without_data():
    training(attack="ipm", share="honest").advance()
    for attack in ("none", "sign_flip", "label_flip"):
        with pytest.raises(tc.HiddenError, match='set share = "all"'):
            training(attack=attack, share="honest")


def test_more_attackers_than_the_rule_tolerates():
    run = training(rule="trimmed_mean", f=1, f_actual=2, attack="ipm(epsilon=2)")
    sent = run.federation.prepare(run.state)
    assert sent.honest == 4
    assert run.federation.rule.f == 1
    with pytest.raises(tc.SpecError, match="built with f = 2"):
        tc.train("digits", n=6, f=1, rule=tc.Krum(f=2), rounds=1)
