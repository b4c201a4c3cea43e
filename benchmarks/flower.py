"""Flower's own strategies and ours under attack, and what a round of aggregation costs.

    python benchmarks/flower.py accuracy
    python benchmarks/flower.py time [--d 1000000] [--repeats 21]

accuracy: the app of examples/flower_digits (10 clients, of which two or one are traitors; 10 rounds of one local epoch;
seeds 0, 1 and 2) without processes; final accuracy, or after how many rounds the run ended and by what. The client
that claims 10^9 examples sends the negative of its update. Every defence is told f = 2.

time: `aggregate_train` alone, of 10 replies of a model of d float32 parameters in ten layers, the strategies taking
turns in one run; medians.

The figures go into benchmarks/flower.json; `python benchmarks/render.py flower` puts them into docs/flower.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "examples" / "flower_digits"))

import numpy as np
import torch
from flower_digits.client_app import app
from flower_digits.task import accuracy, make_model
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, Krum, Strategy
from in_process import Client, InProcess

from turncoat.flower import Guarded, Omniscient, RobustFedAvg

N, F, ROUNDS, SEEDS = 10, 2, 10, (0, 1, 2)
FILE = Path(__file__).parent / "flower.json"
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "FedAvg": lambda: FedAvg(fraction_evaluate=0),
    "FedMedian": lambda: FedMedian(fraction_evaluate=0),
    "Krum": lambda: Krum(fraction_evaluate=0, num_malicious_nodes=F),
    "Guarded(FedAvg())": lambda: Guarded(FedAvg(fraction_evaluate=0)),
    **{
        f'RobustFedAvg("{rule}")': lambda rule=rule: RobustFedAvg(rule, f=F, fraction_evaluate=0)
        for rule in ("median", "krum", "nnm >> trimmed_mean")
    },
}


def claiming(message: Message, context: Context) -> Message:
    """The app's client; the first one claims 10^9 examples."""
    reply = app(message, context)
    if context.node_config["partition-id"] == 0:
        reply.content["metrics"] = MetricRecord({**reply.content.metric_records["metrics"], "num-examples": 10**9})
    return reply


def missing(message: Message, context: Context) -> Message:
    """The app's client; the first one leaves out the last layer."""
    reply = app(message, context)
    if context.node_config["partition-id"] == 0:
        *layers, _ = reply.content.array_records["arrays"].items()
        reply.content["arrays"] = ArrayRecord(dict(layers))
    return reply


CASES: dict[str, tuple[Client, dict[str, Any], str]] = {
    "no attack": (app, {}, ""),
    "one client sends NaN": (app, {"attack": "non_finite", "traitors": 1}, ""),
    "one claims 10^9 examples": (claiming, {"attack": "sign_flip", "traitors": 1}, ""),
    "one leaves out a layer": (missing, {}, ""),
    "two run ALIE, z = 8, on their own data": (app, {"attack": "alie(z=8)", "traitors": F}, ""),
    "two run ALIE, z = 8, and see all updates": (app, {}, "alie(z=8)"),
}
"""By what happens: the client, its settings, and the attack that is staged before the strategy."""


def train(strategy: Strategy, case: str, seed: int) -> float | str:
    """The final accuracy, or what ended the run."""
    client, settings, staged = CASES[case]
    random.seed(seed)  # Flower's sampling, which is also the order of its sums
    config = {"attack": "", "traitors": 0, "seed": seed, "local-epochs": 1, "learning-rate": 0.1} | settings
    model, reached = make_model(seed), [0.0]

    def evaluate(round: int, arrays: ArrayRecord) -> None:
        model.load_state_dict(arrays.to_torch_state_dict())
        reached.append(accuracy(model))

    if staged:
        strategy = Omniscient(strategy, staged, f=F, seed=seed)
    try:
        strategy.start(
            InProcess(client, N, **config),  # type: ignore[arg-type] # as much of a Grid as strategies use
            ArrayRecord(model.state_dict()),
            num_rounds=ROUNDS,
            evaluate_fn=evaluate,
        )
    except Exception as error:
        return f"{type(error).__name__} in round {len(reached) - 1}"
    return reached[-1]


def accuracies() -> dict[str, dict[str, list[float | str]]]:
    found: dict[str, dict[str, list[float | str]]] = {}
    for case in CASES:
        found[case] = {}
        for name, make in STRATEGIES.items():
            found[case][name] = [train(make(), case, seed) for seed in SEEDS]
            print(f"{case}, {name}: {found[case][name]}", file=sys.stderr)
    return found


def milliseconds(d: int, repeats: int) -> dict[str, float]:
    """The median time of one aggregation, by strategy."""
    rng = np.random.default_rng(0)
    base = {f"layer{i}": rng.standard_normal(d // 10, dtype=np.float32) for i in range(10)}

    def client(message: Message, context: Context) -> Message:
        arrays = {
            name: Array(layer + 0.01 * rng.standard_normal(layer.shape, dtype=np.float32))
            for name, layer in base.items()
        }
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 100})})
        return Message(content, reply_to=message)

    grid, model = InProcess(client, N), ArrayRecord({name: Array(layer) for name, layer in base.items()})
    strategies = {name: make() for name, make in STRATEGIES.items()}
    messages = {
        name: list(strategy.configure_train(1, model, ConfigRecord(), grid))  # type: ignore[arg-type]
        for name, strategy in strategies.items()
    }
    replies = grid.send_and_receive(messages["FedAvg"])
    times: dict[str, list[float]] = {name: [] for name in strategies}
    for _ in range(repeats + 1):  # the first one warms up
        for name, strategy in strategies.items():
            received = [anew(reply) for reply in replies]
            started = time.perf_counter()
            strategy.aggregate_train(1, received)
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def anew(reply: Message) -> Message:
    """The same reply again: Flower's strategies empty those that they aggregate."""
    again = copy(reply)
    arrays, metrics = reply.content.array_records["arrays"], reply.content.metric_records["metrics"]
    again.content = RecordDict({"arrays": ArrayRecord(dict(arrays)), "metrics": metrics})
    return again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "time"])
    parser.add_argument("--d", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=21)
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    if given.what == "accuracy":
        torch.set_num_threads(1)
        figures["accuracy"] = accuracies()
    else:
        about = {"platform": platform.platform(), "python": platform.python_version(), "d": given.d, "n": N}
        about["threads"] = torch.get_num_threads()
        figures["time"] = {"about": about, "milliseconds": milliseconds(given.d, given.repeats)}
    FILE.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
