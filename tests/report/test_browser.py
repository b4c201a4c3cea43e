"""The report of a campaign in headless Chromium: it asks nobody, complains of nothing, fits, and answers."""

import csv
import io
import os

import browser
import pytest

from turncoat.campaign import run as campaigns
from turncoat.report.export import table
from turncoat.report.folders import read_folder, report
from turncoat.report.page import write_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(600),
]
CAMPAIGN = {
    "task": "fashion_mnist/softmax" if os.environ.get("TURNCOAT_DATA") else "digits/softmax",
    "split": ["dirichlet(beta=0.1)", "iid"],
    "rule": ["mean", "trimmed_mean", "nnm >> trimmed_mean"],
    "attack": ["none", "alie(z=1.5)", "alie(z=8)", "ipm(epsilon=0.5)", "ipm(epsilon=10)", "sign_flip"],
    "seed": [0, 1, 2],
    **{"n": 8, "f": 2, "rounds": 20, "evaluate_every": 5, "momentum": 0.9, "threads": 1},
}
RUNS, EVALUATIONS = 108, 5
CAUGHT = """
window.blobs = [], window.links = [];
URL.createObjectURL = blob => (blobs.push(blob), "blob:caught");
HTMLAnchorElement.prototype.click = function () { links.push([this.download, this.href]); };
0
"""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """Real, short runs: on Fashion-MNIST where TURNCOAT_DATA names it, else on the embedded digits."""
    folder = tmp_path_factory.mktemp("campaign")
    assert len(campaigns.run(CAMPAIGN, folder, progress=False).results) == RUNS
    return folder


@pytest.fixture(scope="module")
def path(campaign):
    return report(campaign, campaign / "pages" / "report.html")


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as opened:
        yield opened


@pytest.fixture
def page(chromium, path):
    """The page, opened; afterwards it must have asked for nothing else and have complained of nothing."""
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(path, 1280)
    yield chromium
    assert chromium.problems == []
    assert {url for url in chromium.requests if not url.startswith(("data:", "blob:"))} == {path.as_uri()}


def test_the_page_is_small(path):
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_and_draws_what_is_seen(page, path, width, dark):
    page.open(path, width, dark=dark)
    assert page.run(browser.UNDRAWN) > 20
    page.run("document.querySelectorAll('details').forEach(part => (part.open = true))")
    page.scroll()
    drawn = page.run("document.querySelectorAll('.chart[id]').length")
    told = "new Set([...document.querySelectorAll('.chart[role], .chart [role=graphics-document]')]"
    assert page.run(f"{told}.map(each => each.ariaLabel)).size") == drawn
    assert page.run("document.documentElement.scrollWidth") <= width
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_a_cell_shows_its_runs(page):
    button = "document.querySelectorAll('#setting0 .heat button')[1]"
    page.run(f"{button}.click()")
    assert page.run("document.querySelector('#setting0 .look h4').textContent").endswith(" under alie(z=1.5)")
    assert "Seeds 0, 1, 2." in page.run("document.querySelector('#setting0 .look p').textContent")
    titles = page.run("[...document.querySelectorAll('.look figcaption span.name')].map(each => each.textContent)")
    assert titles[:2] == ["test accuracy", "test loss"]
    drawn = "document.querySelectorAll('.look svg').length"
    page.until(f"{drawn} === {len(titles)}")
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "true"
    thin = "document.querySelector('.look svg').querySelectorAll('path[stroke-width=\"1\"]').length"
    assert page.run(thin) >= 3  # one a seed
    page.run("document.querySelectorAll('#setting0 .heat button')[2].focus()")
    page.press("Enter")
    assert page.run("document.querySelector('#setting0 .look h4').textContent").endswith(" under alie(z=8)")
    page.press("Escape")
    assert page.run("document.querySelector('#setting0 .look').hidden")


def test_the_table_sorts(page):
    head = "[...document.querySelectorAll('#runs th')].find(each => each.textContent === 'final')"
    values = "[...document.querySelectorAll('#runs td:nth-child(4)')].map(cell => Number(cell.dataset.value))"
    before = page.run(values)
    page.run(f"{head}.querySelector('button').click()")
    assert page.run(values) == sorted(before)
    page.run(f"{head}.querySelector('button').click()")
    assert page.run(values) == sorted(before, reverse=True)
    assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
    page.run("document.querySelector('#runs th button').click()")
    names = page.run("[...document.querySelectorAll('#runs td:first-child')].map(cell => cell.textContent)")
    assert names == sorted(names)


def test_the_table_filters(page):
    page.run(
        "(input => { input.value = 'nnm Alie(z=8)'; input.dispatchEvent(new Event('input')); })"
        "(document.querySelector('#runs input'))"
    )
    shown = page.run(
        "[...document.querySelectorAll('#runs tbody tr')].filter(row => row.offsetHeight).map(row => row.textContent)"
    )
    assert len(shown) == 6
    assert all("nnm >> trimmed_mean" in row and "alie(z=8)" in row for row in shown)
    assert page.run("document.querySelector('#runs output').textContent") == f"6 of {RUNS}"


def test_charts_are_saved(page, campaign):
    page.run(CAUGHT)
    place = "setting0-curves1"
    for kind in ("csv", "svg", "png"):
        page.run(f"document.querySelector('figure[data-chart={place}] [data-save={kind}]').click()")
        page.until("links.length > 0")
        name, address = page.run("links.pop()")
        assert name == f"{place}-test-accuracy-alie-z-1-5.{kind}"
        if kind == "png":
            assert address.startswith("data:image/png;base64,")
    ours, svg = page.run("Promise.all(blobs.map(blob => blob.text()))")
    drawn = read_folder(campaign)
    expected = table(drawn.charts[place], drawn.runs)
    assert _rows(ours) == [[_short(value) for value in row] for row in _rows(expected)]
    assert svg.startswith("<svg")
    assert "test accuracy, alie(z=1.5)" in svg
    assert "nnm &gt;&gt; trimmed_mean" in svg
    assert "currentColor" not in svg


def _rows(text):
    def plain(value):
        try:
            return float(value)
        except ValueError:
            return value

    return [[plain(value) for value in row] for row in csv.reader(io.StringIO(text))]


def _short(value):
    """A number as the page holds it."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def test_the_heat_map_and_a_cells_charts_are_saved(page):
    page.run(CAUGHT)
    page.run("document.querySelector('figure[data-chart=setting0-heat] [data-save=svg]').click()")
    page.until("links.length === 1")
    page.run("document.querySelectorAll('#setting0 .heat button')[1].click()")
    page.run("document.querySelector('.look [data-save=csv]').click()")
    page.until("links.length === 2")
    heat, rows = page.run("Promise.all(blobs.map(blob => blob.text()))")
    assert "rules against attacks" in heat
    lines = rows.splitlines()
    assert lines[0] == "rule,attack,seed,round,test_accuracy"
    assert len(lines) == 1 + 3 * EVALUATIONS


def test_it_prints_everything(page, tmp_path):
    assert page.run(browser.UNDRAWN) > 20
    shut = "document.querySelectorAll('details:not([open])').length"
    page.run(f"addEventListener('beforeprint', () => (left = {shut}))")
    paper = page.pdf(tmp_path / "report.pdf").read_bytes()
    assert paper.startswith(b"%PDF")
    assert page.run("left") == 0
    assert page.run(browser.UNDRAWN) == 0
    assert page.run("document.querySelectorAll('details[open]').length") == 0  # as it was before
    again = page.pdf(tmp_path / "again.pdf").read_bytes()  # now that all is drawn
    assert len(paper) == pytest.approx(len(again), rel=0.01)


def test_long_names_fit_a_phone(chromium, run, tmp_path):
    names = ["my_package.my_module:" + "VeryLongName" * 5, "nnm >> bucketing(s=2) >> geometric_median(iterations=100)"]
    results = [run(name, attack) for name in names for attack in ("none", names[0], "alie(z=8)")]
    chromium.open(write_page(results, tmp_path / "long.html", names[0]), 390)
    chromium.scroll()
    assert chromium.run("document.documentElement.scrollWidth") <= 390
    right = "Math.max(...[...document.querySelectorAll('.legend li')].map(each => each.getBoundingClientRect().right))"
    assert chromium.run(right) <= 390


def test_what_is_infinite_is_no_missing_number(chromium, run, tmp_path):
    ends = [2.0, float("inf"), float("nan"), 1.0]
    results = [run("krum", values=[3.0, end], metric="error", seed=seed) for seed, end in enumerate(ends)]
    results.append(run("krum", values=[], seed=4))
    chromium.open(write_page(results, tmp_path / "odd.html"), 1280)
    head = (
        "[...document.querySelectorAll('#runs th')].find(each => each.textContent === 'final').querySelector('button')"
    )
    texts = "[...document.querySelectorAll('#runs td:nth-child(4)')].map(cell => cell.textContent.split(' ')[0])"
    for wanted in (["1", "2", "inf"], ["inf", "2", "1"]):
        chromium.run(f"{head}.click()")
        found = chromium.run(texts)
        assert found[:3] == wanted
        assert set(found[3:]) == {"nan", "–"}


def test_a_cells_charts_are_those_of_what_was_measured(chromium, run, tmp_path):
    results = [run(attack="alie"), run(attack="ipm", values=[1.0, 0.5], metric="test_loss")]
    chromium.open(write_page(results, tmp_path / "page.html"), 1280)
    chromium.run("document.querySelector('.heat button').click()")
    assert chromium.run("[...document.querySelectorAll('.look [data-save=png]')].map(each => each.title)") == [
        "Save test accuracy, mean under alie as PNG"
    ]


def test_nothing_that_results_say_runs(chromium, run, tmp_path):
    hostile = "</script><img src=x onerror='document.title=1'>{{7*7}}${document.title=2}"
    results = [run(hostile, attack, task=hostile, flags=[hostile]) for attack in ("none", hostile, "alie(z=8)")]
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(write_page(results, tmp_path / "hostile.html", "A title"), 1280)
    chromium.scroll()
    chromium.run("document.querySelectorAll('.heat button')[1].click()")
    chromium.until("document.querySelectorAll('.look svg').length > 0")
    assert chromium.run("document.title") == "A title"
    assert chromium.run("document.images.length") == 0
    assert chromium.run("document.querySelector('.look h4').textContent").startswith(hostile)
    assert chromium.problems == []
    assert len(set(chromium.requests)) == 1
