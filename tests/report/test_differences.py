"""Two folders beside each other: what is the same run, what moved beyond the seeds' spread, what is bit-identical."""

import math

import msgspec
import pytest

from turncoat.report.differences import differences
from turncoat.report.page import write_differences

NAMES = ("before", "after")


def ends(run, values, **fields):
    return [run("krum", "alie", [0.1, value], seed=seed, **fields) for seed, value in enumerate(values)]


@pytest.mark.parametrize(
    ("before", "after", "beyond"),
    [
        ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], False),
        ([0.5, 0.6, 0.7], [0.55, 0.65, 0.75], False),
        ([0.5, 0.6, 0.7], [0.3, 0.4, 0.5], True),
        ([0.5, 0.6, 0.7], [0.5, 0.6, math.nan], True),
        ([0.5, math.nan], [0.5, math.nan], False),
        ([0.5, math.nan], [math.nan, 0.5], True),
        ([0.5, math.nan], [0.6, math.nan], False),
        ([0.5, 0.5], [0.51, 0.51], True),
        ([0.5], [0.9], None),
    ],
)
def test_beyond_the_spread(run, before, after, beyond):
    found = differences(ends(run, before), ends(run, after), NAMES)
    (change,) = found.changes
    assert change.beyond is beyond
    assert change.a.seeds == len(before)
    if beyond:
        assert "Beyond the seeds' spread changed 1 cell of 1: krum under alie from " in found.headline


def test_bit_identical_is_more_than_the_same_final_value(run):
    a = [run(values=[0.1, 0.9]), run(values=[math.nan, 0.9], seed=1), run(values=[0.2, 0.9], seed=2)]
    b = [run(values=[0.1, 0.9]), run(values=[math.nan, 0.9], seed=1), run(values=[0.2, 0.9], seed=2)]
    first, *others = a[2].records
    b[2] = msgspec.structs.replace(a[2], records=[msgspec.structs.replace(first, test_loss=1.0), *others])
    found = differences(a, b, NAMES)
    assert [pair.identical for pair in found.pairs] == [True, True, False]
    assert found.changes[0].identical == 2
    assert found.changes[0].moved == 0
    assert found.headline.startswith("3 runs are in both folders, 2 bit-identical in all that was measured.")


def test_runs_are_paired_by_what_was_run_not_by_what_computed_it(run):
    a = [run(), run(lr=0.2), run(seed=1), run(threads=1)]
    b = [run(lr=0.3), run(seed=1), run(threads=2), run(threads=4)]
    found = differences(a, b, NAMES)
    assert len(found.pairs) == 3
    assert [result.spec.lr for result in found.only[0]] == [0.2]
    assert [result.spec.lr for result in found.only[1]] == [0.3]
    assert "1 run only in before. 1 run only in after." in found.headline


def test_the_whole_spec_is_paired_first(run):
    a, b = [run(threads=1, values=[0.1]), run(threads=2, values=[0.2])], [run(threads=2, values=[0.2])]
    (pair,) = differences(a, b, NAMES).pairs
    assert pair.identical


def test_what_computed_them_is_compared(run):
    a = [run(seed=seed) for seed in range(3)]
    environment = msgspec.structs.replace(a[0].environment, torch="2.13")
    b = [msgspec.structs.replace(result, environment=environment) for result in a[:2]] + a[2:]
    b[0] = msgspec.structs.replace(b[0], source_hash="f" * 64, files={"mine.py": "a" * 64})
    assert differences(a, b, NAMES).computed == [
        "own file mine.py – → aaaaaaaaaaaa (1 run)",
        "torch 2.6 → 2.13 (2 runs)",
        "turncoat's code 000000000000 → ffffffffffff (1 run)",
    ]


def test_a_page_and_plain_figures(run, tmp_path):
    a, b = ends(run, [0.5, 0.6]), [*ends(run, [0.2, 0.3]), run("<b>", "none")]
    found = differences(a, b, NAMES)
    page = write_differences(found, tmp_path / "compare.html").read_text()
    assert "krum under alie from 55.0±7.1 (2) to 25.0±7.1 (2)" in page
    assert "-30.0" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page.replace("<b></b>", "").split("<script")[0].split("<body>")[1]
    assert found.plain()["cells"][0]["beyond_spread"] is True
    assert found.plain()["only_in_b"] == 1


def test_runs_of_one_seed_count_as_one(run):
    a, b = ([run("krum", "alie", [0.1, end], threads=threads) for threads in (1, 2)] for end in (0.5, 0.51))
    (change,) = differences(a, b, NAMES).changes
    assert (change.a.seeds, change.runs, change.beyond) == (1, 2, None)


def test_a_clean_cell_that_several_settings_share_is_one(run):
    attacked = [run("krum", "alie", [0.1, 0.5], f_actual=count) for count in (1, 2, 3)]
    a, b = ([run("krum", "none", [0.1, end], seed=seed) for seed in (0, 1)] for end in (0.9, 0.7))
    found = differences([*attacked, *a], [*attacked, *b], NAMES)
    assert "Beyond the seeds' spread changed 1 cell of 4: krum under no attack" in found.headline


def test_folders_with_nothing_in_common(run, tmp_path):
    found = differences([run(lr=0.2)], [run(lr=0.3)], NAMES)
    assert found.headline == "0 runs are in both folders, 0 bit-identical in all that was measured. " + (
        "1 run only in before. 1 run only in after."
    )
    assert write_differences(found, tmp_path / "compare.html").exists()
