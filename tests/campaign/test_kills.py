"""SIGKILL for workers and drivers in the middle of a campaign: nothing finished is lost, nothing is computed wrong."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from turncoat.campaign.run import plan, run
from turncoat.results import Result, read_all

GRID = {
    "task": "digits/mlp(hidden=16)",
    "n": 10,
    "f": 2,
    "rule": ["median", "trimmed_mean", "krum", "bucketing(s=2) >> median", "mixtailor(without=bulyan)"],
    "attack": ["alie(z=1.5)", "ipm(epsilon=2.5)"],
    "seed": [0, 1, 2, 3, 4, 5],
    "rounds": 300,
    "momentum": 0.9,
    "evaluate_every": 50,
    "control": False,
}
DRIVE = """
import sys, json
from turncoat.campaign.run import run
run(json.loads(sys.argv[1]), sys.argv[2], jobs=2, checkpoint_every=0.2, progress=False)
"""


def drive(folder: Path) -> subprocess.Popen:
    import json

    return subprocess.Popen([sys.executable, "-c", DRIVE, json.dumps(GRID), str(folder)])


def workers(driver: int) -> list[int]:
    """The processes that a driver has started, from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == driver:
            found.append(int(path.parent.name))
    return found


def measured(result: Result):
    """What has to be the same whatever happened on the way."""
    return result.spec, result.records, result.flags, result.key


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sixty_runs_under_fire(tmp_path):
    calm = {result.key: measured(result) for result in run(GRID, tmp_path / "calm", jobs=2, progress=False).results}
    assert len(calm) == 60

    chance, folder = random.Random(0), tmp_path / "fire"
    kills = ["worker"] * 10 + ["driver"] * 5
    chance.shuffle(kills)
    seen: Counter[str] = Counter()
    written: dict[str, int] = {}
    driver = drive(folder)
    while kills:
        time.sleep(chance.uniform(2, 4))
        for path in folder.glob("*.json"):  # a finished run is never written again
            assert written.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
        if driver.poll() is not None:
            break
        target = kills.pop()
        if target == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            driver = drive(folder)
        elif alive := workers(driver.pid):
            os.kill(chance.choice(alive), signal.SIGKILL)
        else:
            kills.insert(0, target)
            continue
        seen[target] += 1
    assert driver.wait(timeout=600) == 0
    assert seen == {"worker": 10, "driver": 5}

    assert plan(GRID, folder).counts == {"done": 60}
    fired = read_all(folder)
    assert len(fired) == 60
    assert {result.key: measured(result) for result in fired} == calm
    assert not list((folder / "unfinished").glob("*.safetensors"))
    for path in folder.glob("*.json"):
        assert written.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
