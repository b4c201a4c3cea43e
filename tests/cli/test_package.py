"""The wheel, installed into an empty environment: the demo runs there, and a rule of one's own is stressed."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
OWN = """
import numpy as np


def closest_half(X, f):
    # The mean of the half of the rows that lie closest to the coordinate-wise median.
    middle = np.median(X, axis=0)
    apart = np.linalg.norm(X - middle, axis=1)
    kept = np.argsort(apart)[: len(X) // 2]
    return X[kept].mean(axis=0)
"""

pytestmark = [pytest.mark.package, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def turncoat(wheel, tmp_path_factory):
    """The command as it is installed in an environment with nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, "torch"], check=True)
    subprocess.run([*pip, wheel], check=True)

    def run(*arguments, cwd):
        command = [folder / "bin" / "turncoat", *arguments]
        found = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        return found.stdout

    return run


def test_the_wheel_holds_what_it_needs_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    needed = [
        "py.typed",
        "campaign/demo.toml",
        "report/page.html.j2",
        "stress/standard-1.toml",
        "stress/recorded-1.npz",
    ]
    assert {f"turncoat/{name}" for name in needed} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]


def test_the_demo_runs(turncoat, tmp_path):
    turncoat("demo", cwd=tmp_path)
    assert (tmp_path / "demo" / "demo.html").exists()


def test_a_new_user_stresses_a_rule_of_ten_lines(turncoat, tmp_path):
    assert len(dedent(OWN).strip().splitlines()) <= 10
    (tmp_path / "own.py").write_text(OWN)
    said = turncoat("stress", "own.py:closest_half", "-n", "9", "-f", "2", "--level", "calls", cwd=tmp_path)
    assert "2 hostile rows among 9 moved own.py:closest_half to kappa" in said
    (folder,) = (tmp_path / "stress").iterdir()
    assert {file.name for file in folder.iterdir()} >= {"card.json", "card.html", "kappa.witness", "descent.witness"}
    card = json.loads((folder / "card.json").read_text())
    again = json.loads(turncoat("replay", folder / "kappa.witness", "--json", cwd=tmp_path))
    assert again["same"]
    assert again["seen"]["kappa"] == card["kappa"]["value"] > card["lower_bound"]
