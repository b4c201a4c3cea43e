"""Flower's robust strategies behind a pipe: the functions they call on the clients' arrays. Runs in its environment.

Flower has two generations of them. Those of `flwr.server` take lists of arrays. Those of `flwr.serverapp` take records,
and compute Krum's distances in another way: they stand here as "(serverapp)".
"""

from __future__ import annotations

from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.server.strategy import aggregate as server
from flwr.serverapp.strategy.multikrum import select_multikrum
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from peer_rules_common import Library, Make
from torch import Tensor


def clients(X: Tensor) -> list:
    """Each row as the single layer of a client with one example."""
    return [([row], 1) for row in X.numpy()]


def select(X: list, f: int, count: int):
    """Krum and Multi-Krum of flwr.serverapp."""
    metrics = MetricRecord({"num-examples": 1})
    records = [RecordDict({"arrays": ArrayRecord(layers), "metrics": metrics}) for layers, _ in X]
    chosen = select_multikrum(records, num_malicious_nodes=f, num_nodes_to_select=count)
    return aggregate_arrayrecords(chosen, "num-examples").to_numpy_ndarrays()[0]


RULES: dict[str, Make] = {
    "mean": lambda n, f: lambda X: server.aggregate(X)[0],
    "median": lambda n, f: lambda X: server.aggregate_median(X)[0],
    "trimmed_mean": lambda n, f: lambda X: server.aggregate_trimmed_avg(X, f / n)[0],
    "krum": lambda n, f: lambda X: server.aggregate_krum(X, f, 0)[0],
    "multi_krum": lambda n, f: lambda X: server.aggregate_krum(X, f, n - f)[0],
    "bulyan": lambda n, f: lambda X: server.aggregate_bulyan(X, f, server.aggregate_krum, to_keep=0)[0],
    "krum (serverapp)": lambda n, f: lambda X: select(X, f, 1),
    "multi_krum (serverapp)": lambda n, f: lambda X: select(X, f, n - f),
}

if __name__ == "__main__":
    Library(RULES, form=clients).serve()
