"""Rules against attacks as tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from turncoat.results.comparison import FEW, WORST, Comparison, Difference, differences
from turncoat.results.settings import attack_text, printable


def print_table(console: Console, title: str, lines: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """A head and lines of cells, as they are and without markup; those that end in a star stand out."""
    lines = [[printable(cell) for cell in line] for line in lines]
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in _widths(list(zip(*lines, strict=True)), console.width):
        side = "right" if column[0] in right else "left"
        made.add_column(Text(column[0]), justify=side, width=width, overflow="fold")
    for line in lines[1:]:
        made.add_row(*(Text(cell, style="bold red" if cell.endswith("*") else "") for cell in line))
    console.print(Text(printable(title)), made, sep="\n")


def _widths(columns: Sequence[tuple[str, ...]], width: int) -> Iterator[tuple[tuple[str, ...], int | None]]:
    """Columns with their widths: no word broken if that can be, and the first columns whole; else left to rich."""
    words = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    spare = width - sum(words) - 2 * len(columns)
    for column, least in zip(columns, words, strict=True):
        more = min(max(map(len, column)) - least, max(spare, 0))
        yield column, least + more if spare >= 0 else None
        spare -= more


def print_comparison(console: Console, one: Comparison) -> None:
    """One setting: final values of rules under attacks, the rule that stands best first; then what doubts there are.

    The worst attack of each rule is starred; `lost` is what it takes from the runs without attack.
    """
    lines = [["", *map(attack_text, one.attacks), "lost"]]
    for rule in one.rules:
        cells = [one.text(rule, attack) + "*" * one.is_worst(rule, attack) for attack in one.attacks]
        lines.append([rule, *cells, one.metric.text(one.lost(rule))])
    if len(one.attacks) > len(one.rules):
        lines = [list(line) for line in zip(*lines, strict=True)]
    title = f"{one.title}: final {one.metric.quantity}, mean±standard deviation (seeds); * worst attack of a rule"
    print_table(console, title, lines, right=lines[0][1:])
    if one.doubt:
        console.print(Text(printable(f"{one.title}: {one.doubt}\n")))
    if one.backdoors:
        print_comparison(console, one.backdoors)


def print_worst(console: Console, one: Comparison) -> None:
    """Each rule under its worst attack, and what it then is away from the best, seed by seed."""
    head = ["rule", "worst attack", "ends at", "difference", "95 % bootstrap", "better in", "compared under", "not met"]
    lines = [head]
    found = {rule: _worst_difference(one, rule) for rule in one.rules if rule != one.best}
    for rule in one.rules:
        worst = one.worst(rule)
        ends = [str(worst), one.text(rule, worst.attack)] if worst else ["–", "–"]
        lines.append([rule, *ends, *_away(one, rule, found.get(rule)), one.missing_text(rule)])
    lines = list(zip(*(column for column in zip(*lines, strict=True) if any(column[1:])), strict=True))
    print_table(console, f"Each rule under its worst attack, its difference to {one.best} there, seed by seed", lines)
    if any(each and each.low is not None and each.seeds < FEW for each in found.values()):
        console.print(f"Bootstrap intervals of fewer than {FEW} seeds are too narrow.\n", highlight=False)


def _worst_difference(one: Comparison, rule: str) -> Difference | None:
    return next((each for each in differences(one, rule, one.best) if each.attack == WORST), None)


def _away(one: Comparison, rule: str, found: Difference | None) -> list[str]:
    """A difference, its bounds, in how many seeds it is for the better, and under what, where the table says other."""
    if found is None:
        return [""] * 4
    text, shown = one.metric.text, ""
    if not (one.is_worst(rule, found.attack_a) and one.is_worst(one.best, found.attack_b)):
        shown = f"{found.attack_a}, {one.best} under {found.attack_b}"
    bounds = "–" if found.low is None or found.high is None else f"{text(found.low)} to {text(found.high)}"
    return [f"{text(found.mean)} ({found.seeds})", bounds, f"{found.better} of {found.seeds}", shown]
