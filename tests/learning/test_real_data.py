"""Training under attack on the real data sets, where TURNCOAT_DATA names a folder that holds them."""

import os

import pytest

import turncoat as tc

pytestmark = pytest.mark.skipif(not os.environ.get("TURNCOAT_DATA"), reason="TURNCOAT_DATA names no folder")
FIELDS = {"n": 10, "f": 2, "split": "dirichlet(0.5)", "momentum": 0.9, "seed": 1}


@pytest.mark.parametrize(
    ("task", "rounds", "lr", "least"),
    [("mnist/softmax", 100, 0.05, 0.8), ("fashion_mnist/lenet5", 100, 0.1, 0.5), ("cifar10/alexnet_small", 3, 0.01, 0)],
)
def test_a_robust_rule_learns_under_attack_where_the_mean_does_not(task, rounds, lr, least):
    robust = tc.train(task, rule="nnm >> trimmed_mean", attack="ipm(epsilon=10)", rounds=rounds, lr=lr, **FIELDS)
    assert robust.final_accuracy >= least
    assert robust.data_origin
    if least:
        ruined = tc.train(task, rule="mean", attack="ipm(epsilon=10)", rounds=rounds, lr=lr, **FIELDS)
        assert ruined.final_accuracy < least - 0.3
