"""Attacks against their formulas, and the contract that all of them share."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.attacks import z_max
from turncoat.registry import entries

PLANS = {name for name, entry in entries("attack").items() if entry.traits.get("needs_run")} | {"replay"}
ATTACKS = sorted(entries("attack").keys() - PLANS)


def cloud(h=8, d=20, seed=0, offset=0.5):
    return torch.randn(h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + offset


# Baruch et al. 2019, section 3, for the settings that the literature uses.
Z_MAX = {
    (12, 2): 0.0,
    (12, 4): 0.3186,
    (12, 5): 0.5659,
    (8, 3): 0.2533,
    (15, 4): 0.3488,
    (14, 5): 0.4307,
    (25, 5): 0.2533,
    (17, 3): 0.1800,
    (25, 11): 1.0676,
    (25, 12): 1.4261,
}


@pytest.mark.parametrize(("n", "f"), Z_MAX)
def test_z_max(n, f):
    assert z_max(n, f) == pytest.approx(Z_MAX[n, f], abs=5e-5)


def test_z_max_needs_a_minority():
    with pytest.raises(tc.SpecError, match="minority of traitors"):
        z_max(10, 6)


def test_alie_shifts_the_mean_by_standard_deviations():
    X = cloud()
    assert torch.allclose(tc.ALIE(f=3, z=1.5)(X), (X.mean(0) - 1.5 * X.std(0)).expand(3, -1))
    assert torch.allclose(tc.ALIE(f=3, z=-2, ddof=0)(X)[0], X.mean(0) + 2 * X.std(0, correction=0))
    assert torch.allclose(tc.ALIE(f=3)(X)[0], X.mean(0) - z_max(11, 3) * X.std(0))
    own = cloud(3, seed=1)
    assert torch.allclose(tc.ALIE(f=3, z=1, population="own")(X, own)[0], own.mean(0) - own.std(0))
    assert torch.allclose(tc.ALIE(f=2, z=0)(X)[0], X.mean(0))
    assert torch.allclose(tc.ALIE(f=1, z=8, population="own")(X, own[:1]), own[:1])  # of one row: no deviation


def test_ipm_turns_the_mean_round():
    X = cloud()
    assert torch.allclose(tc.IPM(f=2, epsilon=2.5)(X), (-2.5 * X.mean(0)).expand(2, -1))
    assert torch.allclose(tc.IPM(f=2, epsilon=0)(X), torch.zeros(2, 20, dtype=torch.float64))
    own = cloud(2, seed=1)
    assert torch.allclose(tc.IPM(f=2, epsilon=-10, population="own")(X, own)[0], 10 * own.mean(0))
    n, f = 10, 2
    mean = tc.Mean()(torch.cat([X, tc.IPM(f=f, epsilon=(n - f) / f)(X)]))
    assert torch.allclose(mean, torch.zeros(20, dtype=torch.float64), atol=1e-12)  # only more turns the mean round


def test_sign_flip_sends_the_own_vectors_negated():
    X, own = cloud(), cloud(3, seed=1)
    assert torch.equal(tc.SignFlip(f=3)(X, own), -own)


def test_gaussian_rows_are_independent_and_reproducible():
    X = cloud(d=20_000).float()
    rows = tc.Gaussian(f=2, sigma=3.0, mu=1.0)(X, generator=torch.Generator().manual_seed(5))
    assert torch.equal(rows, tc.Gaussian(f=2, sigma=3.0, mu=1.0)(X, generator=torch.Generator().manual_seed(5)))
    assert rows.dtype == torch.float32
    assert torch.allclose(rows.mean(1), torch.ones(2), atol=0.1)
    assert torch.allclose(rows.std(1), torch.full((2,), 3.0), atol=0.1)
    assert abs(float(torch.corrcoef(rows)[0, 1])) < 0.05


def bisection(feasible):
    """The largest gamma in [0, 1e6] that is feasible, for a feasible set that is an interval from 0."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


def direction(X, name):
    if name == "std":
        return -X.std(0, ddof=1)
    mean = X.mean(0)
    return -np.sign(mean) if name == "sign" else -mean / np.linalg.norm(mean)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    h=st.integers(2, 12),
    d=st.integers(1, 30),
    name=st.sampled_from(["std", "unit", "sign"]),
)
def test_min_max_and_min_sum_closed_forms_against_bisection(seed, h, d, name):
    X = cloud(h, d, seed).numpy()
    mean, p = X.mean(0), direction(X, name)
    D = np.array([[np.linalg.norm(a - b) for b in X] for a in X])

    def row(gamma):
        return mean + gamma * p

    widest = D.max()
    gamma = bisection(lambda g: max(np.linalg.norm(row(g) - x) for x in X) <= widest)
    found = tc.MinMax(f=1, direction=name)(torch.from_numpy(X))[0].numpy()
    assert np.allclose(found, row(gamma), rtol=1e-6, atol=1e-9)

    for bound, extreme in (("max", np.max), ("min", np.min)):
        most = extreme((D**2).sum(1))
        gamma = bisection(lambda g, most=most: sum(np.linalg.norm(row(g) - x) ** 2 for x in X) <= most)
        found = tc.MinSum(f=1, direction=name, bound=bound)(torch.from_numpy(X))[0].numpy()
        assert np.allclose(found, row(gamma), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attack", ["min_max", "min_sum"])
def test_a_direction_that_vanishes_leaves_the_mean(attack):
    X = torch.ones(5, 4)
    assert torch.allclose(tc.attack(attack, f=2)(X), X[:2])
    assert torch.allclose(tc.attack(f"{attack}(direction=unit)", f=2)(X - 1), X[:2] - 1)


# The contract.


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("h", "f", "d"), [(1, 1, 1), (8, 3, 20), (14, 6, 1000)])
def test_attacks_return_f_rows_and_write_to_nothing(name, dtype, h, f, d):
    attack = tc.attack(name, f=f)
    X, own = cloud(h, d).to(dtype), cloud(f, d, seed=1).to(dtype)
    kept = X.clone(), own.clone()
    if attack.manipulates == "data":
        with pytest.raises(tc.HiddenError, match="poisons data"):
            attack(X, own)
        return
    rule = tc.rule("mean", f=f)
    rows = attack(X, own, torch.Generator().manual_seed(0), rule=rule)
    assert rows.shape == (f, d)
    assert rows.dtype == dtype
    assert torch.isfinite(rows).all() or name == "non_finite"
    assert torch.equal(X, kept[0])
    assert torch.equal(own, kept[1])
    again = attack(X, own, torch.Generator().manual_seed(0), rule=rule)
    assert torch.allclose(rows, again, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_say_what_they_need_instead_of_substituting(name):
    attack = tc.attack(name, f=2)
    if attack.needs_own or attack.needs_rule:
        with pytest.raises(tc.HiddenError):
            attack(cloud())
    else:
        assert attack(cloud()).shape == (2, 20)


HONEST = ["alie", "ipm", "min_max", "min_sum", "mimic", "random_ipm", "rop", "one_sided", "one_coordinate"]


@pytest.mark.parametrize("name", [*HONEST, "fang_trimmed_mean"])
def test_attacks_cannot_read_what_is_hidden(name):
    view = tc.View(n=10, f=2, own_rows=cloud(2))
    with pytest.raises(tc.HiddenError, match="honest vectors are hidden"):
        tc.attack(name, f=2).craft(view)
    if name in ("alie", "ipm", "fang_trimmed_mean"):
        assert tc.attack(f"{name}(population=own)", f=2).craft(view).shape == (2, 20)


def test_a_view_holds_no_server_stream():
    assert not {name for name in tc.View.__dataclass_fields__ if "server" in name or "seed" in name}


def test_attack_spellings():
    assert tc.attack("alie(z=8)", f=5) == tc.attack("alie(8)", f=5) == tc.ALIE(z=8, f=5)
    assert str(tc.attack("ipm(2.5)", f=1)) == "ipm(epsilon=2.5)"
    for spelling, message in {
        "aile": "did you mean alie",
        "ipm(eps=1)": "did you mean epsilon",
        "alie(population='all')": "population is",
        "min_max(direction=up)": "direction is one of std, unit, sign",
        "min_sum(bound=mean)": "bound is",
        "alie(ddof=2)": "ddof is 0 or 1",
        "alie >> ipm": "chain where one name",
        "alie(z=x)": "z takes float or None, got 'x'",
        "ipm(epsilon=None)": "epsilon takes float",
        "ipm(1e999)": "only numbers",
        "ipm(epsilon=1, epsilon=2)": "given twice",
    }.items():
        with pytest.raises(tc.SpecError, match=message):
            tc.attack(spelling, f=1)


def test_bad_vectors_for_attacks():
    with pytest.raises(tc.SpecError, match="needs f"):
        tc.IPM()(cloud())
    with pytest.raises(tc.InputError, match=r"\(h, d\)"):
        tc.IPM(f=1)(torch.ones(3))
    with pytest.raises(tc.InputError, match="own has shape"):
        tc.SignFlip(f=2)(cloud(), cloud(3))


def test_own_attacks(tmp_path):
    path = tmp_path / "evil.py"
    path.write_text("def worst(honest):\n    return -3 * honest.mean(0)\n")
    X = cloud()
    attack = tc.attack(f"{path}:worst", f=2)
    assert torch.allclose(attack(X), tc.IPM(f=2, epsilon=3)(X))
    assert str(attack) == f"{path}:worst"
    assert torch.equal(tc.attack(lambda honest: honest[:2], f=2)(X), X[:2])
    with pytest.raises(tc.InputError, match="expected a tensor of shape"):
        tc.attack(lambda honest: honest[:3], f=2)(X)
