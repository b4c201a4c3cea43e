"""Statistics of results as frames: spreads over the seeds, worst attacks, paired differences; and what is mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from turncoat.errors import SpecError
from turncoat.registry import suggest
from turncoat.results.comparison import Comparison, compare, differences, learnt
from turncoat.results.failure import Failure
from turncoat.results.result import Result
from turncoat.results.settings import CLEAN, spellings

if TYPE_CHECKING:
    import polars

__all__ = ["Comparison", "compare", "learnt", "mixtures", "paired", "summary", "worst"]


def summary(results: Iterable[Result], failures: Iterable[Failure] = ()) -> polars.DataFrame:
    """One row a setting, rule and attack: how the final values spread over the seeds, and how many more `failed`.

    `learnt` is about the setting: false where a control, the plain mean that nobody attacks, did not learn, so that its
    figures say nothing about rules; null where there is no control.
    """
    rows = []
    for one in compare(results, failures):
        for rule in one.rules:
            for attack in one.attacks:
                spread, failed = one.spread(rule, attack), one.failed.get((rule, attack), 0)
                if spread or failed:
                    cell = {"setting": one.title, "rule": rule, "attack": attack, "metric": one.metric.name}
                    cell |= asdict(spread) if spread else {"seeds": 0}
                    rows.append(cell | {"failed": failed, "learnt": one.learnt})
    texts, values = "setting rule attack metric", "mean sd min max"
    return _frame(rows, texts=texts, counts="seeds failed", values=values, truths="learnt")


def worst(results: Iterable[Result], failures: Iterable[Failure] = ()) -> polars.DataFrame:
    """One row a setting and rule: the attack of the worst mean, its spread over the seeds, and what it took.

    `clean` is the mean without attack, `lost` what lies between, `missing` how many attacks others met and this rule
    did not, or only in runs that failed. The rule that stands best comes first, those that miss an attack after those
    that met all.
    """
    rows = []
    for one in compare(results, failures):
        for rule in one.rules:
            if found := one.worst(rule):
                spread = one.spread(rule, found.attack)
                assert spread is not None
                row = {"setting": one.title, "rule": rule, "attack": found.attack, "metric": one.metric.name}
                row |= asdict(spread) | {"clean": one.value(rule, CLEAN), "lost": one.lost(rule)}
                rows.append(row | {"missing": len(one.missing(rule)), "learnt": one.learnt})
    values = "mean sd min max clean lost"
    return _frame(rows, texts="setting rule attack metric", counts="seeds missing", values=values, truths="learnt")


def paired(
    results: Iterable[Result], a: str | None = None, b: str | None = None, failures: Iterable[Failure] = ()
) -> polars.DataFrame:
    """One row a setting and attack: how two rules differ over the seeds that both were run with, see `Difference`.

    Without b, the rule that stands best in a setting is taken; without a, each of the others. Raises `SpecError` for a
    rule that no result has.
    """
    comparisons = compare(results, failures)
    rules = {rule for one in comparisons for rule in one.rules}
    a, b = (None if rule is None else _spelled(rule, rules) for rule in (a, b))
    rows = []
    for one in comparisons:
        other = b or one.best
        for rule in [a] if a else one.rules:
            names = {"setting": one.title, "a": rule, "b": other, "metric": one.metric.name}
            rows += [names | asdict(found) for found in differences(one, rule, other) if rule != other]
    texts = "setting a b metric attack attack_a attack_b"
    return _frame(rows, texts=texts, counts="seeds better", values="mean low high")


def _spelled(rule: str, rules: Iterable[str]) -> str:
    """A rule as the results write it."""
    found = [each for each in rules if each in spellings("rule", rule)]
    if not found:
        raise SpecError(f"no result has the rule {rule!r}: {suggest(rule, rules)}")
    return found[0]


def mixtures(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """What the results were computed with that is not the same in all: of each such thing, how many runs had which.

    Versions, machines, devices, threads, the package's code, and where a campaign noted them the data and own files.
    """
    counts: dict[str, Counter[str]] = {}
    for result in results:
        had = {name: str(value) for name, value in msgspec.structs.asdict(result.environment).items()}
        had["turncoat's code"] = result.source_hash[:12]
        had |= {f"data of {result.spec.task}": result.data_files[:12]} if result.data_files else {}
        had |= {name: digest[:12] for name, digest in result.files.items()}
        for name, version in had.items():
            counts.setdefault(name, Counter())[version] += 1
    return {name: dict(found.most_common()) for name, found in counts.items() if len(found) > 1}


def _frame(
    rows: Sequence[Mapping[str, Any]], *, texts: str, counts: str, values: str, truths: str = ""
) -> polars.DataFrame:
    """Rows as a frame, with its columns' names by their types."""
    import polars as pl

    kinds = {texts: pl.String, counts: pl.Int64, values: pl.Float64, truths: pl.Boolean}
    return pl.DataFrame(rows, schema={name: kind for names, kind in kinds.items() for name in names.split()})
