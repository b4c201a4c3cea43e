"""Grids: a table whose lists span a product of runs."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turncoat.errors import SpecError
from turncoat.spec import Spec, from_mapping, resolve


def read_grid(path: Path | str) -> list[Spec]:
    """The runs of a TOML file: fields of `Spec`, of which any may be a list of values; raises SpecError."""
    return expand(read_table(path), str(path))


def read_table(path: Path | str) -> dict[str, Any]:
    """What a TOML file says; raises SpecError where it is not there or not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not TOML: {error}") from None


def expand(table: Mapping[str, Any], origin: str = "") -> list[Spec]:
    """One resolved spec for each combination of the lists' values, the last list turning fastest.

    Raises SpecError for the first combination that is no run, before any has begun.

    Examples:
        >>> [spec.attack for spec in expand({"n": 10, "f": 2, "attack": ["none", "ipm(2.5)"]})]
        ['none', 'ipm(epsilon=2.5)']
    """
    axes = {key: value if isinstance(value, list) else [value] for key, value in table.items()}
    for key, values in axes.items():
        if not values:
            raise SpecError(f"{key} is an empty list: there is nothing to run")
    points = itertools.product(*axes.values())
    try:
        return [resolve(from_mapping(dict(zip(axes, point, strict=True)))) for point in points]
    except SpecError as error:
        raise SpecError(f"{origin}: {error}" if origin else str(error)) from None
