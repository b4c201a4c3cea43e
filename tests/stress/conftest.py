import math

import msgspec
import pytest

from turncoat.results import Environment
from turncoat.stress.card import Card, CheckLine, OnCloud, Trained, Worst

CARD = Card(
    suite="standard-1",
    suite_checksum="a" * 64,
    rule="nnm >> krum",
    n=7,
    f=2,
    kappa=Worst(value=1.25, worst_draw=1.25, cloud="gaussian-512", how="alie(z=1.5)"),
    lower_bound=2 / 3,
    bound=11.1,
    any_set=1.5,
    descent=Worst(value=-0.43, worst_draw=-0.43, cloud="digits-iid-late", how="gradient from min_max"),
    breakdown=[0.05, 0.4, 1.25, math.inf],
    clouds=[
        OnCloud(cloud="gaussian-512", kappa=1.25, kappa_by="alie(z=1.5)", descent=-0.9, descent_by="ipm"),
        OnCloud(cloud="digits-iid-late", kappa=0.5, kappa_by="mimic", descent=-0.43, descent_by="min_max"),
    ],
    checks=[
        CheckLine(name="mutation", status="passed", detail="the rows are as they were"),
        CheckLine(name="kappa", status="not applicable", detail="no bound is known for it"),
    ],
    flags=[],
    calls=9000,
    seconds=12.3,
    milliseconds=4.56,
    source_hash="b" * 64,
    environment=Environment(
        python="3.11", turncoat="0", torch="2.6", numpy="2.0", platform="Linux", device="cpu", threads=2
    ),
    finished="2026-01-02T03:04:05+00:00",
)
TRAINED = Trained(
    level="quick",
    task="digits/mlp",
    clean=0.931,
    plain=0.952,
    worst=0.412,
    low=0.381,
    high=0.45,
    attack="strongest(alie)",
    split="dirichlet(beta=0.1)",
    runs=116,
    failed=1,
)


@pytest.fixture(scope="session")
def card():
    """A score card with some fields of one's own; a number for a score stands for the whole of it."""

    def make(trained=False, **fields):
        for score in ("kappa", "descent"):
            if isinstance(fields.get(score), float):
                value = fields[score]
                fields[score] = msgspec.structs.replace(getattr(CARD, score), value=value, worst_draw=value)
        return msgspec.structs.replace(CARD, **{"training": TRAINED} if trained else {}, **fields)

    return make
