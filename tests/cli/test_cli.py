"""The command line end to end, as processes where that is what matters."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import turncoat as tc
from turncoat.cli import app
from turncoat.registry import entries

RUN = ["run", "--task", "digits", "--n", "8", "--f", "2", "--rounds", "5"]


def turncoat(*arguments, cwd=None, env=None, **options):
    command = [sys.executable, "-c", "from turncoat.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "120"} | (env or {})
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, **options)


def invoke(*arguments):
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


@pytest.mark.parametrize("kind", ["rules", "attacks", "datasets", "splits", "models"])
def test_list_shows_everything_there_is(kind):
    text, plain = invoke("list", kind).stdout, json.loads(invoke("list", kind, "--json").stdout)
    assert {entry["name"] for entry in plain} == set(entries(kind.removesuffix("s")))
    for entry in plain:
        assert entry["name"] in text
        assert entry["summary"]
        assert entry["summary"].endswith(".")
        for parameter in entry["parameters"]:
            assert parameter in text


def test_listing_and_planning_do_not_import_torch():
    code = (
        "import sys; from turncoat.cli import app; from typer.testing import CliRunner\n"
        "for words in (['--help'], ['run', '--help'], ['list', 'rules'], ['list', 'attacks', '--json']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "from turncoat.campaign.grid import expand\n"
        "expand({'n': 10, 'f': 2, 'rule': ['nnm >> krum', 'mean'], 'attack': 'alie(z=8)', 'task': 'mnist/cnn'})\n"
        "heavy = {'torch', 'numpy', 'polars', 'altair', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_prints_a_table_and_leaves_a_file(tmp_path):
    found = turncoat(*RUN, "--rule", "median", "--rule", "mean", "--attack", "ipm(epsilon=10)", "-o", tmp_path)
    assert found.returncode == 0, found.stderr
    assert "median" in found.stdout
    assert found.stderr.splitlines()[-1].endswith("; 2 of 2 runs done")  # lines, as this is no terminal
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_json_is_one_result_a_line(tmp_path):
    found = turncoat(*RUN, "--attack", "none", "--attack", "alie(z=8)", "--json", "-o", tmp_path)
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["spec"]["attack"] for line in lines] == ["none", "alie(z=8)"]
    assert lines[0]["schema_version"] == 1


def test_what_is_finished_is_not_computed_again(tmp_path):
    invoke(*RUN, "-o", tmp_path)
    (path,) = tmp_path.glob("*.json")
    before = path.stat().st_mtime_ns
    invoke(*RUN, "-o", tmp_path)
    assert path.stat().st_mtime_ns == before
    invoke(*RUN, "--set", "lr=0.2", "-o", tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_mistakes_in_any_run_of_a_grid_show_before_the_first(tmp_path):
    grids = [["--rule", "mean", "--rule", rule] for rule in ("krum", "nnm", "multi_krum(m=0)")]
    for late in ('split=["iid", "dirichlet(beta=-1)"]', 'task=["digits", "digits/mlp(hidden=0)"]'):
        grids.append(["--set", late])
    for grid in grids:
        found = turncoat("run", "-n", "9", "-f", "4", *grid, "-o", tmp_path / "out")
        assert found.returncode == 2
        assert not (tmp_path / "out").exists()


def test_what_lies_in_the_output_folder_is_left_alone(tmp_path):
    (tmp_path / ".gitignore").write_text("secrets")
    invoke(*RUN, "-o", tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "secrets"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_grid_from_a_file_with_a_page(tmp_path):
    spec = tmp_path / "grid.toml"
    spec.write_text('n = 8\nf = 2\nrounds = 4\nrule = ["mean", "krum"]\nattack = ["none", "sign_flip"]\nseed = 1\n')
    found = invoke("run", spec, "-o", tmp_path / "out", "--page", tmp_path / "page.html", "--set", "batch=8")
    assert found.exit_code == 0
    assert "page.html" in found.stdout
    results = [tc.Result.load(path) for path in (tmp_path / "out").glob("*.json")]
    assert {(result.spec.rule, result.spec.attack) for result in results} == {
        (rule, attack) for rule in ("mean", "krum") for attack in ("none", "sign_flip")
    }
    assert all(result.spec.batch == 8 for result in results)
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--rule", "medan"], "did you mean median"),
        (["run", "--attack", "ipm(eps=1)"], "did you mean epsilon"),
        (["run", "--split", "dirichlet(beta=0)"], "beta"),
        (["run", "--task", "digits/lenet"], "lenet5"),
        (["run", "-n", "10", "-f", "5"], "f must be below n/2"),
        (["run", "-n", "10", "-f", "4", "--rule", "bucketing >> trimmed_mean", "-o", "{tmp}"], "needs n > 2f"),
        (["run", "--set", "roundz=3"], "did you mean rounds"),
        (["run", "--set", "rounds"], "key=value"),
        (["run", "--set", "rounds=many"], "rounds takes an integer"),
        (["run", "--set", "rule=[]"], "empty list"),
        (["run", "--rounds", "many"], "not a valid integer"),
        (["run", "--device", "tpu", "-o", "{tmp}"], "unknown device"),
        (["run", "nowhere.toml"], "cannot read nowhere.toml"),
        (["run", "{tmp}/broken.toml"], "is not TOML"),
        (["run", "{tmp}/unknown.toml"], "unknown.toml: a run has no 'rouns': did you mean rounds"),
        (["run", "--task", "svhn", "-o", "{tmp}"], "TURNCOAT_DATA"),
        (["run", "-o", "/dev/null/results"], "cannot write"),
        (["list", "rule"], "did you mean rules"),
        (["fly"], "No such command"),
        (["run", "--fly"], "No such option"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, tmp_path):
    (tmp_path / "broken.toml").write_bytes(b"\xff\x00[[")
    (tmp_path / "unknown.toml").write_text("rouns = 3\nn = 5\nf = 1\n")
    arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    home = {"XDG_CACHE_HOME": str(tmp_path), "TURNCOAT_DATA": "", "https_proxy": "http://127.0.0.1:9"}
    found = turncoat(*arguments, cwd=tmp_path, env=home)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == ""


def test_random_bytes_as_a_spec_are_an_error_and_no_crash(tmp_path):
    import random

    for seed in range(20):
        path = tmp_path / "noise.toml"
        path.write_bytes(random.Random(seed).randbytes(400))
        with pytest.raises(tc.SpecError):
            tc_read(path)


def tc_read(path):
    from turncoat.campaign.grid import read_grid

    return read_grid(path)


def test_an_interruption_keeps_what_is_finished_and_says_how_to_go_on(tmp_path):
    spec = tmp_path / "grid.toml"
    spec.write_text('n = 8\nf = 2\nrounds = 1500\nattack = ["none", "alie(z=1)", "alie(z=2)", "alie(z=3)"]\n')
    command = [sys.executable, "-c", "from turncoat.cli import main; main()", "run", "grid.toml", "-o", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 4 runs are finished in out; the same command continues" in stderr
    assert "is saved after" in stderr
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.json")}
    assert 1 <= len(finished) < 4
    again = turncoat("run", "grid.toml", "-o", "out", cwd=tmp_path)
    assert again.returncode == 0
    assert len(list((tmp_path / "out").glob("*.json"))) == 4
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in finished.items())
    assert not list((tmp_path / "out").glob("*.safetensors"))
    clean = turncoat("run", "grid.toml", "-o", "clean", cwd=tmp_path)
    assert clean.returncode == 0
    for path in (tmp_path / "out").glob("*.json"):
        assert tc.Result.load(path).records == tc.Result.load(tmp_path / "clean" / path.name).records


def test_version_and_help():
    assert invoke("--version").stdout.strip() == tc.__version__
    assert "turncoat demo" in invoke("--help").stdout


def test_every_public_name_is_there():
    for name in tc.__all__:
        assert getattr(tc, name) is not None
    assert set(tc.__all__) <= set(dir(tc))
    with pytest.raises(AttributeError, match="no attribute 'Krumm'"):
        tc.Krumm  # noqa: B018
