import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncoat import registry
from turncoat.data import splits
from turncoat.data.splits import (
    IID,
    Dirichlet,
    GammaSimilarity,
    LongTail,
    OwnSplit,
    SortByLabel,
    Split,
    deal,
    draw_dirichlet,
)
from turncoat.errors import SpecError
from turncoat.spelling import parse

CALLS = [
    "iid",
    "dirichlet(1.0)",
    "dirichlet(0.001, by=client)",
    "dirichlet(by=client)",
    "sort_by_label",
    "long_tail(1.0)",
    "long_tail(0.9)",
    "gamma_similarity(0.3)",
]
BALANCED = np.tile(np.arange(10), 60)  # 60 samples of each of ten classes


def made(call: str) -> Split:
    return registry.make("split", parse(call))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def classes_of(workers, labels=BALANCED):
    """(n, 10) samples of each class that each worker holds."""
    return np.array([np.bincount(labels[held], minlength=10) for held in workers])


def test_every_split_is_tried_here():
    assert {parse(call).name for call in CALLS} == set(registry.entries("split"))


@given(
    call=st.sampled_from(CALLS),
    labels=st.lists(st.integers(0, 9), min_size=150, max_size=300),
    n=st.integers(1, 12),
    f=st.integers(0, 5),
    share=st.sampled_from(["all", "honest"]),
    seed=st.integers(0, 99),
)
def test_every_split_keeps_its_promises(call, labels, n, f, share, seed):
    f, split, y = min(f, n - 1), made(call), np.array(labels)
    partition = split.partition(y, y[:50], n, f, rng(seed), share)
    holders = n if share == "all" else n - f
    assert len(partition.workers) == n
    assert all(held.dtype == np.int64 for held in partition.workers)
    assert all(len(held) >= 1 for held in partition.workers[:holders])
    held = np.concatenate(partition.workers[:holders])
    assert held.min() >= 0
    assert held.max() < len(y)
    if not call.startswith("long_tail"):
        assert sorted(held) == list(range(len(y)))
        assert all(len(none) == 0 for none in partition.workers[holders:])
        assert partition.test is None
    again = split.partition(y, y[:50], n, f, rng(seed), share)
    for one, other in zip(partition.workers, again.workers, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("call", ["iid", "sort_by_label", "dirichlet(0.1, by=client)", "gamma_similarity(0.3)"])
def test_parts_are_of_equal_size(call):
    sizes = [len(held) for held in made(call).partition(BALANCED[:-3], BALANCED, 7, 0, rng()).workers]
    assert max(sizes) - min(sizes) <= (2 if "gamma" in call else 1)


@pytest.mark.parametrize("call", ["iid", "dirichlet", "dirichlet(by=client)", "sort_by_label", "gamma_similarity"])
def test_another_seed_deals_otherwise(call):
    one, other = (made(call).partition(BALANCED, BALANCED, 5, 0, rng(seed)).workers[0] for seed in (1, 2))
    assert not np.array_equal(np.sort(one), np.sort(other)) or call == "sort_by_label"
    assert not np.array_equal(one, other)


def test_iid_gives_every_worker_all_classes_alike():
    labels = np.tile(np.arange(10), 3000)
    shares = classes_of(IID().partition(labels, labels, 10, 0, rng()).workers, labels) / 300
    assert np.abs(shares - 1).max() < 0.25


def test_sorted_data_gives_ten_honest_workers_one_class_each():
    held = classes_of(SortByLabel().partition(BALANCED, BALANCED, 12, 2, rng(), "honest").workers)
    np.testing.assert_array_equal(held[:10], 60 * np.eye(10))
    assert held[10:].sum() == 0


@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0, 20.0])
def test_dirichlet_shares_have_the_law_s_mean_and_variance(beta):
    k, draws = 5, 40_000
    shares = draw_dirichlet(beta, (draws, k), rng())
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    variance = (1 / k) * (1 - 1 / k) / (k * beta + 1)
    np.testing.assert_allclose(shares.mean(axis=0), 1 / k, atol=5 * (variance / draws) ** 0.5)
    np.testing.assert_allclose(shares.var(axis=0), variance, rtol=0.05)
    np.testing.assert_allclose(np.cov(shares[:, 0], shares[:, 1])[0, 1], -variance / (k - 1), rtol=0.1)


@pytest.mark.parametrize("beta", [1e-3, 1e-8, 1e-300, 1e300])
def test_dirichlet_shares_are_numbers_for_every_beta(beta):
    shares = draw_dirichlet(beta, (2000, 4), rng())
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.max(axis=1).mean(), 0.25 if beta > 1 else 1, rtol=0.01)
    np.testing.assert_allclose(shares.mean(axis=0), 0.25, atol=0.05)


def test_dirichlet_cuts_each_class_where_the_shares_say(monkeypatch):
    shares = np.array([[0.5, 0.25, 0.25], [0.0, 0.1, 0.9], [1 / 3, 1 / 3, 1 / 3]])
    monkeypatch.setattr(splits, "draw_dirichlet", lambda beta, shape, rng: shares)
    labels = np.repeat([0, 1, 2], [40, 20, 10])
    held = classes_of(Dirichlet().partition(labels, labels, 3, 0, rng()).workers, labels)[:, :3]
    np.testing.assert_array_equal(held, [[20, 0, 3], [10, 2, 3], [10, 18, 4]])


def test_a_smaller_beta_makes_workers_less_alike():
    def unlikeness(beta, by):
        held = classes_of(Dirichlet(beta, by).partition(BALANCED, BALANCED, 6, 0, rng()).workers)
        return np.abs(held / held.sum(axis=1, keepdims=True) - 0.1).mean()

    for by in ("class", "client"):
        assert unlikeness(0.1, by) > unlikeness(1.0, by) > unlikeness(100.0, by)


def test_dirichlet_draws_until_everyone_has_the_minimum():
    def least(minimum, seed):
        workers = Dirichlet(0.1).partition(BALANCED, BALANCED, 10, 3, rng(seed), minimum=minimum).workers
        return min(len(held) for held in workers)

    assert min(least(1, seed) for seed in range(30)) < 8
    assert min(least(8, seed) for seed in range(30)) >= 8


def test_dirichlet_gives_up_and_says_why():
    with pytest.raises(SpecError, match=r"dirichlet\(beta=0.001\): no draw of 1000 gave each of 30 workers at least 2"):
        Dirichlet(0.001).partition(BALANCED, BALANCED, 30, 0, rng(), minimum=2)


def test_clients_draw_from_their_own_mixture(monkeypatch):
    mixtures = np.zeros((3, 10))
    mixtures[0, 0] = mixtures[1, 1] = mixtures[2, 2] = 1
    monkeypatch.setattr(splits, "draw_dirichlet", lambda beta, shape, rng: mixtures)
    labels = np.repeat(np.arange(10), [100, 100, 40, *[8] * 6, 12])  # 300 samples: 100 each, but class 2 runs out
    held = classes_of(Dirichlet(by="client").partition(labels, labels, 3, 0, rng()).workers, labels)
    np.testing.assert_array_equal(held.sum(axis=1), 100)
    np.testing.assert_array_equal(held.sum(axis=0), [100, 100, 40, *[8] * 6, 12])
    assert held[2, 2] == 40


def test_clients_share_in_what_is_left_by_their_mixture(monkeypatch):
    mixtures = np.tile([0.5, 0.3, 0.2], (2, 1))
    monkeypatch.setattr(splits, "draw_dirichlet", lambda beta, shape, rng: mixtures)
    labels = np.repeat([0, 1, 2], [100, 9000, 10900])
    held = classes_of(Dirichlet(by="client").partition(labels, labels, 2, 0, rng()).workers, labels)
    first = held[held[:, 0].argmax()]
    assert first[0] == 100
    assert abs(first[1] / first[1:].sum() - 0.6) < 0.05


def test_the_last_client_is_not_always_left_the_rest():
    labels = np.repeat([0, 1], [100, 900])
    most = [Dirichlet(0.3, "client").partition(labels, labels, 5, 0, rng(seed)).workers for seed in range(200)]
    means = np.array([[(labels[held] == 0).mean() for held in workers] for workers in most]).mean(axis=0)
    assert np.abs(means - 0.1).max() < 0.05


def test_long_tail_keeps_the_first_of_each_class_and_thins_the_test_set():
    split, labels = LongTail(0.5), BALANCED
    partition = split.partition(labels, labels[:200], 12, 2, rng(), "honest")
    honest = np.concatenate(partition.workers[:10])
    kept = [60, 30, 15, 7, 3, 1, 0, 0, 0, 0]  # int(60 / 2^i)
    expected = np.concatenate([np.flatnonzero(labels == i)[:count] for i, count in enumerate(kept)])
    np.testing.assert_array_equal(honest[: sum(kept)], expected)  # sorted by label, in the order of the file
    np.testing.assert_array_equal(honest[sum(kept) :], expected[: 120 - sum(kept)])  # filled up from the beginning
    assert {len(held) for held in partition.workers[:10]} == {12}
    assert sorted(np.concatenate(partition.workers[10:])) == list(range(600))
    assert partition.test is not None
    np.testing.assert_array_equal(np.bincount(labels[:200][partition.test]), [20, 10, 5, 2, 1])
    np.testing.assert_array_equal(partition.test, np.sort(partition.test))


def test_long_tail_without_a_tail_is_sorted_by_label():
    partition = LongTail(1.0).partition(BALANCED, BALANCED, 10, 0, rng())
    np.testing.assert_array_equal(classes_of(partition.workers), 60 * np.eye(10))
    assert partition.test is not None
    assert len(partition.test) == 600


def test_gamma_goes_from_sorted_to_iid():
    def alike(gamma):
        held = classes_of(GammaSimilarity(gamma).partition(BALANCED, BALANCED, 10, 0, rng()).workers)
        return (held.max(axis=1) / held.sum(axis=1)).mean()

    assert alike(0.0) == 1.0
    assert abs(alike(0.5) - 0.58) < 0.1
    assert alike(1.0) < 0.25


@pytest.mark.parametrize("call", CALLS)
def test_samples_without_classes_are_dealt_iid_only(call):
    y = np.zeros((40, 2), np.float32)
    if call == "iid":
        assert len(IID().partition(y, y[:1], 4, 1, rng()).workers) == 4
    else:
        with pytest.raises(SpecError, match="deals by class, and these samples have none: iid can split them"):
            made(call).partition(y, y[:1], 4, 1, rng())


@pytest.mark.parametrize(
    "call",
    [
        "dirichlet(0)",
        "dirichlet(-1.0)",
        "dirichlet(1e999)",
        "dirichlet(much)",
        "dirichlet(True)",
        "dirichlet(by=worker)",
        "long_tail(0)",
        "long_tail(1.1)",
        "long_tail(long)",
        "gamma_similarity(-0.1)",
        "gamma_similarity(1.1)",
        "gamma_similarity(None)",
    ],
)
def test_a_wrong_parameter_is_refused(call):
    with pytest.raises(SpecError, match=r"(beta|by|gamma) (must|takes)|only numbers"):
        made(call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0, "f": 0}, "cannot deal data to 0 workers"),
        ({"f": 5}, "cannot deal data to 5 workers of which 5 are Byzantine: 0 <= f < n must hold"),
        ({"f": -1}, "cannot deal data to 5 workers of which -1 are Byzantine"),
        ({"share": "some"}, "share must be 'all' or 'honest', got 'some'"),
        ({"minimum": 0}, "every worker needs at least 1 sample"),
        ({"minimum": 200}, "600 samples are too few to give 5 workers 200 each"),
    ],
)
def test_a_wrong_number_of_workers_is_refused(change, message):
    given = {"n": 5, "f": 1, "rng": rng()} | change
    with pytest.raises(SpecError, match=f"iid: {message}"):
        IID().partition(BALANCED, BALANCED, **given)


def test_long_tail_says_where_too_little_is_left():
    labels = np.repeat([0, 1], [1, 20])
    with pytest.raises(SpecError, match=r"long_tail\(beta=0.1\) keeps 3 samples, too few to give 4 workers 1 each"):
        LongTail(0.1).partition(labels, labels, 4, 0, rng())


def test_a_split_that_breaks_its_promise_is_caught():
    @dataclasses.dataclass(frozen=True)
    class Broken(Split):
        name = "broken"
        dealt: tuple = ()

        def assign(self, labels, n, rng, minimum):
            return self.dealt

    for dealt, message in (
        (([0, 1], [1, 2]), "broken.* deals sample 1 more than once"),
        (([0, 1], [3]), "broken.* does not deal sample 2"),
        (([0, 1, 2], []), "broken.* leaves worker 1 of 2 with 0 samples, fewer than 1"),
        (([0, 1, 2, 3],), "broken.* must deal to 2 workers, and dealt to 1"),
        (([0, 1, 2], [4]), r"broken.* gives worker 1 an index outside 0\.\.3"),
        (([0, 1, 2], [-1]), r"broken.* gives worker 1 an index outside 0\.\.3"),
        (([0, 1, 2], [True]), "deals index arrays, not bool"),
        (([0, 1, 2], [3.0]), "deals index arrays, not float64"),
    ):
        with pytest.raises(SpecError, match=message):
            Broken(dealt).partition(np.zeros(4, int), np.zeros(4, int), 2, 0, rng())


def test_a_function_of_ones_own_is_a_split():
    def halves(labels, n, rng):
        return [np.arange(len(labels) // 2)] * n

    partition = deal(halves, BALANCED, BALANCED, 4, 1, rng(), "honest")
    assert [len(held) for held in partition.workers] == [300, 300, 300, 0]
    assert str(OwnSplit(halves)) == "halves"
    with pytest.raises(SpecError, match="halves leaves worker 0 of 4 with 300 samples, fewer than 301"):
        deal(halves, BALANCED, BALANCED, 4, 1, rng(), minimum=301)
    with pytest.raises(SpecError, match="must return a list of 4 index arrays, returned NoneType"):
        deal(lambda labels, n, rng: None, BALANCED, BALANCED, 4, 1, rng())


def test_deal_asks_a_split_itself():
    one = deal(SortByLabel(), BALANCED, BALANCED, 5, 1, rng(3), "honest")
    other = SortByLabel().partition(BALANCED, BALANCED, 5, 1, rng(3), "honest")
    assert all(np.array_equal(a, b) for a, b in zip(one.workers, other.workers, strict=True))
