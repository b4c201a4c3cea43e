"""Chains against the same parts applied one after the other, also where rows share a large offset or cancel."""

import numpy as np
import pytest
import references
import torch

import turncoat as tc


def cloud(n=13, d=20, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_after_the_other(spelling, X, f):
    """The aggregate by references, which make every mixture."""
    *mixings, rule = spelling.split(" >> ")
    for mixing in mixings:
        name, _, bound = mixing.partition("(bound=")
        given = {"bound": float(bound.rstrip(")"))} if bound else {}
        X = references.MIXINGS[name](X, f, **given)
    return references.RULES[rule](X, f)


CHAINS = [
    "arc >> krum",
    "arc >> nnm >> trimmed_mean",
    "clipping(bound=4) >> nnm >> median",
    "clipping(bound=4) >> geometric_median",
    "nnm >> arc >> multi_krum",
    "nnm >> nnm >> multi_krum",
    "nnm >> clipping(bound=1) >> caf",
    "arc >> clipping(bound=4) >> bulyan",
    "similarity_filter >> arc >> nnm >> aksel",
]


@pytest.mark.parametrize("spelling", CHAINS)
def test_chains_are_their_parts_one_after_the_other(spelling):
    X = cloud(16)
    X[13:] = X[13:] * 3 + 2
    expected = one_after_the_other(spelling, X.numpy(), 3)
    assert np.allclose(tc.rule(spelling, f=3)(X).numpy(), expected, atol=1e-9)
    assert np.allclose(tc.rule(spelling, f=3)(X.float()).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("spelling", [spelling.replace("bound=", "bound=4000") for spelling in CHAINS])
def test_chains_under_a_large_offset(spelling):
    X = 1e4 + 1e-2 * cloud(16)
    X[13:] = -X[13:]
    expected = one_after_the_other(spelling, X.numpy(), 3)
    found = tc.rule(spelling, f=3)(X).numpy()
    spread = float((X[:13] - X[:13].mean(0)).norm(dim=1).max())
    assert np.linalg.norm(found - expected) <= 1e-4 * spread
    rough = tc.rule(spelling, f=3)(X.float()).double().numpy()  # which norms are longest is below float32's precision
    assert np.linalg.norm(rough - expected) <= 3 * spread


def test_a_mixing_makes_what_a_chain_works_on():
    X = cloud()
    rows = tc.ARC(f=3)(tc.NNM(f=3)(X))
    assert torch.allclose(tc.rule("nnm >> arc >> multi_krum", f=3)(X), tc.MultiKrum(f=3)(rows))
    why = tc.rule("nnm >> arc >> multi_krum", f=3).explain(X)
    assert torch.allclose(why.weights @ X, why.vector)
    assert why.weights.sum() < 1  # clipped rows count for less


def test_a_chain_that_clips_has_the_properties_of_its_parts():
    chain = tc.rule("clipping >> nnm >> median", f=2)
    assert (chain.permutes, chain.translates, chain.scales, chain.draws) == (True, False, False, False)
    chain = tc.rule("arc >> bucketing >> krum", f=2)
    assert (chain.permutes, chain.translates, chain.scales, chain.draws) == (False, False, True, True)
    assert not tc.rule("nnm >> mean", f=2).robust
    assert tc.rule("nnm >> median", f=2).kappa(10, 2) == pytest.approx(8 * 2 / 8 * (8 / 3 + 1))
    assert tc.rule("arc >> median", f=2).kappa(10, 2) is None


@pytest.mark.parametrize("rule", ["krum", "geometric_median", "nnm >> trimmed_mean"])
def test_traitors_that_cancel_in_a_bucket_cannot_drag_the_aggregate_away(rule):
    X = cloud(17)
    u, v = cloud(2, seed=1)
    X[14:] = torch.stack([1e20 * u + 1e10 * v, -1e20 * u + 1e10 * v, 1e10 * v])
    honest = X[:14].mean(0)
    chain = tc.rule(f"bucketing >> {rule}", f=3)
    draws = [chain.step(X, None, torch.Generator().manual_seed(seed))[0].vector for seed in range(40)]
    assert max((vector - honest).norm() for vector in draws) < 5 * (X[:14] - honest).norm(dim=1).max()
