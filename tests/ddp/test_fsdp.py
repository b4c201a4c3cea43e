"""A robust rule in an FSDP2 model: each group of parameters, and the whole where it is one group."""

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
from turncoat.errors import GroupError, SpecError

FIRST = 7 * 6 + 6  # parameters of the first layer


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks(4, timeout=30.0) as started:
        yield started


def run(ranks: Ranks, function: Callable[..., Any], **options: Any) -> list[Any]:
    found = ranks.run(partial(function, **options))
    for one in found:
        if isinstance(one, Exception):
            raise one
    return found


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed_mean(f=1)", "meamed(f=1)"])
def test_coordinate_wise_rules_are_exact_over_groups_of_parameters(ranks: Ranks, rule: str) -> None:
    found = run(ranks, world.sharded, rule=rule, factors={2: -10.0})
    expected = build(rule)(found[0]["rows"])
    for one in found:
        np.testing.assert_allclose(one["found"], expected, rtol=0 if rule == "median" else 1e-6, atol=1e-9)
        assert one["verdict"] == found[0]["verdict"]
    suspects = build(rule).explain(found[0]["rows"]).suspects
    assert found[0]["verdict"]["suspects"] == suspects == ((2,) if "f=1" in rule else ())
    assert found[0]["verdict"]["step"] == 1


@pytest.mark.parametrize("rule", ["nnm(f=1) >> trimmed_mean(f=1)", "geometric_median(f=1)"])
def test_a_model_of_one_group_takes_any_rule(ranks: Ranks, rule: str) -> None:
    found = run(ranks, world.sharded, rule=rule, factors={2: -10.0}, whole=True)[0]
    why = build(rule).explain(found["rows"])
    np.testing.assert_allclose(found["found"], why.vector, rtol=1e-5, atol=1e-8)
    assert found["verdict"]["suspects"] == why.suspects == (2,)
    if why.weights is not None:
        np.testing.assert_allclose(found["verdict"]["weights"], why.weights, atol=1e-6)


def test_gradients_may_be_accumulated(ranks: Ranks) -> None:
    found = run(ranks, world.sharded, rule="median", micro=3)[0]
    np.testing.assert_allclose(found["found"], build("median")(found["rows"]), rtol=1e-5, atol=1e-8)
    assert found["verdict"]["step"] == 1


@pytest.mark.parametrize("reduced", [torch.bfloat16, torch.float16])
def test_gradients_may_be_reduced_in_half_precision(ranks: Ranks, reduced: torch.dtype) -> None:
    found = run(ranks, world.sharded, rule="median", reduced=reduced)[0]
    expected = build("median")(found["rows"].to(reduced)).float()
    np.testing.assert_allclose(found["found"], expected, rtol=0, atol=1e-7)  # halves of the smallest float16 numbers


def test_a_rank_is_left_out_of_groups_in_which_it_is_not_finite(ranks: Ranks) -> None:
    found = run(ranks, world.sharded, rule="trimmed_mean(f=1)", lost=True)[0]
    rows = found["rows"]
    assert rows[3, :FIRST].isnan().any()
    assert rows[:, FIRST:].isfinite().all()
    first, rest = build("trimmed_mean(f=0)")(rows[:3, :FIRST]), build("trimmed_mean(f=1)")(rows[:, FIRST:])
    np.testing.assert_allclose(found["found"], torch.cat([first, rest]), rtol=1e-5, atol=1e-8)
    assert found["verdict"]["excluded"] == found["verdict"]["suspects"] == (3,)
    assert found["suspicion"] == pytest.approx([0, 0, 0, 1 - 0.9**2])


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        ("gram", "2 groups of parameters one by one"),
        ("replicated", "one mesh of one dimension"),
        ("momentum", "need whole gradients"),
        ("plain", "DistributedDataParallel or fully_shard"),
        ("factor", "set_gradient_divide_factor"),
    ],
)
def test_what_would_be_wrong_is_refused_with_advice(ranks: Ranks, what: str, advice: str) -> None:
    for one in ranks.run(partial(world.unfit_shards, what=what)):
        assert isinstance(one, SpecError), one
        assert advice in str(one)


def test_a_rank_that_leaves_parameters_out_is_a_clear_error() -> None:
    with Ranks(4, timeout=5.0) as started:
        found = started.run(world.unlike_shards)
    assert all(isinstance(one, GroupError) for one in found), found
    assert all("do not fit together" in str(one) for one in found)
