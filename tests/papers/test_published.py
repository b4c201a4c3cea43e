"""What the docs publish of the reproduction: whole, judged as the code judges, and explained."""

import tomllib
from pathlib import Path

import pytest
import render

from turncoat.papers import kept
from turncoat.papers.campaigns import SCALES
from turncoat.papers.run import FIGURES, PAPERS

ROOT = Path(__file__).parents[2]
FOLDER, SPECS = ROOT / "docs" / "reproduction", ROOT / "src" / "turncoat" / "papers" / "specs"
CLAIMS = {scale: render.published(scale) for scale in SCALES}
FAILS = [one for judged in CLAIMS.values() for one in judged if one.verdict == "fails"]


def of(figure, scale="quick"):
    return [one for one in CLAIMS[scale] if one.figure == figure.id]


def verdicts(judged):
    return [(one.claim, one.verdict, one.why) for one in judged]


def said(judged):
    return [(one.figure, one.claim, one.says, one.computed) for one in judged]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_has_a_verdict(paper):
    judged = [one for one in CLAIMS["quick"] if one.figure.startswith(paper)]
    figures = PAPERS[paper]
    assert said(judged) == said(one.undecided(claim, "") for one in figures for claim in one.claims)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("paper", PAPERS)
def test_the_runs_that_are_published_lead_to_the_same_verdicts(paper, scale):
    there = {one.figure for one in CLAIMS[scale] if one.state != "unavailable"}
    trained = [figure for figure in PAPERS[paper] if figure.campaign and figure.id in there]
    results = kept.load(FOLDER / scale / f"{paper}.json") if trained else []
    for figure in trained:
        again = figure.judged(figure.runs(figure.cells(scale), results))
        assert verdicts(again) == verdicts(of(figure, scale))


def test_five_figures_are_there_at_the_scale_of_the_paper():
    assert {one.figure for one in CLAIMS["paper"]} >= {"S0-F1", "S0-F2", "S0-F3", "S0-F11", "S0-F12"}


def test_what_is_computed_is_computed_again():
    for figure in FIGURES.values():
        if figure.computes and not figure.timed:
            assert verdicts(figure.judged(figure.computes())) == verdicts(of(figure))


def test_what_fails_is_explained():
    assert not [(one.figure, one.claim) for one in FAILS if not one.why]


def test_nothing_is_explained_that_does_not_fail():
    for figure, said in tomllib.loads((SPECS / "why.toml").read_text()).items():
        for name in said:
            assert any(one.figure == figure and f"{one.claim}-".startswith(f"{name}-") for one in FAILS), (figure, name)


def test_at_most_half_of_what_was_trained_is_open():
    trained = [one.verdict for one in CLAIMS["quick"] if not one.computed and one.state != "unavailable"]
    assert trained.count("undecided") <= len(trained) / 2


def test_the_tables_in_the_docs_are_those_of_the_verdicts():
    page = (FOLDER.parent / "reproduction.md").read_text()
    for mark, text in render.reproduction().items():
        assert page.split(f"<!-- {mark} -->")[1].strip() == text
