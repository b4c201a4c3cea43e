"""Every method of per-worker gradients against plain autograd, worker by worker."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, linear

from turncoat.errors import SpecError
from turncoat.learning import gradients as room
from turncoat.learning.gradients import METHODS, Learner, available, default_method
from turncoat.learning.models import build_model
from turncoat.registry import entries, make
from turncoat.spelling import parse

SHAPES = {  # alexnet is alexnet_small but for its widths, which make it too large to test
    "point": (3,),
    "softmax": (1, 5, 4),
    "mlp(hidden=6)": (7,),
    "cnn": (1, 10, 9),
    "cnn(dropout=channel)": (2, 9, 9),
    "mnistnet": (1, 16, 18),
    "cifarnet": (3, 16, 16),
    "fallcnn": (3, 6, 6),
    "lenet5": (1, 28, 28),
    "alexnet_small": (3, 16, 16),
}
CLASSES = 4
PAIRS = [(name, method) for name in SHAPES for method in METHODS if name != "fallcnn" or method == "sequential"]
CPU = torch.device("cpu")


def built(name, dtype=torch.float64, dropout=True):
    model = build_model(make("model", parse(name)), SHAPES[name], CLASSES, seed=1).to(dtype)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d) and not dropout:
            module.p = 0.0
    return model


def data(shape, n, b, dtype=torch.float64, seed=0, targets=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, b, *shape, generator=generator, dtype=torch.float64).to(dtype)
    if targets is not None:
        return x, torch.randn(n, b, *targets, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(CLASSES, (n, b), generator=generator)


def of(name, n, b, dtype=torch.float64, seed=0):
    shape = SHAPES[name]
    return data(shape, n, b, dtype, seed, targets=shape if name == "point" else None)


def loss_of(name):
    return "half_squared_error" if name == "point" else "cross_entropy"


def moved(learner, seed=3):
    """Parameters near the initial ones, so that no test passes by never loading theta."""
    noise = torch.randn(learner.d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return learner.initial() + 0.05 * noise.to(learner.dtype)


def plain(model, loss, theta, x, y):
    """Rows, losses and buffers by one backward pass for each worker."""
    model = copy.deepcopy(model).train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    nn.utils.vector_to_parameters(theta, trainable)
    rows, losses = [], []
    for x_i, y_i in zip(x, y, strict=True):
        model.zero_grad()
        out = model(x_i)
        value = cross_entropy(out, y_i) if loss == "cross_entropy" else 0.5 * ((out - y_i) ** 2).sum() / len(x_i)
        value.backward()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainable]
        rows.append(torch.cat([g.flatten() for g in gradients]))
        losses.append(value.detach())
    return torch.stack(rows), torch.stack(losses), list(model.buffers())


def run(learner, theta, x, y, **more):
    out = torch.full((len(x), learner.d), float("nan"), dtype=learner.dtype)
    losses = learner.gradients(theta, x, y, out, **more)
    return out, losses


def assert_close(actual, expected, tolerance):
    assert torch.isfinite(actual).all()
    assert (actual - expected).norm() <= tolerance * expected.norm()


def check(model, loss, method, x, y, tolerance=1e-10):
    learner = Learner(model, loss, method)
    theta = moved(learner)
    out, losses = run(learner, theta, x, y)
    rows, values, _ = plain(model, loss, theta, x, y)
    assert_close(out, rows, tolerance)
    assert_close(losses, values, tolerance)
    return learner


def test_every_model_is_tested():
    assert {parse(name).name for name in SHAPES} | {"alexnet"} == set(entries("model"))


@pytest.mark.parametrize(("name", "method"), PAIRS)
@pytest.mark.parametrize(("n", "b"), [(3, 5), (1, 2), (4, 1)])
def test_rows_are_those_of_plain_autograd(name, method, n, b):
    b = max(b, 2) if name == "fallcnn" else b  # batch normalisation needs two values a channel
    check(built(name, dropout=False), loss_of(name), method, *of(name, n, b))


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_rows_in_single_precision(name, method):
    tolerance = 1e-4 if name == "fallcnn" else 1e-5  # it divides by the deviations of few values
    check(built(name, torch.float32, False), loss_of(name), method, *of(name, 3, 4, torch.float32), tolerance)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 6),
    b=st.integers(1, 5),
    width=st.integers(1, 9),
    bias=st.booleans(),
    method=st.sampled_from(METHODS),
    cache=st.integers(1, 200),
)
def test_rows_of_any_shape(n, b, width, bias, method, cache):
    model = nn.Sequential(nn.Linear(6, width, bias=bias), nn.Tanh(), nn.Linear(width, CLASSES)).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "CACHE", cache)
        check(model, "cross_entropy", method, *data((6,), n, b))


@pytest.mark.parametrize(
    "arguments", [{"stride": 2}, {"padding": (2, 1)}, {"dilation": 2}, {"groups": 2}, {"bias": False}]
)
def test_convolutions_of_all_kinds(arguments):
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, **arguments)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES)).double()
    check(model, "cross_entropy", "grouped", *data((2, 9, 8), 3, 4))


@pytest.mark.parametrize("cache", [1, 10_000, 10**9])
def test_workers_go_in_groups_of_any_size(monkeypatch, cache):
    monkeypatch.setattr(room, "CACHE", cache)
    check(built("lenet5"), "cross_entropy", "grouped", *of("lenet5", 5, 2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["lenet5", "softmax", "mlp(hidden=6)"])
def test_rows_may_stand_apart(name, method):
    model = built(name)
    learner = Learner(model, "cross_entropy", method)
    x, y = of(name, 3, 4)
    expected, _ = run(learner, learner.initial(), x, y)
    wide = torch.full((6, learner.d + 7), -1.0, dtype=torch.float64)
    out = wide[::2, 2:-5]
    learner.gradients(learner.initial(), x, y, out)
    assert torch.equal(out, expected)
    wide[::2, 2:-5] = -1.0
    assert (wide == -1).all()


@pytest.mark.parametrize("method", METHODS)
def test_large_linear_layers(method):
    model = nn.Sequential(nn.Linear(300, 250), nn.ReLU(), nn.Linear(250, CLASSES)).double()
    check(model, "cross_entropy", method, *data((300,), 3, 4))


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_same_arguments_give_the_same_bits(name, method):
    x, y = of(name, 3, 4, torch.float32)
    learners = [Learner(built(name, torch.float32), loss_of(name), method) for _ in range(2)]
    runs = [run(learner, moved(learner), x, y, seed=11) for learner in (*learners, learners[0])]
    assert all(torch.equal(out, runs[0][0]) and torch.equal(losses, runs[0][1]) for out, losses in runs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["cnn", "cnn(dropout=channel)", "mnistnet", "cifarnet"])
def test_dropout_differs_from_seed_to_seed_and_worker_to_worker(name, method):
    x, y = of(name, 1, 4)
    x, y = x.expand(3, *x.shape[1:]), y.expand(3, 4)
    learner = Learner(built(name), "cross_entropy", method)
    one, other = (run(learner, learner.initial(), x, y, seed=seed)[0] for seed in (1, 2))
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[1], one[2])


@pytest.mark.parametrize("method", ["grouped", "sequential"])
@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_dropout_keeps_the_expectation(method, p):
    """With a linear layer after it, the gradient shows which elements were dropped and how the others were scaled."""
    model = nn.Sequential(nn.Dropout(p), nn.Linear(4000, 1, bias=False))
    learner = Learner(model, "half_squared_error", method)
    x, y = torch.ones(5, 1, 4000), torch.full((5, 1, 1), -1.0)
    out, _ = run(learner, torch.zeros(4000), x, y, seed=4)
    kept = out != 0
    torch.testing.assert_close(out[kept], torch.full((int(kept.sum()),), 1 / (1 - p)), rtol=2**-13, atol=0)
    assert abs(kept.float().mean() - (1 - p)) < 5 * (p * (1 - p) / 20_000) ** 0.5


def test_dropout_of_images_in_any_layout():
    layers = [nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(96, CLASSES)]
    learner = Learner(nn.Sequential(*layers).double(), "cross_entropy")
    x, y = data((3, 6, 6), 2, 200)
    out, _ = run(learner, learner.initial(), x, y, seed=1)
    layers[1] = nn.Identity()
    mean, _ = run(Learner(nn.Sequential(*layers), "cross_entropy"), learner.initial(), x, y)
    assert 0.05 < (out - mean).norm() / mean.norm() < 1
    undropped = cross_entropy(nn.Sequential(*layers)(x[0]), y[0]).item()
    assert learner.evaluate(learner.initial(), x[0], y[0])[0] == pytest.approx(undropped)


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_nothing_of_the_callers_changes(name, method):
    model = built(name, torch.float32).eval()
    state = copy.deepcopy(model.state_dict())
    x, y = of(name, 3, 4, torch.float32)
    learner = Learner(model, loss_of(name), method)
    theta = moved(learner)
    kept = [t.clone() for t in (theta, x, y)]
    generator = torch.get_rng_state()
    run(learner, theta, x, y, seed=5)
    run_local(learner, theta, x.unsqueeze(1), y.unsqueeze(1))
    learner.evaluate(theta, x[0], y[0])
    learner.initial().zero_()
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(a, b) for a, b in zip(kept, (theta, x, y), strict=True))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(learner.initial(), nn.utils.parameters_to_vector(model.parameters()))


def test_gradients_inside_no_grad():
    x, y = of("lenet5", 2, 3)
    for method in METHODS:
        learner = Learner(built("lenet5"), "cross_entropy", method)
        expected = run(learner, moved(learner), x, y)
        with torch.no_grad():
            rows, losses = run(learner, moved(learner), x, y)
        assert torch.equal(rows, expected[0])
        assert torch.equal(losses, expected[1])


def test_point_moves_away_from_the_mean():
    learner = Learner(built("point"), "half_squared_error")
    x, _ = of("point", 4, 6)
    theta = moved(learner)
    out, _ = run(learner, theta, x, x)
    torch.testing.assert_close(out, theta - x.mean(1))


# The user's own modules


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.last = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.last(self.second(torch.tanh(self.first(x))))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.last(self.layer(torch.tanh(self.layer(x))))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.last(linear(torch.tanh(self.layer(x)), self.layer.weight))


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        hidden = self.layer(x)
        return self.last(torch.tanh(hidden - 0.5 * hidden.mean(0)))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.idle, self.side = nn.Linear(6, CLASSES), nn.Linear(3, 2), nn.Linear(6, 5)

    def forward(self, x):
        self.side(x)
        return self.layer(x)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.layer, self.last = nn.Conv2d(1, 4, 3), nn.Linear(16, 16), nn.Linear(16, CLASSES)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x))).view(x.shape[0], -1)
        return self.last(x + self.layer(x))


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.LayerNorm(6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.last(self.norm(x))


def own(kind):
    torch.manual_seed(0)
    return kind().double()


@pytest.mark.parametrize("kind", [Tied, Twice, Functional, Mixing, Unused, Residual, Norm])
@pytest.mark.parametrize("method", [None, "sequential", "vmap"])
def test_own_modules(kind, method):
    shape = (1, 6, 6) if kind is Residual else (6,)
    assert default_method(own(kind), CPU) == "sequential"
    check(own(kind), "cross_entropy", method, *data(shape, 3, 4))


@pytest.mark.parametrize(("kind", "shape"), [(Unused, (6,)), (Residual, (1, 6, 6))])
def test_own_modules_that_can_go_grouped(kind, shape):
    learner = check(own(kind), "cross_entropy", "grouped", *data(shape, 3, 4))
    assert learner.method == "grouped"


def test_what_does_not_matter_has_gradient_zero():
    for method in METHODS:
        out, _ = run(Learner(own(Unused), "cross_entropy", method), moved(Learner(own(Unused))), *data((6,), 2, 3))
        assert (out[:, 7 * CLASSES :] == 0).all()
        assert (out[:, : 7 * CLASSES] != 0).any()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Tied, r"second \(Linear\) shares a parameter with first \(Linear\); use vmap or sequential"),
        (Norm, r"norm \(LayerNorm\) has parameters, and only Linear and Conv2d"),
        (lambda: nn.Conv2d(1, 2, 3, padding="same"), r"the model \(Conv2d\) has another padding"),
        (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), "another padding"),
        (lambda: nn.BatchNorm1d(3), r"the model \(BatchNorm1d\) takes statistics over a batch.*; use sequential"),
    ],
)
def test_structures_that_cannot_go_grouped(kind, reason):
    assert "grouped" not in available(own(kind))
    with pytest.raises(SpecError, match=reason):
        Learner(own(kind), "cross_entropy", "grouped")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Twice, "calls a layer twice"), (Functional, "outside the layer"), (Mixing, "mixes the samples")],
)
@pytest.mark.parametrize(("n", "b"), [(2, 1), (3, 4)])
def test_behaviour_that_cannot_go_grouped(kind, reason, n, b):
    learner = Learner(own(kind), "cross_entropy", "grouped")
    for _ in range(2):
        with pytest.raises(SpecError, match=reason):
            run(learner, learner.initial(), *data((6,), n, b))


def test_one_sample_does_not_tell_whether_a_model_mixes_samples():
    learner = check(own(Mixing), "cross_entropy", "grouped", *data((6,), 1, 1))
    with pytest.raises(SpecError, match="mixes the samples"):
        run(learner, learner.initial(), *data((6,), 2, 1))


def test_a_module_that_vmap_cannot_run():
    class Branching(nn.Linear):
        def forward(self, input):  # noqa: A002
            return super().forward(input) if input.sum().item() > 0 else super().forward(-input)

    model = Branching(6, CLASSES).double()
    x, y = data((6,), 2, 3)
    check(model, "cross_entropy", None, x, y)
    learner = Learner(model, "cross_entropy", "vmap")
    with pytest.raises(SpecError, match=r"method vmap cannot train this model.*; use sequential"):
        run(learner, learner.initial(), x, y)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_parameters_are_left_out(method):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    learner = check(model, "cross_entropy", method, *data((6,), 3, 4))
    assert learner.d == 25 + 6 * CLASSES


def test_defaults_are_a_fixed_table():
    cuda = torch.device("cuda")
    for name in SHAPES:
        normalised = name == "fallcnn"
        assert default_method(built(name), CPU) == ("sequential" if normalised else "grouped")
        assert default_method(built(name), cuda) == ("sequential" if normalised else "vmap")
        assert available(built(name)) == (("sequential",) if normalised else METHODS)
    assert default_method(built("softmax"), torch.device("meta")) == "sequential"
    hooked = built("softmax")
    hooked.register_forward_hook(lambda module, args, out: out - out.mean(0))
    assert default_method(hooked, CPU) == "sequential"
    layer = nn.Linear(6, 6)
    assert default_method(nn.Sequential(layer, nn.Tanh(), nn.Sequential(layer)), CPU) == "sequential"
    assert default_method(nn.Sequential(nn.Linear(6, 6), nn.Flatten(0)), CPU) == "sequential"


# Batch normalisation


def test_each_worker_in_turn_updates_the_running_statistics():
    model = built("fallcnn", dropout=False)
    learner = Learner(model, "cross_entropy")
    x, y = of("fallcnn", 3, 4)
    theta = moved(learner)
    out, _ = run(learner, theta, x, y)
    rows, _, buffers = plain(model, "cross_entropy", theta, x, y)
    assert_close(out, rows, 1e-10)
    assert len(learner.buffers) == len(buffers) > 0
    for ours, theirs in zip(learner.buffers, buffers, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_buffers_given_are_used_and_updated_in_place_of_the_learners_own():
    learner = Learner(built("fallcnn", dropout=False), "cross_entropy")
    x, y = of("fallcnn", 2, 4)
    theta = moved(learner)
    own_before = [buffer.clone() for buffer in learner.buffers]
    given_ = [buffer.clone() for buffer in learner.buffers]
    first = run(learner, theta, x, y, buffers=given_)
    assert all(torch.equal(a, b) for a, b in zip(own_before, learner.buffers, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(own_before, given_, strict=True))
    evaluated = learner.evaluate(theta, x[0], y[0], buffers=given_)
    assert evaluated != learner.evaluate(theta, x[0], y[0])
    assert torch.equal(first[0], run(learner, theta, x, y)[0])
    assert all(torch.equal(a, b) for a, b in zip(given_, learner.buffers, strict=True))
    assert evaluated == learner.evaluate(theta, x[0], y[0])


def test_buffers_that_a_module_replaces():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(6, CLASSES)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, input):  # noqa: A002
            self.calls = self.calls + 1
            return super().forward(input)

    learner = Learner(Counting(), "cross_entropy")
    calls = [torch.zeros(())]
    run(learner, learner.initial(), *data((6,), 3, 4, torch.float32), buffers=calls)
    assert (float(calls[0]), float(learner.buffers[0])) == (3, 0)


# Local steps


def run_local(learner, theta, x, y, lr=0.1, **more):
    out = torch.full((len(x), learner.d), float("nan"), dtype=learner.dtype)
    return out, learner.local_updates(theta, x, y, lr, out, **more)


@pytest.mark.parametrize("method", METHODS)
def test_one_local_step_is_a_scaled_gradient(method):
    learner = Learner(built("lenet5"), "cross_entropy", method)
    x, y = of("lenet5", 3, 4)
    theta = moved(learner)
    update, losses = run_local(learner, theta, x.unsqueeze(1), y.unsqueeze(1), lr=0.3)
    gradient, expected = run(learner, theta, x, y)
    assert_close(update, 0.3 * gradient, 1e-12)
    assert_close(losses, expected, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_three_local_steps(method):
    model, (n, steps, b), lr = built("mlp(hidden=6)"), (2, 3, 5), 0.7
    learner = Learner(model, "cross_entropy", method)
    x, y = data((7,), n, steps * b)
    x, y = x.view(n, steps, b, 7), y.view(n, steps, b)
    theta = moved(learner)
    update, losses = run_local(learner, theta, x, y, lr)
    for i in range(n):
        local, total = theta.clone(), 0.0
        for t in range(steps):
            rows, values, _ = plain(model, "cross_entropy", local, x[i : i + 1, t], y[i : i + 1, t])
            local = local - lr * rows[0]
            total += float(values[0])
        assert_close(update[i], theta - local, 1e-10)
        assert float(losses[i]) == pytest.approx(total / steps, rel=1e-12)


def test_local_steps_with_dropout_and_running_statistics():
    x, y = of("fallcnn", 2, 12)
    x, y = x.view(2, 3, 4, 3, 6, 6), y.view(2, 3, 4)
    learner = Learner(built("fallcnn"), "cross_entropy")
    buffers = [[buffer.clone() for buffer in learner.buffers] for _ in range(3)]
    theta = learner.initial()
    runs = [run_local(learner, theta, x, y, seed=s, buffers=b)[0] for s, b in zip((1, 1, 2), buffers, strict=True)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert int(buffers[0][2]) == 6


# Evaluation


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_evaluation(method, batch):
    model = built("cnn")
    learner = Learner(model, "cross_entropy", method)
    theta = moved(learner)
    x, y = (part[0] for part in of("cnn", 1, 11))
    nn.utils.vector_to_parameters(theta, model.parameters())
    out = model.eval()(x).detach()
    loss, accuracy = learner.evaluate(theta, x, y, batch=batch)
    assert loss == pytest.approx(float(cross_entropy(out, y)), rel=1e-12)
    assert accuracy == float((out.argmax(1) == y).double().mean())


def test_evaluation_of_targets():
    learner = Learner(built("point"), "half_squared_error")
    x = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert learner.evaluate(learner.initial(), x, x) == (2.25, None)


# What is refused


def test_unknown_names():
    with pytest.raises(SpecError, match="unknown method 'fast' of gradients: there are grouped, vmap, sequential"):
        Learner(built("softmax"), "cross_entropy", "fast")
    with pytest.raises(SpecError, match="unknown loss 'mse': there are cross_entropy, half_squared_error"):
        Learner(built("softmax"), "mse")


def test_models_without_one_kind_of_parameters():
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    for model in (nn.Flatten(), mixed, nn.Linear(2, 2).requires_grad_(False)):
        with pytest.raises(SpecError, match="trainable parameters, all of one dtype"):
            Learner(model)


def test_tensors_that_do_not_fit():
    learner = Learner(built("softmax"), "cross_entropy")
    theta, (x, y) = learner.initial(), of("softmax", 2, 3)
    out = torch.empty(2, learner.d, dtype=torch.float64)
    wrong = [
        (theta[1:], x, y, out, "theta"),
        (theta, x, y, out[:1], "2 workers"),
        (theta, x, y, out.T.contiguous().T, "in one piece"),
        (theta, x, y[:, :2], out, "must agree"),
        (theta, x[:, :0], y[:, :0], out, "1 or more"),
        (theta, x, y, out.float(), "out of torch.float32"),
    ]
    for *arguments, message in wrong:
        with pytest.raises(SpecError, match=message):
            learner.gradients(*arguments)
    learner = Learner(built("point"), "half_squared_error")
    x, y = of("point", 2, 3)
    with pytest.raises(SpecError, match="targets of the output's shape"):
        run(learner, learner.initial(), x, y[..., :1])


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.linear(x.mul_(2).flatten(1))


def in_place_first():
    return nn.Sequential(nn.Flatten(), nn.LeakyReLU(0.5, inplace=True), nn.Linear(6, CLASSES))


def in_place_and_short():
    return nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(6, CLASSES))


@pytest.mark.parametrize("make_model", [Overwriting, in_place_first, in_place_and_short])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_writes_to_its_input_leaves_the_data_alone(make_model, method):
    learner = Learner(make_model(), method=method)
    x, y = data((2, 3), n=3, b=4, dtype=torch.float32)
    kept, theta, out = x.clone(), learner.initial(), torch.empty(3, learner.d)
    losses = [learner.gradients(theta, x, y, out).tolist() for _ in range(2)]
    loss, _ = learner.evaluate(theta, x[0], y[0])
    assert torch.equal(learner.outputs(theta, x[0]), learner.outputs(theta, x[0]))
    learner.local_updates(theta, x[:, None], y[:, None], 0.1, out)
    learner.plain(x[0])
    assert torch.equal(x, kept)
    assert losses[0] == losses[1]
    assert losses[0][0] == pytest.approx(loss, rel=1e-5)


def test_registered_models_get_the_data_itself():
    for name in SHAPES:
        assert not Learner(built(name), loss_of(name))._model._forward_pre_hooks
