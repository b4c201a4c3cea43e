"""Charts of one run and of several: which panels, which rows, what diverged runs do to them, and that they render."""

import json
import math

import msgspec
import pytest
import vl_convert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turncoat.results import Record
from turncoat.results.plots import COLOURS
from turncoat.spec import Seeds, Spec, resolve

SPIRAL = [(0.0, 0.0), (1.0, 0.5), (2.5, 1.5), (2.0, 2.5)]
HOSTILE = '</script><img src=x onerror="alert(1)">\'\\\n{{7*7}}${alert(1)}\u2028'


def way(points, optimum=(2.0, 2.0)):
    """The records of a model that goes through these points, one a round."""
    return [
        Record(round=t, extra={"error": math.dist(point, optimum), "theta_1": point[0], "theta_2": point[1]})
        for t, point in enumerate(points)
    ]


@pytest.fixture(scope="module")
def in_plane(make_result):
    """A run of mean estimation through these points; rule and attack need not exist."""

    def make(points=SPIRAL, attack="none", rule="median", task="mean_estimation/point", optimum=(2.0, 2.0), **fields):
        spec = msgspec.structs.replace(resolve(Spec(n=12, f=5)), rule=rule, attack=attack, task=task)
        return make_result(**{"spec": spec, "records": way(points, optimum), **fields})

    return make


def drawn(chart):
    """A chart's panels by their titles, each with its rows."""
    plain = chart.to_dict()
    panels = {panel["title"]["text"]: panel for panel in plain["hconcat"]}
    return {title: panel | {"rows": plain["datasets"][title]} for title, panel in panels.items()}


def rows(panel):
    return panel["rows"]


def names(panel):
    """The lines of a panel in the order of the legend."""
    return panel["layer"][0]["encoding"]["color"]["scale"]["domain"]


def marks(panel):
    """The points of interest: start and optimum."""
    return {
        (value["mark"], value["theta_1"], value["theta_2"])
        for layer in panel["layer"]
        if "data" in layer
        for value in layer["data"]["values"]
    }


def domain(panel, channel):
    return panel["layer"][0]["encoding"][channel]["scale"]["domain"]


def test_a_trajectory_and_its_distance(in_plane):
    chart = in_plane(attack="mimic").plot()
    panels = drawn(chart)
    assert list(panels) == ["trajectory", "distance to the optimum"]
    plane, curve = panels.values()
    assert [(row["round"], row["theta_1"], row["theta_2"]) for row in rows(plane)] == [
        (t, *point) for t, point in enumerate(SPIRAL)
    ]
    line = plane["layer"][0]
    assert line["mark"]["type"] == "line"
    assert line["encoding"]["order"]["field"] == "round"
    assert (line["encoding"]["x"]["field"], line["encoding"]["y"]["field"]) == ("theta_1", "theta_2")
    assert line["encoding"]["color"]["legend"] is None
    assert marks(plane) == {("start", 0.0, 0.0), ("optimum", 2.0, 2.0)}
    assert [row["distance to the optimum"] for row in rows(curve)] == [math.dist(p, (2.0, 2.0)) for p in SPIRAL]
    assert chart.to_dict()["title"] == "mean_estimation/point: median under mimic"
    tooltip = plane["layer"][2]["encoding"]["tooltip"]
    assert [tip["field"] for tip in tooltip] == ["run", "round", "theta_1", "theta_2"]


def test_both_axes_have_one_scale_and_hold_all_points(in_plane):
    plane = drawn(in_plane([(0.0, 0.0), (-1.0, 7.0), (0.5, 3.0)]).plot())["trajectory"]
    x, y = domain(plane, "x"), domain(plane, "y")
    assert x[1] - x[0] == pytest.approx(y[1] - y[0])
    assert plane["width"] == plane["height"]
    assert x[0] <= -1.0 < 2.0 <= x[1]
    assert y[0] <= 0.0 < 7.0 <= y[1]


@pytest.mark.parametrize(
    ("task", "flags", "optimum"),
    [
        ("mean_estimation(mean=-3)/point", [], {-3.0}),
        ("mean_estimation(std=0.5)/point", [], {2.0}),
        ("mine.py:points/point", [], set()),
        ("mean_estimation/point", ["the dataset is an object: the spec cannot make it again"], set()),
    ],
)
def test_the_optimum_is_marked_where_it_is_known(in_plane, task, flags, optimum):
    plane = drawn(in_plane(task=task, flags=flags).plot())["trajectory"]
    assert {x for mark, x, y in marks(plane) if mark == "optimum" and x == y} == optimum


def test_several_trajectories_keep_their_colours(in_plane):
    attacks = ["alie(z=1.5)", "sign_flip", "ipm(epsilon=0.1)", "mimic", "min_max", "min_sum", "fang_krum", "rop"]
    runs = [in_plane([(0.0, 0.0), (1.0, k / 10)], attack) for k, attack in enumerate(attacks)]
    chart = runs[0].plot(*runs[1:])
    plane, curve = drawn(chart).values()
    assert names(plane) == names(curve) == attacks
    for panel in (plane, curve):
        scales = {
            channel: layer["encoding"][channel]["scale"]
            for layer in panel["layer"]
            for channel in ("color", "shape", "strokeDash")
            if channel in layer["encoding"]
        }
        looks = {channel: dict(zip(s["domain"], map(str, s["range"]), strict=True)) for channel, s in scales.items()}
        assert len({tuple(look[attack] for look in looks.values()) for attack in attacks}) == len(attacks)
        assert [looks["color"][attack] for attack in attacks] == [*COLOURS, COLOURS[0]]
    assert [row["run"] for row in rows(plane)] == [attack for attack in attacks for _ in range(2)]
    assert marks(plane) == {("start", 0.0, 0.0), ("optimum", 2.0, 2.0)}
    assert chart.to_dict()["title"] == "mean_estimation/point, median"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([{"attack": "mimic"}, {"attack": "none"}], ["mimic", "no attack"]),
        ([{"rule": "krum"}, {"rule": "mean"}], ["krum, no attack", "mean, no attack"]),
        ([{"rule": "krum", "attack": "rop"}, {}], ["krum, rop", "mean, no attack"]),
        ([{"seed": Seeds.derive(3)}, {"seed": Seeds.derive(12)}], ["seed = 3", "seed = 12"]),
        (
            [{"seed": Seeds(data=5, model=1, server=1, adversary=2)}, {}],
            ["seed = data 5, model 1, server 1, adversary 2", "seed = 0"],
        ),
        ([{"attack": "rop", "seed": Seeds.derive(1)}, {}], ["rop, seed = 1", "no attack, seed = 0"]),
        ([{"lr": 0.5, "local_lr": 0.5}, {}], ["lr = 0.5", "lr = 0.1"]),
        ([{"f": 2, "f_actual": 2}, {}, {"f_actual": 1}], ["f = 2", "f = 3", "f = 3, f_actual = 1"]),
        ([{"clip": 2.0, "threads": 4}, {}], ["clip = 2.0", "clip = None"]),
        ([{"threads": 4}, {"threads": 2}], ["threads = 4", "threads = 2"]),
        ([{"attack": "rop"}, {}, {}], ["rop", "no attack #1", "no attack #2"]),
        ([{}, {}], ["digits/softmax: mean under none #1", "digits/softmax: mean under none #2"]),
    ],
)
def test_the_legend_says_what_differs(make_result, fields, expected):
    spec = resolve(Spec(n=10, f=3))
    runs = [make_result(spec=msgspec.structs.replace(spec, **changed)) for changed in fields]
    panels = drawn(runs[0].plot(*runs[1:]))
    assert all(names(panel) == expected for panel in panels.values())


def test_several_ordinary_runs(make_result):
    spec = resolve(Spec(n=10, f=3))
    runs = [make_result(spec=msgspec.structs.replace(spec, attack=attack)) for attack in ("none", "mimic")]
    panels = drawn(runs[0].plot(*runs[1:]))
    assert list(panels) == ["test accuracy", "test loss", "training loss"]
    assert [(row["run"], row["round"], row["training loss"]) for row in rows(panels["training loss"])] == [
        ("no attack", 15, 0.3), ("no attack", 30, 0.2), ("mimic", 15, 0.3), ("mimic", 30, 0.2),
    ]  # fmt: skip
    assert {tuple(domain(panel, "x")) for panel in panels.values()} == {(0, 30)}
    assert domain(panels["test accuracy"], "y") == [0, 1]
    bare = make_result(spec=runs[0].spec, records=[Record(round=0, test_accuracy=0.2, test_loss=1.0)])
    assert list(drawn(bare.plot(runs[1]))) == ["test accuracy", "test loss"]


def test_runs_of_which_one_has_no_way_in_the_plane(in_plane, make_result):
    assert list(drawn(in_plane().plot(make_result()))) == ["test accuracy", "test loss"]


def test_many_rounds_are_marked_sparsely(in_plane):
    plane, curve = drawn(in_plane([(math.cos(t), math.sin(t)) for t in range(300)]).plot()).values()
    for panel in (plane, curve):
        assert len(rows(panel)) == 300
        assert 20 <= sum(row["marked"] for row in rows(panel)) <= 25
    assert all(row["marked"] for row in rows(drawn(in_plane().plot())["trajectory"]))


def test_a_run_that_goes_far_leaves_the_frame(in_plane):
    away = [(-(3.0**t), -2 * 3.0**t) for t in range(70)]
    chart = in_plane(attack="mimic").plot(in_plane([(0.0, 0.0), *away, (math.nan, 0.0), (math.inf, 1.0)]))
    plane, curve = drawn(chart).values()
    (low, high), gone = domain(plane, "y"), [row for row in rows(plane) if row["run"] == "no attack"]
    assert -15 < low < high < 15
    assert len(gone) == 71
    assert all(abs(row["theta_1"]) + abs(row["theta_2"]) < 1e5 for row in gone)
    assert gone[-1]["theta_1"] < domain(plane, "x")[0]
    assert (gone[-1]["theta_2"] - 2) / (gone[-1]["theta_1"] - 2) == pytest.approx(2.0)
    assert curve["layer"][0]["encoding"]["y"]["scale"]["type"] == "log"


@pytest.mark.parametrize(
    ("losses", "kind", "expected"),
    [
        ([2.3, 0.04], None, [0.0, 2.3]),
        ([2.3, 0.0], None, [0.0, 2.3]),
        ([2.3, 0.02], "log", [0.02, 2.3]),
        ([2.3, 0.0, 1e38], "symlog", [0, 1e38]),
        ([2.3, -1.0, 1e38], None, [-1.0, 1e38]),
        ([0.0, 0.0], None, [0.0, 1.0]),
        ([-2.0, -1.0], None, [-2.0, 0.0]),
        ([1.0, math.inf, math.nan, 1e300], None, [0.0, 1.0]),
    ],
)
def test_an_axis_over_two_decades_is_logarithmic(make_result, losses, kind, expected):
    result = make_result(records=[Record(round=t, test_loss=loss) for t, loss in enumerate(losses)])
    scale = drawn(result.plot())["loss"]["layer"][0]["encoding"]["y"]["scale"]
    assert scale.get("type") == kind
    assert scale["domain"] == expected


numbers = st.floats() | st.sampled_from([1e38, -1e38, 3.4e38, 1e100, -1e100, 1e308, 0.0])


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(ways=st.lists(st.lists(st.tuples(numbers, numbers, numbers), max_size=5), min_size=1, max_size=3))
def test_no_values_break_a_chart(make_result, ways):
    spec = resolve(Spec(task="mean_estimation", n=12, f=5))
    runs = [
        make_result(
            spec=spec,
            records=[
                Record(round=t, test_loss=a, train_loss=b, extra={"error": c, "theta_1": a, "theta_2": b})
                for t, (a, b, c) in enumerate(points)
            ],
        )
        for points in ways
    ]
    chart = runs[0].plot(*runs[1:]).to_dict()
    json.dumps(chart, allow_nan=False)
    for panel in chart["hconcat"]:
        for channel in "xy":
            low, high = domain(panel, channel)
            assert low < high
            assert math.isfinite(high - low)


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e38, -1e38, 1e99, math.nan, math.inf])
def test_charts_of_diverged_runs_render(in_plane, value):
    odd = in_plane([(0.0, 0.0), (1.0, value), (value, -value), (value, value)], attack=HOSTILE, rule=HOSTILE)
    for chart in (odd.plot(), odd.plot(in_plane()), in_plane([(value, value)]).plot()):
        svg = vl_convert.vegalite_to_svg(chart.to_json())
        assert svg.startswith("<svg")
        assert "NaN" not in svg
        assert "Infinity" not in svg


def test_a_chart_is_saved_as_a_picture(in_plane, make_result, tmp_path):
    image = pytest.importorskip("PIL.Image")
    attacks = ["alie(z=1.5)", "sign_flip", "ipm(epsilon=0.1)"]
    runs = [in_plane([(0.0, 0.0), (1.0, k), (3.0 - k, 2.0)], attack) for k, attack in enumerate(attacks)]
    for several in (runs, [make_result(), make_result()]):
        several[0].plot(*several[1:]).save(tmp_path / "runs.png")
        picture = image.open(tmp_path / "runs.png").convert("RGB")
        assert picture.width > 600
        assert picture.height > 250
        seen = {f"#{r:02X}{g:02X}{b:02X}" for _, (r, g, b) in picture.getcolors(maxcolors=1 << 24)}
        assert seen >= {"#FFFFFF", *COLOURS[: len(several)]}
    runs[0].plot(*runs[1:]).save(tmp_path / "runs.svg")
    assert all(attack in (tmp_path / "runs.svg").read_text() for attack in attacks)
