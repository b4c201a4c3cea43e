"""`turncoat plan`: what would run, what is done, what failed and why something must run again."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from turncoat.cli import app

GRID = """
n = 8
f = 2
rounds = 10
rule = ["median", "own.py:rule", "own.py:broken"]
attack = "ipm(epsilon=2.5)"
control = false
"""
OWN = "def rule(X):\n    return X.mean(0)\n\ndef broken(X):\n    raise ValueError('no')\n"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def test_a_campaign_before_and_after(grid):
    before = invoke("plan", "grid.toml", "--jobs", "1").stdout
    assert "3 runs in results: digits/softmax, n = 8, f = 2, iid, attack = ipm(epsilon=2.5), rounds = 10" in before
    assert "3 to compute, 1 at a time: no run like these was measured yet" in before
    assert not (grid / "results").exists()

    assert invoke("run", "grid.toml", "-q").exit_code == 1
    after = invoke("plan", "grid.toml").stdout
    assert "2  done    a result with the same key is there" in after
    assert "1  failed  not tried again without --retry-failed" in after
    assert "exception: ValueError: no" in after
    assert "to compute" not in after
    assert "own.py:rule" not in after
    assert "own.py:rule" in invoke("plan", "grid.toml", "--all").stdout

    (grid / "own.py").write_text(OWN + "# edited\n")
    edited = invoke("plan", "grid.toml", "--jobs", "1").stdout
    assert "1  again  own.py changed" in edited
    assert "2 to compute, 1 at a time: about" in edited

    plain = json.loads(invoke("plan", "grid.toml", "--json").stdout)
    assert [cell["status"] for cell in plain["cells"]] == ["done", "again", "new"]
    assert all(len(cell["key"]["source"]) == 64 for cell in plain["cells"])


def test_fields_on_the_command_line_are_those_of_run(grid):
    words = ["-n", "9", "--rule", "krum", "--attack", "alie(z=2)", "--attack", "mimic", "--rounds", "7", "--seed", "3"]
    cells = json.loads(invoke("plan", "grid.toml", *words, "--json").stdout)["cells"]
    assert [(cell["key"]["spec"]["rule"], cell["key"]["spec"]["attack"]) for cell in cells] == [
        ("krum", "alie(z=2)"),
        ("krum", "mimic"),
    ]
    assert {cell["key"]["spec"]["n"] for cell in cells} == {9}


def test_ten_thousand_cells_are_planned_without_torch(grid):
    (grid / "large.toml").write_text(
        f"n = 10\nf = 2\nseed = {list(range(2500))}\nattack = ['none', 'alie', 'ipm', 'mimic']"
    )
    code = (
        "import sys; from turncoat.cli import app; from typer.testing import CliRunner\n"
        "found = CliRunner().invoke(app, ['plan', 'large.toml'])\n"
        "assert '10000 runs in results' in found.output, found.output\n"
        "assert not {'torch', 'polars', 'altair', 'sklearn', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ways_to_say_why_are_counted(grid):
    (grid / "many.toml").write_text("n = 8\nf = 2\nrounds = 3\nrule = 'own.py:rule'\nseed = [0, 1, 2]\ncontrol = false")
    invoke("run", "many.toml", "-q")
    (grid / "own.py").write_text(OWN + "# edited\n")
    assert "3  again  own.py changed" in invoke("plan", "many.toml").stdout
