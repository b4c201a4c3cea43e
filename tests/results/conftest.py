import pytest

from turncoat.results import Environment, Record, Result
from turncoat.spec import Spec, resolve


@pytest.fixture(scope="session")
def make_result():
    """A finished run's result, with fields of one's own."""

    def make(**fields):
        environment = Environment(
            python="3.11.9", turncoat="0", torch="2.6", numpy="2.0", platform="Linux", device="cpu", threads=1
        )
        defaults = {
            "spec": resolve(Spec(n=10, f=3)),
            "records": [
                Record(round=0, test_accuracy=0.1, test_loss=2.3),
                Record(round=15, test_accuracy=0.9, test_loss=0.4, train_loss=0.3, extra={"margin": 1.5}),
                Record(round=30, test_accuracy=0.8, test_loss=0.5, train_loss=0.2, distance=0.1, cosine=0.99),
            ],
            "timings": {"gradients": 1.5},
            "rounds_per_second": 20.0,
            "environment": environment,
            "flags": [],
            "gradients": "grouped",
            "source_hash": "0" * 64,
            "data_origin": "embedded",
            "data_checksum": "1" * 64,
            "started": "2026-01-02T03:04:05+00:00",
            "finished": "2026-01-02T03:04:06+00:00",
        }
        return Result(**{**defaults, **fields})

    return make
