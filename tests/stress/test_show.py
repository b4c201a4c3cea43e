"""What the terminal says of a score card, and of a witness."""

import io
import math

import pytest
import torch
from rich.console import Console

from turncoat.stress.card import CheckLine, Worst
from turncoat.stress.show import compared, print_card, print_replay
from turncoat.stress.siege import Seen
from turncoat.stress.witness import About, Witness
from turncoat.stress.words import breaks_at


def printed(card, files=(), width=200):
    file = io.StringIO()
    print_card(Console(file=file, width=width, highlight=False), card, files)
    return file.getvalue()


def test_the_worst_cases_stand_beside_their_bounds(card):
    text = printed(card())
    assert "nnm >> krum with f = 2 hostile rows among n = 7" in text
    kappa = next(line for line in text.splitlines() if line.startswith(" kappa"))
    assert kappa.split() == ["kappa", "1.25", "gaussian-512", "alie(z=1.5)"]
    assert "no rule can promise less than 0.667, and 11.1 is proven for this one" in " ".join(text.split())
    assert "keeps 43.0 % of the descent" in text
    assert "worst draw" not in text


def test_an_update_that_climbs_is_called_so(card):
    text = printed(card(descent=1.54))
    assert "-154 %, uphill" in text
    assert "points uphill: -154 % of the descent" in text


def test_what_is_unbounded_is_called_so(card):
    text = printed(card(kappa=math.inf, descent=math.inf, bound=None))
    assert "moved nnm >> krum without bound" in text
    assert "points uphill without bound" in text
    assert "proven" not in text
    assert "inf" not in text


def test_the_worst_draw_stands_beside_the_mean_where_they_differ(card):
    drawn = Worst(value=1.0, worst_draw=3.5, cloud="gaussian-1", how="mimic")
    assert "in its worst draw" in (text := printed(card(kappa=drawn)))
    assert next(line for line in text.splitlines() if line.startswith(" kappa")).split()[1:3] == ["1", "3.5"]


@pytest.mark.parametrize(
    ("breakdown", "first", "words"),
    [
        ([0.1, 1.0, 2.0, math.inf], 3, "3 attackers moved it without bound, the fewest that did"),
        ([0.1, math.inf, 2.0, math.inf], 1, "1 attacker moved it without bound, the fewest that did"),
        ([0.1, 1.0, 2.0, 3.0], None, "up to 3 attackers, none moved it without bound"),
    ],
)
def test_the_breakdown_curve_says_where_it_breaks(card, breakdown, first, words):
    one = card(breakdown=breakdown)
    text = printed(one)
    assert breaks_at(one) == first
    assert words in text
    assert text.count(":unbounded") == breakdown.count(math.inf)
    assert text.count("∞") == breakdown.count(math.inf)


def test_a_long_breakdown_curve_wraps_between_its_numbers(card):
    text = printed(card(n=101, breakdown=[0.125 * i for i in range(51)]), width=60)
    assert max(map(len, text.splitlines())) <= 60
    for attackers in range(51):
        assert f"{attackers}:{0.125 * attackers:.3g}" in text.split()


def test_failed_checks_flags_and_trainings_are_told(card):
    checks = [*card().checks, CheckLine(name="order", status="failed", detail="row 3 counts twice")]
    text = " ".join(printed(card(True, checks=checks, flags=["random output"])).split())
    assert "1 of 3 conformance checks failed" in text
    assert "order row 3 counts twice" in text
    assert "Before you believe it: random output" in text
    assert "digits/mlp, level quick: 116 runs, 1 more failed" in text
    assert "41.2 % (95 % interval 38.1 % to 45.0 %), under strongest(alie) on dirichlet(beta=0.1)" in text
    assert "the defence costs 2.1 points" in text
    quiet = printed(card())
    assert "failed" not in quiet
    assert "believe" not in quiet
    assert "accuracy" not in quiet


def test_an_interval_of_one_seed_is_not_told(card):
    from msgspec.structs import replace

    text = printed(card(training=replace(card(True).training, low=None, high=None)))
    assert "41.2 %, under" in text


def test_names_command_no_terminal_and_no_markup(card):
    text = printed(card(rule="[bold]x\x1b[31m", flags=["\x1b]0;x\x07"]), ["a\x1bb"])
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]x" in text


def seen(kappa, descent, worst_kappa=None, worst_descent=None):
    return Seen(
        kappa=kappa,
        worst_kappa=kappa if worst_kappa is None else worst_kappa,
        descent=descent,
        worst_descent=descent if worst_descent is None else worst_descent,
    )


def replayed(saved, now, rule=None, unbounded=False):
    about = About(
        rule="krum",
        rule_f=2,
        n=7,
        f=2,
        suite="standard-1",
        cloud="gaussian-512",
        how="mimic",
        unbounded=unbounded,
        seen=saved,
    )
    file, witness = io.StringIO(), Witness(about, torch.zeros(5, 3), torch.zeros(2, 3))
    print_replay(Console(file=file, width=120, highlight=False), witness, now, rule)
    return file.getvalue()


def test_a_replay_shows_every_digit(card):
    text = replayed(seen(0.1 + 0.2, -0.7), seen(0.1 + 0.2, -0.7))
    assert text.count("0.30000000000000004") == 2
    assert "mimic on gaussian-512: 2 hostile rows beside 5 honest ones of 3 numbers" in text
    assert "The same to the last digit." in text
    assert "worst draw" not in text
    assert text.count(" 0.7") == 2  # what is left of the descent


def test_a_replay_with_another_rule_is_no_failed_one():
    text = replayed(seen(1.0, -0.7), seen(2.0, -0.6, 3.0), rule="median", unbounded=True)
    assert "median, now" in text
    assert "kappa, worst draw" in text
    assert "same" not in text.lower()
    assert "krum follows these rows however far they go" in text


@pytest.mark.parametrize(
    ("saved", "now", "words"),
    [
        (seen(math.inf, -1.0), seen(math.inf, -1.0), "The same to the last digit."),
        (seen(1.0, -1.0), seen(1.01, -1.0), "it differs by up to 0.01 of a value"),
        (seen(1.0, 0.0), seen(1.0, 1e-9), "it differs by up to 1 of a value"),
        (seen(math.inf, -1.0), seen(5.0, -1.0), "what is finite in one is not in the other"),
        (seen(1.0, math.inf), seen(1.01, 2.0), "what is finite in one is not in the other"),
        (seen(math.nan, -1.0), seen(5.0, -1.0), "what is finite in one is not in the other"),
    ],
)
def test_how_a_replay_differs_is_told(saved, now, words):
    assert words in compared(saved, now)
