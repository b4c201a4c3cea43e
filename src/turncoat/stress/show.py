"""Score cards and replayed witnesses as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from turncoat.report.tables import print_table
from turncoat.results.settings import printable
from turncoat.stress.card import Card, Worst
from turncoat.stress.siege import Seen
from turncoat.stress.witness import Witness
from turncoat.stress.words import (
    breakdown_text,
    breaks_at,
    cost_text,
    descent_text,
    headline,
    kappa_text,
    training_texts,
    training_title,
)

BLOCKS = "▁▂▃▄▅▆▇█"
INDENTED = (0, 0, 0, 2)
LEAST = 0.01  # the kappa from which a block grows


def print_card(console: Console, card: Card, files: Sequence[Path] = ()) -> None:
    """The worst cases with their bounds, the breakdown curve, failed checks, doubts, trainings, cost and files."""
    _print_scores(console, card)
    _say(console, headline(card))
    _print_breakdown(console, card)
    if card.failed:
        lines = [["check", "what was seen"], *([check.name, check.detail] for check in card.failed)]
        print_table(console, f"{len(card.failed)} of {len(card.checks)} conformance checks failed", lines)
    if card.flags:
        _list(console, "Before you believe it:", card.flags)
    if card.training:
        _list(console, f"Trainings of {training_title(card.training)}", training_texts(card.training))
    _say(console, cost_text(card))
    for file in files:
        console.print(Text(printable(str(file))), soft_wrap=True)


def _print_scores(console: Console, card: Card) -> None:
    drawn = any(worst.worst_draw != worst.value for worst in (card.kappa, card.descent))

    def line(name: str, worst: Worst, text: str, draw: str) -> list[str]:
        return [name, text, *[draw] * drawn, worst.cloud, worst.how]

    kappa, descent = card.kappa, card.descent
    lines = [
        ["", "worst found", *["in its worst draw"] * drawn, "on", "by"],
        line("kappa", kappa, kappa_text(kappa.value), kappa_text(kappa.worst_draw)),
        line("descent left", descent, descent_text(descent.value), descent_text(descent.worst_draw)),
    ]
    title = f"{card.rule} with f = {card.f} hostile rows among n = {card.n}, suite {card.suite}"
    print_table(console, title, lines, right=["worst found", "in its worst draw"])


def _print_breakdown(console: Console, card: Card) -> None:
    """A block for each number of attackers, then kappa for each, the first that is unbounded in red."""
    first = breaks_at(card)
    shown = Text(f"{sparkline(card.breakdown)}\n")
    for attackers, kappa in enumerate(card.breakdown):
        style = "bold red" if attackers == first else "bold" if attackers == card.f else ""
        shown.append(f"{attackers}:{kappa_text(kappa)}", style=style).append("  ")
    console.print(f"While the attackers grow (attackers:kappa): {breakdown_text(card)}", markup=False)
    console.print(Padding(shown, INDENTED, expand=False), "", sep="\n")


def sparkline(values: Sequence[float]) -> str:
    """A block a value, on a logarithmic scale; ∞ for what is unbounded.

    Examples:
        >>> sparkline([0.0, 0.1, 1.0, 10.0, math.inf])
        '▁▃▆█∞'
    """
    logs = [math.log10(max(value, LEAST) / LEAST) for value in values]
    top = max((log for log in logs if math.isfinite(log)), default=0.0) or 1.0
    return "".join(BLOCKS[round((len(BLOCKS) - 1) * log / top)] if math.isfinite(log) else "∞" for log in logs)


def print_replay(console: Console, witness: Witness, seen: Seen, rule: str | None = None) -> None:
    """What was seen when a witness was saved beside what is seen now, of another rule where one is named."""
    about = witness.about
    saved, now = (msgspec.structs.asdict(each) for each in (about.seen, seen))
    lines = [["", f"{about.rule}, saved", f"{rule or about.rule}, now"]]
    for score, name, sign in (("kappa", "kappa", 1), ("descent", "descent left", -1)):
        lines.append([name, *(repr(sign * each[score]) for each in (saved, now))])
        if any(each[score] != each[f"worst_{score}"] for each in (saved, now)):
            lines.append([f"{name}, worst draw", *(repr(sign * each[f"worst_{score}"]) for each in (saved, now))])
    size = f"{about.f} hostile rows beside {len(witness.honest)} honest ones of {witness.honest.shape[1]} numbers"
    print_table(console, f"{about.how} on {about.cloud}: {size}", lines, right=lines[0][1:])
    if about.unbounded:
        _say(console, f"It was saved as unbounded: {about.rule} follows these rows however far they go.")
    if rule is None:
        _say(console, compared(about.seen, seen))


def compared(saved: Seen, seen: Seen) -> str:
    """Whether a replay shows what was saved, and how far it is from it where not."""
    if saved == seen:
        return "The same to the last digit."
    pairs = zip(msgspec.structs.astuple(saved), msgspec.structs.astuple(seen), strict=True)
    unlike = [(a, b) for a, b in pairs if a != b]
    if not all(math.isfinite(value) for pair in unlike for value in pair):
        return "Not the same: what is finite in one is not in the other."
    apart = max(abs(b - a) / max(abs(a), abs(b)) for a, b in unlike)
    return f"Not the same: it differs by up to {apart:.1g} of a value."


def _say(console: Console, text: str) -> None:
    console.print(Text(printable(text)), "", sep="\n")


def _list(console: Console, title: str, items: Sequence[str]) -> None:
    """A title, then its items, indented."""
    console.print(Text(printable(title)))
    for item in items:
        console.print(Padding(Text(printable(item)), INDENTED, expand=False))
    console.print()
