"""`turncoat leaderboard`: many rules under the same stress, on one page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from turncoat.cli.base import Interrupted, Jobs, Json, Quiet, app
from turncoat.errors import SpecError

if TYPE_CHECKING:
    from turncoat.stress.card import Card


@app.command()
def leaderboard(
    folder: Annotated[Path, Argument(help="Of the cards, one an entry, and of the page of them all.")] = Path(
        "leaderboard"
    ),
    size: Annotated[
        list[str] | None, Option(metavar="N,F", help="Workers and traitors; repeat for several. [25,5 and 12,2]")
    ] = None,
    rule: Annotated[
        list[str] | None, Option(help="A rule instead of all that turncoat has; repeat for several.")
    ] = None,
    peer: Annotated[
        list[str] | None, Option(help="byzfl, byzpy or flwr, installed here: all that it has; repeat for several.")
    ] = None,
    level: Annotated[
        str, Option(help="calls: single aggregations; quick: trainings on digits too; full: on Fashion-MNIST.")
    ] = "calls",
    train: Annotated[
        int | None, Option(metavar="N", help="Train with the N best and the ten best known, at level quick or LEVEL.")
    ] = None,
    suite: Annotated[str, Option(help="The frozen clouds, attacks, searches and seeds.")] = "standard-1",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank rules by the worst that traitors can do to them: turncoat's own, yours, and other projects'.

    Every entry is a score card, a JSON file in the folder, and index.html is the page of all cards that lie there:
    adding one is copying it there. The same command continues where it was interrupted, and computes anew what has
    changed since.

    Examples:

        turncoat leaderboard board

        turncoat leaderboard board --rule my_rules.py:my_rule --size 25,5

        turncoat leaderboard board --peer byzfl --jobs 8
    """
    from turncoat.stress import leaderboard as room

    def told(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    sizes = [_size(text) for text in size] if size else room.SIZES
    computed = "calls" if train is not None else level
    try:
        board = room.leaderboard(folder, sizes, rule, peer or (), computed, suite=suite, jobs=jobs, told=told)
        if train is not None:
            trained = room.train(
                folder, train, "quick" if level == "calls" else level, suite=suite, jobs=jobs, told=told
            )
            board.cards, board.failed = trained.cards, board.failed | trained.failed
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {len(room.cards_in(folder))} cards are in {folder}; "
                          "the same command continues") from None  # fmt: skip
    for entry, why in board.left_out.items():
        print(f"turncoat: {entry} is left out: {why}", file=sys.stderr)
    if json:
        import msgspec

        for card in board.cards:
            print(msgspec.json.format(card.encode(), indent=-1).decode())
    else:
        _print_ranks(board.cards)
    print(f"page of all cards: {board.page}", file=sys.stderr if json else sys.stdout)
    if board.failed:
        print(f"turncoat: {len(board.failed)} failed, see {folder / room.FAILED}", file=sys.stderr)
        raise typer.Exit(1)


def _size(text: str) -> tuple[int, int]:
    n, comma, f = text.partition(",")
    if not comma or not n.strip().isdecimal() or not f.strip().isdecimal():
        raise SpecError(f"--size {text}: write workers and traitors, such as 25,5")
    return int(n), int(f)


def _print_ranks(cards: Sequence[Card]) -> None:
    """A table for each n and f, the best rule first."""
    from rich.console import Console

    from turncoat.report.tables import print_table
    from turncoat.stress.words import descent_text, kappa_text, percent

    console = Console(highlight=False)
    for n, f in sorted({(card.n, card.f) for card in cards}, reverse=True):
        some = [card for card in cards if (card.n, card.f) == (n, f)]
        trained = any(card.training for card in some)
        lines = [["", "rule", "worst kappa", "descent left", *["worst accuracy"] * trained, "ms"]]
        for place, card in enumerate(some, 1):
            accuracy = percent(card.training.worst) if card.training else "–"
            scores = [kappa_text(card.kappa.value), descent_text(card.descent.value), *[accuracy] * trained]
            lines.append([str(place), card.rule, *scores, f"{card.milliseconds:.3g}"])
        title = f"n = {n}, f = {f}: no rule can promise a kappa below {kappa_text(some[0].lower_bound)}"
        print_table(console, title, lines, right=["", *lines[0][2:]])
