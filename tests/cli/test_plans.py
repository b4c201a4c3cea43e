"""Planned attacks on the command line: saved, replayed, and shown while they are made."""

import io
import json

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

import turncoat as tc
from turncoat.cli import app
from turncoat.progress import Bar

RUN = ["run", "--task", "digits", "--rule", "median", "--n", "8", "--f", "2", "--rounds", "4", "--json"]


def invoke(*arguments):
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return json.loads(found.stdout)


@pytest.mark.parametrize("attack", ["ssnlp(l=2, budget=20)", "alie(z=3)"])
def test_what_traitors_did_is_saved_and_done_again(attack, tmp_path):
    plan = tmp_path / "plan.safetensors"
    first = invoke(*RUN, "--attack", attack, "--save-attack", plan, "-o", tmp_path / "out")
    again = invoke(*RUN, "--attack", f"replay('{plan}')", "-o", tmp_path / "out")
    assert len(tc.Plan.load(plan).moves) == 4
    assert [record["test_loss"] for record in again["records"]] == [record["test_loss"] for record in first["records"]]
    assert len(first["plans"]) == (2 if attack.startswith("ssnlp") else 0)
    plan.unlink()  # a finished run is not computed again, but what was asked for is made again
    invoke(*RUN, "--attack", attack, "--save-attack", plan, "-o", tmp_path / "out")
    assert plan.exists()


def test_only_one_runs_attack_can_be_saved(tmp_path):
    with pytest.raises(tc.SpecError, match="these are 2 runs"):
        invoke(*RUN, "--attack", "ipm", "--attack", "alie", "--save-attack", tmp_path / "plan", "-o", tmp_path)


def test_a_plan_in_the_making_is_shown_below_the_rounds():
    text = io.StringIO()
    shown = Progress(console=Console(file=text, force_terminal=True, width=120), disable=False)
    bar = Bar(shown, 10)
    bar._since -= 10  # as if it had taken so long
    bar(3, "run 1 of 1")
    for spent, budget in ((100, 5000.0), (200, 5000.0), (5, float("inf"))):
        bar.planning(spent, budget)
    shown.refresh()
    assert "planning ahead" in text.getvalue()
    assert len(shown.tasks) == 2
    bar(4, "run 1 of 1")
    assert len(shown.tasks) == 1
    shown.stop()
    Bar().planning(1, 2.0)  # nothing to show it on
