"""What a computation runs on: its device, and how many threads of torch it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from turncoat.errors import SpecError


def device_of(name: str) -> torch.device:
    """The device of that name; raises `SpecError` where there is none."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"unknown device {name!r}: cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise SpecError(f"device {name!r} is not supported: cpu, cuda or cuda:0")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SpecError(f"device {name!r} is not there: torch {torch.__version__} sees no CUDA device")
    return device


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads of torch within, and as many as before after it; None leaves them as they are."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
