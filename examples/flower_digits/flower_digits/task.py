"""The task: a small network, scikit-learn's digits, and local training."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from turncoat.data.sources import Dataset, load
from turncoat.data.splits import Dirichlet
from turncoat.flower import poison

CLASSES = 10
BATCH = 16


def make_model(seed: int) -> nn.Module:
    """The network with its initial parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES))


@cache
def digits() -> Dataset:
    """The digits, which come with scikit-learn."""
    return load("digits")


@cache
def parts(clients: int, seed: int) -> tuple[np.ndarray, ...]:
    """The samples of each client, whose classes are in unlike proportions."""
    labels, tests = (y.numpy() for y in (digits().y_train, digits().y_test))
    split = Dirichlet(beta=1.0).partition(labels, tests, clients, 0, np.random.default_rng(seed), minimum=BATCH)
    return split.workers


def load_data(client: int, clients: int, seed: int) -> tuple[Tensor, Tensor]:
    """A client's own training samples."""
    mine = torch.from_numpy(parts(clients, seed)[client])
    return digits().x_train[mine], digits().y_train[mine]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, lr: float, generator: torch.Generator) -> float:
    """Some epochs of SGD; the mean loss of the last one."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses: list[float] = []
    for _ in range(epochs):
        losses.clear()
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            xb, yb = poison(x[batch], y[batch], CLASSES)  # the one line that attacks on data need
            loss = nn.functional.cross_entropy(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """The share of the test set that the model gets right."""
    return float((model(digits().x_test).argmax(1) == digits().y_test).double().mean())
