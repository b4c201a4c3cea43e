"""Runs an hour of a whole campaign, beside byzfl's classes in a pool of two processes, taking turns.

    python benchmarks/campaign.py [--repeats 3] [--rounds 1000] [--write]

24 runs on the digits: softmax regression and an MLP, n=10, f=2, trimmed mean, Krum and geometric median under ALIE and
IPM, two seeds, batches of 32, an evaluation every 50 rounds. turncoat is its command line with `--jobs 2`; byzfl is a
script in its own environment with the same data, shares, models and rounds. Everything counts, from the start of the
first process to the end of the last. byzfl's processes have as many torch threads as they take, as in its benchmark,
and one each, which is kinder on two cores. `--write` puts the table into docs/benchmarks.md and the figures into
benchmarks/campaign.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from peers import HERE, peer_python
from render import ROOT, insert

from turncoat.data.sources import load
from turncoat.results import read_all

N, F, BATCH, LR, MOMENTUM, EVERY = 10, 2, 32, 0.1, 0.9, 50
MODELS = {
    "softmax": [["Flatten"], ["Linear", 64, 10]],
    "mlp(hidden=64)": [["Flatten"], ["Linear", 64, 64], ["ReLU"], ["Linear", 64, 10]],
}
RULES = {
    "trimmed_mean": {"name": "TrMean", "parameters": {"f": F}},
    "krum": {"name": "Krum", "parameters": {"f": F}},
    "geometric_median(nu=0.1, iterations=3)": {"name": "GeometricMedian", "parameters": {"nu": 0.1, "T": 3}},
}
ATTACKS = {
    "alie(z=1.5)": {"name": "ALittleIsEnough", "f": F, "parameters": {"tau": 1.5}},
    "ipm(epsilon=2.5)": {"name": "InnerProductManipulation", "f": F, "parameters": {"tau": 2.5}},
}
SEEDS = (0, 1)
RUNS = len(MODELS) * len(RULES) * len(ATTACKS) * len(SEEDS)
TARGET = 5.0


def grid(rounds: int) -> str:
    """The campaign as a file of turncoat's."""
    fields = {
        "task": [f"digits/{model}" for model in MODELS],
        "rule": list(RULES),
        "attack": list(ATTACKS),
        "seed": list(SEEDS),
        "n": N,
        "f": F,
        "batch": BATCH,
        "lr": LR,
        "momentum": MOMENTUM,
        "rounds": rounds,
        "evaluate_every": EVERY,
    }
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items()) + "control = false\n"


def jobs(rounds: int, data: Path, threads: int | None) -> list[dict[str, Any]]:
    """The same runs for byzfl."""
    digits = load("digits")
    np.savez(data, x=digits.x_train, y=digits.y_train, x_test=digits.x_test, y_test=digits.y_test)
    shares = np.array_split(np.random.default_rng(1).permutation(len(digits.y_train)), N)
    common = {"data": str(data), "workers": [share.tolist() for share in shares[: N - F]], "batch": BATCH, "lr": LR}
    common |= {"momentum": MOMENTUM, "threads": threads, "rounds": rounds, "evaluate_every": EVERY, "mixings": []}
    cells = enumerate(product(MODELS, RULES, ATTACKS, SEEDS))
    return [
        common | {"name": i, "layers": MODELS[model], "rule": RULES[rule], "attack": ATTACKS[attack], "seed": seed}
        for i, (model, rule, attack, seed) in cells
    ]


def ours(rounds: int, folder: Path) -> float:
    (folder / "grid.toml").write_text(grid(rounds))
    command = [str(Path(sys.executable).parent / "turncoat"), "run", "grid.toml", "--jobs", "2", "-q", "--json"]
    seconds = _timed(command, folder)
    accuracies = [result.final_accuracy or 0.0 for result in read_all(folder / "results")]
    assert len(accuracies) == RUNS
    print(f"    mean accuracy {np.mean(accuracies):.3f}")
    return seconds


def theirs(rounds: int, folder: Path, threads: int | None) -> float:
    out = folder / "out"
    out.mkdir()
    (folder / "jobs.json").write_text(json.dumps(jobs(rounds, folder / "data.npz", threads)))
    command = [str(peer_python("byzfl")), str(HERE / "peer_campaign_byzfl.py"), str(folder / "jobs.json"), str(out)]
    seconds = _timed(command, folder)
    accuracies = [json.loads(path.read_text())[-1] for path in out.glob("*.json")]
    assert len(accuracies) == RUNS
    print(f"    mean accuracy {np.mean(accuracies):.3f}")
    return seconds


def _timed(command: list[str], folder: Path) -> float:
    started = perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    sides = {
        "turncoat": lambda folder: ours(given.rounds, folder),
        "byzfl 0.0.11": lambda folder: theirs(given.rounds, folder, None),
        "byzfl 0.0.11, one thread a process": lambda folder: theirs(given.rounds, folder, 1),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(given.repeats):
        for side, measure in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds[side].append(measure(Path(folder)))
            print(f"{side}: {seconds[side][-1]:.1f} s", flush=True)
    hourly = {side: RUNS * 3600 / statistics.median(times) for side, times in seconds.items()}
    lines = ["| | runs an hour | turncoat is faster by |", "|---|---|---|"]
    lines += [f"| {side} | {rate:,.0f} | {hourly['turncoat'] / rate:.1f} |" for side, rate in hourly.items()]
    print("\n".join(lines), f"\ntarget: {TARGET}")
    if given.write:
        about = {"platform": platform.platform(), "cpus": os.cpu_count(), "rounds": given.rounds}
        figures = {"about": about, "seconds": seconds, "runs_an_hour": hourly}
        (HERE / "campaign.json").write_text(json.dumps(figures, indent=1) + "\n")
        insert(ROOT / "docs" / "benchmarks.md", "campaign table", "\n".join(lines))


if __name__ == "__main__":
    main()
