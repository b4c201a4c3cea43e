"""The suite is frozen: its file and its recordings by their checksums, its scores by being the same again."""

import hashlib

import msgspec
import pytest

from turncoat.errors import SpecError
from turncoat.stress.run import tier_1
from turncoat.stress.suite import FOLDER, load_suite

FROZEN = {
    "standard-1.toml": "829b4ea496a80c901c90196d22b95f9e113026adeb4d4d2a58a08755f28de5d7",
    "recorded-1.npz": "1f40fc05c809305cc6023e035770eca3fd85034228dc462671144434cf0e05d2",
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_a_score_stands_for_never_changes(name):
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FROZEN[name]


def test_a_suite_knows_its_checksum():
    assert load_suite().checksum == FROZEN["standard-1.toml"]
    with pytest.raises(SpecError, match="standard-1"):
        load_suite("standard")


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["krum", "bucketing(s=2) >> median", "dnc"])
def test_two_runs_give_the_same_scores_and_witnesses(rule):
    (card, witnesses), (again, others) = (tier_1(rule, 7, 1, progress=False) for _ in range(2))
    own = {"seconds", "milliseconds", "finished", "checks"}
    kept = [
        {field: value for field, value in msgspec.to_builtins(one).items() if field not in own} for one in (card, again)
    ]
    assert kept[0] == kept[1]
    assert [(check.name, check.status) for check in card.checks] == [
        (check.name, check.status) for check in again.checks
    ]
    for score, witness in witnesses.items():
        assert witness.about == others[score].about
        assert witness.rows.equal(others[score].rows)
