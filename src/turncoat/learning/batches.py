"""Which samples each worker draws in each round."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from turncoat.learning.streams import numpy_stream

CHUNK = 64  # rounds whose indices are made at once
GROUP = 2048  # samples whose order is drawn at once, where a worker holds fewer


class Batches:
    """Each worker goes through its own samples in a fresh random order every epoch; a pure function of the round.

    A batch may span two epochs; a worker with fewer samples than a batch sees some twice in it.
    """

    def __init__(self, workers: Sequence[np.ndarray], batch: int, seed: int, device: torch.device) -> None:
        self.workers = workers
        self.batch = batch
        self.seed = seed
        self.device = device
        self._order = lru_cache(maxsize=4 * len(workers))(self._draw_order)
        self._chunk = lru_cache(maxsize=2)(self._make_chunk)

    def indices(self, step: int, workers: int) -> Tensor:
        """(workers, batch) sample numbers of the first workers at a step, a step being one batch of each worker."""
        return self._chunk(step // CHUNK, workers)[step % CHUNK]

    def _make_chunk(self, chunk: int, workers: int) -> Tensor:
        size = CHUNK * self.batch
        streams = [self._stream(i, chunk * size, (chunk + 1) * size) for i in range(workers)]
        indices = np.stack(streams).reshape(workers, CHUNK, self.batch).transpose(1, 0, 2)
        return torch.from_numpy(np.ascontiguousarray(indices)).to(self.device)

    def _stream(self, worker: int, start: int, stop: int) -> np.ndarray:
        """Samples start..stop of a worker's endless sequence of shuffled epochs."""
        held = len(self.workers[worker])
        length = held * self._epochs(held)
        groups = range(start // length, (stop - 1) // length + 1)
        samples = np.concatenate([self._order(worker, group) for group in groups])
        return samples[start - groups[0] * length : stop - groups[0] * length]

    def _draw_order(self, worker: int, group: int) -> np.ndarray:
        held = self.workers[worker]
        keys = numpy_stream(self.seed, "order", worker, group).random((self._epochs(len(held)), len(held)))
        return held[keys.argsort(axis=1)].ravel()

    @staticmethod
    def _epochs(held: int) -> int:
        return max(1, GROUP // held)
