"""The recorded gradients are what the script makes of real trainings, and a damaged file is found out."""

import numpy as np
import pytest
import torch
from record_gradients import COORDINATES, MOMENTS, SPLITS, TASKS, WORKERS, record

from turncoat.errors import DataUnavailableError, SpecError
from turncoat.stress import recorded as room
from turncoat.stress.recorded import names, recorded

DATASETS = [task.dataset for task in TASKS]
NAMES = [f"{data}-{split}-{moment}" for data in DATASETS for split in SPLITS for moment in MOMENTS]


def signal(X):
    """The squared length of the mean, in units of the mean squared distance to it."""
    mean = X.mean(0)
    return float(mean.square().sum() / (X - mean).square().sum(1).mean())


def test_there_is_a_recording_of_every_data_set_split_and_moment():
    assert names() == tuple(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_a_cloud_around_a_mean(name):
    X = recorded(name)
    assert X.shape == (WORKERS, COORDINATES)
    assert X.dtype == torch.float64
    assert X.isfinite().all()
    assert float(X.square().mean()) == pytest.approx(1, rel=1e-3)
    assert 1 / 200 < signal(X) < 1
    assert len(X.unique(dim=0)) == WORKERS
    assert (X != 0).any(dim=0).double().mean() > 0.7


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("data", DATASETS)
def test_workers_differ_more_where_their_classes_do(data, moment):
    assert signal(recorded(f"{data}-iid-{moment}")) > 1.2 * signal(recorded(f"{data}-dirichlet-{moment}"))


def test_what_a_caller_does_to_the_rows_is_not_remembered():
    before = recorded(NAMES[0]).clone()
    recorded(NAMES[0]).zero_()
    assert torch.equal(recorded(NAMES[0]), before)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(SpecError, match="digits-iid-late"):
        recorded("digits-iid-latest")


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(room.FILE.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "recorded.npz"
    damaged.write_bytes(content)
    monkeypatch.setattr(room, "FILE", damaged)
    with pytest.raises(DataUnavailableError, match=r"recorded\.npz is damaged.*install"):
        names()
    damaged.unlink()
    with pytest.raises(DataUnavailableError, match="No such file"):
        recorded("digits-iid-early")


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_the_script_makes_what_is_shipped(split):
    for made in record(TASKS[0], split):
        shipped = recorded(made.name).numpy()
        assert np.linalg.norm(made.stored - shipped) < 1e-2 * np.linalg.norm(shipped)
