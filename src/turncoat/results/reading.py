"""Many results at once: a folder of them, and a frame with one row a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from turncoat.errors import ResultError
from turncoat.results.result import Result
from turncoat.spec import Seeds, Spec

if TYPE_CHECKING:
    import polars


def read_all(folder: Path | str) -> list[Result]:
    """All results in a folder's `.json` files, by file name; raises `ResultError` for a file that is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ResultError(f"there is no folder {folder}")
    return [Result.load(path) for path in sorted(folder.glob("*.json"))]


def frame(results: Iterable[Result]) -> polars.DataFrame:
    """One row a run: every field of its spec, its final and best test accuracy, its speed and its flags."""
    import polars as pl

    types = {int: pl.Int64, float: pl.Float64, str: pl.String}
    schema: dict[str, Any] = {}
    for key, hint in get_type_hints(Spec).items():
        if key == "seed":
            schema |= {f"spec.seed.{stream}": pl.Int64 for stream in Seeds.__struct_fields__}
        else:
            schema[f"spec.{key}"] = types[_type(hint)]
    schema |= {"final_accuracy": pl.Float64, "best_accuracy": pl.Float64, "rounds_per_second": pl.Float64}
    schema |= {"flags": pl.List(pl.String), "started": pl.String, "source_hash": pl.String}
    return pl.DataFrame([_row(result) for result in results], schema=schema)


def _row(result: Result) -> dict[str, Any]:
    fields = msgspec.to_builtins(result.spec)
    row = {f"spec.seed.{stream}": seed for stream, seed in fields.pop("seed").items()}
    row |= {f"spec.{key}": value for key, value in fields.items()}
    for name in ("final_accuracy", "best_accuracy", "rounds_per_second", "flags", "started", "source_hash"):
        row[name] = getattr(result, name)
    return row


def _type(hint: Any) -> type:
    """The type of a spec's field where it is not None."""
    if get_origin(hint) is Literal:
        return str
    return next(option for option in (get_args(hint) or (hint,)) if option is not type(None))
