"""What a stress test finds without being told."""

import math
from functools import cache

import planted
import pytest

from turncoat.stress.run import tier_1

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
N, F = 9, 2


@cache
def card_of(rule):
    return tier_1(rule, N, F, progress=False)[0]


def test_the_mean_is_unbounded():
    card = card_of(planted.mean)
    assert card.kappa.value == card.descent.value == math.inf
    assert card.breakdown[0] < 1e-9
    assert math.isinf(card.breakdown[1])


@pytest.mark.parametrize(
    ("rule", "where", "words"),
    [
        (planted.float32_krum, "flags", "wrong under an offset"),
        (planted.hangs, "flags", "broke: did not return within"),
        (planted.hangs, "checks", "did not return within"),
        (planted.mutates, "checks", "the rows were written to"),
        (planted.divides, "flags", "broke: the aggregate is not finite"),
        (planted.peeks, "checks", "reordered rows move the aggregate"),
        (planted.random_row, "flags", "random output that no seed controls"),
    ],
)
def test_a_fault_is_named(rule, where, words):
    card = card_of(rule)
    lines = card.flags if where == "flags" else [check.detail for check in card.failed]
    assert any(words in line for line in lines), lines


def test_a_rule_that_peeks_at_the_order_does_not_profit():
    assert card_of(planted.peeks).kappa.value == math.inf


def test_a_sound_rule_is_not_accused():
    card = card_of("median")
    assert not card.failed
    assert card.flags == []
    assert card.kappa.value <= card.bound
    assert card.any_set <= card.bound


def test_a_filter_that_looks_once_is_found_unbounded():
    card = card_of("dnc")
    assert card.kappa.value == math.inf
    assert "decoys" in card.kappa.how
