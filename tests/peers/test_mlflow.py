"""The tracker of the docs with MLflow, in an environment of its own."""

import re
import subprocess
from pathlib import Path

import pytest
from peers import peer_python

PAGE = Path(__file__).parents[2] / "docs" / "campaigns.md"
READ = """
import mlflow
(run,) = mlflow.search_runs(experiment_names=["turncoat"], output_format="list")
history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "test_accuracy")
print(run.info.status, run.data.params["rule"], len(history))
"""


@pytest.mark.peer
def test_each_run_is_one_of_mlflows(tmp_path, monkeypatch):
    try:
        python = peer_python("mlflow")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a server needs more than mlflow-skinny
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    (block,) = re.findall(r"```python\n# mlflow_diary.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "mlflow_diary.py").write_text(block)
    run = ["run", "--rule", "krum", "-n", "8", "-f", "2", "--rounds", "10", "--tracker", "mlflow_diary.py:MLflow"]
    command = [python, "-c", "from turncoat.cli import main; main()", *run]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "is told no more" not in found.stderr, found.stderr
    told = subprocess.run([python, "-c", READ], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["FINISHED", "krum", "11"]
