"""Campaigns on Ray: a cluster of two nodes on this machine, of which one dies, and Ray started for the occasion."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import ray

from turncoat.campaign import on_ray
from turncoat.campaign.grid import expand
from turncoat.campaign.messages import Check, Checked, Done, Lost, Progress
from turncoat.campaign.on_ray import TOKEN, Home, RayEngine
from turncoat.campaign.plan import survey
from turncoat.campaign.run import plan, run
from turncoat.campaign.runner import Care, Driver
from turncoat.errors import ResultError, SpecError
from turncoat.results import read_all
from turncoat.spec import Spec

ADDRESSES = ("127.0.0.2", "127.0.0.3")  # Ray takes 127.0.0.1 for the address by which others reach this machine
GRID = {
    "task": "digits/mlp(hidden=16)",
    "n": 10,
    "f": 2,
    "rule": ["median", "krum", "mixtailor(without=bulyan)"],
    "attack": ["alie(z=1.5)", "ipm(epsilon=2.5)"],
    "seed": [0, 1],
    "rounds": 600,
    "momentum": 0.9,
    "evaluate_every": 100,
    "control": False,
}
OWN = """
import os

def leaves(X):
    os._exit(3)

def good(X):
    return X.mean(0)
"""
ALONE = """
import sys
from turncoat.campaign.run import run
grid = {"n": 8, "f": 2, "rounds": 20, "rule": ["own.py:leaves", "median", "own.py:good"], "control": False}
finished = run(grid, "out", jobs=2, engine="ray")
print([result.spec.rule for result in finished.results], [failure.kind for failure in finished.failures], end=" ")
print("torch" in sys.modules)
"""


class Node:
    """A node of a cluster: a session of processes, so that all of it can be found."""

    def __init__(self, address: str, *options: str) -> None:
        ports = ("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", *ports, *options]
        self.address = address
        self._start = subprocess.Popen(
            [*command, f"--node-ip-address={address}", "--disable-usage-stats"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._start.wait(60) == 0

    def processes(self, said: str = "") -> list[int]:
        """Those of its processes whose command says so."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                session = int((path / "stat").read_text().rpartition(")")[2].split()[3])
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if session == self._start.pid and said in command:
                found.append(int(path.name))
        return found

    def kill(self) -> None:
        """Everything at once, as if its power were cut."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def scratch():
    """Where Ray leaves its logs and sockets, whose paths have to be short."""
    folder = tempfile.mkdtemp(prefix="ray-")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(scratch):
    """Two nodes with a CPU each, of which the first is the head, and the address of the cluster."""
    with ExitStack() as exits:
        head = Node(ADDRESSES[0], "--head", "--port=0", "--include-dashboard=false", f"--temp-dir={scratch}")
        exits.callback(head.kill)
        address = (scratch / "ray_current_cluster").read_text()
        other = Node(ADDRESSES[1], f"--address={address}")
        exits.callback(other.kill)
        yield head, other, address


def heard_from(engine):
    """What the first worker that has anything to say says."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if said := engine.receive(1.0):
            return said
    raise AssertionError("no worker says anything")


def measured(result):
    """What has to be the same wherever it was computed."""
    return result.spec, result.records, result.flags, result.key


@pytest.mark.cluster
def test_a_worker_that_dies_before_it_begins_leaves_its_orders_to_the_next(cluster, tmp_path):
    with closing(RayEngine(1, cluster[-1], [Spec(n=8, f=2)], tmp_path)) as engine:
        engine.send(0, Check(specs=[]))
        ray.kill(engine._hands[0].actor)
        assert heard_from(engine) == [(0, Checked(error=None))]


@pytest.mark.cluster
def test_a_node_that_does_not_see_the_folder_ends_the_campaign(cluster, tmp_path):
    with closing(RayEngine(1, cluster[-1], [Spec(n=8, f=2)], tmp_path)) as engine:
        (tmp_path / TOKEN).unlink()
        with pytest.raises(ResultError, match=r"the node 127\.0\.0\.[23] does not see "):
            heard_from(engine)


@pytest.mark.cluster
def test_two_nodes_of_which_one_dies(cluster, tmp_path, monkeypatch):
    head, other, address = cluster
    specs, folder, heard = expand(GRID), tmp_path / "ray", []
    folder.mkdir()
    monkeypatch.setattr(on_ray, "PATIENCE", 3.0)
    with pytest.warns(UserWarning, match="the cluster has room for 2 of 3 workers with 1 CPU"):
        engine = RayEngine(3, address, specs, folder)
    strikes = [  # after so many runs are done, on which node, what
        (
            1,
            head,
            lambda: [os.kill(process, signal.SIGKILL) for process in head.processes("campaign.process")],
        ),
        (3, head, lambda: [os.kill(process, signal.SIGKILL) for process in head.processes("ray::Relay")]),
        (5, other, other.kill),
    ]

    def watch(worker, cell, answer):
        heard.append((cell.name, answer))
        if isinstance(answer, Progress) and 0 < answer.rounds < GRID["rounds"] / 2 and strikes:
            done, node, strike = strikes[0]
            if engine.places[worker] == node.address and sum(isinstance(said, Done) for _, said in heard) >= done:
                del strikes[0]
                strike()

    with pytest.warns(UserWarning, match=r"\d of 3 workers wait for a place on the cluster"):
        Driver(survey(specs, folder), engine, Care(every=0.1), watch).run()
    assert not strikes
    assert [said for _, said in heard if isinstance(said, Lost)] == [
        Lost(why=f"its process was ended by SIGKILL on the node {head.address}", killed=True),
        Lost(why=f"the node {head.address} or Ray's process there is gone", killed=True),
        Lost(why=f"the node {other.address} or Ray's process there is gone", killed=True),
    ]
    assert set(Counter(name for name, said in heard if isinstance(said, Done)).values()) == {1}
    assert plan(GRID, folder).counts == {"done": 12}
    assert not list((folder / "unfinished").glob("*.safetensors"))
    local = {result.key: measured(result) for result in run(GRID, tmp_path / "local", jobs=2, progress=False).results}
    distant = read_all(folder)
    assert len(distant) == 12
    assert {result.key: measured(result) for result in distant} == local


@pytest.mark.cluster
def test_ray_is_started_where_there_is_no_address_and_keeps_quiet(scratch, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "['median', 'own.py:good'] ['killed'] False\n"), done.stderr
    lines = sorted(done.stderr.splitlines())
    assert len(lines) == 3
    assert lines[0].startswith("median without attack: ")
    assert lines[1].startswith("own.py:good without attack: ")
    failed = r"own\.py:leaves without attack FAILED: its process left with code 3 on the node [\d.]+ \(time 1\); "
    assert re.match(failed, lines[2])


@pytest.mark.parametrize("address", ["127.0.0.2:1", "127.0.0.2:100000", "nowhere"])
def test_a_cluster_that_is_not_there_is_told(tmp_path, address):
    with pytest.raises(SpecError, match=f"no Ray cluster at {address}: "):
        run({"n": 8, "f": 2, "rounds": 2}, tmp_path, engine="ray", address=address, progress=False)


def test_a_node_that_sees_other_folders_is_no_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["there"])
    monkeypatch.setenv("TURNCOAT_DATA", "data")
    home = Home.here(tmp_path)
    monkeypatch.setattr(sys, "path", ["here"])
    monkeypatch.setenv("TURNCOAT_DATA", "elsewhere")
    home.enter()
    assert (os.environ["TURNCOAT_DATA"], sys.path) == ("data", ["here", "there"])
    (tmp_path / TOKEN).write_text("another driver's")
    with pytest.raises(ResultError, match=r"does not see .* as the driver does: .* file system that all nodes share"):
        home.enter()
    (tmp_path / TOKEN).unlink()
    with pytest.raises(ResultError, match="as the driver does"):
        home.enter()


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "turncoat.campaign.on_ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match=r"pip install 'turncoat\[ray\]'"):
        run({"n": 8, "f": 2, "rounds": 2}, tmp_path, engine="ray", progress=False)
