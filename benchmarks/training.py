"""Training rounds a second, beside byzfl's: trimmed mean under ALIE, taking turns in one run.

    python benchmarks/training.py [--seconds 20] [--repeats 5] [--write]

Three cases: (a) softmax regression on 28x28 images, n=8, f=3; (b) a CNN of 1.2M parameters on 28x28 images, n=15, f=4;
(c) LeNet-5 on 3x32x32 images, n=25, f=5; batches of 32, two threads. Each side is a process of its own with the same
samples, shares, seed and initial model; byzfl gets a TensorDataset in memory. turncoat runs as its command line does,
with the allocator tuned, and byzfl as it comes and also under the same allocator settings. `--write` puts the table
into docs/benchmarks.md and the figures into benchmarks/training.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers import HERE, Worker, peer_python
from render import insert

SAMPLES, TEST = 20_000, 1_000
CNN = [
    ["Conv2d", 1, 32, 3], ["ReLU"], ["Conv2d", 32, 64, 3], ["MaxPool2d", 2], ["Dropout", 0.25], ["Flatten"],
    ["Linear", 9216, 128], ["ReLU"], ["Dropout", 0.5], ["Linear", 128, 10],
]  # fmt: skip
LENET = [
    ["Conv2d", 3, 6, 5], ["ReLU"], ["MaxPool2d", 2], ["Conv2d", 6, 16, 5], ["ReLU"], ["MaxPool2d", 2], ["Flatten"],
    ["Linear", 400, 120], ["ReLU"], ["Linear", 120, 84], ["ReLU"], ["Linear", 84, 10],
]  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "a": {"what": "softmax regression, n=8, f=3", "model": "softmax", "n": 8, "f": 3, "shape": [1, 28, 28],
          "layers": [["Flatten"], ["Linear", 784, 10]], "target": 6.0},
    "b": {"what": "CNN (1.2M), n=15, f=4", "model": "cnn", "n": 15, "f": 4, "shape": [1, 28, 28],
          "layers": CNN, "target": 2.0},
    "c": {"what": "LeNet-5 (3x32x32), n=25, f=5", "model": "lenet5", "n": 25, "f": 5, "shape": [3, 32, 32],
          "layers": LENET, "target": 1.6},
}  # fmt: skip


def data_file(folder: Path, shape: list[int]) -> Path:
    """Samples that a model can learn, so that the arithmetic is that of training and not of exploding numbers."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, SAMPLES + TEST)
    patterns = rng.standard_normal((10, *shape)).astype(np.float32)
    x = patterns[y] + rng.standard_normal((len(y), *shape)).astype(np.float32)
    path = folder / f"{'x'.join(map(str, shape))}.npz"
    np.savez(path, x=x[:SAMPLES], y=y[:SAMPLES], x_test=x[SAMPLES:], y_test=y[SAMPLES:])
    return path


def set_up(worker: Worker, case: dict[str, Any], data: Path, threads: int) -> None:
    honest = case["n"] - case["f"]
    order = np.random.default_rng(1).permutation(SAMPLES)
    shares = [part.tolist() for part in np.array_split(order, case["n"])]
    worker.ask(
        "set up",
        data=str(data),
        layers=case["layers"],
        model=case["model"],
        n=case["n"],
        f=case["f"],
        workers=shares[:honest],
        rule={"name": "TrMean", "parameters": {"f": case["f"]}},
        mixings=[],
        attack={"name": "ALittleIsEnough", "f": case["f"], "parameters": {"tau": 1.5}},
        batch=32,
        lr=0.01,
        momentum=0.0,
        seed=0,
        threads=threads,
    )


def measure(case: dict[str, Any], sides: dict[str, Worker], seconds: float, repeats: int) -> dict[str, list[float]]:
    """Rounds a second of each side, one figure a turn; the sides take turns A B C A B C ..."""
    rounds = {}
    for name, worker in sides.items():
        worker.ask("advance", rounds=3)
        rounds[name] = max(2, round(seconds / repeats / (worker.ask("advance", rounds=3) / 3)))
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats):
        for name, worker in sides.items():
            speeds[name].append(rounds[name] / worker.ask("advance", rounds=rounds[name]))
            print(f"{case['what']}, turn {turn + 1}: {name} {speeds[name][-1]:.2f} rounds/s", file=sys.stderr)
    return speeds


def speed(rounds: float) -> str:
    return f"{rounds:.0f}" if rounds >= 100 else f"{rounds:.3g}"


def table(figures: dict[str, dict[str, float]]) -> str:
    lines = [
        "| case | turncoat | byzfl 0.0.11 | times | byzfl, allocator tuned | times | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, case in CASES.items():
        if key in figures:
            ours, theirs, tuned = (figures[key][side] for side in ("turncoat", "byzfl", "byzfl tuned"))
            row = [f"({key}) {case['what']}", speed(ours), speed(theirs), f"**{ours / theirs:.1f}**", speed(tuned)]
            lines.append(f"| {' | '.join(row)} | {ours / tuned:.1f} | {case['target']:g} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help="a, b, c")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each side of a case")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    try:
        python = peer_python("byzfl")
    except FileNotFoundError as error:
        sys.exit(str(error))
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for key in options.cases:
            case = CASES[key]
            data = data_file(Path(folder), case["shape"])
            sides = {
                "turncoat": Worker("peer_turncoat.py", sys.executable),
                "byzfl": Worker("peer_byzfl.py", python),
                "byzfl tuned": Worker("peer_byzfl.py", python, tuned=True),
            }
            for worker in sides.values():
                set_up(worker, case, data, options.threads)
            speeds = measure(case, sides, options.seconds, options.repeats)
            figures[key] = {name: statistics.median(values) for name, values in speeds.items()}
            for worker in sides.values():
                worker.close()
    text = table(figures)
    print(text)
    if options.write:
        about = {"platform": platform.platform(), "python": platform.python_version(), "threads": options.threads}
        (HERE / "training.json").write_text(json.dumps({"about": about, "rounds_per_second": figures}, indent=1) + "\n")
        insert(HERE.parent / "docs" / "benchmarks.md", "training", text)


if __name__ == "__main__":
    main()
