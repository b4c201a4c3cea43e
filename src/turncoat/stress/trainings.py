"""Tier 2: what is left of a training under attack, with a rule and without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from turncoat.campaign.run import run
from turncoat.errors import ResultError
from turncoat.results.comparison import CONTROL, compare, interval
from turncoat.results.failure import Failure
from turncoat.results.result import Result
from turncoat.results.settings import CLEAN
from turncoat.spec import Spec
from turncoat.stress.card import Trained
from turncoat.stress.suite import Suite, Training

SHARED = ("task", "rounds", "lr", "batch", "momentum", "evaluate_every")  # by all runs of a level


def specs(rule: str, n: int, f: int, training: Training) -> list[Spec]:
    """The rule under every attack and under none, and the plain mean under none, on every split with every seed."""
    met = [(rule, attack) for attack in (CLEAN, *training.attacks)] + [(CONTROL, CLEAN)]
    shared = {field: getattr(training, field) for field in SHARED}
    return [
        Spec(n=n, f=f, rule=name, attack=attack, split=split, seed=seed, **shared)
        for split in training.splits
        for seed in training.seeds
        for name, attack in met
    ]


def tier_2(
    rule: str, n: int, f: int, suite: Suite, level: str, folder: Path, *, jobs: int | None = None, progress: bool = True
) -> Trained:
    """Train under attack in a folder, in which what is there already is used again; what it came to.

    Raises `ResultError` where the rule was never measured, and what `turncoat.run` raises.
    """
    training = suite.training[level]
    finished = run(specs(rule, n, f, training), folder, jobs=jobs, progress=progress)
    return judge(finished.results, finished.failures, rule, level)


def judge(results: Sequence[Result], failures: Sequence[Failure], rule: str, level: str) -> Trained:
    """The figures of a level's runs; raises `ResultError` where none of the rule's was attacked and measured."""
    compared = compare(results, failures)
    name = next((one for comparison in compared for one in comparison.rules if one != CONTROL), rule)
    ends = [(worst, one) for one in compared if (worst := one.worst(name))]
    if not ends:
        raise ResultError(f"no training of {rule} under attack came to an end: {_first(failures)}")
    worst, setting = min(ends, key=lambda end: -end[1].metric.badness(end[0].value))
    attack = worst.attacks[0]
    finals = list(setting.finals(name, attack).values())
    low, high = interval(finals) or (None, None)
    return Trained(
        level=level,
        task=results[0].spec.task,
        clean=_mean([one.value(name, CLEAN) for one in compared]),
        plain=_mean([one.value(CONTROL, CLEAN) for one in compared]),
        worst=worst.value,
        low=low,
        high=high,
        attack=attack,
        split=setting.results[0].spec.split,
        runs=len(results),
        failed=len(failures),
        doubts=sorted({one.doubt for one in compared if one.doubt}),
    )


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _first(failures: Sequence[Failure]) -> str:
    return failures[0].error if failures else "no word"
