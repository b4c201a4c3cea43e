"""Some rows of a frame of results, by conditions such as `rule=krum` and `final_accuracy<0.5`."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from turncoat.errors import SpecError
from turncoat.registry import suggest
from turncoat.results.settings import spellings

if TYPE_CHECKING:
    import polars

CONDITION = re.compile(r"\s*([^=!<>~]+?)\s*(!=|<=|>=|==?|<|>|~)\s*(.*?)\s*", re.DOTALL)
LISTED = 20  # values of a column that are told where none is the wanted one


def meets(frame: polars.DataFrame, condition: str) -> polars.Series:
    """Of each row whether it meets a condition: a column, one of `= != < <= > >= ~`, and a value.

    `~` means "contains". Values are of the column's type; `none` also stands for what is not there, a list counts as
    its items joined by `; `. Names that have several spellings are compared by their canonical one, and as they are. A
    NaN is neither less nor more than anything. Raises `SpecError` for what is no condition, an unknown column (naming
    the nearest ones) or a value of another type.
    """
    seen = flat(frame)
    return seen.select(_expression(seen, *_parse(frame, condition))).to_series()


def nearest(frame: polars.DataFrame, condition: str) -> str:
    """What a column holds where no row meets a condition on it: the values next to the wanted one, or all if few."""
    name, _, text = _parse(frame, condition)
    values = {str(value) for value in flat(frame)[name].unique() if value not in (None, "")}
    return f"{name}: {suggest(text, values)}" if len(values) <= LISTED else f"{name} has {len(values)} other values"


def flat(frame: polars.DataFrame) -> polars.DataFrame:
    """The same with lists as text, for what cannot hold them."""
    import polars as pl

    return frame.with_columns(pl.col(pl.List(pl.String)).list.join("; "))


def column(frame: polars.DataFrame, name: str) -> str:
    """The name, if there is such a column; else raises `SpecError` with the nearest ones."""
    if name not in frame.columns:
        raise SpecError(f"results have no column {name!r}: {suggest(name, frame.columns)}")
    return name


def _parse(frame: polars.DataFrame, condition: str) -> tuple[str, str, str]:
    found = CONDITION.fullmatch(condition)
    if not found:
        raise SpecError(f"cannot read the condition {condition!r}: write FIELD=VALUE, or != < <= > >= ~ for =")
    name, operator, text = found.groups()
    return column(frame, name), operator.replace("==", "="), text


def _expression(frame: polars.DataFrame, name: str, operator: str, text: str) -> polars.Expr:
    import polars as pl

    kind, cell = frame.schema[name], pl.col(name)
    if operator == "~":
        return cell.cast(pl.String).str.contains(text, literal=True)
    if operator in ("=", "!="):
        wanted = [None] if text == "none" else []
        if text != "none" or kind == pl.String:
            wanted += [_typed(name, kind, each) for each in spellings(name, text)]
        found = pl.any_horizontal([cell.eq_missing(pl.lit(value)) for value in wanted])
        return found if operator == "=" else ~found
    value = pl.lit(_typed(name, kind, text))
    compared = {"<": cell < value, "<=": cell <= value, ">": cell > value, ">=": cell >= value}[operator]
    return compared & cell.is_not_nan() if kind.is_float() else compared


def _typed(name: str, kind: polars.DataType, text: str) -> Any:
    if not kind.is_numeric():
        return text
    with suppress(ValueError):
        if abs(number := int(text)) < 2**63:
            return number
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"{name} is a number, and {text!r} is none") from None
