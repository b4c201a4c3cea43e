"""`turncoat stress` and `turncoat replay`, end to end."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from turncoat.cli import app
from turncoat.cli.stress import folder_name
from turncoat.stress.card import Card
from turncoat.stress.witness import Witness

SMALL = ("-n", "7", "-f", "2", "--level", "calls")
OWN = """
def middle(X, f):
    centre = X.median(0).values
    near = (X - centre).norm(dim=1).argsort()[: len(X) - f]
    return X[near].mean(0)
"""


def turncoat(*arguments, cwd):
    command = [sys.executable, "-c", "from turncoat.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=250)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a stress test of a rule by its name leaves in a working folder, and what it says."""
    work = tmp_path_factory.mktemp("work")
    found = turncoat("stress", "median", *SMALL, cwd=work)
    assert found.returncode == 0, found.stderr
    (work / "said").write_text(found.stdout)
    return work


def test_one_call_leaves_a_card_a_page_and_witnesses(folder):
    place = folder / "stress" / "median-n7-f2"
    left = {"card.json", "card.html", "kappa.witness", "descent.witness"}
    assert {path.name for path in place.iterdir()} == left
    card, said = Card.load(place / "card.json"), (folder / "said").read_text()
    assert (card.rule, card.n, card.f, card.training) == ("median", 7, 2, None)
    assert not card.failed
    assert f"{card.kappa.value:.3g}" in said
    assert "stress/median-n7-f2/card.html" in said.splitlines()


@pytest.mark.parametrize("score", ["kappa", "descent"])
def test_a_witness_shows_the_worst_case_to_the_last_digit(folder, score):
    place = folder / "stress" / "median-n7-f2"
    worst = getattr(Card.load(place / "card.json"), score)
    found = invoke("replay", place / f"{score}.witness")
    assert "The same to the last digit." in found.stdout
    assert repr(abs(worst.value)) in found.stdout
    plain = json.loads(invoke("replay", place / f"{score}.witness", "--json").stdout)
    assert plain["same"] is True
    assert plain["seen"] == plain["about"]["seen"]
    assert plain["seen"][score] == worst.value
    assert (plain["rule"], plain["about"]["cloud"]) == ("median", worst.cloud)


def test_another_rule_meets_the_same_case(folder):
    path = folder / "stress" / "median-n7-f2" / "kappa.witness"
    plain = json.loads(invoke("replay", path, "--rule", "mean", "--json").stdout)
    assert plain["rule"] == "mean"
    assert plain["same"] is False
    assert "mean, now" in invoke("replay", path, "--rule", "mean").stdout


@pytest.mark.slow
def test_ones_own_file_is_stressed_and_json_is_all_that_is_printed(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    found = turncoat("stress", "own.py:middle", *SMALL, "--json", "-o", "out", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout == (tmp_path / "out" / "card.json").read_text() + "\n"
    card = Card.load(tmp_path / "out" / "card.json")
    assert card.rule == "own.py:middle"
    assert 0 < card.kappa.value < float("inf")
    again = turncoat("replay", "out/kappa.witness", cwd=tmp_path)
    assert "The same to the last digit." in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stress", "medan"], "did you mean median"),
        (["stress", "nowhere.py:rule"], "nowhere.py"),
        (["stress", "median", "-n", "10", "-f", "5"], "0 < f < n/2 must hold"),
        (["stress", "krum", "-n", "5", "-f", "2"], "needs"),
        (["stress", "median", "--level", "half"], "there are calls, full, quick"),
        (["stress", "median", "--suite", "standard-0"], "standard-1"),
        (["stress", "median", "-n", "many"], "not a valid integer"),
        (["replay", "nowhere.witness"], "no witness"),
        (["replay", "{tmp}/noise.witness"], "is no witness of turncoat"),
        (["replay", "{tmp}/cut.witness"], "is no witness of turncoat"),
        (["replay", "{tmp}/whole.witness", "--rule", "medan"], "did you mean median"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, folder, tmp_path):
    whole = (folder / "stress" / "median-n7-f2" / "kappa.witness").read_bytes()
    (tmp_path / "whole.witness").write_bytes(whole)
    (tmp_path / "cut.witness").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.witness").write_bytes(bytes(range(256)))
    found = turncoat(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments), cwd=tmp_path)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == ""
    assert not (tmp_path / "stress").exists()


def test_a_witness_that_was_changed_is_not_the_same(folder, tmp_path):
    witness = Witness.load(folder / "stress" / "median-n7-f2" / "kappa.witness")
    witness.honest[0].add_(1.0)
    found = invoke("replay", witness.save(tmp_path / "other.witness"))
    assert found.exit_code == 0
    assert "Not the same: it differs by up to" in found.stdout


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("nnm >> trimmed_mean", "nnm-trimmed_mean-n25-f5"),
        ("krum(p=3)", "krum-p-3-n25-f5"),
        ("../own rules/mine.py:rule", "own-rules-mine-py-rule-n25-f5"),
    ],
)
def test_a_folder_is_named_after_its_rule(rule, name):
    assert folder_name(rule, 25, 5) == name


@pytest.mark.parametrize("rule", ["", "/", "..", ">>", "a" * 300, "é" * 100])
def test_no_rule_names_a_folder_elsewhere(rule):
    name = folder_name(rule, 25, 5)
    assert name.endswith("n25-f5")
    assert not name.startswith(("-", "."))
    assert len(name) <= 80
    assert "/" not in name
