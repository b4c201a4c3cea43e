"""`turncoat report` and `tc.report`: folders in, pages out, and what the terminal and machines are told."""

import json

import msgspec
import pytest
from typer.testing import CliRunner

import turncoat as tc
from turncoat.cli import app
from turncoat.report.folders import read_folder
from turncoat.results.failure import Failure


def invoke(*arguments):
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.stdout


def save(results, folder):
    for i, result in enumerate(results):
        result.save(folder / f"{i}.json")
    return folder


def failure(result, **fields):
    known = {"key": "a" * 64, "kind": "exception", "error": "ValueError: <b>7", "traceback": "Traceback: x"}
    known |= {"spec": result.spec, "rounds": 3, "seconds": 1.0, "environment": result.environment, "source_hash": "0"}
    return Failure(**known | fields, started=result.started, finished=result.finished)


@pytest.fixture
def folder(run, tmp_path):
    ends = {("mean", "none"): 0.9, ("mean", "alie(z=8)"): 0.2, ("krum", "none"): 0.8, ("krum", "alie(z=8)"): 0.7}
    results = [run(*cell, [0.1, end + 0.01 * seed], seed=seed) for cell, end in ends.items() for seed in range(2)]
    return save(results, tmp_path / "runs")


def test_in_python(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tc.report(folder)
    assert str(path) == "report.html"
    assert "<h1>runs</h1>" in path.read_text()
    assert tc.report(str(folder), tmp_path / "sub" / "page.html").exists()


def test_on_the_command_line(folder, tmp_path):
    said = invoke("report", folder, "-o", tmp_path / "page.html", "--charts", tmp_path / "charts", "--quiet")
    assert "krum ends at 70.5±0.7 % test accuracy (2 seeds) under alie(z=8); mean ends at 20.5±0.7 % (2 seeds)" in said
    assert f"report on 8 runs: {tmp_path / 'page.html'}" in said
    assert (tmp_path / "page.html").exists()
    endings = [path.suffix for path in (tmp_path / "charts").iterdir()]
    assert {ending: endings.count(ending) for ending in (".png", ".svg", ".csv")} == {".png": 4, ".svg": 4, ".csv": 3}


def test_for_machines(folder, tmp_path):
    plain = json.loads(invoke("report", folder, "-o", tmp_path / "page.html", "--json"))
    assert plain["runs"] == 8
    assert plain["notices"] == []
    (setting,) = plain["settings"]
    assert setting["control_learnt"] is True
    first = setting["rules"][0]
    assert first["rule"] == "krum"
    assert first["worst"]["attack"] == "alie(z=8)"
    assert first["worst"]["mean"] == pytest.approx(0.705)
    assert first["worst"]["seeds"] == 2
    assert first["lost"] == pytest.approx(0.1)


def test_what_is_doubtful_is_said_first(folder, run, tmp_path):
    idle, krum = run(values=[0.1, 0.15], lr=0.01), run("krum", "alie(z=8)", [0.1, 0.5], lr=0.01)
    other = msgspec.structs.replace(krum.environment, torch="2.13")
    save([idle, msgspec.structs.replace(krum, environment=other)], folder / "more")
    for path in (folder / "more").iterdir():
        path.rename(folder / f"more-{path.name}")
    stale = msgspec.structs.replace(idle, finished="2020-01-01T00:00:00+00:00", key="a" * 64)
    stale.save(folder / "stale.json")
    failure(krum, key="b" * 64).save(folder / "failed" / "x.json")
    failure(krum, key="c" * 64, kind="timeout").save(folder / "failed" / "y.json")
    plain = json.loads(invoke("report", folder, "-o", tmp_path / "page.html", "--json"))
    control, failed, left_out, mixed = plain["notices"]
    assert control.endswith(": plain mean without attack did not learn, so these figures say nothing of the rules.")
    assert failed == "2 runs failed (1 exception, 1 timeout)."
    assert left_out.startswith("1 file is left out of ")
    assert mixed == "Not all runs were computed alike: torch 2.6 (9 runs), 2.13 (1 run)."
    page = (tmp_path / "page.html").read_text()
    assert "ValueError: &lt;b&gt;7" in page
    assert "Traceback: x" in page
    assert page.count("control did not learn") == 1  # among the settings
    assert page.count("lain mean without attack did not learn") == 2  # at the top and in its section


def test_a_failed_run_that_was_done_later_is_no_failure(folder, run, tmp_path):
    result = run("dnc", "alie(z=8)")
    msgspec.structs.replace(result, key="a" * 64).save(folder / "done.json")
    failure(result).save(folder / "failed" / "x.json")
    assert json.loads(invoke("report", folder, "-o", tmp_path / "page.html", "--json"))["failed"] == 0


def test_folders_without_results(tmp_path, run):
    with pytest.raises(tc.ResultError, match="there are no results in"):
        tc.report(tmp_path)
    with pytest.raises(tc.ResultError, match="there is no folder"):
        tc.report(tmp_path / "nowhere")
    failure(run()).save(tmp_path / "failed" / "x.json")
    assert "1 run failed" in tc.report(tmp_path, tmp_path / "page.html").read_text()
    with pytest.raises(tc.ResultError, match="there are no results in"):
        invoke("report", "--compare", tmp_path, tmp_path)


def test_a_folders_runs_are_put_in_order(run, tmp_path):
    cells = [("b", "none", 1), ("b", "alie(z=10)", 0), ("b", "alie(z=2)", 10), ("b", "alie(z=2)", 9), ("a", "none", 0)]
    save([run(rule, attack, seed=seed) for rule, attack, seed in cells], tmp_path)
    found = [(one["rule"], one["attack"], one["seed"]) for one in read_folder(tmp_path).runs]
    assert found == [
        ("a", "no attack", "0"), ("b", "no attack", "1"), ("b", "alie(z=2)", "9"), ("b", "alie(z=2)", "10"),
        ("b", "alie(z=10)", "0"),
    ]  # fmt: skip


def test_grids_of_different_shapes(run, tmp_path):
    results = [
        run("mean", "alie(z=8)", [0.1, 0.5]),
        run("krum", "none", [0.1, 0.2, 0.5], n=20),
        run("krum", "none", [3.0, 0.2], "error", task="mean_estimation/point"),
        run("krum", "ipm(epsilon=2)", [3.0, float("nan")], "error", task="mean_estimation/point"),
        run("krum", "ipm(epsilon=9)", [], task="other/thing"),
        run("median", f_actual=0, split="dirichlet(0.1)"),
    ]
    page = tc.report(save(results, tmp_path / "runs"), tmp_path / "page.html").read_text()
    titles = [f'<a href="#setting{i}">' in page for i in range(6)]
    assert titles == [True] * 5 + [False]
    assert "5 settings" in page


def test_two_folders(folder, run, tmp_path):
    ends = {("mean", "none"): 0.9, ("krum", "alie(z=8)"): 0.5}
    changed = [run(*cell, [0.1, end + 0.01 * seed], seed=seed) for cell, end in ends.items() for seed in range(2)]
    other = save(changed, tmp_path / "other")
    page = tmp_path / "compare.html"
    said = invoke("report", "--compare", folder, other, "-o", page)
    assert said.startswith("4 runs are in both folders, 2 bit-identical in all that was measured. Beyond the seeds' ")
    assert "krum under alie(z=8) from 70.5±0.7 (2) to 50.5±0.7 (2)" in said
    assert f"4 runs only in {folder}." in said
    assert page.exists()
    plain = json.loads(invoke("report", "--compare", folder, other, "-o", page, "--json"))
    assert (plain["in_both"], plain["identical"], plain["only_in_a"], plain["only_in_b"]) == (4, 2, 4, 0)


def test_a_wrong_number_of_folders(folder, tmp_path):
    with pytest.raises(tc.SpecError, match="one folder; two are compared with --compare, got 2"):
        invoke("report", folder, folder)
    with pytest.raises(tc.SpecError, match="two folders: --compare A B, got 1"):
        invoke("report", "--compare", folder)
    with pytest.raises(tc.SpecError, match="--charts is about one folder"):
        invoke("report", "--compare", folder, folder, "--charts", tmp_path)
