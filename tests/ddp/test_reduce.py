"""Robust all-reduces: as in one process, alike on all ranks, whatever a rank sends, says or fails to do."""

import pytest
import reducing
import torch
from distributed import NO_ANSWER, Ranks

import turncoat as tc
from turncoat.ddp.group import DESCRIBED, DIGEST
from turncoat.errors import GroupError, InputError, NonFiniteError, SpecError, ToleranceError
from turncoat.registry import entries
from turncoat.rules import Mixing

N = 7
RULES = sorted(
    name
    for name, entry in entries("rule").items()
    if not issubclass(entry.load(), Mixing) and not tc.rule(name).draws and not tc.rule(name).trusts
)
CHAINS = [
    "nnm >> trimmed_mean",
    "nnm >> median",
    "nnm >> krum",
    "nnm >> geometric_median",
    "arc >> trimmed_mean",
    "nnm >> arc >> multi_krum",
    "similarity_filter >> nnm >> caf",
    "clipping(bound=6) >> nnm >> meamed",
]
MODES = ["sharded", "server", "replicated"]


@pytest.fixture(scope="module")
def ranks():
    with Ranks(N) as started:
        yield started


def values(found):
    """What all ranks returned; what one has raised is raised here."""
    for one in found:
        if isinstance(one, BaseException):
            raise one
        assert not (isinstance(one, str) and one == NO_ANSWER)
    return found


def errors(found, kind):
    """The messages of an error that all ranks have to have raised."""
    assert [type(one) for one in found] == [kind] * len(found), found
    return [str(one) for one in found]


# Exactness


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_rule_and_chain_is_that_of_one_process(ranks, dtype):
    for tried, wrong in values(ranks.run(reducing.differences, N, [*RULES, *CHAINS], [1001], [dtype])):
        assert tried >= len([*RULES, *CHAINS])
        assert not wrong


@pytest.mark.parametrize("mode", MODES)
def test_a_slice_may_be_empty(ranks, mode):
    rules = ["median", "krum", "nnm >> trimmed_mean", "geometric_median", "centered_clipping"]
    for tried, wrong in values(ranks.run(reducing.differences, N, rules, [1, 3], [torch.float32], mode)):
        assert tried >= len(rules)
        assert not wrong


@pytest.mark.parametrize("mode", MODES)
def test_the_tensor_itself_may_become_the_aggregate(ranks, mode):
    for found in values(ranks.run(reducing.in_place, N, "median", mode)):
        for vector, row, expected in found:
            assert torch.equal(vector, expected)
            assert torch.equal(row, expected)


@pytest.mark.parametrize("mode", ["server", "replicated"])
def test_other_modes_aggregate_the_same(ranks, mode):
    rules = ["median", "krum", "nnm >> trimmed_mean", "geometric_median"]
    for _, wrong in values(ranks.run(reducing.differences, N, rules, [1001], [torch.float32, torch.bfloat16], mode)):
        assert not wrong


@pytest.mark.parametrize("spelling", ["median", "trimmed_mean", "krum", "medoid"])
def test_what_is_selected_is_so_bit_for_bit(ranks, spelling):
    assert all(values(ranks.run(reducing.bits, N, spelling, 1001, torch.float32, 1, "sharded")))


@pytest.mark.parametrize(
    "spelling", ["bucketing >> trimmed_mean", "dnc(columns=100)", "sign_guard", "mixtailor(without=bulyan)"]
)
def test_a_randomised_rule_draws_from_one_seed(ranks, spelling):
    found = values(ranks.run(reducing.drawn, N, spelling, 501, 1))
    assert all(one == found[0] for one in found)
    assert found[0][0] == pytest.approx(found[0][1], abs=1e-5)


def test_each_call_has_another_seed(ranks):
    first, second = (values(ranks.run(reducing.drawn, N, "bucketing >> median", 101, 1))[0][0] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("mode", MODES)
def test_a_rule_remembers_and_its_memory_moves_with_the_tensors(ranks, mode):
    for found in values(ranks.run(reducing.remembered, N, "centered_clipping(tau=1)", [50, 3, 200], mode)):
        assert max(found) < 1e-5


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_sizes_whose_squares_do_not_fit(ranks, size):
    X = reducing.cloud(N, 100) * size
    for found in values(ranks.run(reducing.reduced, list(X), ["krum(f=1)"], ["sharded"])):
        assert torch.equal(found.vector, tc.rule("krum", f=1)(X))


def test_shapes_come_back_and_other_layouts_are_read(ranks):
    X = reducing.cloud(N, 60).view(N, 6, 10)
    for found in values(ranks.run(reducing.reduced, [x.T for x in X], ["median"], ["sharded"])):
        assert torch.equal(found.vector, tc.rule("median")(X.reshape(N, 60)).view(6, 10).T)


@pytest.mark.parametrize("mode", MODES)
def test_one_rank_may_have_its_tensor_with_gaps_in_memory(ranks, mode):
    for d in (1, 60):
        assert all(values(ranks.run(reducing.strided, N, d, mode)))


def test_a_group_may_be_one_process():
    rules = [*RULES, *CHAINS]
    with Ranks(1) as one:
        for mode in MODES:
            ((tried, wrong),) = values(one.run(reducing.differences, 1, rules, [1, 100], [torch.float32], mode))
            assert tried >= 20
            assert not wrong


@pytest.mark.parametrize("mode", MODES)
def test_memory_is_apart_from_what_is_returned(ranks, mode):
    assert max(values(ranks.run(reducing.rewritten, N, mode))) < 1e-5


# What goes over the wire


def ring(d):
    """Bytes that a ring all-reduce of float32 sends from each rank."""
    return 2 * 4 * d * (N - 1) // N


@pytest.mark.parametrize(
    ("spelling", "numbers"),
    [("krum", N * N), ("geometric_median", N * N), ("median", 2 * N), ("nnm >> median", N * N + N)],
)
def test_bytes_are_those_of_a_ring_all_reduce_and_n_times_n_numbers(ranks, spelling, numbers):
    description = DIGEST + DESCRIBED
    for d in (700, 70_000):
        for sent in values(ranks.run(reducing.sent, N, spelling, d, "sharded")):
            assert sent == ring(d) + (N - 1) * (description + 8 * numbers)


def test_a_server_receives_and_sends_everything(ranks):
    server, *others = values(ranks.run(reducing.sent, N, "krum", 7000, "server"))
    assert server >= (N - 1) * 4 * 7000
    assert all(4 * 7000 <= sent < 4 * 7000 + 10_000 for sent in others)


# What ranks send


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_rank_that_is_not_finite_is_excluded_and_named(ranks, mode, value):
    X = reducing.cloud(N, 100)
    X[2, 31] = value
    for found in values(ranks.run(reducing.reduced, list(X), ["nnm(f=1) >> krum(f=1)"], [mode])):
        assert found.excluded == (2,)
        assert 2 in found.suspects
        assert torch.equal(found.vector, tc.rule("nnm >> krum", f=1)(X))


@pytest.mark.parametrize("mode", MODES)
def test_more_than_f_that_are_not_finite_are_an_error_on_all_ranks(ranks, mode):
    X = reducing.cloud(N, 100)
    X[2, 31] = X[4, 99] = float("nan")
    found = ranks.run(reducing.reduced, list(X), ["krum(f=1)"], [mode])
    assert all("rows 2, 4" in said for said in errors(found, NonFiniteError))
    assert all(error.rows == (2, 4) for error in found)


@pytest.mark.parametrize("mode", MODES)
def test_ranks_that_do_not_fit_together_are_an_error_on_all_of_them_and_the_group_lives_on(ranks, mode):
    alike = [torch.ones(10)] * (N - 1)
    for odd, said in [
        (torch.ones(11), "(11,)"),
        (torch.ones(10, dtype=torch.float64), "float64"),
        (torch.ones(10, dtype=torch.int64), "int64"),
        (torch.ones(2, 5), "(2, 5)"),
    ]:
        found = ranks.run(reducing.reduced, [*alike[:4], odd, *alike[4:]], ["krum(f=1)"], [mode])
        assert all("rank 4 has" in one and said in one for one in errors(found, GroupError))
    for found in values(ranks.run(reducing.reduced, [torch.ones(10)] * N, ["krum(f=1)"], [mode])):
        assert torch.equal(found.vector, torch.ones(10))


def test_other_rules_or_modes_do_not_fit_together(ranks):
    tensors = [torch.ones(10)] * N
    rules = ["krum(f=1)"] * (N - 1)
    found = ranks.run(reducing.reduced, tensors, [*rules, "medoid"], ["sharded"])
    assert all("rank 6 has" in said and "medoid" in said for said in errors(found, GroupError))
    found = ranks.run(reducing.reduced, tensors, ["krum(f=1)"], ["server", *["sharded"] * (N - 1)])
    assert all("rank 0 has" in said for said in errors(found, GroupError))


def test_integers_and_nothing_are_refused(ranks):
    for tensor in (torch.ones(10, dtype=torch.int64), torch.ones(0)):
        errors(ranks.run(reducing.reduced, [tensor] * N, ["median"], ["sharded"]), InputError)


def test_what_a_mode_cannot_do_is_refused_with_the_reason(ranks):
    def refused(rule, mode, kind):
        return errors(ranks.run(reducing.reduced, [torch.ones(10)] * N, [rule], [mode]), kind)[0]

    assert 'mode="server"' in refused("zeno(f=1)", "sharded", SpecError)
    assert "n > 3f" in refused("median(f=3)", "replicated", ToleranceError)
    assert "give median an f" in refused("median", "replicated", SpecError)
    assert "draws" in refused("bucketing(f=1) >> median(f=1)", "replicated", SpecError)
    assert "too large" in refused("krum(f=3)", "sharded", ToleranceError)
    assert '"sharded"' in refused("median", "ring", SpecError)


def test_a_rule_of_ones_own_that_reads_whole_rows_needs_the_server(ranks):
    found = errors(ranks.run(reducing.broken, "own", "sharded"), SpecError)
    assert all('mode="server"' in said for said in found)


def test_what_the_server_raises_reaches_all_ranks(ranks):
    first, *others = ranks.run(reducing.broken, "own", "server")
    assert isinstance(first, ZeroDivisionError)
    assert all("ZeroDivisionError: of my own" in said for said in errors(others, GroupError))


# Ranks that stall, die or lie


@pytest.mark.parametrize(("mode", "midway"), [("sharded", False), *((mode, True) for mode in MODES)])
def test_a_rank_that_stalls_is_an_error_within_the_time_out(ranks, mode, midway):
    found = values(ranks.run(reducing.stalled, 1, mode, midway, 2.0))
    del found[1]
    assert all(waited < 2.0 + 3.0 for _, waited in found)
    assert all("stalls" in said for said in errors([error for error, _ in found], GroupError))


@pytest.mark.parametrize(("mode", "midway"), [("sharded", False), ("sharded", True), ("server", True)])
def test_a_rank_that_dies_is_an_error_at_once(mode, midway):
    with Ranks(3) as three:
        found = three.run(reducing.dying, 1, mode, midway)
    assert found.pop(1) == NO_ANSWER
    assert all(waited < 20 for _, waited in values(found))
    assert all("died" in said for said in errors([error for error, _ in found], GroupError))


@pytest.mark.parametrize("kind", reducing.LIARS)
@pytest.mark.parametrize(
    ("spelling", "f", "liars"), [("krum", 1, [0]), ("nnm >> trimmed_mean", 1, [5]), ("median", 2, [0, 6])]
)
def test_replicas_outvote_ranks_that_lie(ranks, kind, spelling, f, liars):
    X = reducing.cloud(N, 100, f=f)
    found = ranks.run(reducing.lied_to, N, spelling, 100, f, liars, kind)
    if kind in ("Unlike", "Garbled"):
        X[liars] = float("nan")
    honest = values([one for rank, one in enumerate(found) if rank not in liars])
    expected = tc.rule(spelling, f=f).explain(X)
    for vector, excluded in honest:
        assert excluded == expected.excluded
        assert torch.equal(vector, honest[0][0])
        assert torch.allclose(vector, expected.vector, rtol=1e-6, atol=1e-6)


def test_without_replicas_a_liar_gets_its_way():
    """What the votes are for: in the sharded mode a slice of the answer belongs to each rank."""
    with Ranks(4) as four:
        found = values(four.run(reducing.lied_to_sharded, 4, 100))
    assert not torch.allclose(found[1][0], tc.rule("median")(reducing.cloud(4, 100)))


# Everything


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("n", range(2, 9))
def test_all_rules_are_exact_at_all_sizes(n):
    dtypes = [torch.float32, torch.bfloat16]
    with Ranks(n, timeout=600.0) as started:
        sizes = [1, 3, 1001, 10**6]
        found = started.run(reducing.differences, n, [*RULES, *CHAINS], sizes, dtypes, limit=3600.0)
        medians = [
            started.run(reducing.bits, n, spelling, d, dtype, 0, "sharded", limit=600.0)
            for spelling in ("median", "median(even=lower)")
            for d in sizes
            for dtype in dtypes
        ]
    assert all(all(values(one)) for one in medians)
    for tried, wrong in values(found):
        assert tried >= len(sizes) * len(dtypes) * len(CHAINS)
        assert not wrong
