"""The report of a campaign in headless Chromium: it asks nobody, complains of nothing, fits, and answers."""

import csv
import io

import browser
import pytest

from turncoat.report.export import table
from turncoat.report.folders import read_folder, report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(600),
]
RULES = ["mean", "trimmed_mean", "nnm >> trimmed_mean"]
ATTACKS = ["none", "alie(z=1.5)", "alie(z=8)", "ipm(epsilon=0.5)", "ipm(epsilon=10)"]
SEEN = """
(async () => {
  for (let y = 0; y < document.body.scrollHeight; y += 600) {
    scrollTo(0, y);
    await new Promise(done => setTimeout(done, 30));
  }
})()
"""
UNDRAWN = "[...document.querySelectorAll('.chart[id]')].filter(place => !place.querySelector('svg')).length"
CAUGHT = """
window.blobs = [], window.links = [];
URL.createObjectURL = blob => (blobs.push(blob), "blob:caught");
HTMLAnchorElement.prototype.click = function () { links.push([this.download, this.href]); };
0
"""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """90 real, short runs on the embedded digits."""
    from turncoat.learning.training import train

    folder = tmp_path_factory.mktemp("campaign")
    cells = [(rule, attack, split) for rule in RULES for attack in ATTACKS for split in ("dirichlet(beta=0.1)", "iid")]
    for i, (rule, attack, split) in enumerate(cells):
        for seed in range(3):
            fields = {"n": 8, "f": 2, "rounds": 20, "evaluate_every": 1, "momentum": 0.9, "lr": 0.5, "threads": 1}
            result = train("digits/softmax", rule=rule, attack=attack, split=split, seed=seed, **fields)
            result.save(folder / f"{i:02}-{seed}.json")
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
    assert page.run(UNDRAWN) > 20
    page.run("document.querySelectorAll('details').forEach(part => (part.open = true))")
    page.run(SEEN)
    page.until(f"({UNDRAWN}) === 0")
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
    assert page.run("document.querySelector('#runs output').textContent") == "6 of 90"


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
    assert _rows(ours) == _rows(expected)
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
    assert len(lines) == 1 + 3 * 21


def test_it_prints_everything(page, tmp_path):
    assert page.run(UNDRAWN) > 20
    paper = page.pdf(tmp_path / "report.pdf").read_bytes()
    assert paper.startswith(b"%PDF")
    assert page.run(UNDRAWN) == 0
    assert page.run("document.querySelectorAll('details[open]').length") == 0  # as it was before


def test_nothing_that_results_say_runs(chromium, run, tmp_path):
    from turncoat.report.page import write_page

    hostile = "</script><img src=x onerror='document.title=1'>{{7*7}}${document.title=2}"
    results = [run(hostile, attack, task=hostile, flags=[hostile]) for attack in ("none", hostile, "alie(z=8)")]
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(write_page(results, tmp_path / "hostile.html", "A title"), 1280)
    chromium.run(SEEN)
    chromium.until(f"({UNDRAWN}) === 0")
    chromium.run("document.querySelectorAll('.heat button')[1].click()")
    chromium.until("document.querySelectorAll('.look svg').length > 0")
    assert chromium.run("document.title") == "A title"
    assert chromium.run("document.images.length") == 0
    assert chromium.run("document.querySelector('.look h4').textContent").startswith(hostile)
    assert chromium.problems == []
    assert len(set(chromium.requests)) == 1
