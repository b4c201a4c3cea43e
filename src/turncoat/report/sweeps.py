"""Strength sweeps: what an attack does as it grows, beside how unlike the workers' data are (as S3, Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from turncoat import registry
from turncoat.errors import SpecError
from turncoat.report.drawing import Chart, Columns, Style, strengths
from turncoat.results.comparison import Comparison
from turncoat.results.metric import Metric
from turncoat.results.reading import attack_parts
from turncoat.results.result import Result
from turncoat.results.settings import COMPARED, MACHINERY, attack_of, by_numbers, seeds_text
from turncoat.spelling import Call, parse

EVEN = "iid"  # the split that all others approach: it stands last


@dataclass(frozen=True)
class Sweep:
    """One attack at several strengths, in settings that differ in nothing but the split."""

    attack: str
    """Without its strength, whose name is `parameter`."""
    parameter: str
    setting: str
    metric: Metric
    legend: dict[str, Style]
    panels: dict[str, Chart]
    """By split, the most unlike data first where the splits' parameters tell."""


def sweeps_of(comparisons: Sequence[Comparison], looks: Mapping[str, Style]) -> list[Sweep]:
    """Every attack that some rule met at two strengths or more."""
    alike: dict[object, list[Comparison]] = {}
    for comparison in comparisons:
        alike.setdefault(_besides_split(comparison), []).append(comparison)
    found = []
    for group in alike.values():
        group.sort(key=lambda comparison: _split_order(_split(comparison)))
        attacks = {attack_parts(attack) for comparison in group for attack in comparison.attacks}
        for attack, parameter in sorted({(parts.others, parts.parameter) for parts in attacks if parts.others}):
            sweep = _sweep(group, attack, parameter, looks)
            found += [sweep] if sweep else []
    return found


def _sweep(group: Sequence[Comparison], attack: str, parameter: str, looks: Mapping[str, Style]) -> Sweep | None:
    runs: dict[str, dict[float, list[Result]]] = {}
    for comparison in group:
        for result in comparison.results:
            parts = attack_parts(attack_of(result))
            if parts.strength is not None and parts.others == attack:
                runs.setdefault(_split(comparison), {}).setdefault(parts.strength, []).append(result)
    levels = {strength for found in runs.values() for strength in found}
    if len(levels) < 2:
        return None
    metric, setting = group[0].metric, group[0].title.replace(f", {_split(group[0])}", "", 1)
    results = [result for found in runs.values() for same in found.values() for result in same]
    met = {rule: looks[rule] for rule in sorted({result.spec.rule for result in results})}
    spec = strengths(metric, parameter, sorted(levels), map(metric.final, results), met)
    title = f"{attack}: final {metric.title} over {parameter}"
    panels = {
        level(split): Chart(title, f"{setting}, {level(split)}", spec, _columns(found, metric), metric=metric.name)
        for split, found in runs.items()
    }
    return Sweep(attack, parameter, setting, metric, met, panels)


def _columns(runs: Mapping[float, Sequence[Result]], metric: Metric) -> Columns:
    """A row a run, by strength."""
    rows = [(strength, result) for strength in sorted(runs) for result in runs[strength]]
    return {
        "rule": [result.spec.rule for _, result in rows],
        "strength": [strength for strength, _ in rows],
        "seed": [seeds_text(result.spec.seed) for _, result in rows],
        "_run": list(range(len(rows))),
        "value": [metric.final(result) for _, result in rows],
    }


def level(split: str) -> str:
    """A split with the parameter that says how unlike the data are, even where that is the default.

    Examples:
        >>> level("dirichlet")
        'dirichlet(beta=0.5)'
    """
    try:
        call = parse(split)
        entry = registry.find("split", call.name)
    except SpecError:  # the user's own
        return split
    first = dict(list(entry.parameters.items())[:1])
    return str(Call(call.name, (), first | registry.bind(entry, call)))


def _split(comparison: Comparison) -> str:
    return comparison.results[0].spec.split


def _besides_split(comparison: Comparison) -> object:
    fields = msgspec.structs.asdict(comparison.results[0].spec)
    return tuple((key, value) for key, value in fields.items() if key not in COMPARED | MACHINERY | {"split"})


def _split_order(split: str) -> tuple[bool, list[str | float]]:
    """Splits of one name by their parameters' values, the even one last."""
    return split == EVEN, by_numbers(level(split))
