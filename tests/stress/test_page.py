"""The pages of score cards need nothing but themselves, and say and sort what the cards say."""

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import browser
import msgspec
import pytest

from turncoat.errors import ResultError
from turncoat.stress.card import CheckLine, OnCloud, Worst
from turncoat.stress.curve import Curve
from turncoat.stress.page import Shown, board, write_card, write_leaderboard

HOSTILE = "</script><img src=x onerror='document.title=1'>{{7*7}}${document.title=2}"
BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(600),
]


def in_browser(test):
    for mark in BROWSER:
        test = mark(test)
    return test


class Page(HTMLParser):
    """The tags of a page, and its text outside of programs and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._in = [], "", ""
        self.whole = path.read_text(encoding="utf-8")
        self.feed(self.whole)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in not in ("script", "style"):
            self.text += data


@pytest.fixture
def page(tmp_path):
    return lambda card: Page(write_card(card, tmp_path / "card.html"))


def test_the_page_says_what_the_card_says(page, card):
    checks = [*card().checks, CheckLine(name="order", status="failed", detail="row 3 counts twice")]
    text = page(card(True, checks=checks, flags=["random output"])).text
    for words in (
        "nnm >> krum",
        "2 hostile rows among 7 moved nnm >> krum to kappa = 1.25",
        "1.5 where any 5 of the 7 rows may be the honest ones",
        "3 attackers moved it without bound",
        "gradient from min_max",
        "Failed: order: row 3 counts twice",
        "Random output.",
        "41.2 % 38.1 % to 45.0 %",
        "strongest(alie)",
        "1 of 3 failed",
        "turncoat stress 'nnm >> krum' -n 7 -f 2 --suite standard-1 --level quick",
        "turncoat replay kappa.witness",
        "Linux",
    ):
        assert words in text


def test_what_a_card_does_not_have_the_page_does_not_show(page, card):
    text = page(card(kappa=math.inf, bound=None)).text
    assert "Trainings" not in text
    assert "worst draw" not in text
    assert "may be the honest ones" not in text
    assert "None of 2 failed" in text
    assert "--level calls" in text
    drawn = Worst(value=1.0, worst_draw=3.5, cloud="gaussian-1", how="mimic")
    assert "in its worst draw" in page(card(kappa=drawn)).text


def test_it_is_small_and_asks_nobody(page, card):
    found = page(card(True))
    assert len(found.whole) < 60_000
    programs = re.findall(r"<script>(.*?)</script>", found.whole, re.DOTALL)
    assert len(programs) == 1
    (policy,) = [attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(programs[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    addresses = [attrs[name] for _, attrs in found.tags for name in ("src", "href") if name in attrs]
    assert set(addresses) == {"data:,"}


def test_names_are_text(page, card, tmp_path):
    cloud = OnCloud(cloud=HOSTILE, kappa=1.0, kappa_by=HOSTILE, descent=0.0, descent_by=HOSTILE)
    checks = [CheckLine(name=HOSTILE, status="failed", detail=HOSTILE)]
    one = card(True, rule=HOSTILE, clouds=[cloud], checks=checks, flags=[HOSTILE], files={HOSTILE: HOSTILE})
    for found in (page(one), Page(write_leaderboard([one], tmp_path / "board.html"))):
        assert not [tag for tag, _ in found.tags if tag == "img"]
        assert HOSTILE not in found.whole


def test_shades_say_how_bad_a_figure_is(card):
    def shown(kappa, descent):
        cloud = OnCloud(cloud="one", kappa=kappa, kappa_by="a", descent=descent, descent_by="b")
        ((_, *cells),) = Shown(card(clouds=[cloud])).clouds
        return [cell.fill for cell in cells]

    assert shown(0.0, -1.0) == shown(2 / 3, -2.0) == ["#2f6c9c"] * 2
    assert shown(math.inf, math.inf) == shown(1e5, 1.5) == ["#9a2f1d"] * 2
    assert shown(20 / 3, 0.0) == ["#f2d9b8"] * 2


def test_the_curve_has_gaps_where_it_is_unbounded(card):
    curve = Curve.of(card(n=11, breakdown=[0.0, 0.5, math.inf, 2.0, 3.0, math.inf]))
    assert [dot.unbounded for dot in curve.dots] == [False, False, True, False, False, True]
    assert [len(line.split()) for line in curve.lines] == [2, 2]
    assert curve.dots[2].y < min(dot.y for dot in curve.dots if not dot.unbounded)
    assert curve.dots[0].y == curve.bottom  # of zero there is no logarithm
    assert curve.dots[1].y > curve.dots[3].y > curve.dots[4].y
    assert curve.dots[2].text == "2 attackers: unbounded"
    assert curve.f == curve.dots[2].x
    assert curve.unbounded
    assert Curve.of(card(breakdown=[0.1, 0.2, 0.3, 0.4])).unbounded is None


@pytest.mark.parametrize("n", [3, 4, 12, 25, 200])
@pytest.mark.parametrize("value", [0.0, 1e-12, 1.0, 1e30, math.inf])
def test_everything_is_drawn_within_the_picture(card, n, value):
    curve = Curve.of(card(n=n, f=1, breakdown=[value] * (n // 2 + 1)))
    points = [tuple(map(float, point.split(","))) for line in (*curve.lines, curve.least) for point in line.split()]
    for x, y in [*points, *((dot.x, dot.y) for dot in curve.dots)]:
        assert curve.left <= x <= curve.right
        assert 0 < y <= curve.bottom
    assert 2 <= len(curve.across) <= 13
    assert len(curve.up) <= 8


def rules(found):
    return [shown.card.rule for shown in found]


def test_the_worst_case_ranks_ties_by_the_descent_and_what_is_unbounded_last(card, tmp_path):
    cards = [
        card(rule="d", kappa=math.inf, descent=math.inf),
        card(rule="c", kappa=math.inf, descent=-0.5),
        card(rule="b", kappa=2.0, descent=0.5),
        card(rule="a", kappa=2.0, descent=-0.5),
        card(rule="e", kappa=0.7, descent=9.0),
        card(rule="other", n=25, f=5),
        card(rule="older", suite_checksum="0" * 64),
    ]
    page = Page(write_leaderboard(iter(cards), tmp_path / "board.html"))
    order = re.findall(r'<summary>(\d+)\. <span class="name">(\w+)', page.whole)
    assert order == [("1", "other"), ("1", "older"), *zip("12345", "eabcd", strict=True)]
    assert [f"#{attrs['id']}" for tag, attrs in page.tags if attrs.get("id", "").startswith("board")] == [
        attrs["href"] for tag, attrs in page.tags if tag == "a"
    ]
    assert page.text.count("No rule can promise a kappa below") == 3
    assert "7 rules · 7 cards" in page.text


def test_a_row_holds_the_figures_and_the_numbers_behind_them(card):
    checks = [CheckLine(name="order", status="failed", detail="")]
    table = board(
        [Shown(card(True, checks=checks, flags=["random output"]), "place", 1), Shown(card(bound=None), "b", 2)]
    )
    first, second = ({c.name: cell for c, cell in zip(table.columns, row, strict=True)} for row in table.rows)
    assert first["rule"].place == "place"
    assert {name: cell.text for name, cell in first.items()} == {
        "rank": "1",
        "rule": "nnm >> krum",
        "kappa": "1.25",
        "proven": "11.1",
        "descent": "43.0 %",
        "breaks at": "3",
        "worst accuracy": "41.2 % (38.1 to 45.0)",
        "price": "2.1",
        "ms": "4.56",
        "failed": "1",
        "doubts": "1",
        "kappa by": "alie(z=1.5)",
    }
    assert first["descent"].number == 0.43
    assert (second["proven"].text, second["worst accuracy"].text) == ("–", "–")
    assert second["proven"].number is None
    assert "price" not in [column.name for column in board([Shown(card())]).columns]


def test_a_folder_that_cannot_be_written_is_one_clear_error(card, tmp_path):
    (tmp_path / "file").write_text("")
    for write in (write_card, lambda card, path: write_leaderboard([card], path)):
        with pytest.raises(ResultError, match="cannot write"):
            write(card(), tmp_path / "file" / "page.html")


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as opened:
        yield opened


@pytest.fixture
def pages(card, tmp_path):
    """A card and a board, with long names and all there can be."""
    long = "my_package.my_module:" + "VeryLongName" * 4
    drawn = Worst(value=0.8, worst_draw=3.5, cloud="gaussian-1", how="signs off along component 1 at 1.25")
    checks = [CheckLine(name="order", status="failed", detail=long)]
    full = card(True, rule=long, kappa=drawn, checks=checks, flags=["random output", long])
    others = [
        card(rule="mean", kappa=math.inf, descent=math.inf, bound=None, milliseconds=0.4),
        card(rule="nnm >> bucketing(s=2) >> geometric_median(iterations=100)", kappa=9.0),
        card(rule="krum", kappa=10.0, training=msgspec.structs.replace(card(True).training, low=None, high=None)),
    ]
    return write_card(full, tmp_path / "card.html"), write_leaderboard([full, *others], tmp_path / "board.html")


@in_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_fit_and_complain_of_nothing(chromium, pages, width, dark):
    for path in pages:
        chromium.problems.clear()
        chromium.requests.clear()
        chromium.open(path, width, dark=dark)
        chromium.run("document.querySelectorAll('details').forEach(part => (part.open = true))")
        assert chromium.run("document.documentElement.scrollWidth") <= width
        assert chromium.run("Math.min(...[...document.querySelectorAll('.curve')].map(each => each.clientWidth))") > 250
        ground = chromium.run("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        assert chromium.problems == []
        assert {url for url in chromium.requests if not url.startswith("data:")} == {path.as_uri()}


SHOWN = "[...document.querySelectorAll('section tbody')[0].rows].filter(row => row.offsetHeight)"


@in_browser
def test_the_board_sorts_and_filters(chromium, pages):
    chromium.open(pages[1], 1280)
    head = "[...document.querySelectorAll('th')].find(each => each.textContent.trim() === '{}').querySelector('button')"
    kappas = f"{SHOWN}.map(row => row.cells[2].textContent.trim())"
    assert chromium.run(kappas) == ["0.8", "9", "10", "unbounded"]
    chromium.run(f"{head.format('kappa')}.click()")
    assert chromium.run(kappas) == ["0.8", "9", "10", "unbounded"]
    chromium.run(f"{head.format('kappa')}.click()")
    assert chromium.run(kappas) == ["unbounded", "10", "9", "0.8"]
    chromium.run(f"{head.format('ms')}.click()")
    assert chromium.run(kappas)[0] == "unbounded"
    search = "document.querySelector('input[type=search]')"
    chromium.run(f"{search}.value = 'krum'; {search}.dispatchEvent(new Event('input'))")
    assert chromium.run(kappas) == ["10"]


@in_browser
def test_a_rule_opens_its_card(chromium, pages):
    chromium.open(pages[1], 1280)
    assert chromium.run("document.querySelectorAll('section > details[open]').length") == 0
    chromium.run(f"{SHOWN}[3].querySelector('a').click()")
    opened = (
        "[...document.querySelectorAll('section > details[open]')].map(each => each.querySelector('.name').textContent)"
    )
    assert chromium.until(f"({opened}).length && {opened}") == ["mean"]
    assert chromium.run("document.querySelector('section > details[open] .headline').getBoundingClientRect().top") < 900


@in_browser
def test_nothing_that_a_card_says_runs(chromium, card, tmp_path):
    cloud = OnCloud(cloud=HOSTILE, kappa=1.0, kappa_by=HOSTILE, descent=0.0, descent_by=HOSTILE)
    one = card(True, rule=HOSTILE, clouds=[cloud], flags=[HOSTILE], files={HOSTILE: HOSTILE})
    for path in (write_card(one, tmp_path / "card.html"), write_leaderboard([one], tmp_path / "board.html")):
        chromium.problems.clear()
        chromium.open(path, 1280)
        title = chromium.run("document.title")
        assert title not in ("1", "2")
        assert chromium.run("document.images.length") == 0
        assert chromium.problems == []
