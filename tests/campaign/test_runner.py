"""Campaigns end to end with real workers: what is used again, what fails, what goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from turncoat.campaign.run import plan, run
from turncoat.errors import DataUnavailableError, ResultError, SpecError, TurncoatError
from turncoat.results import Result
from turncoat.results.failure import read_failures

SMALL = {"n": 8, "f": 2, "rounds": 20, "control": False}
OWN = """
import os, signal, time
import numpy as np
from helper import FACTOR

def good(X):
    return X.mean(0) * FACTOR

def raises(X):
    raise ValueError("this rule\\nalways fails")

def hangs(X):
    time.sleep(600)

def hungry(X):
    np.ones(8 * 2**30 // 8)
    return X.mean(0)

def leaves(X):
    os._exit(3)

def dies(X):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_once(X):
    if not os.path.exists("died"):
        open("died", "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return X.mean(0)
"""
EDITS = """
def edits(X):
    with open("edits.py", "a") as file:
        file.write("# edited\\n")
    return X.mean(0)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with rules of the user's own, to be in."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "edits.py").write_text(EDITS)
    (tmp_path / "helper.py").write_text("FACTOR = 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statuses(campaign, folder):
    return {cell.key.spec.rule: (cell.status, cell.why) for cell in plan(campaign, folder).cells}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("*.json")}


def test_what_is_done_is_used_again_until_something_that_decides_changes(own):
    grid = SMALL | {"rule": ["own.py:good", "median"]}
    assert statuses(grid, "out") == {"own.py:good": ("new", ""), "median": ("new", "")}
    assert not Path("out").exists()
    first = run(grid, "out", jobs=1, progress=False)
    assert [result.spec.rule for result in first.results] == ["own.py:good", "median"]
    assert first.results[0].files.keys() == {"own.py", "helper.py"}
    assert all(result.key and result.data_files for result in first.results)
    before = times("out")
    assert run(grid, "out", jobs=1, progress=False).results == first.results
    assert times("out") == before

    (own / "helper.py").write_text("FACTOR = 0.5\n")
    assert statuses(grid, "out") == {"own.py:good": ("again", "helper.py changed"), "median": ("done", "")}
    second = run(grid, "out", jobs=1, progress=False)
    assert second.results[0].records != first.results[0].records
    assert second.results[1] == first.results[1]
    assert before.items() <= times("out").items()


def test_a_result_of_other_code_or_data_is_not_used(tmp_path, monkeypatch):
    run(SMALL, tmp_path, progress=False)
    monkeypatch.setattr("turncoat.campaign.keys.source_hash", lambda: "0" * 64)
    monkeypatch.setattr("turncoat.campaign.keys.files_checksum", lambda name: "1" * 64)
    assert statuses(SMALL, tmp_path) == {"mean": ("again", "the data and turncoat's own code changed")}
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(path.read_bytes()[:100])
    assert statuses(SMALL, tmp_path) == {"mean": ("new", "")}


def test_runs_that_fail_are_recorded_and_the_others_go_on(own, monkeypatch):
    monkeypatch.setattr("turncoat.campaign.runner.RESUMED", 1)
    rules = ["own.py:raises", "own.py:leaves", "own.py:dies", "own.py:dies_once", "own.py:good"]
    grid = SMALL | {"rule": rules}
    finished = run(grid, "out", jobs=2, progress=False)
    assert {result.spec.rule for result in finished.results} == {"own.py:dies_once", "own.py:good"}
    assert {failure.key for failure in finished.failures} == {failure.key for failure in read_failures("out")}
    failed = {failure.spec.rule.removeprefix("own.py:"): failure for failure in finished.failures}
    assert failed["raises"].kind == "exception"
    assert failed["raises"].error == "ValueError: this rule always fails"
    assert 'raise ValueError("this rule' in failed["raises"].traceback
    assert failed["leaves"].kind == failed["dies"].kind == "killed"
    assert "left with code 3" in failed["leaves"].error
    assert "SIGKILL" in failed["dies"].error

    grid["rule"] = ["own.py:raises", "own.py:good"]
    assert statuses(grid, "out")["own.py:raises"] == ("failed", "exception: ValueError: this rule always fails")
    before = times("out/failed")
    run(grid, "out", jobs=1, progress=False)
    assert times("out/failed") == before
    assert [cell.key.spec.rule for cell in plan(grid, "out").left(retry_failed=True)] == ["own.py:raises"]
    again = run(grid, "out", jobs=1, progress=False, retry_failed=True)
    assert len(again.failures) == 1
    assert times("out/failed") != before


def test_an_edit_in_the_middle_stops_the_campaign_and_costs_nothing(own):
    grid = SMALL | {"rule": ["median", "edits.py:edits", "own.py:good"], "rounds": 3}
    with pytest.raises(
        ResultError, match="a file of the user's own changed since the campaign was planned: start again"
    ):
        run(grid, "out", jobs=1, progress=False)
    assert not Path("out/failed").exists()
    found = statuses(grid, "out")
    assert found["median"] == ("done", "")
    assert found["own.py:good"] == found["edits.py:edits"] == ("new", "")


def test_the_users_own_code_leaves_no_traces_in_other_runs(own):
    (own / "traces.py").write_text(
        "import torch\ntorch.set_default_dtype(torch.float64)\ncalls = []\n"
        "def rule(X):\n    calls.append(1)\n    return X.mean(0) / len(calls)\n"
    )
    alone = {}
    for rule in ("median", "traces.py:rule"):
        (alone[rule],) = run(SMALL | {"rule": rule}, "alone", jobs=1, progress=False).results
    grid = SMALL | {"rule": ["traces.py:rule", "median"], "seed": [1, 0]}
    for result in run(grid, "together", jobs=1, progress=False).results:
        if result.key == alone[result.spec.rule].key:
            assert result.records == alone.pop(result.spec.rule).records
    assert not alone


def test_a_checkpoint_that_cannot_be_written_costs_no_run(own, capfd):
    Path("out").mkdir()
    Path("out/unfinished").write_text("in the way")
    grid = SMALL | {"rule": "median", "rounds": 3000}
    assert len(run(grid, "out", jobs=1, checkpoint_every=0.05).results) == 1
    assert "no checkpoint: cannot write" in capfd.readouterr().err


def test_a_worker_that_dies_while_what_it_forked_lives_on_is_noticed(own):
    (own / "forks.py").write_text(
        "import os, signal, time\n"
        "def rule(X):\n"
        "    if not os.path.exists('forked'):\n"
        "        open('forked', 'x').close()\n"
        "        if os.fork() == 0:\n            time.sleep(600)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return X.mean(0)\n"
    )
    assert len(run(SMALL | {"rule": "forks.py:rule"}, "out", progress=False).results) == 1


def test_a_worker_does_not_begin_campaigns_of_its_own(own):
    (own / "again.py").write_text(
        "import turncoat as tc\ntc.run({'n': 8, 'f': 2}, 'other')\ndef rule(X):\n    return X.mean(0)\n"
    )
    with pytest.raises(SpecError, match="a worker of a campaign began another one"):
        run(SMALL | {"rule": "again.py:rule"}, "out", progress=False)


def test_parts_that_take_forever_to_make_end_with_the_time_limit(own, monkeypatch):
    monkeypatch.setattr("turncoat.campaign.runner.STARTING", 4)
    (own / "slow.py").write_text("import time\ntime.sleep(600)\n")
    with pytest.raises(SpecError, match="does not end: not after 6 s"):
        run(SMALL | {"rule": "slow.py:rule"}, "out", timeout=2, progress=False)


def test_too_much_time_and_too_much_memory_are_failures(own):
    slow = run(SMALL | {"rule": ["own.py:hangs", "own.py:good"]}, "out", jobs=1, timeout=4, progress=False)
    assert [failure.kind for failure in slow.failures] == ["timeout"]
    assert slow.failures[0].error == "not done after 4 seconds"
    assert [result.spec.rule for result in slow.results] == ["own.py:good"]
    if sys.platform == "linux":
        large = run(SMALL | {"rule": "own.py:hungry"}, "large", memory=4, progress=False)
        assert [failure.kind for failure in large.failures] == ["memory"]


def test_mistakes_show_before_anything_runs(own):
    with pytest.raises(SpecError, match="bulyan needs n >= 4f"):
        run(SMALL | {"rule": ["mean", "bulyan"], "f": 3}, "out", progress=False)
    with pytest.raises(SpecError, match=r"there is no file nowhere\.py|cannot read nowhere\.py"):
        run(SMALL | {"rule": ["mean", "nowhere.py:rule"]}, "out", progress=False)
    with pytest.raises(SpecError, match=r"own\.py has no 'goods'"):
        run(SMALL | {"rule": ["mean", "own.py:goods"]}, "out", progress=False)
    with pytest.raises(SpecError, match=r"there is no file nowhere\.py"):
        run(SMALL, "out", progress=False, trackers=["nowhere.py:Diary"])
    for wrong in ({"campaign": [{"n": 8}]}, {"campaign": 3}):
        with pytest.raises(SpecError, match="a campaign is a TOML file, a table or a list of Specs"):
            run(**wrong)
    for wrong in (
        {"trackers": "diary.py:Diary"},
        {"trackers": [3]},
        {"checkpoint_every": float("nan")},
        {"jobs": 0},
        {"engine": "rya"},
        {"timeout": 0},
        {"memory": -1},
    ):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            run(SMALL, "out", progress=False, **wrong)
    assert not list(Path("out").glob("*.json"))


def test_a_data_set_that_is_missing_is_said_in_planning(tmp_path, monkeypatch):
    monkeypatch.delenv("TURNCOAT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataUnavailableError, match=r"SVHN is not here: put svhn\.npz"):
        plan(SMALL | {"task": "svhn"}, tmp_path / "out")


def test_one_campaign_a_folder(own):
    script = "from turncoat.campaign.run import run; import sys, json; run(json.loads(sys.argv[1]), 'out', jobs=1)"
    command = [sys.executable, "-c", script, json.dumps(SMALL | {"rule": "own.py:hangs"})]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as other:
        try:
            until = time.monotonic() + 60
            while not (own / "out" / ".lock").exists() or not (own / "out" / ".lock").read_text():
                assert time.monotonic() < until
                time.sleep(0.02)
            with pytest.raises(ResultError, match=f"another campaign, process {other.pid}, runs in"):
                run(SMALL, "out", progress=False)
        finally:
            other.kill()
    assert len(run(SMALL, "out", progress=False).results) == 1


def test_workers_end_with_their_driver(own):
    script = "from turncoat.campaign.run import run; import sys, json; run(json.loads(sys.argv[1]), 'out', jobs=2)"
    grid = SMALL | {"rule": "own.py:hangs", "seed": [0, 1]}
    with subprocess.Popen([sys.executable, "-c", script, json.dumps(grid)], stderr=subprocess.DEVNULL) as driver:
        children: list[str] = []
        until = time.monotonic() + 60
        while len(children) < 2 and time.monotonic() < until:
            found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(driver.pid)], capture_output=True, text=True)
            children = found.stdout.split()
            time.sleep(0.1)
        driver.kill()
    assert len(children) == 2
    until = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_checkpoint_inside_a_long_run_is_where_it_continues(tmp_path):
    grid = {"n": 8, "f": 2, "rule": "median", "rounds": 40000, "momentum": 0.9, "control": False, "batch": 8}
    script = (
        "from turncoat.campaign.run import run; import sys, json\n"
        "run(json.loads(sys.argv[1]), sys.argv[2], checkpoint_every=0.2, progress=False)"
    )
    with subprocess.Popen([sys.executable, "-c", script, json.dumps(grid), str(tmp_path)]) as driver:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("unfinished/*.safetensors")):
            assert time.monotonic() < until
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
    assert [cell.status for cell in plan(grid, tmp_path).cells] == ["stopped"]


def test_trackers_hear_of_every_run_and_cannot_harm_it(own, capfd):
    (own / "diary.py").write_text(
        "class Diary:\n"
        "    def start(self, spec):\n        self.lines = [f'start {spec.rule}']\n"
        "    def record(self, record):\n        self.lines.append(f'round {record.round}')\n"
        "    def end(self, result):\n"
        "        open(self.lines[0], 'w').write(' '.join([*self.lines, f'end {result is not None}']))\n"
        "class Broken(Diary):\n"
        "    def record(self, record):\n        1 / 0\n"
        "class Unmade(Diary):\n"
        "    def __init__(self):\n        raise ConnectionError('no server')\n"
        "class Late(Diary):\n"
        "    def end(self, result):\n"
        "        import glob\n"
        "        if result:\n            open('late', 'w').write(f'{result.key} {len(glob.glob(\"out/*.json\"))}')\n"
    )
    grid = SMALL | {"rule": ["median", "own.py:raises"], "evaluate_every": 10}
    finished = run(grid, "out", jobs=1, trackers=[f"diary.py:{name}" for name in ("Diary", "Broken", "Unmade", "Late")])
    assert len(finished.results) == 1
    assert Path("late").read_text() == f"{finished.results[0].key} 1"  # told what is on the disk already
    assert Path("start median").read_text() == "start median round 0 round 10 round 20 end True"
    assert Path("start own.py:raises").read_text() == "start own.py:raises round 0 end False"
    told = capfd.readouterr().err
    assert "the tracker Broken raised ZeroDivisionError" in told
    assert "the tracker diary.py:Unmade cannot be made: ConnectionError: no server" in told
    assert "median without attack: " in told
    assert "own.py:raises without attack FAILED: ValueError: this rule always fails; 1 of 2 runs done, 1 failed" in told


def test_what_killed_writers_left_is_swept_away(tmp_path):
    run(SMALL, tmp_path, progress=False)
    (name,) = [path.stem for path in tmp_path.glob("*.json")]
    old, new = tmp_path / ".old.tmp", tmp_path / "unfinished" / ".new.tmp"
    done, other = (tmp_path / "unfinished" / f"{stem}.safetensors" for stem in (name, "another-run"))
    new.parent.mkdir()
    for path in (old, new, done, other):
        path.touch()
    os.utime(old, (0, 0))
    run(SMALL, tmp_path, progress=False)
    assert [path.exists() for path in (old, new, done, other)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gradients": "bogus"}, "gradients takes"),
        ({"task": "digits/lenet5"}, "lenet5 takes images"),
        ({"attack": "ipm", "knowledge": "own"}, "takes the honest workers' vectors"),
        ({"attack": "nlp", "knowledge": "partial(2)"}, "looks ahead"),
        ({"task": "mean_estimation", "attack": "label_flip"}, "has none"),
        ({"attack": "sign_flip", "share": "honest"}, 'set share = "all"'),
    ],
)
def test_parts_that_do_not_fit_together_stop_the_campaign_before_any_run(tmp_path, fields, message):
    with pytest.raises(TurncoatError, match=message):
        run(SMALL | {"seed": [0, 1]} | fields, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_output_of_workers_never_mixes_with_the_results(own, capfd):
    (own / "loud.py").write_text("def loud(X):\n    print('LOUD')\n    return X.mean(0)\n")
    run(SMALL | {"rule": "loud.py:loud", "rounds": 2}, "out", progress=False)
    told = capfd.readouterr()
    assert "LOUD" not in told.out


def test_the_result_is_that_of_a_plain_training(tmp_path):
    import turncoat as tc

    (result,) = run(SMALL | {"rule": "krum", "attack": "alie(z=1.5)", "seed": 3}, tmp_path, progress=False).results
    plain = tc.train(n=8, f=2, rounds=20, rule="krum", attack="alie(z=1.5)", seed=3, threads=1, progress=False)
    assert result.records == plain.records
    assert result.spec == plain.spec
    assert Result.load(next(tmp_path.glob("*.json"))) == result
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_a_result_whose_worker_died_before_it_could_say_so_is_not_computed_again(tmp_path):
    from turncoat.campaign.messages import Done, Job
    from turncoat.campaign.worker import work

    run(SMALL, tmp_path, progress=False)
    before = times(tmp_path)
    (cell,) = plan(SMALL, tmp_path).cells
    job = Job(name=cell.name, key=cell.key.digest, spec=cell.key.spec, folder=str(tmp_path))
    answer = work(job, tell=lambda _: None, stopping=lambda: False)
    assert isinstance(answer, Done)
    assert times(tmp_path) == before
