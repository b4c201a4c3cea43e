"""A paper's page in headless Chromium, of published runs: all is drawn, and no text lies outside its panel."""

from pathlib import Path

import browser
import pytest

from turncoat.papers import kept
from turncoat.papers.page import write_papers
from turncoat.papers.run import FIGURES, Shown, judgements

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(600),
]
PUBLISHED = Path(__file__).parents[2] / "docs" / "reproduction" / "quick"
SHOWN = {"S0": ("S0-F1", "S0-F3", "S0-F13"), "S3": ("S3-F1", "S3-T1-fashion")}
OUTSIDE = """
[...document.querySelectorAll('.chart[id]')].flatMap(place => {
  const { left, right } = place.getBoundingClientRect();
  return [...place.querySelectorAll('svg text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < left - 1 || box.right > right + 1;
  }).map(text => text.textContent);
}).join(', ')
"""


@pytest.mark.parametrize("paper", SHOWN)
def test_all_is_drawn_and_inside(paper, tmp_path, monkeypatch):
    monkeypatch.setattr("turncoat.papers.page.write_drawing", lambda drawing, stem: [])
    results, shown = kept.load(PUBLISHED / f"{paper}.json"), []
    for name in SHOWN[paper]:
        figure, cells = FIGURES[name], FIGURES[name].cells("quick")
        runs = figure.runs(cells, results)
        shown.append(Shown(figure, runs, figure.judged(runs), cells))
    write_papers(shown, judgements(shown), "quick", tmp_path)
    with browser.Browser() as page:
        page.open(tmp_path / f"{paper}.html", 1280)
        page.scroll()
        assert page.run(OUTSIDE) == ""
        assert page.run("document.documentElement.scrollWidth") <= 1280
        assert page.problems == []
