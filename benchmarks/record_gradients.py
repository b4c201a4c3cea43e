"""Record honest gradients of real trainings for the stress suite.

    TURNCOAT_DATA=FOLDER python benchmarks/record_gradients.py [--output FILE]

50 workers train by plain averaging, without traitors, and at an early, a middle and a late moment their gradients are
kept, without momentum: those of at most 4,096 coordinates, drawn once for a data set, as float16 and divided by the
root mean square of all entries. Digits are trained in float64, which makes other machines arrive at the same gradients.
The same machine writes the same file, byte for byte. The table says for each recording

- accuracy: of the model on the test samples, in percent;
- signal: the squared length of the workers' mean, in units of their mean squared distance to it;
- all zero: the share of coordinates in which all workers have exactly 0;
- lost: the share of entries which float16 makes 0.

The sha256 belongs into `turncoat.stress.recorded`. One thread, which works for about three
minutes, mostly on Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from turncoat.learning.streams import numpy_stream
from turncoat.learning.training import Training
from turncoat.progress import progress
from turncoat.results.files import write_atomically
from turncoat.spec import Spec
from turncoat.stress.recorded import FILE

WORKERS, COORDINATES, SEED = 50, 4096, 0
MOMENTS = ("early", "middle", "late")
SPLITS = {"iid": "iid", "dirichlet": "dirichlet(beta=0.1)"}


@dataclass(frozen=True)
class Task:
    """A training, and after how many of its rounds gradients are recorded."""

    spec: Spec
    rounds: tuple[int, int, int]

    @property
    def dataset(self) -> str:
        return self.spec.task.partition("/")[0]


TASKS = [
    Task(Spec(task="digits/mlp", n=WORKERS, f=0, lr=0.2, dtype="float64", threads=1, seed=SEED), (5, 100, 600)),
    Task(  # momentum is the server's: a learning rate that is as fast without it makes many ReLU units die
        Spec(task="fashion_mnist/lenet5", n=WORKERS, f=0, lr=0.02, server_momentum=0.9, threads=1, seed=SEED),
        (5, 100, 600),
    ),
]


@dataclass(frozen=True)
class Recording:
    """The gradients of one round at the drawn coordinates, and how far the training had come."""

    name: str
    round: int
    accuracy: float
    gradients: np.ndarray
    """(workers, coordinates), as they were computed."""

    @property
    def stored(self) -> np.ndarray:
        """Float16, of a mean square of 1."""
        return (self.gradients / np.sqrt(np.square(self.gradients).mean())).astype(np.float16)

    @property
    def signal(self) -> float:
        mean = self.gradients.mean(0)
        return float(np.square(mean).sum() / np.square(self.gradients - mean).sum(1).mean())

    @property
    def all_zero(self) -> float:
        return float((self.stored == 0).all(0).mean())

    @property
    def lost(self) -> float:
        return float(((self.stored == 0) & (self.gradients != 0)).mean())


def record(task: Task, split: str, watch: Callable[[int], None] = lambda round: None) -> Iterator[Recording]:
    """Train, and yield the workers' gradients at each moment; `watch` is called with the rounds done."""
    *_, last = task.rounds
    training = Training(msgspec.structs.replace(task.spec, split=SPLITS[split], rounds=last, evaluate_every=last))
    federation, data = training.federation, training.dataset
    d = federation.learner.d
    drawn = numpy_stream(SEED, "coordinates", task.dataset).permutation(d)[:COORDINATES]
    drawn.sort()
    for moment, round in zip(MOMENTS, task.rounds, strict=True):
        while training.state.round < round:
            training.advance()
            watch(training.state.round)
        gradients = federation.prepare(training.state).rows.double().numpy()[:, drawn]
        _, accuracy = federation.learner.evaluate(training.state.parameters, data.x_test, data.y_test)
        assert accuracy is not None
        yield Recording(f"{task.dataset}-{split}-{moment}", round, accuracy, gradients)


def packed(recordings: list[Recording]) -> bytes:
    """The file that holds them; NumPy dates its members 1980, so that it depends on the gradients alone."""
    arrays: dict[str, Any] = {recording.name: recording.stored for recording in recordings}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def table(recordings: list[Recording]) -> str:
    lines = [["recording", "round", "accuracy", "signal", "all zero", "lost"], ["---", *["---:"] * 5]]
    lines += [
        [r.name, f"{r.round}", f"{r.accuracy:.1%}", f"{r.signal:.4f}", f"{r.all_zero:.2%}", f"{r.lost:.3%}"]
        for r in recordings
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=FILE)
    output = parser.parse_args().output
    start, recordings = perf_counter(), []
    for task in TASKS:
        for split in SPLITS:
            with progress(task.rounds[-1]) as show:
                label = f"{task.dataset}, {split}"
                recordings += record(task, split, lambda done, show=show, label=label: show(done, label))
    content = packed(recordings)
    write_atomically(output, content)
    print(table(recordings))
    print(f"\n{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}, {perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
