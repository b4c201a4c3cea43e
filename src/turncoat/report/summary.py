"""What a report says in words and numbers: the outcome of each setting, and what may not pass unsaid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from turncoat.results.failure import Failure
from turncoat.results.result import Result
from turncoat.results.settings import CLEAN, attack_of
from turncoat.results.statistics import Comparison, Metric, Spread, is_control, learnt, mixtures


@dataclass(frozen=True)
class Notice:
    """What a reader must know before believing a figure; `place` is where the page says more."""

    kind: Literal["control", "failed", "flags", "superseded", "mixture"]
    text: str
    place: str = ""


def spread_text(metric: Metric, spread: Spread | None) -> str:
    """A mean with the standard deviation over the seeds, where there are several: `87.3 ± 1.2`."""
    if spread is None:
        return metric.text(None)
    mean = metric.text(spread.mean)
    return mean if spread.sd is None else f"{mean} ± {metric.text(spread.sd)}"


def counted(count: int, name: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {name}{'s' * (count != 1)}"


def headline(comparison: Comparison) -> str:
    """The outcome of a setting in a sentence."""
    metric, rules = comparison.metric, comparison.rules
    unit = " %" if metric.fraction else ""

    def end(rule: str, attack: str) -> tuple[str, str]:
        spread = comparison.spread(rule, attack)
        seeds = f", {counted(spread.seeds, 'seed')}" if spread and spread.seeds > 1 else ""
        return f"{spread_text(metric, spread)}{unit}", seeds

    first, last = comparison.best, rules[-1]
    worst, least = comparison.worst(first), comparison.worst(last)
    if worst is None:
        value, seeds = end(first, CLEAN)
        return f"Without attack, {first} ends at {value} {metric.title}{seeds}."
    met = len(comparison.attacks) - (CLEAN in comparison.attacks) - len(comparison.missing(first))
    among = f", the worst of {met} attacks on it" if met > 1 else ""
    value, seeds = end(first, worst.attack)
    text = f"{first} ends at {value} {metric.title} under {worst.attack}{among}{seeds}"
    if len(rules) == 1 or least is None:
        return f"{text}."
    return f"{text}; {last} ends at {end(last, least.attack)[0]} under {least.attack}."


def notices(
    results: Sequence[Result], comparisons: Iterable[Comparison], failures: Sequence[Failure], superseded: str
) -> list[Notice]:
    """What must be said first: controls that did not learn, failed runs, flags, what was left out, what was mixed."""
    found = []
    for comparison in comparisons:
        controls = [result for result in comparison.results if is_control(result)]
        idle = sum(learnt(result) is False for result in controls)
        if idle:
            runs = f"{idle} of {len(controls)} runs" if len(controls) > 1 else "the run"
            text = f"The control did not learn: {runs} of plain mean without attack in {comparison.title}"
            found.append(Notice("control", f"{text}. What rules do there under attack says nothing.", "runs"))
    if failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(each.kind for each in failures).most_common())
        found.append(Notice("failed", f"{counted(len(failures), 'run')} failed ({kinds}).", "failed"))
    flagged = sum(bool(result.flags) for result in results)
    if flagged:
        carry = "carries" if flagged == 1 else "carry"
        found.append(Notice("flags", f"{flagged} of {counted(len(results), 'run')} {carry} a flag.", "runs"))
    if superseded:
        found.append(Notice("superseded", f"{superseded[0].upper()}{superseded[1:]}."))
    if mixed := [f"{name} {listed(versions)}" for name, versions in mixtures(results).items()]:
        found.append(Notice("mixture", f"Not all runs were computed alike: {'; '.join(mixed)}.", "environment"))
    return found


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
