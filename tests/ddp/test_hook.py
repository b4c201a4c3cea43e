"""A robust rule in a DDP model: equal to the rule on whole gradients, whatever DDP does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import robust_ddp as world
import torch
from distributed import Ranks

from turncoat import rule as build
from turncoat.errors import GroupError, NonFiniteError, SpecError

N = 4
MEMORY = "centered_clipping(tau=0.05)"
RULES = ["median", "trimmed_mean(f=1)", "krum(f=1)", "geometric_median(f=1)", "nnm(f=1) >> trimmed_mean(f=1)", MEMORY]


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks(N, timeout=30.0) as started:
        yield started


def run(ranks: Ranks, function: Callable[..., Any], **options: Any) -> list[Any]:
    """What the ranks return; the error that the first of them raises."""
    found = ranks.run(partial(function, **options))
    for one in found:
        if isinstance(one, Exception):
            raise one
    return found


def follow(ranks: Ranks, **options: Any) -> list[dict[str, Any]]:
    found = run(ranks, world.follow, **options)
    assert len({one["seen"] for one in found}) == 1, "the ranks have different gradients"
    assert all(one["verdict"] == found[0]["verdict"] for one in found)
    return found


@pytest.mark.parametrize("rule", RULES)
def test_buckets_are_aggregated_as_one_vector_and_memory_follows_a_rebuild(ranks: Ranks, rule: str) -> None:
    found = follow(ranks, rule=rule, factors={2: -10.0})[0]
    assert found["layouts"] == 2
    assert found["difference"] <= (0 if rule in ("median", "trimmed_mean(f=1)", "krum(f=1)") else 1e-6)
    assert found["verdict"]["step"] == 2
    if rule != MEMORY and rule != "median":  # which have no f
        assert found["verdict"]["suspects"] == (2,)
    if rule == "krum(f=1)":
        assert found["verdict"]["weights"][2] == 0


@pytest.mark.parametrize("mode", ["server", "replicated"])
@pytest.mark.parametrize("rule", ["krum(f=1)", "centered_clipping(tau=0.05, f=1)"])
def test_other_modes_give_the_same(ranks: Ranks, mode: str, rule: str) -> None:
    assert follow(ranks, rule=rule, mode=mode, momentum=0.9)[0]["difference"] <= 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9},
        {"micro": 3},
        {"micro": 2, "momentum": 0.9, "gradient_as_bucket_view": True},
        {"static_graph": True, "momentum": 0.9},
        {"find_unused_parameters": True, "momentum": 0.9},
        {"autocast": True},
        {"bucket_cap_mb": 25},
        {"dtype": torch.bfloat16, "rule": "median"},
        {"dtype": torch.bfloat16, "rule": "krum(f=1)", "momentum": 0.9},
        {"dtype": torch.float64, "momentum": 0.9, "rule": "krum(f=1)"},
    ],
    ids=str,
)
def test_what_ddp_offers_changes_nothing(ranks: Ranks, options: dict[str, Any]) -> None:
    found = follow(ranks, **({"rule": MEMORY, "factors": {2: -10.0}} | options))[0]
    assert found["difference"] <= 1e-6


def branch_by_definition(found: dict[str, Any], absent: list[int]) -> np.ndarray:
    """Columns of the branch: absent ranks say the mean of the others without the highest and the lowest."""
    rows = found["rows"][:, found["branch"]].astype(np.float64)
    said = np.sort(np.delete(rows, absent, axis=0), axis=0)
    rows[absent] = said[1:-1].mean(0)
    return np.median(rows, axis=0)


@pytest.mark.parametrize(
    "options",
    [{}, {"static": True}, {"mode": "server"}, {"static": True, "mode": "replicated"}],
    ids=str,
)
def test_an_unused_parameter_is_no_vote_for_zero(ranks: Ranks, options: dict[str, Any]) -> None:
    found, *others = run(ranks, world.unused, absent=[1], **options)
    assert all(str(one["verdict"]) == str(found["verdict"]) for one in others)
    branch, rows = found["branch"], found["rows"]
    assert (rows[1, branch] == 0).all()
    np.testing.assert_allclose(found["found"][branch], branch_by_definition(found, [1]), rtol=1e-5, atol=1e-8)
    assert np.abs(found["found"][branch] - np.median(rows[:, branch], axis=0)).max() > 1e-4
    rest = np.delete(np.arange(rows.shape[1]), branch)
    np.testing.assert_allclose(found["found"][rest], np.median(rows[:, rest], axis=0), rtol=1e-5, atol=1e-8)
    assert found["verdict"]["absent"] == (1,)
    assert found["verdict"]["suspects"] == ()


def test_what_too_few_use_stays_as_it_is(ranks: Ranks) -> None:
    found = run(ranks, world.unused, absent=[1, 3])[0]
    assert (found["found"][found["branch"]] == 0).all()
    assert found["verdict"]["absent"] == (1, 3)
    alone = run(ranks, world.unused, absent=[0, 1, 2, 3])[0]
    assert (alone["found"][alone["branch"]] == 0).all()


def test_a_rule_without_f_is_not_led_astray_where_a_parameter_is_unused(ranks: Ranks) -> None:
    found = run(ranks, world.unused, absent=[1], rule="median", factors={3: 1e6})[0]
    np.testing.assert_allclose(found["found"][found["branch"]], branch_by_definition(found, [1]), rtol=1e-5, atol=1e-8)
    average = run(ranks, world.unused, absent=[1], rule="mean")[0]
    said = average["rows"][[0, 2, 3], average["branch"]]
    np.testing.assert_allclose(average["found"][average["branch"]], said.mean(0), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mode", ["sharded", "server", "replicated"])
def test_buckets_may_be_of_unlike_dtypes(ranks: Ranks, mode: str) -> None:
    found = follow(ranks, rule="krum(f=1)", mode=mode, mixed=True, factors={2: -10.0})[0]
    assert found["difference"] == 0
    assert found["verdict"]["suspects"] == (2,)


@pytest.mark.parametrize("parameter", ["first.weight", "last.bias"])
@pytest.mark.parametrize("rule", ["median(f=1)", "krum(f=1)"])
def test_one_bad_entry_in_any_bucket_excludes_the_whole_row(ranks: Ranks, parameter: str, rule: str) -> None:
    found = run(ranks, world.one_bad_entry, liars=[3], parameter=parameter, rule=rule)[0]
    expected = build(rule).with_f(0)(torch.from_numpy(found["rows"][:3]))
    np.testing.assert_allclose(found["found"], expected.numpy(), rtol=1e-6)
    assert found["verdict"]["excluded"] == (3,)
    assert 3 in found["verdict"]["suspects"]


def test_more_bad_rows_than_f_are_an_error_on_every_rank(ranks: Ranks) -> None:
    found = ranks.run(partial(world.one_bad_entry, liars=[1, 3], parameter="last.bias", rule="median(f=1)"))
    assert all(isinstance(one, NonFiniteError) and one.rows == (1, 3) for one in found)


def test_a_rank_that_sends_minus_ten_times_its_gradient_becomes_suspect(ranks: Ranks) -> None:
    found = run(ranks, world.suspicion, steps=9)
    for one in found:
        assert one["suspicion"][2] == pytest.approx(1 - 0.9**9)
        assert max(one["suspicion"][i] for i in (0, 1, 3)) < 0.2
        assert len(one["warnings"]) == 1
        assert one["warnings"][0].startswith("rank 2 stays suspect")


@pytest.mark.parametrize("overflowing", [[1], [0, 1, 2, 3]])
def test_a_loss_scale_changes_nothing_but_the_steps_that_overflow(ranks: Ranks, overflowing: list[int]) -> None:
    scaled, plain = (run(ranks, world.scaled, scale=scale, overflowing=overflowing) for scale in (1024.0, 1.0))
    assert all(one == scaled[0] for one in scaled)
    all_of_them = len(overflowing) == N
    for step, (mine, without) in enumerate(zip(scaled[0], plain[0], strict=True)):
        gradient, scale, went_on, excluded = mine
        skipped = step == 1 and all_of_them
        assert went_on is not skipped
        assert excluded == (tuple(overflowing) if step == 1 else ())
        assert scale == (512.0 if step and all_of_them else 1024.0)
        assert skipped or np.isfinite(np.frombuffer(gradient, dtype=np.float32)).all()
        assert skipped or gradient == without[0]


def test_statistics_from_rank_0_are_refused_or_settled(ranks: Ranks) -> None:
    with pytest.raises(SpecError, match="broadcast_buffers=False"):
        run(ranks, world.normed)
    with pytest.raises(SpecError, match="broadcast_buffers=False"):
        run(ranks, world.normed, mode="replicated")
    run(ranks, world.normed, mode="server")  # rank 0 is trusted
    for one in run(ranks, world.normed, broadcast_buffers=False):
        np.testing.assert_array_equal(one["settled"], np.median(one["own"][:3], axis=0))
        assert one["settled"].max() < 10
        assert one["counted"] == 1


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        ("mixed precision", "torch.autocast"),
        ("twice", "communication hook already"),
        ("optimiser", "step it after backward"),
        ("delayed", "leave the option out"),
        ("skipped", "leave the option out"),
        ("sync", "settle_buffers"),
        ("sparse", "sparse=False"),
        ("complex", "view_as_real"),
        ("replicated", "static_graph=True"),
    ],
)
def test_what_would_pass_by_the_rule_is_refused_with_advice(ranks: Ranks, what: str, advice: str) -> None:
    for one in ranks.run(partial(world.refused, what=what)):
        assert isinstance(one, SpecError), one
        assert advice in str(one)


@pytest.mark.parametrize("what", ["rule", "dtype", "momentum"])
def test_ranks_that_do_not_fit_together_hear_of_it(ranks: Ranks, what: str) -> None:
    for one in ranks.run(partial(world.unlike, what=what)):
        assert isinstance(one, GroupError)
        assert "do not fit together" in str(one)


def test_join_is_refused_in_the_first_step(ranks: Ranks) -> None:
    for one in ranks.run(world.joined):
        assert isinstance(one, SpecError), one
        assert "drop_last=True" in str(one)


def test_a_rule_is_checked_against_the_number_of_ranks(ranks: Ranks) -> None:
    for one in ranks.run(partial(world.follow, rule="krum(f=2)")):
        assert "largest f at n = 4" in str(one)
    for one in ranks.run(partial(world.follow, rule="median", momentum=1.0)):
        assert "below 1" in str(one)


def test_a_rank_that_dies_is_a_clear_error_on_the_others() -> None:
    with Ranks(3, timeout=10.0) as started:
        found = started.run(partial(world.failing, how="dies"), limit=120.0)
        started.processes[1].join(5)
        assert started.processes[1].exitcode == 3
    for one in (found[0], found[2]):
        assert isinstance(one, GroupError), one
        assert one.args[-1] < 15


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stalls", "raises"])
def test_a_rank_that_stalls_or_fails_is_an_error_within_the_time_out(how: str) -> None:
    with Ranks(3, timeout=4.0) as started:
        found = started.run(partial(world.failing, how=how, pause=10.0), limit=120.0)
    for one in (found[0], found[2]):
        assert isinstance(one, GroupError), one
        assert one.args[-1] < 8
    assert isinstance(found[1], ArithmeticError if how == "raises" else GroupError)
