"""A leaderboard is a folder of cards: computed once, each in a process of its own, ranked and shown with all others."""

import json
import math
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
from typer.testing import CliRunner

from turncoat import registry
from turncoat.campaign.run import workers_of
from turncoat.cli import app
from turncoat.cli import leaderboard as command
from turncoat.errors import ResultError, SpecError, TurncoatError
from turncoat.rules import Mixing
from turncoat.spelling import parse_chain
from turncoat.stress import leaderboard as room
from turncoat.stress import run
from turncoat.stress.card import Card
from turncoat.stress.leaderboard import ENTRIES, KNOWN, SIZES, Entry, cards_in, leaderboard, rank, train
from turncoat.stress.suite import CloudSpec, load_suite

N, F = 7, 2
SIZE = [(N, F)]
OWN = """
    def first(X):
        return X[0]

    def raises(X):
        raise ValueError("not today")

    def leaves(X):
        import os
        os._exit(3)
"""


@pytest.fixture
def quick(monkeypatch):
    """A suite of one small cloud, and entries that are computed in this process; what was computed, in its order."""
    whole, computed = load_suite(), []
    few = {"clouds": {"kappa": 1, "descent": 1}, "starts": 1, "rounds": 1, "gradient": 3, "span": 3, "refine": 0}
    search = msgspec.structs.replace(whole.search, **few, strengths=(1.0, 1e5))
    small = msgspec.structs.replace(
        whole,
        clouds=(CloudSpec("gaussian", 8, 0.5),),
        attacks=("sign_flip",),
        search=search,
        breakdown=msgspec.structs.replace(whole.breakdown, clouds=("gaussian-8",), strengths=(1e5,)),
    )

    def compute(folder, entry, suite):
        computed.append(entry.rule)
        try:
            room._stress(entry.rule, entry.n, entry.f, suite, folder / f"{entry.slug}.json")
        except TurncoatError as error:
            return f"Traceback:\n{error}"
        return ""

    for module in (room, run):
        monkeypatch.setattr(module, "load_suite", lambda name="standard-1": small)
    monkeypatch.setattr(run, "check_rule", lambda *args, **kwargs: type("Report", (), {"checks": []}))
    monkeypatch.setattr(room, "_in_a_process", compute)
    monkeypatch.setattr(room, "workers_of", lambda *asked: min(1, workers_of(*asked)))
    return computed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(dedent(OWN))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "board"


def test_the_entries_are_all_rules_and_the_useful_chains():
    rules = {name for name, entry in registry.entries("rule").items() if not issubclass(entry.load(), Mixing)}
    assert rules <= set(ENTRIES)
    assert len(ENTRIES) == len(set(ENTRIES)) >= 30
    assert len({parse_chain(entry)[-1].name for entry in ENTRIES}) >= 18
    assert set(KNOWN) <= set(ENTRIES)
    entries, left_out = room._entries(SIZES, None, ())
    assert not left_out
    assert len({entry.slug.lower() for entry in entries}) == len(entries) == len(SIZES) * len(ENTRIES)


def test_cards_are_written_ranked_and_not_computed_again(quick, folder):
    lines: list[str] = []
    board = leaderboard(folder, SIZE, ["mean", "median", "median(even=average)"], told=lines.append)
    assert sorted(quick) == ["mean", "median"]
    assert [card.rule for card in board.cards] == ["median", "mean"]
    assert [math.isinf(card.kappa.value) for card in board.cards] == [False, True]
    assert board.left_out == board.failed == {}
    assert {path.name for path in folder.iterdir()} == {"index.html", "mean-n7-f2.json", "median-n7-f2.json"}
    assert all(card.environment.threads == 1 for card in board.cards)
    assert len(lines) == 2
    assert "2 of 2" in lines[1]
    assert leaderboard(folder, SIZE, ["mean", "median"], told=lines.append).cards == board.cards
    assert len(quick) == len(lines) == 2


def test_every_card_in_the_folder_is_on_the_page(quick, folder, card):
    folder.mkdir()
    card(rule="brought", kappa=0.001).save(folder / "from somewhere else.json")
    board = leaderboard(folder, SIZE, ["median"])
    assert [card.rule for card in board.cards] == ["brought", "median"]
    assert board.page == folder / "index.html"
    assert "brought" in board.page.read_text()


@pytest.mark.parametrize("field", ["suite_checksum", "source_hash", "files"])
def test_a_card_of_other_code_is_computed_anew(field, quick, folder):
    leaderboard(folder, SIZE, ["median"])
    path = folder / "median-n7-f2.json"
    old = Card.load(path)
    msgspec.structs.replace(old, **{field: {"own.py": "0"} if field == "files" else "0"}).save(path)
    leaderboard(folder, SIZE, ["median"])
    assert quick == ["median", "median"]
    assert getattr(Card.load(path), field) == getattr(old, field)


def test_an_edited_rule_of_ones_own_is_computed_anew(quick, folder):
    for edit in ("", "", "# edited"):
        with Path("own.py").open("a") as file:
            file.write(edit)
        board = leaderboard(folder, SIZE, ["own.py:first"])
    assert quick == ["own.py:first"] * 2
    assert list(board.cards[0].files) == ["own.py"]


def test_one_that_fails_leaves_its_reason_and_the_others_go_on(quick, folder):
    board = leaderboard(folder, SIZE, ["own.py:raises", "median"])
    (reason,) = board.failed.values()
    assert reason == "an aggregation of 7 normal rows raised ValueError: not today"
    record = folder / "failed" / "own.py-raises-n7-f2.txt"
    assert record.read_text() == f"Traceback:\n{reason}"
    assert [card.rule for card in board.cards] == ["median"]
    Path("own.py").write_text("def raises(X):\n    return X[0]\n")
    board = leaderboard(folder, SIZE, ["own.py:raises"])
    assert board.failed == {}
    assert not record.exists()


def test_one_that_is_too_slow_is_not_begun(quick, folder, monkeypatch):
    monkeypatch.setattr(room, "SLOWEST", 0.0)
    with pytest.raises(ResultError, match="thousands of them would take hours"):
        leaderboard(folder, SIZE, ["median"])


def test_what_does_not_admit_the_sizes_is_left_out(quick, folder):
    board = leaderboard(folder, SIZE, ["bulyan", "median", "byzfl:Krum"])
    assert list(board.left_out) == ["bulyan, n = 7, f = 2", "byzfl:Krum, n = 7, f = 2"]
    bulyan, byzfl = board.left_out.values()
    assert "bulyan needs n >= 4f + 3" in bulyan
    assert "byzfl" in byzfl
    assert quick == ["median"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sizes": [(4, 2)]}, "0 < f < n/2 must hold, got 4,2"),
        ({"level": "slow"}, "unknown level 'slow': there are calls, full, quick"),
        ({"peers": ["byzfly"]}, "no adapter for 'byzfly': did you mean byzfl"),
        ({"jobs": 0}, "jobs is a number of runs at a time"),
    ],
)
def test_what_does_not_exist_is_said_before_anything_is_computed(asked, message, quick, folder):
    with pytest.raises(SpecError, match=message):
        leaderboard(folder, **({"sizes": SIZE, "rules": ["median"]} | asked))
    assert quick == []


def test_a_file_that_is_no_card_is_said_before_anything_is_computed(quick, folder):
    folder.mkdir()
    (folder / "notes.json").write_text("{}")
    with pytest.raises(ResultError, match=r"notes\.json is no score card"):
        leaderboard(folder, SIZE, ["median"])
    assert quick == []


def test_what_is_unbounded_or_no_number_comes_last(card):
    cards = [card(rule=str(kappa), kappa=kappa) for kappa in (math.nan, math.inf, 2.0, 1.0)]
    assert [one.rule for one in rank(cards)][:2] == ["1.0", "2.0"]
    ties = [card(rule=name, kappa=math.inf, descent=descent) for name, descent in (("b", 2.0), ("c", 1.0), ("a", 2.0))]
    assert [one.rule for one in rank(ties)] == ["c", "a", "b"]


@pytest.fixture
def trained(monkeypatch, card):
    """The rules that were trained with, instead of training."""
    rules = []

    def tier_2(rule, n, f, suite, level, folder, *, jobs, progress):
        rules.append(rule)
        if rule == "krum":
            raise ResultError("no training of krum came to an end")
        return msgspec.structs.replace(card(True).training, level=level, doubts=["did not learn"])

    monkeypatch.setattr(room, "tier_2", tier_2)
    return rules


def test_the_best_and_the_best_known_are_trained_once(trained, folder, card):
    kappas = {"caf": 1.0, "byzfl:Krum": 2.0, "smea": 3.0, "cge": 4.0, "median": 5.0, "krum": 6.0, "mean": math.inf}
    for rule, kappa in kappas.items():
        card(rule=rule, kappa=kappa).save(folder / f"{Entry(rule, N, F).slug}.json")
    board = train(folder, 2)
    assert trained == ["caf", "smea", "median", "krum", "mean"]
    assert list(board.failed.values()) == ["no training of krum came to an end"]
    found = {one.rule: (one.training and one.training.level, one.flags) for one in cards_in(folder)}
    assert found["smea"] == found["mean"] == ("quick", ["did not learn"])
    assert found["cge"] == found["krum"] == found["byzfl:Krum"] == (None, [])
    train(folder, 2)
    assert trained[5:] == ["krum"]
    train(folder, 1, "full")
    assert trained[6:] == ["caf", "median", "krum", "mean"]


def test_a_level_trains_all_that_was_stressed(trained, quick, folder):
    board = leaderboard(folder, SIZE, ["median", "cge", "own.py:first"], level="quick")
    assert sorted(trained) == ["cge", "median", "own.py:first"]
    assert all(card.training for card in board.cards)


@pytest.mark.parametrize(("name", "reason"), [("raises", "ValueError: not today"), ("leaves", "ended with 3")])
def test_an_entry_that_ends_its_process_ends_no_other(name, reason, folder):
    assert reason in room._in_a_process(folder, Entry(f"own.py:{name}", N, F), "standard-1")


def test_an_entry_that_takes_too_long_is_ended(folder, monkeypatch):
    monkeypatch.setattr(room, "LONGEST", 0.1)
    assert room._in_a_process(folder, Entry("own.py:first", N, F), "standard-1") == "it took more than 0.1 s"


@pytest.mark.slow
def test_a_process_of_its_own_writes_the_card(folder):
    entry = Entry("own.py:first", N, F)
    assert room._in_a_process(folder, entry, "standard-1") == ""
    (card,) = cards_in(folder)
    assert (card.rule, card.n, card.f, card.environment.threads) == ("own.py:first", N, F, 1)
    assert list(card.files) == ["own.py"]
    assert room._is_current(folder, entry, "standard-1")
    assert not room._is_current(folder, replace(entry, f=1), "standard-1")


def call(*arguments):
    return CliRunner().invoke(app, ["leaderboard", "board", "--size", "7,2", *arguments])


def test_the_command_prints_ranks(quick, folder):
    assert command.__name__ == "turncoat.cli.leaderboard"
    found = call("--rule", "mean", "--rule", "median", "--rule", "bulyan", "--jobs", "1")
    assert found.exit_code == 0, found.output
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [line[1] for line in lines if line[:1] in (["1"], ["2"])] == ["median", "mean"]
    assert "page of all cards: board/index.html" in found.stdout
    assert "bulyan, n = 7, f = 2 is left out: bulyan needs" in found.stderr
    assert "2 of 2" in found.stderr
    found = call("--rule", "mean", "--json", "--quiet")
    assert [json.loads(line)["rule"] for line in found.stdout.splitlines()] == ["median", "mean"]


def test_the_command_trains(quick, trained, folder):
    found = call("--rule", "mean", "--rule", "cge", "--rule", "median", "--train", "0")
    assert found.exit_code == 0, found.output
    assert sorted(trained) == ["mean", "median"]
    assert "41.2 %" in found.stdout


def test_the_command_says_what_failed(quick, folder):
    found = call("--rule", "own.py:raises", "--rule", "median")
    assert found.exit_code == 1
    assert "1 failed, see board/failed" in found.stderr
    with pytest.raises(SpecError, match="--size 7x2: write workers and traitors, such as 25,5"):
        CliRunner().invoke(app, ["leaderboard", "board", "--size", "7x2"], catch_exceptions=False)
