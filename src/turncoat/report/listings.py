"""What a report lists: tables that sort and filter, what the runs share, what they were computed with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from turncoat.report.differences import Differences
from turncoat.results.metric import Metric, metric_of
from turncoat.results.result import Result
from turncoat.results.settings import FOLLOWERS, attack_of, attack_text, by_numbers, seeds_text


@dataclass(frozen=True)
class Column:
    """A column of a table; one of numbers is sorted by them."""

    name: str
    number: bool = False
    look: str = "name"


@dataclass(frozen=True)
class Value:
    """What stands in a cell, the number behind it, and where the page says more."""

    text: str
    number: float | None = None
    place: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts and filters."""

    columns: list[Column]
    rows: list[list[Value]] = field(default_factory=list)


def runs_table(results: Sequence[Result]) -> Table:
    """All runs: what was compared, how they ended, what else varies.

    Then the numbers of their environments where there are several, their flags and keys where any has some.
    """
    varying = [name for name in _varying(results) if name not in ("rule", "attack")]  # these have columns of their own
    flagged, keyed = any(result.flags for result in results), any(result.key for result in results)
    places = {made: number for number, made in enumerate(_environments(results), start=1)}
    mixed = len(places) > 1
    columns = [Column("rule"), Column("attack"), Column("seed")]
    columns += [Column(name, number=True) for name in ("final", "best", "rounds/s")]
    columns += [*map(Column, varying), *[Column("environment", number=True)] * mixed]
    columns += [*[Column("flags", look="bad")] * flagged, *[Column("key")] * keyed]
    table = Table(columns)
    for result in results:
        metric, spec, told = metric_of([result]), result.spec, _told(result)
        speed = result.rounds_per_second
        names = [spec.rule, attack_text(attack_of(result)), seeds_text(spec.seed)]
        ends = [Value(_with_unit(metric, end), end) for end in (metric.final(result), metric.best(result))]
        ends.append(Value(f"{speed:.0f}" if speed >= 100 else f"{speed:.3g}", speed))
        place = places[_environment(result)]
        others = [*(Value(told.get(name, "–")) for name in varying), *[Value(str(place), place)] * mixed]
        others += [Value("; ".join(result.flags))] * flagged + [Value(result.key[:16])] * keyed
        table.rows.append([*map(Value, names), *ends, *others])
    return table


def _with_unit(metric: Metric, value: float | None) -> str:
    return metric.text(value) + ("" if value is None else " %" if metric.fraction else f" {metric.title}")


def _varying(results: Sequence[Result]) -> list[str]:
    """The fields in which the specs differ, without those that only follow others."""
    led = {name for name, leader in FOLLOWERS.items() if all(_same(result, name, leader) for result in results)}
    return [name for name, values in fields(results).items() if len(values) > 1 and name not in led]


def _same(result: Result, name: str, other: str) -> bool:
    return getattr(result.spec, name) == getattr(result.spec, other)


def changes_table(differences: Differences) -> Table:
    """All cells that two folders have in common."""
    titles = {change.setting for change in differences.changes}
    first, second = differences.names
    columns = [Column("rule"), Column("attack")]
    columns += [Column(name, number=True) for name in (first, second, "change", "seeds", "identical")]
    columns += [Column("beyond the spread", look="bad"), *[Column("setting", look="soft")] * (len(titles) > 1)]
    table = Table(columns)
    for change in differences.changes:
        metric = change.metric
        moved = f"{100 * change.moved:+.1f}" if metric.fraction else f"{change.moved:+.3g}"
        beyond = {True: "yes", False: "", None: "one seed" if change.moved else ""}[change.beyond]
        table.rows.append(
            [
                Value(change.rule),
                Value(attack_text(change.attack)),
                *(Value(f"{spread.text(metric)} ({spread.seeds})", spread.mean) for spread in (change.a, change.b)),
                Value(moved if change.moved else "0", change.moved),
                Value(str(change.a.seeds), change.a.seeds),
                Value(f"{change.identical} of {change.runs}", change.identical),
                Value(beyond),
                *[Value(change.setting)] * (len(titles) > 1),
            ]
        )
    return table


def fields(results: Sequence[Result]) -> dict[str, list[str]]:
    """The different values of each field of the specs but the seeds, of where the data is from, and of own files."""
    told = [_told(result) for result in results]
    names = dict.fromkeys(name for each in told for name in each)
    return {name: sorted({each.get(name, "–") for each in told}, key=by_numbers) for name in names}


def _told(result: Result) -> dict[str, str]:
    spec = {name: str(value) for name, value in msgspec.structs.asdict(result.spec).items() if name != "seed"}
    data = {"data": f"{result.data_origin} (sha256 {result.data_checksum[:12]})"}
    return spec | data | {f"file {name}": f"sha256 {digest[:12]}" for name, digest in result.files.items()}


def seeds(results: Sequence[Result]) -> dict[str, str]:
    """The four streams of each seed, by its name."""
    found = {}
    for result in results:
        streams = msgspec.structs.asdict(result.spec.seed)  # type: ignore[arg-type]  # resolved
        found[f"seed {seeds_text(result.spec.seed)}"] = ", ".join(f"{name} {seed}" for name, seed in streams.items())
    return dict(sorted(found.items(), key=lambda item: by_numbers(item[0])))


def environments(results: Sequence[Result]) -> list[dict[str, Any]]:
    """What the runs were computed with, the most frequent first, by the numbers that the table of all runs gives."""
    return [
        {"environment": number, "runs": runs, **dict(made)}
        for number, (made, runs) in enumerate(_environments(results).items(), start=1)
    ]


def _environments(results: Sequence[Result]) -> dict[tuple[tuple[str, Any], ...], int]:
    """How many runs were computed with what, the most frequent first."""
    return dict(Counter(map(_environment, results)).most_common())


def _environment(result: Result) -> tuple[tuple[str, Any], ...]:
    made = msgspec.structs.asdict(result.environment)
    return tuple((made | {"gradients": result.gradients, "turncoat's code": result.source_hash[:12]}).items())
