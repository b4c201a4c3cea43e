"""Fields whose values are lists: their products, and conditions on the cells of these."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from turncoat.errors import SpecError
from turncoat.spec import Seeds, Spec, check_names, filled, shown, spell_field

MOST = 1_000_000  # cells of a campaign
FIELDS = frozenset(Spec.__struct_fields__)
STREAMS = frozenset(Seeds.__struct_fields__)
UNNAMED = msgspec.structs.asdict(Seeds.derive(0))  # the streams that a table of seeds does not name

Axes = dict[str, Sequence[Any]]
"""Values by field, and by stream where the seed is a table."""


def axes_of(fields: Mapping[str, Any]) -> Axes:
    """Fields as axes, of which a single value is a short one; names and lists are checked, values not yet."""
    if not fields:
        raise SpecError("it names no field")
    check_names(fields, FIELDS, "a run")
    axes: Axes = {}
    for key, value in fields.items():
        if key == "seed" and isinstance(value, Mapping):
            _check_streams(value)
            axes |= {stream: _listed(f"seed.{stream}", numbers) for stream, numbers in value.items()}
        else:
            axes[key] = _listed(key, value)
    return axes


def _check_streams(seed: Mapping[str, Any]) -> None:
    check_names(seed, STREAMS, "seed")
    if not seed:
        raise SpecError("seed names no stream: a table of seeds has data, model, server or adversary")


def _listed(key: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple | range):
        return [value]
    if not value:
        raise SpecError(f"{key} is an empty list: it takes at least one value")
    if len(value) > MOST:
        raise SpecError(f"{key} has {len(value):,} values, and a campaign at most {MOST:,} cells")
    if any(isinstance(item, list | tuple | range) for item in value):
        raise SpecError(f"{key} has a list within its list: write all values in one")
    return value


def spelled(axes: Axes) -> Axes:
    """The axes with every value checked and written as a resolved spec has it."""
    return {key: [_spelled(key, value) for value in values] for key, values in axes.items()}


def _spelled(key: str, value: Any) -> Any:
    if key in STREAMS:
        if type(value) is not int:
            raise SpecError(f"seed.{key} takes an integer, got {shown(value)}")
        spell_field("seed", value)  # refuses what is out of range
        return value
    if key == "seed" and isinstance(value, Mapping):
        _check_streams(value)
        value = UNNAMED | {stream: _spelled(stream, number) for stream, number in value.items()}
    try:
        return spell_field(key, value)
    except SpecError as error:
        named = str(error).startswith(f"{key} ")
        raise SpecError(str(error) if named else f"{key}: {error}") from None


def product(axes: Axes) -> Iterator[Spec]:
    """The cells of spelled axes, the last axis turning fastest; not resolved, as an override may still mend them."""
    for point in itertools.product(*axes.values()):
        yield Spec(**assembled(dict(zip(axes, point, strict=True))))


def assembled(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a cell, those of streams put together as its seed."""
    streams = {key: values.pop(key) for key in STREAMS if key in values}
    return values | {"seed": Seeds(**UNNAMED | streams)} if streams else values


def meeting(cells: Sequence[Spec], condition: Axes) -> list[int]:
    """Where the cells are that have one of the wanted values in every field of a condition."""
    wanted = {key: frozenset(values) for key, values in spelled(condition).items()}
    return [i for i, cell in enumerate(cells) if all(_value(cell, key) in values for key, values in wanted.items())]


def must_meet(cells: Sequence[Spec], condition: Axes) -> list[int]:
    """`meeting`, where nothing to be found is a mistake, and raises SpecError."""
    if found := meeting(cells, condition):
        return found
    for key, values in condition.items():
        if not meeting(cells, {key: values}):
            name = f"seed.{key}" if key in STREAMS else key
            raise SpecError(f"it matches no cell: none has {name} = {' or '.join(map(shown, values[:10]))}")
    raise SpecError(f"it matches no cell: none has this {' and '.join(condition)} at once")


def _value(cell: Spec, key: str) -> Any:
    return getattr(cell.seed, key) if key in STREAMS else filled(cell, key)
