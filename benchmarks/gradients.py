"""Time the methods of per-worker gradients against each other and against the textbook loop over workers.

    python benchmarks/gradients.py [--tuned] [--threads 2] [--rounds 9] [--models cnn,lenet5] [--json FILE]

Methods take turns in one process; the table shows the median of the rounds in milliseconds and, in brackets, how many
times faster than the loop. It is what the default methods in `turncoat.learning.gradients` rest on.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from turncoat import registry
from turncoat.learning.gradients import METHODS, Learner, available, default_method
from turncoat.learning.models import build_model
from turncoat.linalg.allocator import tune_allocator
from turncoat.spelling import parse

IMAGES, COLOURS = (1, 28, 28), (3, 32, 32)
CASES = [  # model, shape of a sample, workers, samples a worker
    ("point", (2,), 12, 32),
    ("softmax", IMAGES, 8, 32),
    ("mlp", IMAGES, 11, 32),
    ("cnn", IMAGES, 11, 32),
    ("cnn(dropout=channel)", IMAGES, 11, 32),
    ("mnistnet", IMAGES, 12, 50),
    ("lenet5", IMAGES, 25, 32),
    ("lenet5", COLOURS, 20, 32),
    ("cifarnet", COLOURS, 12, 32),
    ("alexnet_small", COLOURS, 25, 32),
    ("alexnet", COLOURS, 5, 32),
    ("fallcnn", COLOURS, 5, 50),
]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--tuned", action="store_true", help="tell glibc's allocator to keep freed memory")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--models", default="", help="only these models, by name, separated by commas")
    options.add_argument("--json", type=Path, default=None, help="default: gradients[-tuned].json beside this file")
    given = options.parse_args()
    tuned = given.tuned and tune_allocator()
    torch.set_num_threads(given.threads)
    wanted = given.models.split(",") if given.models else [parse(case[0]).name for case in CASES]

    print(f"| model | sample | workers x batch | loop | {' | '.join(METHODS)} | default |")
    print("|" + " --- |" * (5 + len(METHODS)))
    measured = []
    for case in CASES:
        if parse(case[0]).name in wanted:
            measured.append(measure(*case, rounds=given.rounds))
            print(as_row(measured[-1]), flush=True)
    about = {"torch": torch.__version__, "cpu": platform.processor() or platform.machine(), "threads": given.threads}
    path = given.json or Path(__file__).parent / f"gradients{'-tuned' if tuned else ''}.json"
    path.write_text(json.dumps({**about, "tuned": tuned, "cases": measured}, indent=1) + "\n")


def measure(spelling: str, shape: tuple[int, ...], n: int, b: int, rounds: int) -> dict[str, Any]:
    """Median milliseconds of each method that can train the model, and of the loop."""
    recipe = registry.make("model", parse(spelling))
    model = build_model(recipe, shape, 10, seed=0)
    loss = "half_squared_error" if len(shape) == 1 else "cross_entropy"
    x = torch.randn(n, b, *shape)
    y = torch.randn(n, b, *shape) if len(shape) == 1 else torch.randint(10, (n, b))
    out = torch.empty(n, sum(p.numel() for p in model.parameters()))
    calls: dict[str, Callable[[], object]] = {"loop": lambda: loop(model, loss, x, y, out)}
    for method in available(model):
        learner = Learner(model, loss, method)
        theta = learner.initial()
        calls[method] = lambda learner=learner, theta=theta: learner.gradients(theta, x, y, out)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    return {
        "model": spelling,
        "shape": shape,
        "workers": n,
        "batch": b,
        "parameters": out.shape[1],
        "milliseconds": {name: statistics.median(values) for name, values in times.items()},
        "default": default_method(model, torch.device("cpu")),
    }


def timed(call: Callable[[], object]) -> float:
    """Milliseconds a call, over so many that they take a few milliseconds."""
    calls, start = 0, perf_counter()
    while calls == 0 or perf_counter() - start < 0.01:
        call()
        calls += 1
    return 1000 * (perf_counter() - start) / calls


def loop(model: nn.Module, loss: str, x: Tensor, y: Tensor, out: Tensor) -> None:
    """What one would write first: each worker's batch through the model, the gradients copied into its row."""
    parameters = list(model.parameters())
    for x_i, y_i, row in zip(x, y, out, strict=True):
        output = model(x_i)
        if loss == "cross_entropy":
            value = functional.cross_entropy(output, y_i)
        else:
            value = 0.5 * (output - y_i).square().sum(1).mean()
        torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)], out=row)


def as_row(case: dict[str, Any]) -> str:
    """A line of the Markdown table."""
    times = case["milliseconds"]
    cells = [f"{times['loop']:.2f}"]
    for method in METHODS:
        cells.append(f"{times[method]:.2f} ({times['loop'] / times[method]:.2f}x)" if method in times else "-")
    sample = "x".join(map(str, case["shape"]))
    size = f"{case['workers']} x {case['batch']}"
    return f"| {case['model']} | {sample} | {size} | {' | '.join(cells)} | {case['default']} |"


if __name__ == "__main__":
    main()
