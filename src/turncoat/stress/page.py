"""Score cards as pages that need nothing but themselves: one rule's, and all in the order of their worst cases."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from turncoat.report.charts import colour
from turncoat.report.listings import Column, Table, Value
from turncoat.report.page import render
from turncoat.report.summary import Notice, counted
from turncoat.results.files import write_atomically
from turncoat.stress.card import Card, OnCloud, Trained
from turncoat.stress.curve import Curve
from turncoat.stress.leaderboard import rank
from turncoat.stress.words import (
    breakdown_text,
    breaks_at,
    cost_text,
    descent_text,
    headline,
    kappa_text,
    percent,
    points,
    price,
    share_text,
    training_title,
)

ROOM = "turncoat.stress"
WORDS = {
    "kappa": kappa_text,
    "descent": descent_text,
    "percent": percent,
    "points": points,
    "price": price,
    "training": training_title,
}
TITLE = "Robust rules by their worst case"
DARKEST = 100.0  # times what no rule can avoid: a kappa of the darkest shade


@dataclass(frozen=True)
class Cell:
    """A figure on a shade from its worst to its best."""

    text: str
    by: str
    fill: str
    ink: str

    @classmethod
    def of(cls, text: str, by: str, shade: float) -> Cell:
        return cls(text, by, *colour(shade))


@dataclass(frozen=True)
class Shown:
    """A card as a page shows it; `place` is its name in the page."""

    card: Card
    place: str = "card"
    rank: int = 0

    @property
    def headline(self) -> str:
        return headline(self.card)

    @property
    def notices(self) -> list[Notice]:
        """What failed, and what to doubt."""
        failed = [Notice("failed", f"Failed: {check.name}: {check.detail}") for check in self.card.failed]
        return failed + [Notice("flags", f"{flag[0].upper()}{flag[1:]}.") for flag in self.card.flags if flag]

    @property
    def curve(self) -> Curve:
        return Curve.of(self.card)

    @property
    def breakdown(self) -> str:
        text = breakdown_text(self.card)
        return f"{text[0].upper()}{text[1:]}."

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.card.kappa.value)

    @property
    def drawn(self) -> bool:
        """Whether the worst draw of a randomised rule is worse than its mean."""
        return any(worst.value != worst.worst_draw for worst in (self.card.kappa, self.card.descent))

    @property
    def clouds(self) -> list[tuple[OnCloud, Cell, Cell]]:
        """Each cloud with both scores, as dark as they are bad."""
        return [(one, self._kappa(one), self._descent(one)) for one in self.card.clouds]

    def _kappa(self, one: OnCloud) -> Cell:
        times = max(one.kappa / self.card.lower_bound, 1.0)
        return Cell.of(kappa_text(one.kappa), one.kappa_by, 1 - math.log(times) / math.log(DARKEST))

    def _descent(self, one: OnCloud) -> Cell:
        return Cell.of(share_text(one.descent), one.descent_by, (1 - one.descent) / 2)

    @property
    def computed(self) -> dict[str, str]:
        """What the card was computed with."""
        card = self.card
        made = {name: str(value) for name, value in msgspec.structs.asdict(card.environment).items()}
        suite = {"suite": f"{card.suite} (sha256 {card.suite_checksum[:12]})"}
        own = {f"file {name}": f"sha256 {digest[:12]}" for name, digest in card.files.items()}
        code = {"turncoat's code": card.source_hash[:12], "finished": card.finished}
        return suite | own | made | code | {"cost": cost_text(card)}

    @property
    def commands(self) -> list[str]:
        """What computes the card again, and shows its worst cases again."""
        card = self.card
        level = card.training.level if card.training else "calls"
        again = f"turncoat stress {shlex.quote(card.rule)} -n {card.n} -f {card.f} --suite {card.suite} --level {level}"
        return [again, "turncoat replay kappa.witness", "turncoat replay descent.witness"]


def write_card(card: Card, path: Path | str) -> Path:
    """Write a score card as one HTML file that loads nothing; raises `ResultError` where it cannot be written."""
    page = render(
        "card.html.j2",
        {},
        room=ROOM,
        charts=False,
        title=card.rule,
        facts=[f"n = {card.n}", f"f = {card.f}", card.suite, f"computed {card.finished[:10]}"],
        notices=[],
        shown=Shown(card),
        words=WORDS,
    )
    return write_atomically(path, page.encode())


def write_leaderboard(cards: Iterable[Card], path: Path | str) -> Path:
    """Write many cards as one HTML file: a sortable table for each n, f and suite, in the order of the worst cases.

    A bounded kappa stands above an unbounded one, a smaller above a larger, ties by the descent. Each rule opens its
    card. Raises `ResultError` where the file cannot be written.
    """
    boards: dict[str, list[Card]] = {}
    for card in sorted(rank(cards), key=lambda card: (-card.n, -card.f, card.suite, card.suite_checksum)):
        boards.setdefault(f"n = {card.n}, f = {card.f}, {card.suite} ({card.suite_checksum[:8]})", []).append(card)
    shown = {
        title: [Shown(card, f"board{b}-{place}", place) for place, card in enumerate(found, start=1)]
        for b, (title, found) in enumerate(boards.items())
    }
    entries = [card for found in boards.values() for card in found]
    page = render(
        "leaderboard.html.j2",
        {},
        room=ROOM,
        charts=False,
        title=TITLE,
        facts=[counted(len({card.rule for card in entries}), "rule"), counted(len(entries), "card")],
        notices=[],
        boards={title: (found, board(found)) for title, found in shown.items()},
        words=WORDS,
    )
    return write_atomically(path, page.encode())


def board(entries: Sequence[Shown]) -> Table:
    """Cards with the same n, f and suite as a table, in their order."""
    trained = any(entry.card.training for entry in entries)
    columns = [Column("rank", number=True), Column("rule")]
    columns += [Column(name, number=True) for name in ("kappa", "proven", "descent", "breaks at")]
    columns += [Column(name, number=True) for name in ("worst accuracy", "price")] * trained
    columns += [Column(name, number=True) for name in ("ms", "failed", "doubts")] + [Column("kappa by", look="by")]
    table = Table(columns)
    for entry in entries:
        card, first = entry.card, breaks_at(entry.card)
        table.rows.append(
            [
                Value(str(entry.rank), entry.rank),
                Value(card.rule, place=entry.place),
                Value(kappa_text(card.kappa.value), card.kappa.value),
                Value(kappa_text(card.bound), card.bound),
                Value(share_text(card.descent.value), -card.descent.value),
                Value("–" if first is None else str(first), math.inf if first is None else first),
                *(_training(card.training) if trained else ()),
                Value(f"{card.milliseconds:.3g}", card.milliseconds),
                Value(str(len(card.failed)), len(card.failed)),
                Value(str(len(card.flags)), len(card.flags)),
                Value(card.kappa.how),
            ]
        )
    return table


def _training(trained: Trained | None) -> list[Value]:
    """The worst accuracy with its interval, and the price of the defence."""
    if trained is None:
        return [Value("–"), Value("–")]
    bounded = trained.low is not None and trained.high is not None
    interval = f" ({percent(trained.low)} to {percent(trained.high)})".replace(" %", "") if bounded else ""
    lost = price(trained)
    return [Value(f"{percent(trained.worst)}{interval}", trained.worst), Value(points(lost), lost)]
