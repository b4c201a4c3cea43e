"""`turncoat reproduce` and `turncoat list figures`, end to end."""

import json

import pytest
from typer.testing import CliRunner

from turncoat.cli import app
from turncoat.papers.run import FIGURES


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_toy_from_the_command_line(tmp_path):
    found = invoke("reproduce", "S1-toy1", "S1-toy2", "-o", tmp_path)
    assert found.exit_code == 0
    assert "3 holds" in found.output
    assert {path.name for path in (tmp_path / "quick").iterdir()} == {"S1.html", "index.html", "claims.json", "figures"}
    told = json.loads((tmp_path / "quick" / "claims.json").read_text())
    assert [each["verdict"] for each in told] == ["holds"] * 3
    again = invoke("reproduce", "S1-toy1", "S1-toy2", "-o", tmp_path, "--json", "-q")
    assert json.loads(again.output) == told


def test_a_figure_that_does_not_exist_is_named(tmp_path):
    from turncoat.errors import SpecError

    with pytest.raises(SpecError, match="did you mean"):
        invoke("reproduce", "S9-F1", "-o", tmp_path)
    assert not list(tmp_path.iterdir())


def test_figures_are_listed_with_their_claims():
    told = json.loads(invoke("list", "figures", "--json").output)
    assert [each["id"] for each in told] == list(FIGURES)
    assert all(each["claims"] for each in told)
    assert "S3-F1  Five defences" in invoke("list", "figures").output
