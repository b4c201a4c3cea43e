"""A grid of trainings with byzfl's own classes in a pool of processes, as its benchmark runs them.

    python peer_campaign_byzfl.py JOBS FOLDER

Runs in byzfl's virtual environment. JOBS is a JSON file with a list of what `peer_byzfl.Run` takes, each with its
number of rounds and how often to evaluate; every run leaves a file of accuracies in FOLDER.
"""

from __future__ import annotations

import json
import sys
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from peer_byzfl import Run


def run(task: tuple[dict[str, Any], Path]) -> None:
    job, folder = task
    training = Run(job)
    accuracies = [training.accuracy()]
    for _ in range(job["rounds"] // job["evaluate_every"]):
        training.advance(job["evaluate_every"])
        accuracies.append(training.accuracy())
    (folder / f"{job['name']}.json").write_text(json.dumps(accuracies))


if __name__ == "__main__":
    jobs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    with Pool(2) as pool:
        pool.map(run, [(job, folder) for job in jobs], chunksize=1)
