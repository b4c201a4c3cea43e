"""Honest gradients of real trainings, which the package carries; `benchmarks/record_gradients.py` recorded them."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from turncoat.errors import DataUnavailableError, SpecError
from turncoat.registry import suggest

FILE = Path(__file__).with_name("recorded-1.npz")
SHA256 = "1f40fc05c809305cc6023e035770eca3fd85034228dc462671144434cf0e05d2"


def names() -> tuple[str, ...]:
    """What is recorded: `digits-iid-early`, a data set, a split and a moment of the training, and so on."""
    return tuple(_arrays(FILE))


def recorded(name: str) -> Tensor:
    """(50, 4096) float64 gradients that 50 workers computed in one round, at coordinates drawn once for a data set.

    Their mean squared entry is 1, up to float16, in which they are stored. Raises `SpecError` for an unknown name and
    `DataUnavailableError` where the file is missing or damaged.
    """
    arrays = _arrays(FILE)
    if name not in arrays:
        raise SpecError(f"no gradients are recorded as {name!r}: {suggest(name, arrays)}")
    return torch.from_numpy(arrays[name].astype(np.float64))


@cache
def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The file's arrays, by name, once its checksum has been found right."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataUnavailableError(f"{path} cannot be read: {error.strerror}; install turncoat again") from error
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataUnavailableError(
            f"{path} is damaged: its sha256 is {found}, expected {SHA256}; install turncoat again"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)
