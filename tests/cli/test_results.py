"""`turncoat results`: rows, filters, formats and statistics."""

import io
import json
import math
import subprocess
import sys

import msgspec
import polars as pl
import pytest
from typer.testing import CliRunner

from turncoat.cli import app
from turncoat.errors import ResultError, SpecError
from turncoat.results import Environment, Record, Result
from turncoat.results.failure import Failure
from turncoat.spec import Spec, resolve

ENVIRONMENT = Environment(
    python="3.11", turncoat="0", torch="2.6", numpy="2.0", platform="Linux", device="cpu", threads=1
)


def finished(rule, attack, end, seed=0, metric="test_accuracy", **fields):
    own = {name: fields.pop(name) for name in list(fields) if name not in Spec.__struct_fields__}
    fixed = metric in Record.__struct_fields__
    return Result(
        spec=resolve(Spec(**{"n": 10, "f": 3, "rule": rule, "attack": attack, "seed": seed, **fields})),
        records=[
            Record(round=t, **({metric: value} if fixed else {"extra": {metric: value}}))
            for t, value in enumerate((0.1, end))
        ],
        **{
            "timings": {"gradients": 1.5},
            "rounds_per_second": 20.0,
            "environment": ENVIRONMENT,
            "flags": [],
            "gradients": "grouped",
            "source_hash": "0b" * 32,
            "data_origin": "embedded",
            "data_checksum": "1a" * 32,
            "started": "2026-01-02T03:04:05+00:00",
            "finished": "2026-01-02T03:04:06+00:00",
            **own,
        },
    )


def save(folder, *results):
    for i, result in enumerate(results):
        result.save(folder / f"{i:03}.json")
    return folder


@pytest.fixture
def folder(tmp_path):
    """Krum, nnm >> trimmed_mean and their control over two seeds."""
    ends = {
        ("krum", "none"): [0.9, 0.8],
        ("krum", "ipm(epsilon=0.5)"): [0.5, math.nan],
        ("krum", "alie(z=8)"): [0.4, 0.5],
        ("nnm >> trimmed_mean", "ipm(epsilon=0.5)"): [0.7, 0.6],
        ("nnm >> trimmed_mean", "alie(z=8)"): [0.6, 0.7],
        ("mean", "none"): [0.9, 0.95],
    }
    runs = (finished(*cell, end, seed) for cell, both in ends.items() for seed, end in enumerate(both))
    return save(tmp_path / "results", *runs)


def invoke(*arguments):
    found = CliRunner().invoke(app, ["results", *map(str, arguments)], env={"COLUMNS": "120"})
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def plain(*arguments):
    return json.loads(invoke(*arguments, "--json").stdout)


def test_a_pipe_gets_csv_with_every_column(folder):
    found = invoke(folder)
    assert found.stderr == ""
    rows = pl.read_csv(io.StringIO(found.stdout))
    assert rows.height == 12
    assert set(Spec.__struct_fields__) < set(rows.columns)
    assert rows["final_accuracy"].is_nan().sum() == 1


def test_the_formats_say_the_same(folder, tmp_path):
    written = json.loads(invoke(folder, "--json").stdout)
    assert written == json.loads(invoke(folder, "--format", "json").stdout)
    assert [row["final_accuracy"] for row in written].count("nan") == 1
    for suffix, read in [("parquet", pl.read_parquet), ("csv", pl.read_csv), ("json", None)]:
        file = tmp_path / f"rows.{suffix}"
        assert invoke(folder, "-o", file).stdout == ""
        rows = read(file).to_dicts() if read else json.loads(file.read_text())
        assert [row["attack_strength"] for row in rows] == [row["attack_strength"] for row in written]
    assert pl.read_parquet(io.BytesIO(invoke(folder, "--format", "parquet").stdout_bytes)).height == 12
    assert invoke(folder, "--format", "csv", "-o", tmp_path / "rows.txt").exit_code == 0
    assert pl.read_csv(tmp_path / "rows.txt").height == 12


def test_a_terminal_gets_a_table(folder, monkeypatch):
    from turncoat.cli.results import _format

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert _format(None, None, False) == "table"
    assert _format("csv", None, False) == "csv"
    with pytest.raises(SpecError, match="parquet is binary"):
        _format("parquet", None, False)


def test_the_table_shows_where_runs_differ(folder):
    lines = invoke(folder, "--format", "table", "--filter", "seed=1").stdout.splitlines()
    assert "task = digits/softmax, n = 10, f = 3, split = iid, rounds = 300" in lines[0]
    assert lines[2].split() == ["rule", "attack", "seed", "final_accuracy", "best_accuracy"]
    assert [line.split()[-2:] for line in lines if line.lstrip().startswith("krum")] == [
        ["0.8", "0.8"], ["0.5", "0.5"], ["nan", "0.1"],
    ]  # fmt: skip
    asked = invoke(folder, "--format", "table", "--columns", "seed, rule,rule", "--sort", "-final_accuracy")
    assert asked.stdout.split()[:2] == ["seed", "rule"]
    lines = invoke(folder, "--format", "table", "--evaluations", "--filter", "attack=alie(8)").stdout.splitlines()
    assert lines[2].split() == ["rule", "attack", "seed", "round", "test_accuracy"]


def test_fields_that_differ_and_flags_have_columns(tmp_path):
    runs = [finished("mean", "none", 0.5, lr=lr, flags=["[red]slow[/red]"]) for lr in (0.1, 0.2)]
    head = invoke(save(tmp_path, *runs), "--format", "table").stdout
    assert head.splitlines()[2].split()[2:4] == ["lr", "seed"]
    assert "[red]slow[/red]" in head
    mixed = msgspec.structs.replace(runs[0].spec.seed, adversary=1)
    save(tmp_path, *runs, finished("mean", "none", 0.5, seed=mixed))
    assert "seed.adversary" in invoke(tmp_path, "--format", "table").stdout


def test_filters_columns_and_order(folder):
    rows = plain(folder, "--filter", "attack=ipm(0.5)", "--filter", "rule = krum", "--columns", "seed,final_accuracy")
    assert rows == [{"seed": 0, "final_accuracy": 0.5}, {"seed": 1, "final_accuracy": "nan"}]
    ends = [
        row["final_accuracy"] for row in plain(folder, "--filter", "final_accuracy>0.6", "--sort", "-final_accuracy")
    ]
    assert ends == [0.95, 0.9, 0.9, 0.8, 0.7, 0.7]
    strengths = [row["attack_strength"] for row in plain(folder, "--sort", "attack_strength")]
    assert strengths == [0.5] * 4 + [8.0] * 4 + [None] * 4
    rounds = plain(folder, "--evaluations", "--filter", "round>0", "--filter", "test_accuracy<0.5")
    assert [row["test_accuracy"] for row in rounds] == [0.4]


def test_an_empty_selection_is_said(folder):
    found = invoke(folder, "--filter", "rule=kram", "--filter", "seed=0", "--json")
    assert (found.exit_code, found.stdout) == (0, "[]\n")
    assert found.stderr == "turncoat: none of 12 rows has rule=kram; rule: did you mean krum?\n"
    assert invoke(folder, "--filter", "rule=kram", "--format", "table").exit_code == 0
    assert plain(folder, "--filter", "rule=kram", "--statistics")["summary"] == []


def test_a_metric_may_have_any_name(tmp_path):
    save(tmp_path, *(finished("krum", "none", end, seed=seed, metric="#") for seed, end in enumerate((0.5, 0.25))))
    assert [row["#"] for row in plain(tmp_path, "--filter", "#<0.3")] == [0.25]
    assert plain(tmp_path, "--statistics", "--filter", "seed=0")["summary"][0]["mean"] == 0.5


def test_an_empty_folder_is_said(tmp_path):
    for options in (
        [],
        ["--format", "table"],
        ["--evaluations", "--json"],
        ["--statistics"],
        ["--statistics", "--json"],
    ):
        found = invoke(tmp_path, *options)
        assert found.exit_code == 0
        assert found.stderr == f"turncoat: there are no results in {tmp_path}\n"
    assert pl.read_csv(io.StringIO(invoke(tmp_path).stdout)).columns[:3] == ["task", "n", "f"]


def test_what_a_folder_hides_is_said(folder):
    one = finished("krum", "none", 0.1, finished="2025-01-01T00:00:00+00:00")
    one.save(folder / "old.json")
    fields = {"error": "boom", "rounds": 1, "seconds": 1.0, "environment": ENVIRONMENT, "source_hash": "0" * 64}
    failure = Failure(spec=one.spec, key="ab", kind="exception", started="", finished="", **fields)
    failure.save(folder / "failed" / "a.json")
    found = invoke(folder)
    assert "1 file is left out" in found.stderr
    assert "1 run failed and left no result" in found.stderr
    assert pl.read_csv(io.StringIO(found.stdout)).height == 12
    finished("krum", "none", 0.1, seed=9, key="ab").save(folder / "again.json")
    assert "failed" not in invoke(folder).stderr


def test_statistics(folder):
    text = invoke(folder, "--statistics").stdout
    lines = [line.split() for line in text.splitlines()]
    assert "digits/softmax, n = 10, f = 3, iid: final test accuracy in %" in text
    assert ["krum", "85.0±7.1", "(2)", "45.0±7.1", "(2)", "nan", "(2)*", "nan"] in lines
    assert ["krum", "ipm(epsilon=0.5)", "nan", "(2)", "-inf", "(2)", "–", "0", "of", "2"] in lines
    tied = ["nnm", ">>", "trimmed_mean", "alie(z=8)", "and", "1", "other", "65.0±7.1", "(2)"]
    assert tied in [line[:9] for line in lines]
    assert "did not learn" not in text
    made = plain(folder, "--statistics")
    assert set(made) == {"summary", "worst", "paired", "mixtures"}
    assert {row["seeds"] for row in made["summary"]} == {2}
    assert [row["rule"] for row in made["worst"]] == ["nnm >> trimmed_mean", "krum"]
    assert [row["mean"] for row in made["paired"] if row["attack"] == "worst"] == ["-inf"]
    assert made["mixtures"] == {}
    assert pl.read_csv(io.StringIO(invoke(folder, "--statistics", "--format", "csv").stdout)).height == 6


def test_statistics_warn_of_controls_and_mixtures(tmp_path):
    other = msgspec.structs.replace(ENVIRONMENT, torch="2.13")
    runs = [finished("krum", "sign_flip", 0.1), finished("mean", "none", 0.12, environment=other)]
    text = invoke(save(tmp_path, *runs), "--statistics").stdout
    assert "plain mean without attack did not learn, so these figures say nothing of the rules" in text
    assert "Not all runs were computed alike: torch 2.6 in 1, 2.13 in 1." in text
    text = invoke(tmp_path, "--statistics", "--filter", "rule!=mean").stdout
    assert "no run of plain mean without attack tells whether it can be learnt at all" in text
    assert plain(tmp_path, "--statistics")["mixtures"] == {"torch": {"2.6": 1, "2.13": 1}}


def test_statistics_of_a_task_without_accuracy(tmp_path):
    runs = [finished("krum", "sign_flip", 0.25, seed=seed, metric="error") for seed in (0, 1)]
    text = invoke(save(tmp_path, *runs), "--statistics").stdout
    assert "final error, mean" in text
    assert "0.25±0 (2)*" in text
    assert plain(tmp_path)[0]["error"] == 0.25


def test_the_tables_fit_a_narrow_terminal(folder):
    for options in (["--statistics"], ["--format", "table"], ["--format", "table", "--evaluations"]):
        found = CliRunner().invoke(app, ["results", str(folder), *options], env={"COLUMNS": "60"})
        assert max(map(len, found.stdout.splitlines())) <= 60
        assert "trimmed" in found.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--filter", "rulle=krum"], "results have no column 'rulle': did you mean rule"),
        (["--filter", "rule"], "cannot read the condition 'rule'"),
        (["--filter", "seed<many"], "seed is a number, and 'many' is none"),
        (["--columns", "rule,final_acuracy"], "did you mean final_accuracy"),
        (["--sort", "-sed"], "did you mean seed"),
        (["--format", "cvs"], "unknown format 'cvs': did you mean csv"),
        (["-o", "rows.xlsx"], "unknown format 'xlsx'"),
        (["--format", "table", "-o", "rows.csv"], "a file takes csv, parquet or json"),
        (["--statistics", "--evaluations"], "--statistics has rows and columns of its own"),
    ],
)
def test_mistakes(folder, options, message):
    with pytest.raises(SpecError) as caught:
        invoke(folder, *options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_file_and_a_missing_folder_are_named(folder):
    (folder / "half.json").write_text("{")
    with pytest.raises(ResultError, match=r"half\.json is not a whole JSON file"):
        invoke(folder)
    with pytest.raises(ResultError, match="there is no folder"):
        invoke(folder / "none")


def test_a_process_reads_without_torch_and_ends_with_2(folder):
    code = (
        "import sys\nfrom turncoat.cli import main\n"
        "try: main()\nfinally: assert not {'torch', 'altair', 'sklearn'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "results", folder]
    found = subprocess.run([*command, "--statistics"], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    assert "krum" in found.stdout
    found = subprocess.run([*command, "--sort", "sed"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1
