"""byzfl's own training loop behind a pipe: JSON lines in, JSON lines out. Runs in byzfl's virtual environment.

It uses byzfl's Client, Server and ByzantineClient classes as byzfl's benchmark does, with a TensorDataset in memory,
and models given to it by architecture so that both sides train the same one.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# byzfl imports torchvision for image data sets, which are not used here.
sys.modules |= {name: MagicMock() for name in ("torchvision", "torchvision.datasets", "torchvision.transforms")}


def model(layers: list[list[Any]]) -> nn.Sequential:
    """`[["Linear", 784, 10], ["ReLU"]]` as modules."""
    return nn.Sequential(*(getattr(nn, name)(*arguments) for name, *arguments in layers))


class Run:
    """One byzfl training, advanced by a number of rounds at a time."""

    def __init__(self, job: dict[str, Any]) -> None:
        from byzfl import ByzantineClient, Client, Server
        from byzfl.fed_framework import models
        from byzfl.utils.misc import set_random_seed

        if job["threads"] is not None:
            torch.set_num_threads(job["threads"])
        set_random_seed(job["seed"])
        models.benchmarked = lambda: model(job["layers"])
        with np.load(job["data"]) as data:
            x, y, x_test, y_test = (torch.from_numpy(data[key]) for key in ("x", "y", "x_test", "y_test"))
        common = {"model_name": "benchmarked", "device": "cpu", "optimizer_name": "SGD", "learning_rate": job["lr"]}
        common |= {"weight_decay": 0.0, "milestones": [], "learning_rate_decay": 1.0}
        own = {"loss_name": "CrossEntropyLoss", "LabelFlipping": False, "momentum": job["momentum"], "nb_labels": 10}
        loaders = [
            DataLoader(TensorDataset(x[held], y[held]), batch_size=job["batch"], shuffle=True)
            for held in job["workers"]
        ]
        self.clients = [
            Client(common | own | {"training_dataloader": loader, "store_per_client_metrics": True})
            for loader in loaders
        ]
        test = DataLoader(TensorDataset(x_test, y_test), batch_size=1000)
        rule = {"test_loader": test, "aggregator_info": job["rule"], "pre_agg_list": job["mixings"]}
        self.server = Server(common | rule)
        self.attack = ByzantineClient(job["attack"])
        if "initial" in job:
            nn.utils.vector_to_parameters(torch.tensor(job["initial"]), self.server.model.parameters())
        self._broadcast()

    def _broadcast(self) -> None:
        state = self.server.get_dict_parameters()
        for client in self.clients:
            client.set_model_state(state)

    def advance(self, rounds: int) -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            for client in self.clients:
                client.compute_gradients()
            honest = [client.get_flat_gradients_with_momentum() for client in self.clients]
            self.server.update_model_with_gradients(honest + self.attack.apply_attack(honest))
            self._broadcast()
        return time.perf_counter() - started

    def accuracy(self) -> float:
        return self.server.compute_test_accuracy()


def main() -> None:
    run: Run | None = None
    for line in sys.stdin:
        job = json.loads(line)
        answer: Any = None
        if job["do"] == "set up":
            run = Run(job)
        elif run and job["do"] == "advance":
            answer = run.advance(job["rounds"])
        elif run and job["do"] == "accuracy":
            answer = run.accuracy()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
