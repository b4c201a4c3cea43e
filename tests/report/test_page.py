"""The page needs nothing but itself, executes nothing that results say, and shows what they say."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import msgspec
import pytest
import vl_convert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turncoat.errors import ResultError
from turncoat.report.drawing import drawn, rows
from turncoat.report.export import VEGA_LITE, standalone, table
from turncoat.report.listings import runs_table
from turncoat.report.page import write_page
from turncoat.report.sections import Report
from turncoat.results import Record

HOSTILE = '</script><img src=x onerror="alert(1)">\'\\\n{{7*7}}${alert(1)}\u2028'


class Page(HTMLParser):
    """The elements of a page: tags with their attributes, scripts and the text around them."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.text, self._in = [], [], "", []
        self.whole = path.read_text(encoding="utf-8")
        self.feed(self.whole)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._in = self._in[: len(self._in) - 1 - self._in[::-1].index(tag)] if tag in self._in else self._in

    def handle_data(self, data):
        if "script" in self._in:
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif "style" not in self._in:
            self.text += data

    @property
    def payload(self):
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "report"))

    @property
    def program(self):
        return next(text for attrs, text in self.scripts if not attrs)


@pytest.fixture
def page(tmp_path):
    def write(results, title="A title"):
        return Page(write_page(results, tmp_path / "page.html", title))

    return write


@pytest.fixture
def grid(run):
    ends = {"mean": [0.9, 0.2, 0.5], "median": [0.8, 0.7, 0.6], "nnm >> krum": [0.85, 0.75, 0.8]}
    return [
        run(rule, attack, [0.1, 0.5, end], seed=seed)
        for rule, row in ends.items()
        for attack, end in zip(["none", "alie(z=8)", "sign_flip"], row, strict=True)
        for seed in range(2)
    ]


def test_the_page_says_what_happened(page, grid):
    made = page(grid)
    assert "18 runs · 3 rules · 2 attacks · 2 seeds · computed 2026-01-02" in made.text
    assert (
        "nnm >> krum ends at 75.0±0.0 % test accuracy (2 seeds) under alie(z=8), the worst of 2 attacks on it; "
        "mean ends at 20.0±0.0 % (2 seeds) under alie(z=8)." in made.text
    )
    places = {"setting0-heat", *(f"setting0-curves{i}" for i in range(3))}
    assert set(made.payload["charts"]) == places
    assert {attrs["data-chart"] for _, attrs in made.tags if "data-chart" in attrs} == places
    assert {attrs["id"] for _, attrs in made.tags if attrs.get("class") == "chart" and "id" in attrs} == places - {
        "setting0-heat"  # a table
    }


def test_a_cell_holds_its_runs_and_its_seeds(page, run):
    ends = {0: 0.2, 1: 0.4, 2: 0.6}
    made = page([run(attack="alie", values=[0.1, end], seed=seed) for seed, end in ends.items()] + [run()])
    cells = [attrs["data-runs"] for _, attrs in made.tags if "data-runs" in attrs]
    assert sorted(cells) == ["0,1,2", "3"]
    assert re.search(r"mean\s+40.0±20.0 \(3\)\s+alie\s+90.0 \(1 of 3\)\s+50.0\s", made.text)
    assert [made.payload["runs"][i]["seed"] for i in range(3)] == ["0", "1", "2"]


def test_the_page_loads_nothing(page, grid):
    made = page(grid)
    for tag, attrs in made.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "base")
    style = re.search("<style>(.*?)</style>", made.whole, re.DOTALL)
    assert style
    whole = made.text + style[1] + json.dumps(made.payload)
    assert "http://" not in whole
    assert "https://" not in whole
    assert "url(" not in whole
    assert "@import" not in whole


def test_only_the_pages_own_program_may_run(page, grid):
    made = page(grid)
    policy = next(attrs["content"] for _, attrs in made.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    integrity = base64.b64encode(hashlib.sha256(made.program.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{integrity}';" in policy
    assert len(made.scripts) == 2


def test_a_page_is_small(tmp_path, run):
    values = [0.123456789 * k / 60 for k in range(61)]
    results = [run(f"rule{i}", f"attack{j}", values) for i in range(10) for j in range(20)]
    assert write_page(results, tmp_path / "page.html").stat().st_size < 2_000_000


def test_what_was_measured_is_in_the_page_once(page, run):
    values = [0.1, 0.7654321]
    made = page(
        [run(attack="alie(z=8)", values=values), run(attack="alie(z=1)", values=values, split="dirichlet(0.1)")]
    )
    assert made.whole.count("[0.1,0.7654]") == 2


def test_names_are_text_never_markup(page, run):
    made = page([run(HOSTILE, HOSTILE, task=HOSTILE, flags=[HOSTILE]), run(HOSTILE, "none", task=HOSTILE)], HOSTILE)
    assert not [attrs for tag, attrs in made.tags if tag == "img"]
    assert not [name for _, attrs in made.tags for name in attrs if name.startswith("on")]
    assert len(made.scripts) == 2
    assert made.text.count(HOSTILE) >= 8
    assert "49" not in made.text.split("All runs")[0]
    assert set(made.payload["charts"]["setting0-heat"]["columns"]["rule"]) == {HOSTILE}
    assert {run["rule"] for run in made.payload["runs"]} == {HOSTILE}


def test_no_name_is_part_of_a_program(run):
    drawn = Report([run(HOSTILE, HOSTILE, task=HOSTILE), run(HOSTILE, task=HOSTILE, seed=3)])

    def programs(spec):
        if isinstance(spec, dict):
            for key, value in spec.items():
                if key in ("test", "expr", "signal", "labelExpr", "calculate") or (key == "filter" and value != {}):
                    yield json.dumps(value)
                yield from programs(value)
        elif isinstance(spec, list):
            for item in spec:
                yield from programs(item)

    found = [text for chart in drawn.charts.values() for text in programs(chart.spec)]
    assert found
    assert not any("img" in text for text in found)


names = st.text(max_size=12)
values = st.lists(st.none() | st.floats(), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.lists(
        st.tuples(names, names, values, st.sampled_from(["test_accuracy", "test_loss", "error"]), st.integers(7, 9)),
        max_size=5,
    )
)
def test_any_results_make_a_page(page, run, shapes):
    results = []
    for rule, attack, measured, metric, n in shapes:
        if metric == "error":
            measured = [value for value in measured if value is not None]
        results.append(run(rule, attack, measured, metric=metric, n=n))
    made = page(results)
    assert len(made.scripts) == 2
    json.dumps(made.payload, allow_nan=False)


def test_charts_compile(run):
    odd = [run("krum", "alie", [2.0, math.nan], "error"), run("a \"b' >> \\c", "none", [1e-3, 1e3], "error")]
    for results in (odd, [run(HOSTILE, HOSTILE), run("mean", HOSTILE), run("mean")]):
        drawn = Report(results)
        for chart in drawn.charts.values():
            svg = vl_convert.vegalite_to_svg(standalone(chart, drawn.runs), vl_version=VEGA_LITE)
            assert svg.startswith("<svg")
            assert "<img" not in svg


def test_what_is_not_finite_is_a_gap(run):
    report = Report([run(values=[0.5, math.nan, math.inf, None, 0.7])])
    chart = report.charts["setting0-curves0"]
    assert [row["value"] for row in drawn(chart, report.runs)] == [0.5, None, None, 0.7]
    assert [str(row["value"]) for row in rows(chart, report.runs)] == ["0.5", "nan", "inf", "0.7"]
    assert table(chart, report.runs).splitlines()[1:3] == ["mean,no attack,0,0,0.5", "mean,no attack,0,10,nan"]


def test_one_run_and_no_run(page, run):
    assert "Without attack, mean ends at 90.0 % test accuracy (1 seed)." in page([run()]).text
    assert "0 runs" in page([]).text


def test_flags_and_gaps_are_said(page, run):
    made = page([run("krum", "alie", [0.5], flags=["did not learn"]), run("mean", "ipm", [0.4])])
    assert "1 of 2 runs carries a flag" in made.text
    assert "did not learn" in made.text
    assert "not met" in made.text
    assert re.search(r"krum\s+50.0 \(1\)\s+alie\s+–\s+–\s+ipm", made.text)


def test_a_backdoor_is_no_harmless_attack(page, run):
    door = [Record(round=0, test_accuracy=0.1), Record(round=10, test_accuracy=0.9, extra={"attack_success": 1.0})]
    results = [run(), run(attack="alie", values=[0.1, 0.8]), msgspec.structs.replace(run(attack="door"), records=door)]
    made = page(results)
    assert "there are backdoors, which accuracy says nothing of" in made.text
    assert re.search(r"how often the trigger works, in %\s+door\s+mean\s+100.0 \(1\)", made.text)
    assert made.payload["charts"]["setting0-backdoors"]["columns"]["value"] == [1.0]
    assert [attrs["style"] for _, attrs in made.tags if "style" in attrs][-1].startswith("--cell: #9a2f1d")  # the worst
    assert "setting0-backdoors" not in page(results[:2]).payload["charts"]


def test_every_run_says_what_it_was_computed_with(page, run):
    other = msgspec.structs.replace(run().environment, torch="2.13")
    results = [
        run(),
        msgspec.structs.replace(run(seed=1), data_checksum="2" * 64, files={"mine.py": "a" * 64}),
        msgspec.structs.replace(run(seed=2), environment=other),
    ]
    names = [column.name for column in runs_table(results).columns]
    cells = [dict(zip(names, (cell.text for cell in row), strict=True)) for row in runs_table(results).rows]
    assert [cell["environment"] for cell in cells] == ["1", "1", "2"]
    assert [cell["data"][-13:-1] for cell in cells] == ["1" * 12, "2" * 12, "1" * 12]
    assert [cell["file mine.py"] for cell in cells] == ["–", "sha256 " + "a" * 12, "–"]
    assert "sha256 aaaaaaaaaaaa" in page(results).text
    assert "environment" not in [column.name for column in runs_table(results[:2]).columns]


def test_a_run_that_measured_nothing_has_no_unit(run):
    assert [cell.text for cell in runs_table([run(values=[])]).rows[0][3:5]] == ["–", "–"]
    assert [cell.text for cell in runs_table([run(values=[2.0], metric="error")]).rows[0][3:5]] == ["2 error"] * 2


def test_the_weakest_rule_is_named_last(page, run):
    ends = {("best", "alie"): 0.8, ("best", "ipm"): 0.7, ("weak", "alie"): 0.3, ("weak", "ipm"): 0.2}
    results = [
        run(*cell, [0.1, end]) for cell, end in {**ends, ("spared", "alie"): 0.9, ("mean", "none"): 0.95}.items()
    ]
    assert "; weak ends at 20.0 % (1 seed) under ipm." in page(results).text


def test_bands_are_explained_where_there_are_several_seeds(page, run):
    results = [run(attack=f"alie(z={z})") for z in (1, 2)]
    assert "Strength sweeps" in page(results).text
    assert "mean over the seeds; band" not in page(results).text
    assert page([*results, run(attack="alie(z=1)", seed=1)]).text.count("mean over the seeds; band") == 2


def test_many_attacks_stand_in_rows_of_a_page(page, run):
    made = page([run(rule, f"alie(z={z})", [0.1, z / 100]) for rule in ("mean", "krum") for z in range(13)])
    assert re.search(r"krum\s*mean\s+alie\(z=0\)\s+0.0 \(1\)\s+0.0 \(1\)\s+alie\(z=1\)\s+1.0", made.text)


def test_a_page_that_cannot_be_written_is_an_error(tmp_path, run):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultError, match=r"cannot write page\.html"):
        write_page([run()], tmp_path / "file" / "page.html")
