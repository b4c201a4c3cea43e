"""Attacks that search their strength against a known rule: never weaker than what a plain search finds."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.attacks.search import maximise
from turncoat.attacks.span import Span

RULES = [
    "median",
    "trimmed_mean",
    "krum",
    "multi_krum",
    "geometric_median",
    "centered_clipping(tau=3)",
    "nnm >> trimmed_mean",
    "caf",
]
MORE = ["bulyan", "meamed", "mda", "ls_reconstruction", "aksel", "monna", "cge", "arc >> krum", "nnm >> krum", "medoid"]
N, F = 15, 3


def cloud(seed, h=N - F, d=40):
    """Honest vectors around a mean that is not 0, with unequal spreads."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(d, generator=generator, dtype=torch.float64) + 0.2
    return torch.randn(h, d, generator=generator, dtype=torch.float64) * spread + 0.3


def damage(rule, honest, rows):
    return float((rule(torch.cat([honest, rows])) - honest.mean(0)).norm())


def against_a_dense_grid(name, family, seed, points):
    rule, honest = tc.rule(name, f=F), cloud(seed)
    found = tc.strongest(family, honest, rule, F)
    attack = "alie(z={:.6f})" if family == "alie" else "ipm(epsilon={:.6f})"
    dense = max(damage(rule, honest, tc.attack(attack.format(t), f=F)(honest)) for t in np.linspace(-12, 12, points))
    assert found.damage >= 0.99 * dense, (name, seed)
    if not found.unbounded:
        rows = tc.attack(f"strongest({family})", f=F)(honest, rule=rule)
        assert damage(rule, honest, rows) == pytest.approx(found.damage, rel=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("family", ["alie", "ipm"])
def test_no_strength_of_a_dense_grid_does_more_damage(name, family):
    for seed in range(2):
        against_a_dense_grid(name, family, seed, 121)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_no_strength_of_a_dense_grid_does_more_damage_in_a_hundred_clouds(name):
    for seed in range(100):
        against_a_dense_grid(name, "alie", seed, 241)


@pytest.mark.parametrize("name", [*RULES, *MORE])
def test_what_is_seen_is_what_happens(name):
    honest, rule = cloud(3), tc.rule(name, f=F)
    view = tc.View(n=N, f=F, honest_rows=honest, rule=rule)
    points = torch.stack([honest.mean(0), -honest.mean(0) + 1, honest[0] * 2])
    span = Span(view, points)
    for coefficients in ([[1, 0, 0]] * F, [[0.5, 0.25, 0.25], [-2, 3, 0], [0, 0, 1]], [[-40, 41, 0]] * F):
        weights = torch.tensor(coefficients, dtype=torch.float64)
        seen, exact = span.see(weights), span.aggregate(weights @ points)
        assert seen.distance == pytest.approx(exact.distance, rel=1e-6, abs=1e-9)
        assert seen.along == pytest.approx(exact.along, rel=1e-6, abs=1e-9)
        assert exact.distance == pytest.approx(damage(rule, honest, weights @ points), rel=1e-9, abs=1e-9)


def test_a_sample_of_the_coordinates_is_near_the_truth():
    honest = cloud(0, d=50_000).float()
    for name in ("median", "nnm >> trimmed_mean", "centered_clipping(tau=100)"):
        rule = tc.rule(name, f=F)
        span = Span(tc.View(n=N, f=F, honest_rows=honest, rule=rule), [honest.mean(0), honest.mean(0) + honest.std(0)])
        weights = torch.tensor([[2.5, -1.5]] * F, dtype=torch.float64)
        assert span.see(weights).distance == pytest.approx(span.exact(weights).distance, rel=0.03)


def test_damage_without_bound_is_said_and_not_numbered():
    honest = cloud(0)
    for family in ("alie", "ipm", "one_sided", "gaussian"):
        found = tc.strongest(family, honest, tc.rule("mean", f=F), F)
        assert found.unbounded
        assert found.damage == math.inf
        assert "unbounded" in str(found)
        assert found.searched[1] >= 1e4
    for name in ("geometric_median", "centered_clipping(tau=3)"):
        assert not tc.strongest("alie", honest, tc.rule(name, f=F), F).unbounded


def test_the_strongest_attack_loses_more_descent_when_asked_for_that():
    honest, rule = cloud(1), tc.rule("nnm >> trimmed_mean", f=F)
    descent = tc.strongest("ipm", honest, rule, F, objective="descent")
    assert descent.damage >= -1  # the mean itself is -1
    rows = tc.attack("strongest(ipm, objective=descent)", f=F)(honest, rule=rule)
    mean = honest.mean(0)
    assert -float(rule(torch.cat([honest, rows])) @ mean / (mean @ mean)) == pytest.approx(descent.damage)
    far = tc.attack("strongest(ipm)", f=F)(honest, rule=rule)
    assert descent.damage >= -float(rule(torch.cat([honest, far])) @ mean / (mean @ mean)) - 1e-9


def test_strongest_says_what_it_cannot_do():
    for family in ("min_max", "random_ipm", "badnets"):
        with pytest.raises(tc.SpecError, match="has no strength"):
            tc.attack(f"strongest({family})", f=1)
    with pytest.raises(tc.SpecError, match="objective is one of"):
        tc.attack("strongest(alie, objective=most)", f=1)
    with pytest.raises(tc.HiddenError, match="rule is hidden"):
        tc.attack("strongest(alie)", f=F)(cloud(0))
    with pytest.raises(tc.ToleranceError):
        tc.strongest("alie", cloud(0, h=3), tc.rule("median", f=F), F)


def test_attacks_that_take_only_some_strengths_or_bend_are_searched_over_those():
    honest, rule = cloud(0), tc.rule("krum", f=F)
    found = tc.strongest("fang_trimmed_mean", honest, rule, F)  # takes b above 1 only
    dense = max(
        damage(rule, honest, tc.attack(f"fang_trimmed_mean(b={b})", f=F)(honest, generator=torch.Generator()))
        for b in np.geomspace(1.01, 100, 60)
    )
    assert found.strength > 1
    assert found.damage >= 0.9 * dense  # other draws


def test_strongest_in_a_run_does_more_damage_than_its_family():
    shared = {"n": 10, "f": 3, "rule": "trimmed_mean", "rounds": 30, "seed": 1, "task": "digits/softmax"}
    strong = tc.train(attack="strongest(alie)", **shared).records[-1].test_accuracy
    assert strong < tc.train(attack="alie", **shared).records[-1].test_accuracy
    assert strong == tc.train(attack="strongest(alie)", **shared).records[-1].test_accuracy


@settings(max_examples=50, deadline=None)
@given(peak=st.floats(-90, 90), cliff=st.booleans())
def test_a_maximum_is_found_behind_a_cliff_or_a_slope(peak, cliff):
    def score(t):
        return (t if t <= peak else -200) if cliff else -abs(t - peak)

    value, t = maximise(score, [*range(-100, 101, 5)])[0]
    assert abs(t - peak) < 0.05
    assert value == score(t)


# Attacks tailored to a rule.


def krum_picks(known, row, f):
    """Whether Krum, straight from its definition, selects one of f copies of the row."""
    X = np.concatenate([known, np.repeat(row[None], f, 0)])
    n = len(X)
    D = ((X[:, None] - X[None]) ** 2).sum(-1)
    scores = [sum(sorted(D[i, j] for j in range(n) if j != i)[: max(1, n - f - 2)]) for i in range(n)]
    return int(np.argmin(scores)) >= len(known)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("population", ["honest", "own"])
def test_fang_on_krum_is_the_first_halving_that_krum_selects(seed, population):
    honest, own = cloud(seed), cloud(seed + 10, h=F)
    known = (honest if population == "honest" else own).numpy()
    h, d = known.shape
    k = max(1, min(h - 1, h - 2))
    D = ((known[:, None] - known[None]) ** 2).sum(-1)
    least = min(sum(sorted(D[i, j] for j in range(h) if j != i)[:k]) for i in range(h))
    n = h + F
    lam = math.sqrt(least / (max(1, n - 2 * F - 1) * d)) + np.linalg.norm(known, axis=1).max() / math.sqrt(d)
    signs = np.sign(known.mean(0))
    while lam > 1e-5 and not krum_picks(known, -lam * signs, F):
        lam /= 2
    rows = tc.attack(f"fang_krum(population={population})", f=F)(honest, own)
    assert np.allclose(rows.numpy(), -lam * signs)
    near = tc.attack(f"fang_krum(population={population}, epsilon=0.01)", f=F)(
        honest, own, torch.Generator().manual_seed(0)
    )
    assert 0 < (near - rows).abs().max() <= 0.01 * lam


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
def test_agr_tailored_goes_as_far_as_multi_krum_selects_every_crafted_row(direction):
    honest, rule = cloud(2), tc.rule("multi_krum", f=F)
    row = tc.attack(f"agr_tailored(direction={direction})", f=F)(honest, rule=rule)[0]
    mean = honest.mean(0)

    def all_selected(far):
        rows = (mean + (row - mean) * far).expand(F, -1)
        return bool((rule.explain(torch.cat([honest, rows])).weights[-F:] > 0).all())

    assert (row - mean).norm() > 0.1
    assert all_selected(1.0)
    assert not all_selected(1.02)


def test_agr_tailored_takes_any_other_rule_as_far_as_it_goes():
    honest, rule = cloud(2), tc.rule("trimmed_mean", f=F)
    mean, deviation = honest.mean(0), honest.std(0)
    dense = max(damage(rule, honest, (mean - g * deviation).expand(F, -1)) for g in np.linspace(0, 20, 201))
    assert damage(rule, honest, tc.attack("agr_tailored", f=F)(honest, rule=rule)) >= 0.99 * dense


def pull(rule, honest, own, rows):
    """Lambda of AGG(attacked) = -lambda AGG(without attack), along the latter."""
    target = rule(torch.cat([own, honest]))
    return -float(rule(torch.cat([honest, rows])) @ target / (target @ target))


@pytest.mark.parametrize("name", ["median", "krum", "geometric_median", "nnm >> trimmed_mean"])
def test_tailored_attacks_pull_as_hard_as_a_dense_search_does(name):
    honest, own, rule = cloud(4), cloud(5, h=F), tc.rule(name, f=F)
    target = rule(torch.cat([own, honest]))
    rows = tc.attack("tailored", f=F)(honest, own, rule=rule)
    dense = max(pull(rule, honest, own, (-t * target).expand(F, -1)) for t in np.geomspace(1e-2, 1e3, 300))
    same = pull(rule, honest, own, rows)
    assert same >= dense - 0.01 * abs(dense)
    distinct = tc.attack("tailored(rows=distinct)", f=F)(honest, own, rule=rule)
    assert pull(rule, honest, own, distinct) >= same - 1e-6 * abs(same)
    model = torch.full((honest.shape[1],), 7.0, dtype=torch.float64)
    moved = tc.attack("tailored(form=model)", f=F)(honest, own, rule=rule, parameters=model)
    assert pull(rule, honest, own, moved) == pytest.approx(same, rel=1e-3)


def test_a_crafted_row_that_krum_selects_meets_the_tailored_constraint_exactly():
    honest, own, rule = cloud(4), cloud(5, h=F), tc.rule("krum", f=F)
    target = rule(torch.cat([own, honest]))
    rows = tc.attack("tailored", f=F)(honest, own, rule=rule)
    found = rule(torch.cat([honest, rows]))
    if torch.equal(found, rows[0]):
        assert float(torch.nn.functional.cosine_similarity(found, -target, dim=0)) == pytest.approx(1)
    else:
        assert pull(rule, honest, own, rows) > -1


def test_tailored_with_partial_knowledge_does_not_read_the_rest():
    honest, own, rule = cloud(4), cloud(5, h=F), tc.rule("median", f=F)
    attack = tc.attack("tailored(known=8)", f=F)
    rows = attack(honest, own, rule=rule)
    spoiled = honest.clone()
    spoiled[5:] *= 100
    assert torch.equal(rows, attack(spoiled, own, rule=rule))
    view = tc.View(n=N, f=F, honest_rows=honest[:5], own_rows=own, rule=rule)  # as a run's partial(5) shows it
    assert torch.equal(rows, tc.attack("tailored", f=F).craft(view))
    with pytest.raises(tc.HiddenError, match="broadcast is missing"):
        tc.attack("tailored(form=model)", f=F)(honest, own, rule=rule)


# Attacks on pools.

POOL = "mixtailor(pool=[median, krum, geometric_median])"


def worst(rule, honest, rows):
    mean, X = honest.mean(0), torch.cat([honest, rows])
    return max(float(member(X) @ mean / (mean @ mean)) for member in rule.members)


def test_the_pool_attack_reaches_the_lowest_worst_member_along_the_mean():
    honest, rule = cloud(6), tc.rule(POOL, f=F)
    rows = tc.attack("pool", f=F)(honest, rule=rule)
    mean = honest.mean(0)
    dense = min(worst(rule, honest, (-t * mean).expand(F, -1)) for t in np.geomspace(1e-3, 1e3, 400))
    assert worst(rule, honest, rows) <= dense + 0.01 * abs(dense)


def test_the_wider_forms_of_the_pool_attack_lose_nothing_and_keep_apart():
    honest, rule = cloud(6), tc.rule(POOL, f=F)
    lowest = worst(rule, honest, tc.attack("pool", f=F)(honest, rule=rule))
    assert worst(rule, honest, tc.attack("pool(form=P2)", f=F)(honest, rule=rule)) <= lowest + 1e-6
    rows = tc.attack("pool(form=P1, eps=0.5)", f=F)(honest, rule=rule)
    radius = float((honest - honest.mean(0)).square().sum(1).mean().sqrt())
    assert torch.pdist(rows).min() >= 0.5 * radius * 0.9
    filtered = tc.rule(f"similarity_filter(eps={0.2 * radius:.4f}) >> median", f=F)
    X = torch.cat([honest, rows])
    assert torch.allclose(filtered(X), tc.rule("median", f=F)(X))  # nobody is filtered out
    copies = torch.cat([honest, tc.attack("pool", f=F)(honest, rule=rule)])
    assert not torch.allclose(filtered(copies), tc.rule("median", f=F)(copies))
    listed = tc.attack("pool(pool=[median, krum, geometric_median])", f=F)(honest, rule=tc.rule("mean", f=F))
    assert torch.allclose(listed, tc.attack("pool", f=F)(honest, rule=rule))


def test_a_strength_that_is_kept_is_searched_again_after_so_many_rounds():
    clouds = [torch.randn((9, 20), generator=torch.Generator().manual_seed(seed)) + seed for seed in range(4)]
    kept, fresh = (tc.attack(f"strongest(ipm, every={every})", f=3) for every in (3, 1))
    state, same = kept.init(clouds[0]), []
    for honest in clouds:
        view = tc.View(12, 3, honest, None, rule=tc.rule("median", f=3), generator=torch.Generator().manual_seed(0))
        rows, state = kept.step(view, state)
        same.append(torch.equal(rows, fresh.step(view, None)[0]))
    assert same == [True, False, False, True]
    assert set(state) == {"strength", "age"}
    with pytest.raises(tc.SpecError, match="counts rounds"):
        tc.attack("strongest(ipm, every=0)")
