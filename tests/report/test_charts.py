"""What is drawn: means and bands over the seeds, heat maps, sweeps, phases and plans; and the files of all that."""

import csv
import math
import re

import msgspec
import pytest
import vl_convert

from turncoat.errors import ResultError
from turncoat.report.charts import colour, heat_map, phases, plans, shades
from turncoat.report.drawing import COLOURS, drawable, rows, seeds_text, styles
from turncoat.report.export import VEGA_LITE, drawings, standalone, write_charts
from turncoat.report.page import _spelled
from turncoat.report.sections import Report
from turncoat.results.comparison import compare
from turncoat.results.result import Planned
from turncoat.spec import Seeds


def told(report, place):
    """What the tooltips of a drawn chart say: a dictionary a point."""
    svg = vl_convert.vegalite_to_svg(standalone(report.charts[place], report.runs), vl_version=VEGA_LITE)
    labels = re.findall(r'aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="circle"', svg)
    return [dict(part.split(": ", 1) for part in label.split("; ")) for label in labels]


def test_a_line_is_the_mean_at_rounds_that_all_runs_measured_in_a_band_of_all(run):
    report = Report([run(values=[0.1, 0.2], seed=0), run(values=[0.3, 0.6, 0.9], seed=1), run("krum", values=[0.5])])
    points = [point for point in told(report, "setting0-curves0") if point["rule"] == "mean"]
    assert [(point["round"], point["test accuracy"], point["lowest"], point["highest"]) for point in points] == [
        ("0", "20.0%", "10.0%", "30.0%"),
        ("10", "40.0%", "20.0%", "60.0%"),
    ]
    assert {point["seeds"] for point in points} == {"2"}


def lines(report, place):
    """The mean lines of a drawn chart: of each, the moves of its path."""
    svg = vl_convert.vegalite_to_svg(standalone(report.charts[place], report.runs), vl_version=VEGA_LITE)
    return re.findall(r'aria-roledescription="line mark" d="([^"]*)"', svg)


def test_a_line_has_a_gap_where_a_run_is_not_finite(run):
    report = Report([run(values=[0.1, 0.2, math.nan, 0.3, 0.4], seed=0), run(values=[0.3] * 5, seed=1)])
    assert [point["round"] for point in told(report, "setting0-curves0")] == ["0", "10", "30", "40"]
    (line,) = lines(report, "setting0-curves0")
    assert line.count("M") == 2


def test_a_line_goes_on_where_a_run_was_not_measured(run):
    rarely = run(values=[0.1, None, 0.3], seed=0)
    (line,) = lines(Report([rarely, run(values=[0.1, 0.2, 0.3], seed=1)]), "setting0-curves0")
    assert (line.count("M"), line.count("L")) == (1, 1)


def test_runs_of_one_seed_are_one_in_a_line(run):
    results = [run(values=[0.1, end], threads=threads) for threads, end in ((1, 0.2), (2, 0.4))]
    point = told(Report([*results, run(values=[0.1, 0.9], seed=1)]), "setting0-curves0")[-1]
    assert (point["seeds"], point["test accuracy"], point["lowest"]) == ("2", "60.0%", "30.0%")


def test_panels_of_one_setting_have_the_same_axes(run):
    report = Report([run(values=[5.0, 0.2], metric="test_loss"), run("mean", "alie", [5.0, 9.0, 7.0], "test_loss")])
    specs = [report.charts[f"setting0-curves{i}"].spec for i in range(2)]
    assert specs[0] == specs[1]
    x, y = (specs[0]["layer"][0]["layer"][1]["encoding"][name]["scale"] for name in "xy")
    assert x["domain"] == [0, 20]
    assert y["domain"] == [0.0, 9.0]


@pytest.mark.parametrize(
    ("values", "kind", "domain"),
    [
        ([0.5, 0.9], None, [0.0, 0.9]),
        ([0.01, 90.0], "log", [0.01, 90.0]),
        ([0.5, 3.0, 1e30], "log", [0.5, 1e30]),
        ([1e-300, 1e-90, 90.0], "symlog", [0, 90.0]),
        ([0.0, 1e-9, 90.0], "symlog", [0, 90.0]),
        ([-1.0, 900.0, 1e-3], None, [-1.0, 900.0]),
        ([math.nan], None, [0.0, 1.0]),
        ([0.0], None, [0.0, 1.0]),
    ],
)
def test_what_spans_magnitudes_has_a_logarithmic_axis(run, values, kind, domain):
    report = Report([run(values=values, metric="error")])
    scale = report.charts["setting0-curves0"].spec["layer"][0]["layer"][1]["encoding"]["y"]["scale"]
    assert scale.get("type") == kind
    assert scale["domain"] == domain


def test_a_rule_keeps_its_look():
    looks = styles(f"rule{i:02}" for i in range(16))
    assert len({(look.colour, tuple(look.dash)) for look in looks.values()}) == 16
    assert looks["rule00"].colour == COLOURS[0]


def test_a_rule_has_the_same_look_in_every_setting(run):
    report = Report([run("a", "alie"), run("b", "alie"), run("b", "alie", n=20)])
    for section in report.sections:
        assert section.legend["b"].colour == COLOURS[1]


def test_numbers_are_short():
    assert _spelled([0.123456, 1234567.0, math.nan, math.inf, None, 7]) == [0.1235, 1235000.0, "nan", "inf", None, 7]
    assert [drawable(value) for value in (0.123456, math.nan, math.inf, 1e300, None)] == [0.123456] + [None] * 4


def test_seeds_have_names():
    assert seeds_text(Seeds.derive(12)) == "12"
    zero, two = Seeds.derive(0), Seeds.derive(2)
    mixed = Seeds(data=two.data, model=zero.model, server=zero.server, adversary=77)
    assert seeds_text(mixed) == "data 2, model 0, server 0, adversary 77"


def test_the_heat_map_marks_the_worst(run):
    ends = {"none": 0.9, "alie": 0.2, "ipm": 0.4}
    (comparison,) = compare([run(attack=attack, values=[end]) for attack, end in ends.items()])
    columns = heat_map(comparison).columns
    assert list(zip(columns["attack"], columns["_mean"], columns["worst"], strict=True)) == [
        ("no attack", "90.0", False),
        ("alie", "20.0", True),
        ("ipm", "40.0", False),
    ]


def test_shades_run_from_worst_to_best(run):
    ends = {"none": 0.1, "alie": 50.0, "ipm": math.nan}
    (comparison,) = compare([run(attack=attack, values=[end], metric="error") for attack, end in ends.items()])
    assert shades(comparison) == {("mean", "none"): 1.0, ("mean", "alie"): 0.0, ("mean", "ipm"): 0.0}


def test_a_run_that_diverges_does_not_take_the_others_shades(run):
    ends = {"none": 0.001, "alie": 0.1, "ipm": 1e12, "rop": 0.0}
    (comparison,) = compare([run(attack=attack, values=[end], metric="error") for attack, end in ends.items()])
    found = {attack: shade for (_, attack), shade in shades(comparison).items()}
    assert (found["none"], found["rop"], found["ipm"]) == (1.0, 1.0, 0.0)
    assert found["alie"] == pytest.approx(1 - 2 / 15)  # two of fifteen decades


@pytest.mark.parametrize("i", range(21))
def test_text_on_a_colour_can_be_read(i):
    ground, ink = colour(i / 20)

    def luminance(code):
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((luminance(ground), 1.0 if ink == "#fff" else 0.0), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5  # WCAG 2, AA


def test_time_is_stacked_by_phase(run):
    timings = {"rule": 3.0, "gradients": 1.0, "evaluation": 0.5}
    results = [msgspec.structs.replace(run(seed=seed), timings=timings | {"rule": 3.0 + seed}) for seed in (0, 2)]
    chart = phases(compare(results)[0])
    assert list(zip(chart.columns["phase"], chart.columns["seconds"], strict=True)) == [
        ("gradients", 1.0),
        ("rule", 4.0),
        ("evaluation", 0.5),
    ]
    assert phases(compare([run()])[0]) is None


def test_plans_say_who_won(run):
    def planned(t, value):
        tried = {"ssnlp": value, "beam": 1e31}
        fields = {"objective": "loss", "winner": "ssnlp", "value": value, "simulated_rounds": 9, "tried": tried}
        return Planned(round=t, rounds=2, **fields)

    result = msgspec.structs.replace(run("krum", "ssnlp(l=2)"), plans=[planned(0, 1.5), planned(2, 2.5)])
    chart = plans([result], "plans", "a setting")
    assert [row for row in rows(chart, []) if row["won"]] == [
        {"seed": "0", "round": 0, "way": "ssnlp", "value": 1.5, "won": True},
        {"seed": "0", "round": 2, "way": "ssnlp", "value": 2.5, "won": True},
    ]
    assert {row["value"] for row in rows(chart, []) if row["way"] == "beam"} == {math.inf}
    (section,) = Report([result]).sections
    assert section.winners == [("krum", "ssnlp(l=2)", 2, "ssnlp 2")]
    assert list(section.plans) == ["setting0-plans0"]


def test_every_chart_is_written(run, tmp_path):
    attacks = ["none", "alie(z=1.5)", "alie(z=8)"]
    report = Report([run(rule, attack, [0.1, 0.5]) for rule in ("mean", "a > b") for attack in attacks])
    done = []
    written = write_charts(report, tmp_path / "charts", done.append)
    assert done == list(range(1, drawings(report) + 1))
    assert sorted(written) == sorted((tmp_path / "charts").iterdir())
    heat = tmp_path / "charts" / "setting0-heat-final-test-accuracy-in-rules-against-attacks.png"
    assert heat.read_bytes().startswith(b"\x89PNG")
    assert "alie(z=1.5)" in (tmp_path / "charts" / "setting0-curves.svg").read_text()
    lines = (tmp_path / "charts" / "setting0-curves1-test-accuracy-alie-z-1-5.csv").read_text().splitlines()
    assert list(csv.reader(lines))[:2] == [
        ["rule", "attack", "seed", "round", "test_accuracy"],
        ["mean", "alie(z=1.5)", "0", "0", "0.1"],
    ]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultError, match="cannot write"):
        write_charts(report, tmp_path / "file")


def test_names_that_no_svg_can_hold_are_drawn(run, tmp_path):
    write_charts(Report([run("a\x1bb", "x\x00"), run("a\x1bb")]), tmp_path)
    assert "a\ufffdb" in (tmp_path / "setting0-curves0-test-accuracy-no-attack.svg").read_text()


@pytest.mark.parametrize(("count", "across"), [(12, "attack"), (13, "rule")])
def test_many_attacks_stand_in_rows_of_a_heat_map(run, count, across):
    (comparison,) = compare([run(attack=f"alie(z={z})") for z in range(count)])
    assert heat_map(comparison).spec["layer"][0]["encoding"]["x"]["field"] == across
