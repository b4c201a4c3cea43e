import msgspec
import pytest

from turncoat.results import Environment, Record, Result
from turncoat.spec import Spec, resolve


@pytest.fixture(scope="session")
def run():
    """A result by its rule, attack and accuracies (or other metrics) over the rounds; names need not exist."""

    def make(rule="mean", attack="none", values=(0.1, 0.9), metric="test_accuracy", flags=(), task=None, **fields):
        spec = resolve(Spec(**{"n": 10, "f": 3, **fields}))
        names = {"rule": rule, "attack": attack} | ({} if task is None else {"task": task})
        fixed = metric in Record.__struct_fields__
        return Result(
            spec=msgspec.structs.replace(spec, **names),
            records=[
                Record(round=10 * t, **{metric: value}) if fixed else Record(round=10 * t, extra={metric: value})
                for t, value in enumerate(values)
            ],
            timings={},
            rounds_per_second=20.0,
            environment=Environment(
                python="3.11", turncoat="0", torch="2.6", numpy="2.0", platform="Linux", device="cpu", threads=1
            ),
            flags=list(flags),
            gradients="grouped",
            source_hash="0" * 64,
            data_origin="embedded",
            data_checksum="1" * 64,
            started="2026-01-02T03:04:05+00:00",
            finished="2026-01-02T03:04:06+00:00",
        )

    return make
