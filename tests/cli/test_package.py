"""The wheel, installed into an empty environment, runs the demo there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.package
@pytest.mark.timeout(900)
def test_the_wheel_runs_the_demo_in_an_empty_environment(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "turncoat/py.typed" in names
    assert "turncoat/campaign/demo.toml" in names
    assert "turncoat/report/page.html.j2" in names
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, "torch"], check=True)
    subprocess.run([*pip, wheel], check=True)
    command = [tmp_path / "venv" / "bin" / "turncoat", "demo"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "demo" / "demo.html").exists()
