"""Results and their files: round trips, hostile files, writes that fail."""

import errno
import json
import math
import os

import altair as alt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncoat.errors import ResultError, SpecError
from turncoat.results import Record, Result, source_hash, write_atomically
from turncoat.results.result import Planned
from turncoat.spec import Spec

numbers = st.none() | st.floats()
names = st.text(max_size=8).filter(lambda name: name not in Record.__struct_fields__)
records = st.builds(
    Record,
    round=st.integers(0, 2**40),
    test_accuracy=numbers,
    test_loss=numbers,
    train_loss=numbers,
    distance=numbers,
    cosine=numbers,
    passed=numbers,
    extra=st.dictionaries(names, st.floats(), max_size=3),
)


@given(
    records=st.lists(records, max_size=4),
    timings=st.dictionaries(st.text(max_size=5), st.floats(), max_size=2),
    speed=st.floats(),
    flags=st.lists(st.sampled_from(["nan", "inf", "did not learn", "é\u2028</script>"]), max_size=3),
)
def test_a_result_survives_its_file(make_result, records, timings, speed, flags):
    result = make_result(records=records, timings=timings, rounds_per_second=speed, flags=flags)
    content = result.encode()
    again = Result.decode(content, "here")
    assert again == result
    assert again.encode() == content
    assert again.flags == flags
    for ours, theirs in zip(records, again.records, strict=True):
        for field in ("test_accuracy", "test_loss", "cosine"):
            a, b = getattr(ours, field), getattr(theirs, field)
            assert a is b is None or a == b or (math.isnan(a) and math.isnan(b))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    json.loads(content, parse_constant=refuse)


def test_save_and_load(make_result, tmp_path):
    result = make_result(records=[Record(round=3, test_loss=math.nan, extra={"far": math.inf})])
    path = result.save(tmp_path / "new" / "folder" / "run.json")
    assert Result.load(path) == result
    assert Result.load(path) != make_result()
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]
    assert '"nan"' in path.read_text()


def test_accuracies(make_result):
    result = make_result()
    assert (result.final_accuracy, result.best_accuracy) == (0.8, 0.9)
    assert result.last.round == 30
    estimation = make_result(records=[Record(round=0, extra={"error": 2.0})])
    assert (estimation.final_accuracy, estimation.best_accuracy) == (None, None)
    broken = make_result(records=[Record(round=t, test_accuracy=a) for t, a in enumerate([0.1, 0.7, math.nan])])
    assert math.isnan(broken.final_accuracy)
    assert broken.best_accuracy == 0.7
    assert make_result(records=[]).last is None


def test_repr_is_short_and_says_how_it_ended(make_result):
    text = repr(make_result(flags=["did not learn"]))
    assert text == "<Result digits/softmax: mean under none, 300 rounds, final accuracy 80.0%, flags: did not learn>"
    assert "accuracy" not in repr(make_result(records=[]))


def test_frames_of_one_result(make_result):
    polars = make_result().to_polars()
    assert polars.columns == [
        "round", "test_accuracy", "test_loss", "train_loss", "distance", "cosine", "passed", "margin",
    ]  # fmt: skip
    assert polars["margin"].to_list() == [None, 1.5, None]
    assert polars.schema["distance"] == pl.Float64
    assert make_result(records=[]).to_polars().height == 0
    pytest.importorskip("pandas")
    assert list(make_result().to_pandas()["round"]) == [0, 15, 30]


def test_pandas_is_named_where_it_is_missing(make_result, monkeypatch):
    def missing(self):
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr(pl.DataFrame, "to_pandas", missing)
    with pytest.raises(ResultError, match=r"needs pandas: pip install 'turncoat\[pandas\]'"):
        make_result().to_pandas()


def test_plot_shows_what_was_measured(make_result):
    both = make_result().plot().to_dict()
    assert [panel["title"]["text"] for panel in both["hconcat"]] == ["accuracy", "loss"]
    diverged = make_result(records=[Record(round=0, test_loss=1.0), Record(round=1, test_loss=math.nan)])
    chart = diverged.plot().to_dict()
    assert [panel["title"]["text"] for panel in chart["hconcat"]] == ["loss"]
    assert chart["datasets"]["loss"] == [{"round": 0, "metric": "test_loss", "loss": 1.0, "marked": True}]
    assert isinstance(make_result(records=[]).plot(), alt.HConcatChart)


def test_an_unresolved_spec_is_refused(make_result):
    with pytest.raises(SpecError, match="needs its spec resolved"):
        make_result(spec=Spec(n=10, f=3))


def test_an_extra_metric_may_not_hide_a_common_one():
    with pytest.raises(SpecError, match="'distance' has the name of one that every record has"):
        Record(round=0, extra={"distance": 1.0})


def test_what_a_plan_is_worth_is_finite():
    told = {"round": 0, "rounds": 1, "objective": "final", "winner": "alie", "simulated_rounds": 1}
    Planned(value=1e31, tried={"alie": 1e31}, **told)
    for value, tried in ((math.nan, 1.0), (1.0, math.inf)):
        with pytest.raises(SpecError, match="must be finite: 1e31 stands for what is not"):
            Planned(value=value, tried={"alie": tried}, **told)


def altered(**fields):
    return lambda good: json.dumps({**json.loads(good), **fields}).encode()


def with_spec(**fields):
    return lambda good: altered(spec={**json.loads(good)["spec"], **fields})(good)


HOSTILE = {
    "empty": (lambda good: b"", "is not a whole JSON file"),
    "cut": (lambda good: good[: len(good) // 2], "is not a whole JSON file"),
    "binary": (lambda good: b"\x80\x04\x95", "is not a whole JSON file"),
    "deep": (lambda good: b"[" * 100_000, "is not a whole JSON file"),
    "list": (lambda good: b"[1, 2]", "has no schema_version"),
    "foreign": (lambda good: b'{"name": "package"}', "has no schema_version"),
    "newer": (altered(schema_version=2), "has schema_version 2, this turncoat reads 1"),
    "true": (altered(schema_version=True), "has schema_version True"),
    "bare": (lambda good: b'{"schema_version": 1}', "missing required field"),
    "more": (altered(extra=1), "unknown field `extra`"),
    "table": (altered(records={}), "Expected `array`"),
    "word": (altered(rounds_per_second="fast"), "Expected `float`"),
    "nested": (altered(records=json.loads("[" * 400 + "]" * 400)), "Expected `object`"),
    "spec": (with_spec(n="ten"), "Expected `int`"),
    "unresolved": (with_spec(seed=1), "needs its spec resolved"),
}


@pytest.mark.parametrize(("spoil", "message"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_file_that_is_no_result_is_one_line(make_result, tmp_path, spoil, message):
    path = tmp_path / "bad.json"
    path.write_bytes(spoil(make_result().encode()))
    with pytest.raises(ResultError) as caught:
        Result.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultError, match=r"cannot read .*gone.json: No such file"):
        Result.load(tmp_path / "gone.json")
    with pytest.raises(ResultError, match="cannot read"):
        Result.load(tmp_path)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = write_atomically(tmp_path / "run.json", b"old")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*(("os.fsync", full) if broken == "fsync" else ("pathlib.Path.replace", full)))
        with pytest.raises(ResultError, match=r"cannot write run.json into .*: No space left on device"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]  # noqa: PTH208
    assert write_atomically(path, b"new").read_bytes() == b"new"


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "run.json", b"old")

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"run.json": b"old"}


def test_a_folder_that_cannot_be_written_is_named(make_result, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultError, match=r"cannot write run.json into .*file"):
        make_result().save(tmp_path / "file" / "run.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ResultError, match=r"cannot write folder\.json"):
        make_result().save(tmp_path / "folder.json")


def test_the_source_hash_follows_names_and_contents_of_what_computes(tmp_path, monkeypatch):
    def hash_of(files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        monkeypatch.setattr("turncoat.results.files.PACKAGE", folder)
        return source_hash.__wrapped__()

    files = {"spec.py": "1", "rules/b.py": "2"}
    assert hash_of(files) == hash_of({**files, "rules/notes.md": "x", "report/page.py": "x", "cli.py": "x"})
    hashes = {
        hash_of({"spec.py": "2", "rules/b.py": "1"}),
        hash_of({"spec.py": "1", "rules/c.py": "2"}),
        hash_of(files),
    }
    assert len(hashes) == 3
    assert len(source_hash()) == 64
