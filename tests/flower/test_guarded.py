"""Flower's own strategies with the replies looked at before."""

from __future__ import annotations

import numpy as np
import pytest
from flower_clients import MODEL, N, honest, one_round, play, spoiling
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian, Krum
from in_process import FIRST

from turncoat.flower import Guarded

LAYER = "conv.weight"


def drift(arrays) -> float:
    return float(np.abs(arrays[LAYER] - MODEL[LAYER] - 0.5).max())


def nan(arrays, metrics):
    arrays[LAYER] = np.full_like(arrays[LAYER], np.nan)


def missing(arrays, metrics):
    del arrays["head.bias"]


def other_metric(arrays, metrics):
    metrics["more"] = 1.0


def metric_not_finite(arrays, metrics):
    metrics["loss"] = float("nan")


def no_metrics(arrays, metrics):
    metrics.clear()


SPOILT = [nan, missing, other_metric, metric_not_finite, no_metrics]


@pytest.mark.parametrize("make", [FedAvg, FedMedian, lambda: Krum(num_malicious_nodes=2)])
@pytest.mark.parametrize("spoil", SPOILT)
def test_replies_that_no_honest_client_sends_do_not_reach_the_strategy(make, spoil):
    strategy = Guarded(make())
    arrays, metrics = one_round(strategy, spoiling(spoil))
    assert drift(arrays) < 0.02
    assert (metrics["robust/excluded"], metrics["robust/replies"], metrics["robust/refused"]) == (2, N - 2, 0)
    assert strategy.suspicion == {FIRST + i: float(i < 2) for i in range(N)}
    assert all(arrays[name].dtype == MODEL[name].dtype and arrays[name].shape == MODEL[name].shape for name in MODEL)
    assert 1.2 <= metrics["loss"] <= 1.9


@pytest.mark.parametrize("spoil", [nan, missing])
def test_flowers_own_fail_on_them(spoil):
    try:
        arrays, _ = one_round(FedAvg(), spoiling(spoil, (0,)))
    except Exception:
        return
    assert arrays is None or not np.isfinite(arrays[LAYER]).all()


def test_one_client_claims_10_9_examples():
    def heavy(arrays, metrics):
        arrays[LAYER] = arrays[LAYER] + 10
        metrics["num-examples"] = 10**9

    plain, _ = one_round(FedAvg(), spoiling(heavy, (0,)))
    guarded, _ = one_round(Guarded(FedAvg()), spoiling(heavy, (0,)))
    trusting, _ = one_round(Guarded(FedAvg(), trust_examples=True), spoiling(heavy, (0,)))
    assert drift(plain) > 9.9
    assert drift(guarded) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(trusting[LAYER], plain[LAYER], rtol=1e-6)


@pytest.mark.parametrize("claim", [0, -3, float("inf"), [5]])
def test_counts_that_are_none_are_excluded_where_they_are_trusted(claim):
    strategy = Guarded(FedAvg(), trust_examples=True)
    arrays, metrics = one_round(strategy, spoiling(lambda a, metrics: metrics.update({"num-examples": claim}), (4,)))
    assert drift(arrays) < 0.02
    assert metrics["robust/excluded"] == 1


def test_without_a_majority_the_model_stays():
    arrays, metrics = one_round(Guarded(FedAvg()), spoiling(nan, tuple(range(5))))
    assert arrays is None
    assert metrics["robust/refused"] == 1
    assert not play(Guarded(FedAvg()), spoiling(nan, tuple(range(N))), rounds=2).arrays


class Growing(FedAvg):
    """A strategy that multiplies what it averages, in float64."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        assert arrays is not None
        return ArrayRecord(
            {name: Array(np.asarray(array.numpy() * np.float64(self.factor))) for name, array in arrays.items()}
        ), metrics


@pytest.mark.parametrize("factor", [np.inf, 1e100])  # which float64 holds, and the model's dtypes do not
def test_what_overflows_in_the_strategy_leaves_the_model(factor):
    with np.errstate(invalid="ignore"):
        arrays, metrics = one_round(Guarded(Growing(factor)))
    assert arrays is None
    assert metrics["robust/refused"] == 1


def test_strategies_with_memory_go_on():
    result = play(Guarded(FedAdam(eta=0.1)), spoiling(nan, (0,)), rounds=3)
    assert result.arrays[LAYER].numpy().dtype == np.float32
    assert np.isfinite(result.arrays[LAYER].numpy()).all()
    assert result.train_metrics_clientapp[3][f"suspicion/{FIRST}"] == 1


def test_evaluation_is_guarded_too():
    def client(message, context):
        i = context.node_config["partition-id"]
        if message.metadata.message_type != "evaluate":
            return honest(message, context)
        metrics: dict = {"accuracy": 0.8, "num-examples": 10**9 if i == 1 else 10}
        if i == 0:
            metrics["accuracy"] = float("nan")
        if i == 1:
            metrics["accuracy"] = 0.7
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    result = play(Guarded(FedAvg()), client)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == pytest.approx((8 * 0.8 + 0.7) / 9)
