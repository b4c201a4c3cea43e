"""What single rules and mixings promise beyond agreement with their references: worked examples, options, limits."""

import math
import time

import numpy as np
import pytest
import references
import torch
from scipy.optimize import minimize

import turncoat as tc


def cloud(n=11, d=30, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# The worked examples of Xie et al. 2019 (Fall of Empires), section 4.


def test_the_median_example():
    X = torch.tensor([[-0.1], [0.1], [0.3], [-4.0], [-2.0]], dtype=torch.float64)
    assert float(tc.Median(f=2)(X)) == -0.1  # the honest mean is +0.1


HONEST = [0.0, 0.02, 0.14, 0.26, 0.38, 0.5]
KRUM_SCORES = {
    ("n-f-2", 2): ([0.0244, 0.0244, 0.0244, 0.0304, 0.0436, 0.1060, 0.1440, 0.2160, 0.4320], -0.1),
    ("n-f-1", 2): ([0.082, 0.082, 0.082, 0.05, 0.058, 0.1636, 0.2116, 0.3604, 0.682], 0.0),
    ("n-f", 2): ([0.2116, 0.2116, 0.2116, 0.1176, 0.1156], 0.02),
    ("n-f-2", 4): ([0.000307, 0.000307, 0.000307, 0.000300, 0.000622], 0.0),
    ("n-f-2", 1): ([0.22, 0.22, 0.22, 0.32], -0.1),
    ("n-f-1", 1): ([0.46, 0.46, 0.46, 0.46], -0.1),  # a tie, which the lowest index decides
}


@pytest.mark.parametrize(("neighbours", "power"), KRUM_SCORES)
def test_the_krum_example_tells_the_conventions_apart(neighbours, power):
    X = torch.tensor([*[-0.1] * 3, *HONEST], dtype=torch.float64)[:, None]
    scores, chosen = KRUM_SCORES[neighbours, power]
    found = tc.Krum(f=3, neighbours=neighbours, power=power).explain(X)
    assert found.scores[: len(scores)].tolist() == pytest.approx(scores, abs=5e-7 if power == 4 else 1e-9)
    assert float(found.vector) == chosen


def test_krum_with_the_most_traitors_for_which_it_is_proven_wrong():
    """Xie et al. 2019, theorem 2: 21 honest rows on a simplex, 18 traitors at minus their mean, which Krum picks."""
    N, q = 21, 18
    simplex = torch.eye(N, dtype=torch.float64) - 1 / N
    honest = torch.cat([torch.ones(N, 1, dtype=torch.float64), simplex / simplex[0].norm()], dim=1)
    X = torch.cat([honest, (-honest.mean(0)).expand(q, -1)])
    found = tc.Krum(f=q).explain(X)
    assert found.scores[0] == pytest.approx(39.9)
    assert found.scores[-1] == pytest.approx(10.0)
    assert torch.allclose(found.vector, -honest.mean(0))


def test_the_median_of_honest_values_and_a_minority_beyond_them_turns_round():
    """With n = 2f + 1 the median is the honest minimum, at most mean - deviation / sqrt(N - 1)."""
    X = cloud(13, 500) * 0.5 + 0.05
    found = tc.Median(f=12)(torch.cat([X, torch.full((12, 500), -100.0, dtype=torch.float64)]))
    assert torch.equal(found, X.amin(0))
    bound = X.mean(0) - X.std(0, correction=0) / math.sqrt(12)
    assert (found <= bound + 1e-12).all()


# Krum.


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 16])
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_krum_in_other_norms_neither_overflows_nor_vanishes(p, size):
    X = cloud(13, 300, seed=4).float() * size  # 1e-3 to the power of 16 is nothing in float32
    X[10:] *= 1.5
    found = tc.Krum(f=3, p=p).explain(X)
    expected = references.krum_scores(X.double().numpy(), 3, p=p)
    assert found.scores.numpy() == pytest.approx(expected, rel=1e-4)
    assert torch.equal(found.vector, X[int(np.argmin(expected))])


@pytest.mark.parametrize(("neighbours", "less"), [("n-f-2", 2), ("n-f-1", 1), ("n-f", 0)])
@pytest.mark.parametrize("power", [1, 2, 4])
def test_krums_options_against_the_definition(neighbours, less, power):
    X = cloud(12, 20, seed=2)
    found = tc.Krum(f=3, neighbours=neighbours, power=power).explain(X)
    assert np.allclose(found.scores.numpy(), references.krum_scores(X.numpy(), 3, less, power=power))
    assert np.allclose(found.vector.numpy(), references.krum(X.numpy(), 3, less, power=power))


def test_how_many_rows_multi_krum_averages():
    X = cloud(12, 20)
    order = np.argsort(references.krum_scores(X.numpy(), 3), kind="stable")
    for m, count in {"n-f": 9, "n-f-2": 7, 1: 1, 5: 5, 0.5: 6, 0.01: 1, 50: 12}.items():
        assert torch.allclose(tc.MultiKrum(f=3, m=m)(X), X[order[:count].tolist()].mean(0))
    for m in (0, -1, "all", 2.5):
        with pytest.raises(tc.SpecError, match="m counts the rows"):
            tc.MultiKrum(f=3, m=m)


# The geometric median.


def test_rfa_from_the_origin_is_the_fixed_number_of_smoothed_weiszfeld_steps():
    X = cloud(9, 25)
    y = np.zeros(25)
    for _ in range(8):
        weights = 1 / np.maximum(0.1, np.linalg.norm(X.numpy() - y, axis=1))
        y = weights @ X.numpy() / weights.sum()
    rule = tc.GeometricMedian(nu=0.1, iterations=8, start="origin")
    assert np.allclose(rule(X).numpy(), y)
    assert torch.allclose(rule(X * 1e-3), X.mean(0) * 1e-3)  # below nu, all weights are equal


@pytest.mark.parametrize(
    "spoil",
    [
        lambda X: X[20:].fill_(1e3),
        lambda X: X[20:].copy_(X[:5] + 1e-4),
        lambda X: X[10:].mul_(1e-3),
        lambda X: X[14:].copy_(X[14].clone()),
        lambda X: X[:, 1:].zero_(),
        lambda X: X.add_(1e3),
        lambda X: X[1:].mul_(1e-5),
    ],
)
def test_geometric_median_reaches_its_minimum(spoil):
    X = cloud(25, 100, dtype=torch.float32)
    spoil(X)
    rule = tc.GeometricMedian()
    assert rule.explain(X).diagnostics["steps"] < 40
    objective = (X.double() - rule(X).double()).norm(dim=1).sum()
    best = (X.double() - torch.from_numpy(references.geometric_median(X.double().numpy(), 0))).norm(dim=1).sum()
    assert objective <= best * (1 + 1e-6)


@pytest.mark.parametrize("size", [1e6, 1e20, 1e38])
def test_a_far_row_pulls_the_geometric_median_by_its_direction_alone(size):
    X = cloud(15, 20)
    X[12:] = X[12] / X[12].norm() * 1e4
    near = tc.GeometricMedian()(X)
    X[12:] *= size / 1e4
    assert torch.allclose(tc.GeometricMedian()(X), near, atol=2e-3)  # of 1/1e4 differs the direction from the median


def test_the_geometric_median_is_the_same_bits_wherever_memory_lies():
    X = cloud(15, 20)
    kept, found = [], set()
    for i in range(40):
        kept.append(torch.empty(3 * i + 1))
        found.add(tc.GeometricMedian()(X.clone()).numpy().tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("p", [1, 1.1, 1.5, 3, 8])
@pytest.mark.parametrize("case", ["cloud", "outliers", "offset"])
def test_geometric_medians_in_other_norms_against_a_minimiser(p, case):
    X = cloud(9, 6, seed=int(10 * p))
    if case == "outliers":
        X[6:] = X[6:] * 3 + 20
    if case == "offset":
        X += 1e4

    def objective(y):
        return np.linalg.norm(X.numpy() - y, ord=p, axis=1).sum()

    found = tc.GeometricMedian(p=p).explain(X)
    starts = [X.median(0).values.numpy(), found.vector.numpy()]
    best = min(
        minimize(objective, start, method="Powell", options={"xtol": 1e-9, "ftol": 1e-12}).fun for start in starts
    )
    excess = found.diagnostics.get("excess", 0.0)  # at most
    assert excess <= 1e-5
    assert objective(found.vector.numpy()) <= best * (1 + excess + 1e-9)
    assert objective(tc.GeometricMedian(p=p)(X.float()).double().numpy()) <= best * (1 + 1e-4)


# Centred clipping.


def test_centered_clipping_keeps_its_state_and_iterates():
    rule = tc.CenteredClipping(tau=2.0, iterations=3)
    X = cloud(9, 25)
    first, state = rule.step(X, rule.init(X))
    assert np.allclose(first.vector.numpy(), references.centered_clipping(X.numpy(), 0, 2.0, 3))
    shifted = X - first.vector  # the second round starts at the first's aggregate
    second, _ = rule.step(X, state)
    expected = first.vector.numpy() + references.centered_clipping(shifted.numpy(), 0, 2.0, 3)
    assert np.allclose(second.vector.numpy(), expected)


def test_centered_clipping_from_the_mean_has_no_memory():
    rule = tc.CenteredClipping(tau=1.0, iterations=10, start="mean")
    X = cloud(9, 25) + 3
    assert rule.init(X) is None
    expected = X.mean(0).numpy() + references.centered_clipping((X - X.mean(0)).numpy(), 0, 1.0, 10)
    assert np.allclose(rule(X).numpy(), expected)


# Rules around a centre.


def test_aksel_keeps_half_on_request():
    X = cloud(11, 8)
    d = (X - X.median(0).values).norm(dim=1)
    assert torch.allclose(tc.AKSEL(f=2, keep="half")(X), X[d.argsort()[:6]].mean(0))


def test_monna_trusts_one_row_by_its_number():
    X = cloud(11, 8)
    X[5] += 4
    assert np.allclose(tc.MoNNA(f=2, trusted=5)(X).numpy(), references.monna(X.numpy(), 2, 5))
    X[3] = torch.nan  # the numbers are those of the rows that were given
    rest = torch.cat([X[:3], X[4:]])
    assert np.allclose(tc.MoNNA(f=2, trusted=5)(X).numpy(), references.monna(rest.numpy(), 1, 4))
    with pytest.raises(tc.InputError, match="trusts row 3, which is not finite"):
        tc.MoNNA(f=2, trusted=3)(X)
    with pytest.raises(tc.SpecError, match="trusts row 11, but there are only 11"):
        tc.MoNNA(f=2, trusted=11)(X)


def test_monna_keeps_the_trusted_row_among_identical_ones():
    X = torch.zeros(7, 3, dtype=torch.float64)
    assert tc.MoNNA(f=3, trusted=6).explain(X).weights[6] > 0


def test_the_penalty_of_linear_scalarization():
    X = cloud(11, 8)
    d = (X - X.median(0).values).norm(dim=1)
    far = d.argsort()[9:]
    trusted = d.sort().values[:9]
    for kwargs, expected in {
        (("q", 2.0),): (trusted.mean() / d[far]) ** 2,
        (("trust", "max"),): trusted.max() / d[far],
        (("constant", 0.25),): torch.full((2,), 0.25, dtype=torch.float64),
        (("penalty", lambda r: torch.exp(-r)),): torch.exp(-d[far] / trusted.mean()),
        (("q", 0.0),): torch.ones(2, dtype=torch.float64),
    }.items():
        weights = tc.LinearScalarization(f=2, **dict(kwargs)).explain(X).weights
        assert weights.sum() == pytest.approx(1)
        assert torch.allclose(weights[far] / weights.max(), expected)
    equal = torch.cat([torch.eye(6), -torch.eye(6)]).double()  # all at the same distance from their median
    assert torch.allclose(tc.LinearScalarization(f=2)(equal), equal.mean(0))


def test_what_linear_scalarization_loses_saturates_at_q_1_and_vanishes_at_q_2():
    X = cloud(20, 100)

    def lost(z, **kwargs):
        rows = torch.cat([X, tc.ALIE(f=5, z=z)(X)])
        return float((tc.LinearScalarization(f=5, **kwargs)(rows) - X.mean(0)).norm())

    assert lost(8) == pytest.approx(lost(1e4), rel=0.05)
    assert lost(1e4) > 2
    assert lost(1e4, q=2) < 0.01
    assert lost(1e4, constant=0.1) > 1000
    robust = {
        "ls_reconstruction": True,
        "ls_reconstruction(q=2)": True,
        "ls_reconstruction(q=0.5)": False,
        "ls_reconstruction(constant=0.1)": False,
        "ls_reconstruction(base=mean)": False,
    }
    assert {spelling: tc.rule(spelling, f=5).robust for spelling in robust} == robust


def test_cge_is_bounded_by_norms_alone():
    X = cloud(10, 5) + 100
    X[8:] = -X[:2]  # of ordinary norm, on the other side
    found = tc.CGE(f=2).explain(X)
    kept = X.norm(dim=1).argsort()[:8]
    assert torch.allclose(found.vector, X[kept].mean(0))


# Zeno.


def test_zeno_asks_for_a_loss_and_judges_by_it():
    X = cloud(9, 4)
    with pytest.raises(tc.SpecError, match="needs the server's own loss"):
        tc.Zeno(f=2)(X)
    good = X[4]
    rule = tc.Zeno(f=8 // 2, loss=lambda x: float((x - good).norm()))
    assert rule.explain(X).weights[4] > 0
    for chain in ("nnm >> zeno", "ls_reconstruction(base=zeno)", "mixtailor(pool=[zeno, median])"):
        assert tc.rule(chain, f=2).trusts
        assert tc.rule(chain, f=2).trusting(lambda x: 0.0)(X).shape == (4,)
    assert tc.rule("bulyan(phase2=zeno)", f=1).trusting(lambda x: 0.0)(X).shape == (4,)
    assert tc.MixTailor(f=1).trusting(lambda x: 0.0) == tc.MixTailor(f=1)
    spoilt = tc.Zeno(f=2, loss=lambda x: math.nan if torch.equal(x, good) else float(x.norm())).explain(X)
    assert spoilt.weights[4] == 0  # a loss that is no number is the worst
    heavy = tc.Zeno(f=2, rho=1e6, loss=lambda x: float(x.sum()))
    assert torch.allclose(heavy(X), tc.CGE(f=2)(X))


# Spectral rules.


def test_caf_returns_where_rows_are_far_out():
    for size in (1e3, 1e4, 1e12):
        X = cloud(10, 1000, dtype=torch.float32)
        X[8:] *= size
        started = time.perf_counter()
        found = tc.CAF(f=2).explain(X)
        assert time.perf_counter() - started < 30
        assert found.diagnostics["stages"] <= 4
        assert found.weights[8:].abs().max() == 0
        assert found.diagnostics["eigenvalue"] == pytest.approx(
            references.principal(X[:8].double().numpy(), np.ones(8))[1], rel=0.05
        )


def test_dnc_survives_identical_traitors_but_not_one_that_hides_the_others():
    X = cloud(20, 50)
    mean, spread = X[:16].mean(0), (X[:16] - X[:16].mean(0)).norm(dim=1).max()
    X[16:] = 1e6
    assert (tc.DnC(f=4)(X) - mean).norm() < spread
    X[17:] = 1e3
    assert (tc.DnC(f=4)(X) - mean).norm() > 10 * spread
    assert not tc.DnC.robust
    assert (tc.CAF(f=4)(X) - mean).norm() < spread


def test_dnc_drops_the_marked_rows_and_where_none_is_left_those_marked_most():
    """In coordinate j, rows 2j and 2j + 1 stand out; a sample of one coordinate marks one of the three pairs."""
    X = torch.zeros(6, 3, dtype=torch.float64)
    for j in range(3):
        X[2 * j, j], X[2 * j + 1, j] = 1.0, -1.0
    seen = set()
    for seed in range(60):
        rule = tc.DnC(f=2, columns=1, iterations=3)
        weights = rule.step(X, None, generator(seed))[0].weights
        assert torch.equal(weights[::2], weights[1::2])
        seen.add(tuple((weights[::2] > 0).tolist()))
    one_pair_marked = {(False, True, True), (True, False, True), (True, True, False)}
    one_pair_left = {(True, False, False), (False, True, False), (False, False, True)}
    assert seen == one_pair_marked | one_pair_left | {(True, True, True)}  # each once: as if none had been marked


# SignGuard.


def test_sign_guard_keeps_rows_of_a_usual_length_and_of_the_common_signs():
    signs = torch.ones(100, dtype=torch.float64)
    signs[:30] = -1
    X = signs * (1 + 0.1 * cloud(12, 100).abs())
    X[8] = -X[8]  # other signs
    X[9] = 0.0
    X[10] *= 100
    X[11] *= 0.01
    X[7] *= 2
    found = tc.SignGuard(share=1).explain(X)
    assert (found.weights > 0).tolist() == [True] * 8 + [False] * 4
    assert found.vector.norm() <= X.norm(dim=1).median() * (1 + 1e-9)
    assert found.weights[7] < 0.6 * found.weights[0]  # it enters at the median length
    assert np.allclose(found.vector.numpy(), references.sign_guard(X.numpy(), 0))


# Bulyan.


BASES = ["krum", "mean", "geometric_median", "median"]


@pytest.mark.parametrize("selection", BASES)
@pytest.mark.parametrize("phase2", [*BASES, "nearest_to_median", "trimmed_mean"])
def test_bulyan_with_every_selection_and_second_phase(selection, phase2):
    second = None if phase2 == "nearest_to_median" else getattr(references, phase2)
    for n, f, seed in ((15, 3, 1), (12, 2, 2), (7, 1, 3), (4, 0, 4)):
        X = cloud(n, 12, seed)
        X[n - f :] += 2
        expected = references.bulyan(X.numpy(), f, getattr(references, selection), second)
        rule = tc.Bulyan(f=f, selection=selection, phase2=phase2)
        assert np.allclose(rule(X).numpy(), expected, atol=1e-6), (n, f)
        assert np.allclose(rule(X.float()).numpy(), expected, atol=1e-4), (n, f)


def test_bulyan_selects_by_the_norm_that_was_asked_for():
    X = cloud(15, 6, seed=8)
    X[12:] += 2
    for spelling, selection in {
        "krum(p=1)": lambda X, f: references.krum(X, f, p=1),
        "geometric_median(p=1)": lambda X, f: np.median(X, axis=0),
        "nnm >> median": lambda X, f: np.median(references.nnm(X, f), axis=0),
    }.items():
        expected = references.bulyan(X.numpy(), 3, selection, references.mean)
        assert np.allclose(tc.Bulyan(f=3, selection=spelling, phase2="mean")(X).numpy(), expected), spelling


def test_krum_picks_a_clique_of_traitors_last_and_only_the_second_phase_drops_it():
    X = cloud(15, 6, seed=8)
    X[12:] = 1e3
    for phase2 in ("nearest_to_median", "krum", "median"):
        assert tc.Bulyan(f=3, phase2=phase2).robust
        assert tc.Bulyan(f=3, phase2=phase2)(X).abs().max() < 5
    assert not tc.Bulyan(f=3, phase2="mean").robust
    assert tc.Bulyan(f=3, phase2="mean")(X).abs().max() > 50
    assert not tc.MixTailor(f=3).robust
    assert tc.MixTailor(f=3, without="bulyan").robust


def test_bulyans_bounds():
    with pytest.raises(tc.ToleranceError, match=r"bulyan needs n >= 4f \+ 3.*largest f at n = 14 is 2"):
        tc.Bulyan(f=3)(cloud(14, 3))
    with pytest.raises(tc.SpecError, match="rule without memory"):
        tc.Bulyan(f=1, selection="centered_clipping")
    with pytest.raises(tc.SpecError, match="did you mean"):
        tc.Bulyan(f=1, phase2="medan")
