"""The leaderboard that the docs carry: complete, of the suite as it stands, and the page of its cards."""

from pathlib import Path

import pytest
import render

from turncoat.stress.adapters import make, peer_of
from turncoat.stress.leaderboard import KNOWN, SIZES, cards_in, rank
from turncoat.stress.page import write_leaderboard
from turncoat.stress.suite import load_suite

BOARD = Path(__file__).parents[2] / "docs" / "board"
CARDS = cards_in(BOARD)


def of(size):
    return rank(card for card in CARDS if (card.n, card.f) == size)


def test_every_card_is_of_the_suite_as_it_stands():
    assert {card.suite_checksum for card in CARDS} == {load_suite().checksum}


@pytest.mark.parametrize("size", SIZES)
def test_the_entries_are_many(size):
    names = [card.rule for card in of(size)]
    ours = [name for name in names if peer_of(name) is None]
    assert len(names) == len(set(names))
    assert len(ours) >= 30
    assert len({name.rpartition(" >> ")[2].partition("(")[0] for name in ours}) >= 18
    assert len(names) - len(ours) >= 15


@pytest.mark.parametrize("size", SIZES)
def test_the_best_and_the_best_known_are_trained(size):
    able = [card for card in of(size) if peer_of(card.rule) is None]
    known = {str(make(rule, 25, 5)) for rule in KNOWN}
    assert all(card.training and card.training.level == "quick" for card in able[:10])
    assert all(card.training for card in able if card.rule in known)


def test_no_card_is_above_what_is_proven_nor_a_bound_below_what_is_possible():
    for card in CARDS:
        if card.bound is not None:
            assert card.kappa.value <= card.bound * (1 + 1e-9)
            assert card.bound >= card.lower_bound


def test_the_page_is_that_of_the_cards(tmp_path):
    page = write_leaderboard(CARDS, tmp_path / "index.html")
    assert page.read_bytes() == (BOARD / "index.html").read_bytes()


def test_the_tables_in_the_docs_are_those_of_the_cards():
    page = (BOARD.parent / "leaderboard.md").read_text()
    for mark, text in render.board().items():
        assert page.split(f"<!-- {mark} -->")[1].strip() == text
