"""Folders of results: what is read, what is superseded, and the frames that come out."""

import math
import re
import sys
import time

import msgspec
import polars as pl
import pytest

import turncoat as tc
from turncoat.errors import ResultError, SpecError
from turncoat.results import Record, frame, read_all
from turncoat.results.reading import attack_parts, evaluation_frame, read
from turncoat.results.selection import meets, nearest
from turncoat.spec import Seeds, Spec, resolve


@pytest.fixture
def of_spec(make_result):
    """A result by fields of its spec; those in `result` are its own."""

    def make(result=None, **fields):
        return make_result(spec=resolve(Spec(**{"n": 10, "f": 3, **fields})), **(result or {}))

    return make


def test_read_all(of_spec, tmp_path):
    for name, n in [("b", 4), ("a", 10)]:
        of_spec(n=n, f=1).save(tmp_path / f"{name}.json")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".half.tmp").write_bytes(b"{")
    (tmp_path / ".hidden.json").write_bytes(b"{")
    (tmp_path / "failed").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "failed" / "c.json").write_bytes(b"{")
    assert [result.spec.n for result in read_all(tmp_path)] == [4, 10]
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ResultError, match=r"c\.json"):
        read_all(tmp_path)
    with pytest.raises(ResultError, match="there is no folder"):
        read_all(tmp_path / "gone")


def test_the_newest_of_one_spec_counts(of_spec, tmp_path):
    times = {"a": "2026-03-01T12:00:00+00:00", "b": "2026-03-01T13:30:00+02:00", "c": "2026-02-28T12:00:00+00:00"}
    for name, finished in times.items():  # b is the older of the first two: 11:30 in UTC
        of_spec({"finished": finished, "source_hash": name * 64}).save(tmp_path / f"{name}.json")
    of_spec({"finished": "some day"}, seed=1).save(tmp_path / "d.json")
    of_spec({"finished": times["a"], "source_hash": "e" * 64}, seed=1).save(tmp_path / "e.json")
    reading = read(tmp_path)
    assert [result.source_hash[0] for result in reading.results] == ["a", "e"]
    assert [path.name for path in reading.superseded] == ["b.json", "c.json", "d.json"]
    with pytest.warns(
        UserWarning, match=r"3 files are left out of .*: it has newer results of the same specs"
    ) as caught:
        assert tc.results(tmp_path).height == 2
    assert caught[0].filename == __file__


def test_the_room_is_the_function(of_spec, tmp_path):
    of_spec().save(tmp_path / "a.json")
    assert tc.results is sys.modules["turncoat.results"]
    assert tc.results(tmp_path)["task"].to_list() == ["digits/softmax"]
    assert tc.results(tmp_path, evaluations=True)["round"].to_list() == [0, 15, 30]


def test_one_row_a_run(make_result):
    resolved = resolve(Spec(n=4, f=1, clip=2.0, seed=5, attack="ipm(2.5)"))
    other = make_result(spec=resolved, records=[], flags=["a", "b"], key="5e")
    rows = frame([make_result(), other])
    assert rows.height == 2
    assert set(Spec.__struct_fields__) < set(rows.columns)
    assert rows["n"].to_list() == [10, 4]
    assert rows["clip"].to_list() == [None, 2.0]
    assert rows["attack"].to_list() == ["none", "ipm(epsilon=2.5)"]
    assert rows["attack_name"].to_list() == ["none", "ipm"]
    assert rows["attack_strength"].to_list() == [None, 2.5]
    assert rows["seed"].to_list() == [0, 5]
    assert rows["seed.data"][1] == other.spec.seed.data
    assert rows["final_accuracy"].to_list() == [0.8, None]
    assert rows["best_accuracy"].to_list() == [0.9, None]
    assert rows["test_loss"].to_list() == [0.5, None]
    assert rows["train_loss"].to_list() == [0.2, None]
    assert rows["margin"].to_list() == [1.5, None]  # measured before the last evaluation
    assert rows["seconds"].to_list() == [1.5, 1.5]
    assert rows["flags"].to_list() == [[], ["a", "b"]]
    assert rows["torch"].to_list() == ["2.6", "2.6"]
    assert rows["key"].to_list() == ["", "5e"]
    assert frame([]).schema == rows.drop("margin").schema


def test_seeds_of_ones_own_have_no_number(of_spec):
    rows = frame([of_spec(seed=Seeds(data=5, model=1, server=1, adversary=2**62))])
    assert rows["seed"].to_list() == [None]
    assert rows["seed.adversary"].to_list() == [2**62]


def test_what_is_not_finite_stays(of_spec):
    records = [Record(round=0, test_loss=1.0), Record(round=1, test_accuracy=math.nan, test_loss=math.inf)]
    rows = frame([of_spec({"records": records})])
    assert math.isnan(rows["final_accuracy"][0])
    assert rows["test_loss"].to_list() == [math.inf]


def test_a_metric_of_ones_own_may_have_a_name_that_is_taken(of_spec):
    taken = {"n": 1.0, "torch": 2.0, "margin": 3.0}
    result = of_spec({"records": [Record(round=0, extra=taken)]})
    row = frame([result]).row(0, named=True)
    assert (row["n"], row["extra.n"], row["torch"], row["extra.torch"], row["margin"]) == (10, 1.0, "2.6", 2.0, 3.0)
    row = evaluation_frame([result]).row(0, named=True)
    assert (row["n"], row["extra.n"], row["torch"], row["margin"]) == (10, 1.0, 2.0, 3.0)


def test_one_row_an_evaluation(make_result, of_spec):
    rows = evaluation_frame([make_result(), of_spec({"records": []}, seed=1), of_spec(seed=2)])
    assert rows["round"].to_list() == [0, 15, 30] * 2
    assert rows["seed"].to_list() == [0] * 3 + [2] * 3
    assert rows["margin"].to_list() == [None, 1.5, None] * 2
    assert rows["test_accuracy"].to_list() == [0.1, 0.9, 0.8] * 2
    assert evaluation_frame([]).schema == rows.drop("margin").schema


@pytest.mark.parametrize(
    ("attack", "parts"),
    [
        ("none", ("none", None)),
        ("alie(z=1.5)", ("alie", 1.5)),
        ("alie", ("alie", None)),
        ("strongest(family=ipm)", ("strongest", None)),
        (f"ipm(epsilon={'9' * 400})", ("ipm", None)),
        ("ipm(epsilon=inf)", ("ipm", None)),
        ("mine.py:attack", ("mine.py:attack", None)),
        ("Wild(x=1)", ("Wild", None)),
        ("<lambda>", ("<lambda>", None)),
    ],
)
def test_the_parts_of_an_attack(attack, parts):
    assert attack_parts(attack)[:2] == parts


def test_a_thousand_results_are_read_at_once(make_result, tmp_path):
    records = [Record(round=t, test_accuracy=0.5, test_loss=1 / 3, train_loss=1 / 7, cosine=0.1) for t in range(100)]
    one = make_result(records=records)
    for seed in range(1000):
        spec = msgspec.structs.replace(one.spec, seed=Seeds.derive(seed))
        (tmp_path / f"{seed}.json").write_bytes(msgspec.structs.replace(one, spec=spec).encode())
    before = time.process_time()
    rows = tc.results(tmp_path, evaluations=True)
    assert rows.height == 100_000
    assert sorted(rows["seed"].unique()) == list(range(1000))
    assert time.process_time() - before < 20  # about a second


@pytest.fixture
def rows(of_spec):
    """Six runs: krum and nnm >> trimmed_mean under three attacks, one of which ends in NaN."""
    ends = iter([0.9, 0.5, math.nan, 0.8, 0.7, 0.6])
    return frame(
        of_spec({"records": [Record(round=1, test_accuracy=next(ends))], "flags": flags}, rule=rule, attack=attack)
        for rule, flags in [("krum", []), ("nnm >> trimmed_mean", ["nan", "slow"])]
        for attack in ("none", "ipm(epsilon=0.5)", "alie(z=8)")
    )


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("rule=krum", [0, 1, 2]),
        ("rule == krum", [0, 1, 2]),
        ("rule!=krum", [3, 4, 5]),
        ("rule=nnm>>trimmed_mean()", [3, 4, 5]),
        ("rule~trimmed", [3, 4, 5]),
        ("rule~.*", []),
        ("attack=ipm(0.50)", [1, 4]),
        ("attack=none", [0, 3]),
        ("attack_name=ipm", [1, 4]),
        ("attack_strength>=0.5", [1, 2, 4, 5]),
        ("attack_strength=none", [0, 3]),
        ("attack_strength!=8", [0, 1, 3, 4]),
        ("final_accuracy>0.6", [0, 3, 4]),
        ("final_accuracy<=0.6", [1, 5]),
        ("final_accuracy=nan", [2]),
        ("final_accuracy!=nan", [0, 1, 3, 4, 5]),
        ("n=10", [0, 1, 2, 3, 4, 5]),
        ("n<9.5", []),
        ("n<1" + "0" * 400, [0, 1, 2, 3, 4, 5]),
        ("clip=none", [0, 1, 2, 3, 4, 5]),
        ("flags=", [0, 1, 2]),
        ("flags~slow", [3, 4, 5]),
        ("flags=nan; slow", [3, 4, 5]),
        ("started>2026-01", [0, 1, 2, 3, 4, 5]),
        ("started<2026-01", []),
    ],
)
def test_conditions(rows, condition, found):
    assert [i for i, met in enumerate(meets(rows, condition)) if met] == found


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("rulle=krum", "results have no column 'rulle': did you mean rule"),
        ("n=ten", "n is a number, and 'ten' is none"),
        ("rule", "cannot read the condition 'rule': write FIELD=VALUE"),
        ("=3", "cannot read"),
    ],
)
def test_a_condition_that_is_none_is_one_line(rows, condition, message):
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        meets(rows, condition)
    assert "\n" not in str(caught.value)


def test_what_there_is_instead(rows):
    assert nearest(rows, "rule=kram") == "rule: did you mean krum?"
    assert nearest(rows, "flags=x") == "flags: there are nan; slow"
    many = pl.DataFrame({"n": range(100)})
    assert nearest(many, "n=100") == "n has 100 other values"
