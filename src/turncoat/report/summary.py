"""What a report says in words and numbers: the outcome of each setting, and what may not pass unsaid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from turncoat.results.comparison import DOUBTS, Comparison
from turncoat.results.failure import Failure
from turncoat.results.metric import Spread
from turncoat.results.result import Result
from turncoat.results.settings import CLEAN, attack_of
from turncoat.results.statistics import mixtures

NAMED = 3  # so many settings, or cells, a sentence names


@dataclass(frozen=True)
class Notice:
    """What a reader must know before believing a figure; `place` is where the page says more."""

    kind: Literal["control", "doubt", "backdoor", "failed", "flags", "superseded", "mixture"]
    text: str
    place: str = ""

    @classmethod
    def of_superseded(cls, note: str) -> Notice:
        """A word on what was left out, as a sentence."""
        return cls("superseded", f"{note[0].upper()}{note[1:]}.")


def counted(count: int, name: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {name}{'s' * (count != 1)}"


def headline(comparison: Comparison) -> str:
    """The outcome of a setting in a sentence."""
    metric, first = comparison.metric, comparison.best
    unit = " %" if metric.fraction else ""

    def end(rule: str, attack: str, what: str = "") -> str:
        spread = comparison.spread(rule, attack)
        value = spread.text(metric) if spread else comparison.mean_text(rule, attack)
        return f"{rule} ends at {value}{unit}{what} ({counted(spread.seeds if spread else 0, 'seed')})"

    worst = comparison.worst(first)
    if worst is None:
        return f"Without attack, {end(first, CLEAN, f' {metric.title}')}."
    met = len(comparison.attacks) - (CLEAN in comparison.attacks) - len(comparison.missing(first))
    among = f", the worst of {met} attacks on it" if met > 1 else ""
    text = f"{end(first, worst.attack, f' {metric.title}')} under {worst}{among}"
    others = {rule: least for rule in comparison.rules[1:] if (least := comparison.worst(rule))}
    if others:
        last = max(others, key=lambda rule: metric.badness(others[rule].value))
        text += f"; {end(last, others[last].attack)} under {others[last]}"
    return f"{text}."


def notices(
    results: Sequence[Result], comparisons: Sequence[Comparison], failures: Sequence[Failure], superseded: str
) -> list[Notice]:
    """What must be said first: controls that did not learn, failed runs, flags, what was left out, what was mixed."""
    found = []
    doubted: dict[str, list[str]] = {}
    for comparison in comparisons:
        doubted.setdefault(comparison.doubt, []).append(comparison.title)
    if titles := doubted.get(DOUBTS[False]):
        found.append(Notice("control", f"{'; '.join(titles)}: {DOUBTS[False]}."))
    if titles := doubted.get(DOUBTS[None]):
        found.append(Notice("doubt", f"{_named(titles)}: {DOUBTS[None]}."))
    if failures:
        found.append(Notice("failed", f"{failed_text(failures)}.", "failed"))
    if doors := [comparison.title for comparison in comparisons if comparison.backdoors]:
        text = f"{_named(doors)}: there are backdoors, which accuracy says nothing of"
        found.append(Notice("backdoor", f"{text}; how often they work has a table of its own."))
    flagged = sum(bool(result.flags) for result in results)
    if flagged:
        carry = "carries" if flagged == 1 else "carry"
        found.append(Notice("flags", f"{flagged} of {counted(len(results), 'run')} {carry} a flag.", "runs"))
    if superseded:
        found.append(Notice.of_superseded(superseded))
    if mixed := [f"{name} {listed(versions)}" for name, versions in mixtures(results).items()]:
        found.append(Notice("mixture", f"Not all runs were computed alike: {'; '.join(mixed)}.", "environment"))
    return found


def _named(titles: Sequence[str]) -> str:
    """Settings by their titles, if they are few."""
    return "; ".join(titles) if len(titles) <= NAMED else counted(len(titles), "setting")


def failed_text(failures: Sequence[Failure]) -> str:
    """`2 runs failed (1 exception, 1 timeout)`."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(each.kind for each in failures).most_common())
    return f"{counted(len(failures), 'run')} failed ({kinds})"


def listed(counts: Mapping[str, int]) -> str:
    """`2.6.0 (1 run), 2.13.0 (5 runs)`."""
    return ", ".join(f"{value} ({counted(count, 'run')})" for value, count in counts.items())


def facts(results: Sequence[Result], seeds: int) -> list[str]:
    """What a report is about, in numbers."""
    counts = {
        "run": len(results),
        "rule": len({result.spec.rule for result in results}),
        "attack": len({attack_of(result) for result in results} - {CLEAN}),
        "seed": seeds,
    }
    days = sorted({result.finished[:10] for result in results})
    when = [f"computed {days[0]}" if len(days) == 1 else f"computed {days[0]} to {days[-1]}"] if days else []
    return [*(counted(count, name) for name, count in counts.items()), *when]


def numbers(comparison: Comparison) -> dict[str, Any]:
    """A setting's outcome for machines."""
    rules = []
    for rule in comparison.rules:
        worst = comparison.worst(rule)
        row: dict[str, Any] = {"rule": rule, "clean": _plain(comparison.spread(rule, CLEAN))}
        row["worst"] = {"attack": worst.attack, **_plain(comparison.spread(rule, worst.attack))} if worst else None
        rules.append(row | {"lost": comparison.lost(rule), "missing": comparison.missing(rule)})
    return {
        "setting": comparison.title,
        "metric": comparison.metric.name,
        "headline": headline(comparison),
        "control_learnt": comparison.learnt,
        "rules": rules,
    }


def _plain(spread: Spread | None) -> Any:
    return spread and msgspec.to_builtins(spread)
