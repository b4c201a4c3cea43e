"""The demo's story has to be true: plain averaging is ruined, a robust rule holds."""

import subprocess
import sys

import turncoat as tc
from turncoat.results.statistics import compare


def test_the_demo(tmp_path):
    command = [sys.executable, "-c", "from turncoat.cli import main; main()", "demo", "-o", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert found.returncode == 0, found.stderr
    assert f"{tmp_path}/demo.html" in found.stdout.replace("\n", "")
    results = [tc.Result.load(path) for path in tmp_path.glob("*.json")]
    assert len(results) == 30
    accuracy = {(result.spec.rule, result.spec.attack): result.final_accuracy for result in results}
    rules = {rule for rule, _ in accuracy}
    clean = {rule: accuracy[rule, "none"] for rule in rules}
    lost = {rule: clean[rule] - min(accuracy[key] for key in accuracy if key[0] == rule) for rule in rules}
    assert min(clean.values()) > 0.85
    assert lost["mean"] >= 0.3
    assert min(lost.values()) <= 0.1
    (comparison,) = compare(results)
    assert comparison.worst("mean").value < 0.5
    page = (tmp_path / "demo.html").read_text()
    assert len(page) < 5_000_000
    assert "nnm &gt;&gt; trimmed_mean" in page
