import random

import msgspec
import pytest

from turncoat.papers.run import FIGURES
from turncoat.results import Environment, Record, Result


def made_up(spec, chance):
    """A result as a run of this spec would leave it, of numbers by chance."""
    rounds = sorted({*range(0, spec.rounds, spec.evaluate_every), spec.rounds})
    plane = spec.task.startswith("mean_estimation")
    return Result(
        spec=msgspec.structs.replace(spec, gradients="grouped"),
        records=[
            Record(round=t, extra={name: 3 * chance.random() for name in ("error", "theta_1", "theta_2")})
            if plane
            else Record(round=t, test_accuracy=chance.random(), train_loss=3 * chance.random(), passed=chance.random())
            for t in rounds
        ],
        timings={"rule": chance.random()},
        rounds_per_second=20.0,
        environment=Environment(
            python="3.11", turncoat="0", torch="2.6", numpy="2.0", platform="Linux", device="cpu", threads=1
        ),
        flags=[],
        gradients="grouped",
        source_hash="0" * 64,
        data_origin="embedded",
        data_checksum="1" * 64,
        started="2026-01-02T03:04:05+00:00",
        finished="2026-01-02T03:04:06+00:00",
    )


@pytest.fixture(scope="session")
def make_runs():
    """Runs of a figure at a scale, and made-up results of them."""

    def make(figure, scale="quick", seed=0):
        chance = random.Random(seed)
        cells = figure.cells(scale)
        results = [made_up(spec, chance) for spec in dict.fromkeys(cells.values())]
        return cells, results, figure.runs(cells, results)

    return make


@pytest.fixture
def make_result():
    """A result with records of one's own."""

    def make(records=None):
        spec = next(iter(FIGURES["S1-F4"].cells("quick").values()))
        found = made_up(spec, random.Random(0))
        return msgspec.structs.replace(found, records=records or [Record(round=0, test_accuracy=0.1)])

    return make
