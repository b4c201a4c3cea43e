"""The example app: without processes, in Flower's simulation engine, and on a SuperLink with SuperNodes."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import loopback
import numpy as np
import pytest
from flower_clients import N, record
from flower_digits.client_app import app as client
from flower_digits.server_app import app as server
from flower_digits.task import digits, make_model, parts
from flwr.app import ArrayRecord, Context, RecordDict
from flwr.serverapp.strategy import FedAvg
from in_process import InProcess

from turncoat.flower import RobustFedAvg

DEFAULTS = tomllib.loads((loopback.HERE / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def outcome(folder: Path, **settings: Any) -> dict[str, Any]:
    """What the app's server writes down, all in this process."""
    config = DEFAULTS | {"result": str(folder / "result.json")} | settings
    server(InProcess(client, N, **config), Context(1, 0, {}, RecordDict(), config))  # type: ignore[arg-type]
    return json.loads((folder / "result.json").read_text())


def suspicion(last: dict[str, float]) -> list[float]:
    return [value for name, value in last.items() if name.startswith("suspicion/")]


def test_the_app_with_and_without_the_rule(tmp_path):
    protected = outcome(tmp_path, rounds=4)
    assert protected["accuracy"][-1] > 0.7
    assert suspicion(protected["last"]) == [1.0, 1.0]
    assert outcome(tmp_path, rounds=4, rule="")["accuracy"][-1] < 0.4
    assert outcome(tmp_path, rounds=4, rule="", attack="")["accuracy"][-1] > 0.7


def test_clients_share_the_digits():
    dealt = np.concatenate(parts(N, 0))
    assert sorted(dealt) == list(range(len(digits().x_train)))


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_mean_of_local_steps_is_flowers_fedavg(epochs):
    """Updates, averaged by their examples, are the averaged weights, however many local steps made them.

    One round: in the next one, training would make more of how the sums were rounded.
    """
    config = DEFAULTS | {"attack": "", "local-epochs": epochs}
    trained = []
    for strategy in (FedAvg(fraction_evaluate=0), RobustFedAvg("mean", f=0, trust_examples=True, fraction_evaluate=0)):
        grid, arrays = InProcess(client, N, **config), ArrayRecord(make_model(0).state_dict())
        trained.append(strategy.start(grid, arrays, num_rounds=1).arrays)  # type: ignore[arg-type]
    for name, array in trained[0].items():
        np.testing.assert_allclose(trained[1][name].numpy(), array.numpy(), atol=1e-6)
        assert np.abs(array.numpy() - record({name: make_model(0).state_dict()[name].numpy()})[name].numpy()).max() > 0


def still_there(folder: Path) -> list[str]:
    """Processes that live in a Flower home below this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"FLWR_HOME={folder}/home".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
    return found


@pytest.mark.cluster
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("simulation", [True, False], ids=["simulation", "SuperNodes"])
def test_engines_train_as_this_process_does(simulation, tmp_path):
    found = loopback.run(tmp_path, "rounds=2", simulation=simulation, limit=1400)
    assert not still_there(tmp_path)
    expected = outcome(tmp_path, rounds=2)
    np.testing.assert_allclose(found["accuracy"], expected["accuracy"], atol=0.01)
    assert found["accuracy"][-1] > 0.5
    assert suspicion(found["last"]) == [1.0, 1.0]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_daemons_end_when_a_run_fails(tmp_path):
    with pytest.raises(RuntimeError, match="without a result"):
        loopback.run(tmp_path, 'rule="medain"', simulation=True, limit=500)
    assert "did you mean" in (tmp_path / "run.log").read_text()
    assert not still_there(tmp_path)
