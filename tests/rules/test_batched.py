"""Batched forms against the exact rules: values and states over rounds, derivatives, ties, draws and precision."""

from dataclasses import dataclass

import pytest
import references
import torch

import turncoat as tc
from turncoat.registry import entries
from turncoat.rules import Krum, Mixing
from turncoat.rules.batched import batched

N, F, D = 19, 3, 4  # bucketing(last=spread) leaves nine rows, and Krum wants 2f + 3
RULES = sorted(name for name, entry in entries("rule").items() if not issubclass(entry.load(), Mixing))
MIXINGS = ["nnm", "bucketing", "bucketing(last=spread)", "resampling", "clipping(bound=2)", "arc"]
SPELLINGS = {"smea": "smea(beyond=search)"}
VARIANTS = [
    "median(even=lower)",
    "trimmed_mean(reduce=True)",
    "krum(neighbours='n-f-1')",
    "krum(neighbours='n-f', p=1, power=1)",
    "krum(p=16)",
    "multi_krum(m=0.5, power=4)",
    "multi_krum(m=1)",
    "geometric_median(p=1)",
    "geometric_median(nu=0.1, iterations=8, start=origin)",
    "geometric_median(iterations=5, start=median)",
    "geometric_median(iterations=3)",
    "centered_clipping(tau=1, iterations=3)",
    "centered_clipping(tau=2, start=mean)",
    "monna(trusted=18)",
    "aksel(keep=half)",
    "bulyan(selection=median, phase2=mean)",
    "bulyan(selection=geometric_median, phase2='centered_clipping(tau=1)')",
    "bulyan(selection=multi_krum, phase2=krum)",
    "mixtailor(pool=[krum, median, 'centered_clipping(tau=1)', 'nnm >> trimmed_mean', 'centered_clipping(tau=2)'])",
]
CHAINS = [
    *(f"{mixing} >> {rule}" for mixing in MIXINGS for rule in ("trimmed_mean", "krum", "geometric_median")),
    "nnm >> monna",
    "nnm >> nnm >> medoid",
    "nnm >> bulyan",
    "nnm >> mda",
    "nnm >> caf",
    "arc >> caf",
    "bucketing >> caf",
    "arc >> bucketing >> meamed",
    "clipping(bound=2) >> centered_clipping(tau=1)",
    "resampling(s=2) >> mixtailor(pool=[multi_krum, phocas])",
]
HELD = [  # without a form of their own: the exact rule's weights are held fixed
    "dnc",
    "ls_reconstruction",
    "sign_guard",
    "smea",
    "zeno",
    "nnm >> dnc",
    "resampling(s=2) >> dnc",
    "similarity_filter >> krum",
    "bulyan(selection=zeno, phase2=krum)",
    "ls_reconstruction(base='centered_clipping(tau=1)')",
    "ls_reconstruction(base='mixtailor(pool=[centered_clipping, median])')",
    "mixtailor(pool=[krum, ls_reconstruction])",
]
NONE = ["geometric_median(p=3)", "similarity_filter >> median", "bulyan(selection=zeno)"]
OWN = [spelling for spelling in (*RULES, *VARIANTS, *CHAINS) if spelling not in HELD]


def made(spelling):
    """The rule; one that asks for a loss is given one."""
    return tc.rule(SPELLINGS.get(spelling, spelling), f=F).trusting(
        lambda x: float((x.double() - references.LOSS_AT).square().sum())
    )


def formed(spelling, **kwargs):
    """The batched form, which has to exist."""
    form = batched(made(spelling), N, **kwargs)
    assert form is not None
    return form


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def clouds(seed=0, d=D):
    """(6, N, d): plain rows, F of them far, F copies far, near the mean, and of a row, and all rows the same."""
    X = randn(6, N, d, seed=seed) + 0.5
    X[1, N - F :] *= 10
    X[2, N - F :] = X[2, N - 1] + 30
    X[3, N - F :] = X[3, : N - F].mean(0) + 0.1
    X[4, :F] = X[4, F].clone()
    X[5] = X[5, 0].clone()
    return X


def of(state, c):
    """The state of one candidate."""
    if isinstance(state, dict):
        return {key: value[c] for key, value in state.items()}
    return None if state is None else state[c]


def same(one, other, tolerance=1e-7):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one is other is None or torch.allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spelling", [*OWN, *HELD])
def test_candidates_are_aggregated_as_by_the_exact_rule(spelling):
    rule, form, X = made(spelling), formed(spelling), clouds()
    state, states = form.init(X), [rule.init(rows) for rows in X]
    for t in range(3):
        X, stream, exact = clouds(seed=t), generator(t), generator(t)
        vectors, state = form(X, state, stream)
        for c, rows in enumerate(X):
            exact = generator(t)
            found, states[c] = rule.step(rows, states[c], exact, examined=False)
            assert same(vectors[c], found.vector)
            assert same(of(state, c), states[c])
        assert torch.equal(stream.get_state(), exact.get_state())


@pytest.mark.parametrize(("spelling", "d"), [*((one, D) for one in OWN), *((one, 2 * N) for one in CHAINS)])
def test_derivatives_are_those_of_the_exact_rule(spelling, d):
    """Over two rounds, the second of which depends on the first one's rows and state."""
    rule, form = made(spelling), formed(spelling, frozen=False)
    X, later = clouds(3, d)[:2], 0.3 * randn(N, d, seed=8)
    towards, along = randn(N, d, seed=9), randn(d, seed=10)

    def last(step, state, X):
        _, state = step(X, state, generator(0))
        found, _ = step(0.5 * X + later, state, generator(1))
        return getattr(found, "vector", found) @ along

    rows = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(last(form, form.init(rows), rows).sum(), rows)
    for c in range(2):
        ahead, behind = (last(rule.step, rule.init(X[c]), X[c] + h * towards) for h in (1e-4, -1e-4))
        expected = float(ahead - behind) / 2e-4
        assert float((gradient[c] * towards).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("spelling", [*OWN, *HELD])
def test_derivatives_are_finite_where_rows_coincide(spelling):
    form = formed(spelling)
    X = torch.cat([clouds(), torch.zeros(1, N, D, dtype=torch.float64), 1e30 * clouds()[1:2]]).requires_grad_()
    _, state = form(X, form.init(X), generator(0))
    vectors, _ = form(X, state, generator(1))
    (gradient,) = torch.autograd.grad(vectors.sum(), X)
    assert vectors.isfinite().all()
    assert gradient.abs().max() < 1e3


@pytest.mark.parametrize("spelling", [*RULES, *CHAINS])
def test_single_precision_comes_back_as_it_came(spelling):
    form, X = formed(spelling), clouds()[:2]
    expected, _ = form(X, form.init(X), generator())
    rows = X.float().requires_grad_()
    found, state = form(rows, form.init(rows), generator())
    assert found.dtype == torch.float32
    assert not isinstance(state, torch.Tensor) or state.dtype == torch.float32
    assert same(found.double(), expected, 1e-3)
    assert torch.autograd.grad(found.sum(), rows)[0].isfinite().all()


def test_which_rules_have_no_form_of_their_own():
    assert not any(batched(made(spelling), N, frozen=False) for spelling in HELD)
    assert not any(batched(made(spelling), N) for spelling in NONE)
    assert batched(tc.MDA(f=5), 25, frozen=False) is None  # 53,130 subsets
    assert batched(tc.rule(lambda X: X[0]), 5) is None
    with pytest.raises(tc.ToleranceError):
        batched(tc.Krum(f=3), 6)


def test_a_subclass_is_not_taken_for_its_base():
    @dataclass(frozen=True)
    class Farthest(Krum):
        def scores(self, look):
            return -super().scores(look)

    rule, X = Farthest(f=F), clouds()
    form = batched(rule, N)
    assert form is not None
    assert same(form(X)[0], torch.stack([rule(rows) for rows in X]))
    assert batched(rule, N, frozen=False) is None


def test_weights_held_fixed_are_the_derivative_of_a_selection():
    rows = clouds()[1:2].requires_grad_()
    (gradient,) = torch.autograd.grad(formed("dnc")(rows)[0].sum(), rows)
    assert same(gradient[0], made("dnc").explain(rows[0]).weights[:, None].expand(N, D))


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "meamed", "phocas", "sign_majority"])
def test_wide_rows_are_aggregated_alike_with_and_without_a_derivative(name):
    form, X = formed(name), randn(2, N, 2000)
    assert torch.allclose(form(X)[0], form(X.clone().requires_grad_())[0], atol=1e-12)


@pytest.mark.parametrize("apart", [1e-15, 1e-12, 1e-9, 1e-6])
def test_the_geometric_median_is_a_minimum_among_rows_that_nearly_coincide(apart):
    X = randn(5, N, D)
    X[:, :F] = X[:, F, None] + apart * randn(5, F, D, seed=1)
    X[1, :8] = X[1, 8] + apart * randn(8, D, seed=2)
    form = formed("geometric_median")
    rows = X.clone().requires_grad_()
    found = form(rows)[0]
    expected = torch.stack([torch.from_numpy(references.geometric_median(x.numpy(), F)) for x in X])
    total, least = ((X - y.detach()[:, None]).norm(dim=2).sum(1) for y in (found, expected))
    assert (total <= least * (1 + 1e-9)).all()
    (gradient,) = torch.autograd.grad(found.sum(), rows)
    assert same(gradient.sum(1), torch.ones(5, D, dtype=torch.float64), 1e-3)  # it moves with the rows


def test_copies_of_the_geometric_median_share_its_derivative():
    rows = randn(1, N, D)
    rows[0, :12] = rows[0, 18].clone()
    rows.requires_grad_()
    form = formed("geometric_median")
    (gradient,) = torch.autograd.grad(form(rows)[0].sum(), rows)
    assert same(gradient[0, [*range(12), 18]], torch.full((13, D), 1 / 13, dtype=torch.float64))


def test_the_same_rows_among_other_candidates_are_aggregated_alike():
    X = clouds()
    for spelling in ("krum", "nnm >> geometric_median", "caf", "bulyan"):
        form = formed(spelling)
        alone = torch.cat([form(rows[None])[0] for rows in X])
        assert same(form(X)[0], alone)


def test_without_a_generator_nobody_can_tell_the_draw():
    X, before = clouds(), torch.get_rng_state()
    for spelling in ("bucketing >> median", "resampling >> median", "mixtailor(pool=[krum, median, mean])"):
        form = formed(spelling)
        assert len({float(form(X)[0].sum()) for _ in range(30)}) > 1
    assert torch.equal(torch.get_rng_state(), before)
