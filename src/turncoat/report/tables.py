"""Rules against attacks as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from turncoat.results import Result
from turncoat.results.settings import attack_text
from turncoat.results.statistics import Comparison, compare

WIDE = 5  # attacks; where there are more of them than that and than rules, they stand in rows
WORD = 20  # characters of a row's name that a narrow terminal does not break


def accuracy_table(results: Iterable[Result]) -> Group:
    """Final values of rules under attacks, the rule that stands best first: one table a setting.

    Accuracies are in per cent, the worst attack of each rule is starred; `lost` is what it takes from the run without
    attack, in points.
    """
    return Group(*map(_table, compare(results)))


def _table(comparison: Comparison) -> Table:
    """The table of one setting."""
    metric = comparison.metric
    lost = "no attack − worst, in points" if metric.fraction else "the distance between no attack and worst"
    made = Table(
        title=Text(f"{comparison.title}: {metric.title}{' in %' if metric.fraction else ''}"),
        caption=Text(f"* worst attack of a rule; lost: {lost}"),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    lines = [["rule", *map(attack_text, comparison.attacks), "worst", "lost"]]
    lines += [[rule, *_cells(comparison, rule)] for rule in comparison.rules]
    if len(comparison.attacks) > max(WIDE, len(comparison.rules)):
        lines = [list(line) for line in zip(*lines, strict=True)]
        lines[0][0] = "attack"
    words = [len(word) for line in lines for word in line[0].split()]
    made.add_column(Text(lines[0][0]), min_width=min(WORD, max(words)), overflow="fold")
    for name in lines[0][1:]:
        made.add_column(Text(name), justify="right", overflow="fold")
    for line in lines[1:]:
        made.add_row(*(Text(cell, style="bold red" if cell.endswith("*") else "") for cell in line))
    return made


def _cells(comparison: Comparison, rule: str) -> list[str]:
    """A rule's values under the attacks, the worst of them, and what that takes."""
    metric, worst = comparison.metric, comparison.worst(rule)
    cells = []
    for attack in comparison.attacks:
        cells.append(metric.text(comparison.value(rule, attack)) + "*" * comparison.is_worst(rule, attack))
    return [*cells, metric.text(worst.value if worst else None), metric.text(comparison.lost(rule))]
