"""Every registered rule and the chains that matter: the conformance suite, and what a rule's answer says beside it."""

import copy
import warnings

import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import turncoat as tc
from turncoat.registry import entries
from turncoat.rules import Mixing
from turncoat.testing import check_rule

RULES = sorted(name for name, entry in entries("rule").items() if not issubclass(entry.load(), Mixing))
MIXINGS = sorted(set(entries("rule")) - set(RULES))

SPELLINGS = {
    "sign_guard": "sign_guard(share=1)",  # the reference looks at all coordinates
    "smea": "smea(beyond=search)",  # exact where the tests compare, and an answer at 200 rows
}
KINDS = ("median", "geometric_median", "multi_krum")  # one rule a kind: of coordinates, by weights, by selection
CHAINS = [
    *(f"nnm >> {SPELLINGS.get(name, name)}" for name in RULES if name not in KINDS),
    *(f"{mixing} >> {rule}" for mixing in MIXINGS for rule in KINDS),
    "bucketing(last=spread) >> krum",
    "bucketing >> nnm >> trimmed_mean",
    "bucketing(last=spread) >> caf",
    "resampling >> nnm >> aksel",
    "similarity_filter >> nnm >> krum",
    "arc >> krum",
    "arc >> bucketing >> meamed",
    "nnm >> arc >> multi_krum",
    "clipping(bound=6) >> nnm >> median",
]
VARIANTS = [
    "krum(neighbours='n-f-1')",
    "krum(p=1)",
    "krum(p=16, power=1)",
    "multi_krum(neighbours='n-f', m=0.5, power=4)",
    "median(even=lower)",
    "geometric_median(p=1)",
    "geometric_median(p=1.5)",
    "geometric_median(p=3)",
    "geometric_median(nu=0.1, iterations=8, start=origin)",
    "geometric_median(iterations=5, start=median)",
    "centered_clipping(start=mean, iterations=3)",
    "aksel(keep=half)",
    "dnc(columns=5)",
    "dnc(columns=None)",
    "sign_guard(share=0.3)",
    "ls_reconstruction(base=geometric_median, q=2)",
    "ls_reconstruction(base=krum, constant=0.1)",
    "bulyan(selection=geometric_median, phase2=krum)",
    "bulyan(selection=median, phase2=mean)",
    "bulyan(selection=zeno)",
    "mixtailor(pool=[krum, 'nnm >> median', 'multi_krum(m=3)'])",
    "mixtailor(without=bulyan)",
]
LARGE = ["nnm >> geometric_median", "bucketing >> multi_krum", "arc >> krum", *VARIANTS]  # 200 rows take a while
WITHOUT = {
    "mda": ["permutation"],  # several subsets often share the smallest diameter: the first of them counts
    "nnm >> mda": ["permutation"],
}


def made(spelling, f):
    """The rule; one that asks for a loss is given one."""
    return tc.rule(SPELLINGS.get(spelling, spelling), f=f).trusting(
        lambda x: float((x.double() - references.LOSS_AT).square().sum())
    )


def cloud(n=11, d=30, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def stepped(spelling, X, f, seed=0):
    rule = made(spelling, f)
    return rule.step(X, rule.init(X), torch.Generator().manual_seed(seed))[0]


@pytest.fixture(autouse=True)
def _no_warning_at_the_edge_of_krum():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no guarantee at n = 2f")
        yield


def test_every_rule_has_a_reference():
    assert {*references.RULES, "mixtailor"} == set(RULES)  # mixtailor's members have theirs in its own tests
    assert {*references.MIXINGS, "bucketing", "resampling"} == set(MIXINGS)  # those draw: their structure is tested


@pytest.mark.parametrize("name", RULES)
def test_every_rule_conforms(name):
    reference = references.RULES.get(name)
    report = check_rule(made(name, 3), n=15, f=3, d=20, reference=reference, without=WITHOUT.get(name, ()), seconds=30)
    assert report.passed, str(report)
    assert reference is None or report["reference"].status == "passed"


@pytest.mark.parametrize("name", [*CHAINS, *VARIANTS])
def test_chains_and_variants_conform(name):
    n, without = 17 if "bulyan" not in name else 15, [*WITHOUT.get(name, ()), *["sizes"] * (name not in LARGE)]
    report = check_rule(made(name, 3), n=n, f=3, d=20, without=without, seconds=30)
    assert report.passed, str(report)


@pytest.mark.parametrize("name", references.RULES)
@pytest.mark.parametrize(("n", "f", "d"), [(1, 0, 1), (7, 2, 1), (11, 2, 30), (12, 5, 2), (30, 7, 200)])
def test_rules_agree_with_their_definition(name, n, f, d):
    rule = made(name, f)
    if f > rule.most(n):
        pytest.skip(f"{name} does not allow f = {f} of {n}")
    if name in ("mda", "smea") and n == 30:
        pytest.skip("two million subsets")
    X = cloud(n, d, seed=n)
    X[n - f :] *= 5
    expected = torch.from_numpy(references.RULES[name](X.numpy(), f))
    assert torch.allclose(rule(X), expected, rtol=1e-6, atol=1e-6)
    assert torch.allclose(rule(X.float()).double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", references.RULES)
def test_autocast_around_a_rule_leaves_it_as_precise_as_it_is(name):
    X, rule = cloud(12, 30, seed=0).float(), made(name, 2)
    with torch.autocast("cpu", torch.bfloat16):
        within = rule(X)
    assert torch.equal(within, rule(X))


@pytest.mark.parametrize("mixing", references.MIXINGS)
@pytest.mark.parametrize("name", references.RULES)
def test_mixings_before_a_rule_agree_with_their_definition(mixing, name):
    if name == "cge" and mixing in ("arc", "clipping"):
        pytest.skip("the rows at CGE's cut have the same norm")
    X = cloud(16, 20, seed=3)
    X[13:] += 4
    X[13] = X[14]
    rows = references.MIXINGS[mixing](X.numpy(), 3)
    f = 2 if mixing == "similarity_filter" else 3  # it drops two equal rows, one of which at least is no honest one
    expected = torch.from_numpy(references.RULES[name](rows, f))
    assert torch.allclose(made(f"{mixing} >> {SPELLINGS.get(name, name)}", 3)(X), expected, rtol=1e-6, atol=1e-6)
    alone = entries("rule")[mixing].load()(f=3)
    assert torch.allclose(alone(X), torch.from_numpy(rows))


# What the suite does not look at.


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("monna", "mda", "sign_guard", "mixtailor")])
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_any_rows_may_be_reordered_moved_and_scaled(name, seed, shift, scale):
    X, rule = cloud(16, 6, seed), made(name, 3)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
    shift, scale = shift if rule.translates else 0.0, scale if rule.scales else 1.0
    moved = stepped(name, X[order] * scale + shift, 3).vector
    assert torch.allclose(moved, stepped(name, X, 3).vector * scale + shift, atol=1e-5 * (scale + abs(shift)))


HOSTILE = {
    "nan": lambda X: X[-2:].fill_(torch.nan),
    "one nan": lambda X: X[-1, 3:4].fill_(torch.nan),
    "-inf and nan": lambda X: (X[-1].fill_(-torch.inf), X[-2, :1].fill_(torch.nan)),
    "largest": lambda X: X[-2:].fill_(torch.finfo(X.dtype).max / 2),
    "zero": lambda X: X.zero_(),
    "identical": lambda X: X.copy_(X[:1].clone().expand_as(X)),
    "tiny beside huge": lambda X: (X[:4].mul_(1e-30), X[-1].mul_(1e4)),
}


@pytest.mark.parametrize("name", [*RULES, "nnm >> trimmed_mean", "arc >> krum", "bucketing >> geometric_median"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_hostile_rows_in_half_precision(name, dtype):
    for what, spoil in HOSTILE.items():
        X = cloud(13, 50).to(dtype)
        spoil(X)
        before = X.clone()
        found = stepped(name, X, 2)
        assert found.vector.dtype == dtype
        assert torch.isfinite(found.vector).all() or (what == "largest" and not made(name, 2).robust)
        assert torch.equal(X.nan_to_num(), before.nan_to_num())
        bad = (~torch.isfinite(X)).any(1).nonzero().flatten().tolist()
        assert list(found.excluded) == bad
        assert set(bad) <= set(found.suspects)


@pytest.mark.parametrize("name", [*RULES, *CHAINS])
def test_an_excluded_row_leaves_a_rule_for_the_rest(name):
    X = cloud(18, 20)
    X[4, 2] = torch.nan
    rest = torch.cat([X[:4], X[5:]])
    found = stepped(name, X, 3)
    assert torch.equal(found.vector, stepped(name, rest, 2).vector)
    if found.weights is not None:
        assert len(found.weights) == 18
        assert found.weights[4] == 0


@pytest.mark.parametrize("name", [*RULES, *CHAINS])
def test_steps_are_reproducible_and_their_weights_those_of_the_aggregate(name):
    rule = made(name, 3)
    X = cloud(17, 20)
    first, state = rule.step(X, rule.init(X), torch.Generator().manual_seed(3))
    if first.weights is not None:
        last = X @ first.vector * 0 if state is None else first.weights  # without memory, all of it is of the rows
        assert torch.allclose(first.weights @ X, first.vector) or last is first.weights
    kept = copy.deepcopy(state)
    again = [rule.step(X, state, torch.Generator().manual_seed(4))[0].vector for _ in range(2)]
    assert torch.equal(*again)
    if isinstance(state, torch.Tensor):
        assert torch.equal(state, kept)


def test_suspects_lie_far_out_and_are_no_more_than_f():
    X = cloud(25, 1000, dtype=torch.float32)
    assert tc.rule("median", f=5).explain(X).suspects == ()
    assert tc.rule("krum", f=5).explain(X).suspects == ()  # not being selected is no suspicion
    X[[3, 8]] *= -10
    for name in ("median", "nnm >> trimmed_mean", "geometric_median", "multi_krum", "bulyan", "caf", "dnc"):
        assert tc.rule(name, f=5).explain(X).suspects == (3, 8)
    X[:10] *= 10
    assert len(tc.rule("median", f=5).explain(X).suspects) <= 5


@pytest.mark.parametrize("name", RULES)
def test_explanations_count_all_rows(name):
    X = cloud(16, 12)
    X[2] = torch.inf
    found = stepped(name, X, 3)
    assert 2 in found.suspects
    assert found.scores is None or (len(found.scores) == 16 and found.scores[2].isnan())
