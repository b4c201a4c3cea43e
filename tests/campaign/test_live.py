"""How a campaign stands while it runs: counts, times left, and lines."""

import msgspec
import pytest

from turncoat.campaign.live import Lines, Standing, in_words, shown
from turncoat.campaign.messages import Done, Failed, Lost, Progress, Stopped, Warned
from turncoat.campaign.plan import Plan, Times, survey
from turncoat.spec import Spec, resolve


@pytest.fixture
def standing(tmp_path, monkeypatch):
    """Six runs, of which two workers have two, on a clock that the test moves."""
    clock = [0.0]
    monkeypatch.setattr("turncoat.campaign.live.monotonic", lambda: clock[0])
    plan = survey([Spec(n=10, f=2, rounds=100, attack="ipm(epsilon=2)", seed=seed) for seed in range(6)], tmp_path)
    made = Standing(plan, workers=2)
    return made, plan.cells, clock


def test_counts_and_times(standing):
    made, cells, clock = standing
    assert made.summary() == "0 of 6 runs done"
    made.hear(0, cells[0], Progress(rounds=0))
    made.hear(1, cells[1], Progress(rounds=0))
    assert made.seconds() is None
    clock[0] = 10.0
    assert made.hear(0, cells[0], Done(accuracy=0.9, flags=[])) == 10
    assert made.summary() == "1 of 6 runs done, 1 running, about 20 s left"  # 4 of 10 s on two workers
    made.hear(0, cells[2], Progress(rounds=0))
    clock[0] = 16.0
    made.hear(1, cells[1], Failed(error="no"))
    assert made.summary() == "1 of 6 runs done, 1 running, 1 failed, about 17 s left"
    made.hear(0, cells[2], Lost(why="gone", killed=True))
    assert made.summary() == "1 of 6 runs done, 1 failed, about 20 s left"
    assert [value for value, _ in made.ended] == [0.9]


def test_what_was_done_before_counts(standing, tmp_path):
    _, cells, _ = standing
    mixed = [msgspec.structs.replace(cell, status=status) for cell, status in zip(cells, STATUSES, strict=True)]
    plan = Plan(folder=str(tmp_path), cells=mixed)
    assert Standing(plan, 1).summary() == "2 of 6 runs done, 1 failed"
    assert Standing(plan, 1, retry_failed=True).summary() == "2 of 6 runs done"


STATUSES = ("done", "done", "failed", "stopped", "new", "again")


def test_lines_say_what_ends_and_each_warning_once(standing, capsys):
    made, cells, clock = standing
    tell = Lines(made)
    tell(0, cells[0], Progress(rounds=50))
    tell(0, cells[0], Warned(text="UserWarning: odd"))
    tell(1, cells[1], Warned(text="UserWarning: odd"))
    clock[0] = 2.0
    tell(0, cells[0], Done(accuracy=0.5, flags=["diverged"]))
    tell(1, cells[1], Failed(error="ValueError: no"))
    tell(0, cells[2], Lost(why="its process was ended by SIGKILL", killed=True))
    tell(0, cells[2], Stopped(rounds=40))
    assert capsys.readouterr().err.splitlines() == [
        "mean under ipm(epsilon=2): UserWarning: odd",
        "mean under ipm(epsilon=2): 50.0% in 2 s (diverged); 1 of 6 runs done, 1 running, about 4 s left",
        "mean under ipm(epsilon=2) FAILED: ValueError: no; 1 of 6 runs done, 1 failed, about 4 s left",
        "mean under ipm(epsilon=2) is taken up again: its process was ended by SIGKILL",
        "mean under ipm(epsilon=2) is saved after 40 of 100 rounds",
    ]


def test_nothing_is_shown_where_nobody_asks(standing):
    made, _, _ = standing
    with shown(made, quiet=True) as watch:
        assert watch is None
    with shown(made) as watch:
        assert isinstance(watch, Lines)


def test_times_are_those_of_the_runs_most_alike():
    times = Times()
    base = resolve(Spec(n=10, f=2, rounds=100, threads=1))
    assert times.of(base) is None
    times.add(base, 10.0, 100)
    times.add(resolve(Spec(n=10, f=2, rounds=100, threads=1, attack="ssnlp")), 500.0, 100)
    assert times.of(resolve(Spec(n=10, f=2, rounds=300, threads=1))) == pytest.approx(30)
    assert times.of(resolve(Spec(n=10, f=2, rounds=100, rule="krum", attack="ssnlp", threads=1))) == pytest.approx(500)
    assert times.of(resolve(Spec(task="mean_estimation", n=10, f=2))) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.04 s"), (3, "3 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h"), (3e5, "3.5 days")],
)
def test_durations(seconds, words):
    assert in_words(seconds) == words
