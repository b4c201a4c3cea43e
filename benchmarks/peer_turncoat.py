"""turncoat's training behind the same pipe as the peers'."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch

import turncoat as tc
from turncoat.learning.training import Parts


class Run:
    """One turncoat training, advanced by a number of rounds at a time."""

    def __init__(self, job: dict[str, Any]) -> None:
        torch.set_num_threads(job["threads"])
        with np.load(job["data"]) as data:
            arrays = [data[key] for key in ("x", "y", "x_test", "y_test")]
        dataset = tc.Dataset.of("benchmark", *arrays)
        spec = tc.Spec(
            task=f"digits/{job['model']}",
            n=job["n"],
            f=job["f"],
            rule="trimmed_mean",
            attack=f"alie(z={-job['attack']['parameters']['tau']})",  # byzfl adds what we subtract
            batch=job["batch"],
            lr=job["lr"],
            momentum=job["momentum"],
            rounds=10**9,
            evaluate_every=10**9,
            seed=job["seed"],
        )
        self.training = tc.Training(spec, Parts(dataset=dataset))

    def advance(self, rounds: int) -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            self.training.advance()
        return time.perf_counter() - started


def main() -> None:
    tc.tune_allocator()
    run: Run | None = None
    for line in sys.stdin:
        job = json.loads(line)
        answer = None
        if job["do"] == "set up":
            run = Run(job)
        elif run and job["do"] == "advance":
            answer = run.advance(job["rounds"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
