"""What the docs publish of the reproduction: whole, judged as the code judges, and explained."""

from pathlib import Path

import pytest
import render

from turncoat.papers import kept
from turncoat.papers.run import FIGURES, PAPERS, UNAVAILABLE

FOLDER = Path(__file__).parents[2] / "docs" / "reproduction" / "quick"
CLAIMS = render.published()
PUBLISHED = sorted({one.figure.partition("-")[0] for one in CLAIMS})


def of(figure):
    return [one for one in CLAIMS if one.figure == figure.id]


def verdicts(judged):
    return [(one.claim, one.verdict, one.why) for one in judged]


@pytest.mark.parametrize("paper", PUBLISHED)
def test_every_claim_has_a_verdict(paper):
    judged = [(each.figure, each.claim, each.says, each.computed) for each in CLAIMS if each.figure.startswith(paper)]
    figures = PAPERS[paper]
    assert judged == [(one.id, claim.name, claim.says, claim.computed) for one in figures for claim in one.claims]


@pytest.mark.parametrize("paper", PUBLISHED)
def test_the_runs_that_are_published_lead_to_the_same_verdicts(paper):
    results = kept.load(FOLDER / f"{paper}.json")
    there = {one.figure for one in CLAIMS if one.numbers != [UNAVAILABLE]}
    for figure in PAPERS[paper]:
        if figure.campaign and figure.id in there:
            again = figure.judged(figure.runs(figure.cells("quick"), results))
            assert verdicts(again) == verdicts(of(figure))


def test_what_is_computed_is_computed_again():
    for figure in FIGURES.values():
        if figure.computes and all(claim.computed for claim in figure.claims) and of(figure):
            assert verdicts(figure.judged(figure.computes())) == verdicts(of(figure))


def test_what_fails_is_explained():
    assert not [(one.figure, one.claim) for one in CLAIMS if one.verdict == "fails" and not one.why]


def test_at_most_half_of_what_was_trained_is_open():
    trained = [one.verdict for one in CLAIMS if not one.computed]
    assert trained.count("undecided") <= len(trained) / 2


def test_the_tables_in_the_docs_are_those_of_the_verdicts():
    page = (FOLDER.parents[1] / "reproduction.md").read_text()
    for mark, text in render.reproduction().items():
        assert page.split(f"<!-- {mark} -->")[1].strip() == text
