"""Clients of a made-up training, honest and hostile, and the rounds that a strategy plays with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install 'turncoat[flower]'")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from in_process import InProcess

N = 10
Arrays = dict[str, np.ndarray]
Spoil = Callable[[Arrays, dict[str, Any]], Callable[[Message], Message | None] | None]

MODEL: Arrays = {
    "conv.weight": np.full((2, 3), 5.0, np.float32),
    "bn.weight": np.ones(4, np.float16),
    "bn.running_mean": np.zeros(4, np.float32),
    "bn.running_var": np.ones(4, np.float32),
    "bn.num_batches_tracked": np.array(7),
    "head.bias": np.zeros(2, np.float64),
    "mask": np.array([True, False]),
}
TARGET = 0.5
"""What honest clients add to each array that is voted on, within 0.01 of it."""


def record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def arrays_of(sent: ArrayRecord) -> Arrays:
    return {name: array.numpy() for name, array in sent.items()}


def reply(message: Message, arrays: Arrays, metrics: dict[str, Any]) -> Message:
    return Message(RecordDict({"arrays": record(arrays), "metrics": MetricRecord(metrics)}), reply_to=message)


def honest(message: Message, context: Context) -> Message:
    """One client's training: it moves the weights, counts a batch, and looks at its own statistics."""
    i = int(context.node_config["partition-id"])
    arrays, metrics = trained(message, i)
    return reply(message, arrays, metrics)


def trained(message: Message, i: int) -> tuple[Arrays, dict[str, Any]]:
    arrays = arrays_of(message.content["arrays"])  # type: ignore[arg-type]
    rng = np.random.default_rng(i)
    for name in ("conv.weight", "bn.weight", "head.bias"):
        arrays[name] = (arrays[name] + TARGET + rng.uniform(-0.01, 0.01, arrays[name].shape)).astype(arrays[name].dtype)
    arrays["bn.running_mean"] = np.full(4, 0.1 * i, np.float32)
    arrays["bn.running_var"] = np.full(4, 1 + 0.1 * i, np.float32)
    arrays["bn.num_batches_tracked"] = arrays["bn.num_batches_tracked"] + 1
    return arrays, {"loss": 1.0 + 0.1 * i, "num-examples": 100 + i}


def spoiling(spoil: Spoil, traitors: tuple[int, ...] = (0, 1)) -> Callable[[Message, Context], Message | None]:
    """Clients of which some spoil the arrays and metrics that they would have sent, or return a reply of their own."""

    def client(message: Message, context: Context) -> Message | None:
        i = int(context.node_config["partition-id"])
        if i not in traitors:
            return honest(message, context)
        arrays, metrics = trained(message, i)
        other = spoil(arrays, metrics)
        if callable(other):
            return other(message)
        return reply(message, arrays, metrics)

    return client


def play(strategy: Any, client: Any = honest, rounds: int = 1, n: int = N, model: Arrays | None = None) -> Any:
    """Rounds of training in process; Flower's own `Result`."""
    return strategy.start(InProcess(client, n), record(model or MODEL), num_rounds=rounds)


def one_round(strategy: Any, client: Any = honest, n: int = N) -> tuple[Arrays | None, dict[str, Any]]:
    """The arrays and metrics that one round's aggregation returns."""
    grid = InProcess(client, n)
    messages = strategy.configure_train(1, record(MODEL), ConfigRecord(), grid)
    arrays, metrics = strategy.aggregate_train(1, grid.send_and_receive(messages))
    return None if arrays is None else arrays_of(arrays), dict(metrics or {})
