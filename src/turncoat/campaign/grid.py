"""Grids: tables of which any field may be a list, as the runs that they stand for, with the controls they need."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from turncoat.campaign.axes import FIELDS, MOST, STREAMS, Axes, assembled, axes_of, meeting, must_meet, product, spelled
from turncoat.errors import SpecError
from turncoat.spec import Seeds, Spec, check_names, control, resolve, shown

UNSAID = {"task": Spec(n=1, f=0).task, "threads": 1, "seed": 0}  # so that all cells are spelled alike
LARGEST = 2**20  # bytes of a file
DEEP = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
"""A key of very many parts, of which a long one would keep tomllib busy for hours."""
OPTIONS = frozenset({"include", "exclude", "override", "control"})
T = TypeVar("T")


def read_grid(path: Path | str) -> list[Spec]:
    """The runs that a TOML file stands for, as `expand` makes them; raises SpecError."""
    return expand(read_table(path), str(path))


def read_table(path: Path | str) -> dict[str, Any]:
    """What a TOML file says; raises SpecError where it is not there, not TOML, or longer or deeper than any grid."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise SpecError(f"{path} is longer than the {LARGEST:,} bytes that a specification may have")
    try:
        text = content.decode()
        if DEEP.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except RecursionError:
        raise SpecError(f"{path} is nested too deeply for a specification") from None
    except ValueError as error:
        raise SpecError(f"{path} is not TOML: {error}") from None


def expand(table: Mapping[str, Any], origin: str = "") -> list[Spec]:
    """The resolved runs of a campaign, each once: the cells of its grids, then the controls that these lack.

    The table holds fields of `Spec`, of which any may be a list of values, and `include`, `exclude`, `override` and
    `control`; or fields that all grids share and, under `grid`, a list of such tables. The last list of a grid turns
    fastest, the shared ones being the first; its includes follow. `threads` is 1 where nothing is said. `origin` is
    the file that errors name.

    Raises SpecError for the first mistake, before any run has begun.

    Examples:
        >>> [spec.attack for spec in expand({"n": 10, "f": 2, "attack": ["none", "ipm(2.5)"]})]
        ['none', 'ipm(epsilon=2.5)']
        >>> [(spec.rule, spec.attack) for spec in expand({"n": 10, "f": 2, "rule": "krum", "attack": "alie(z=8)"})]
        [('krum', 'alie(z=8)'), ('mean', 'none')]
    """
    with _at(origin):
        grids = _grids(table)
        size = sum(math.prod(map(len, axes.values())) for grid in grids for axes in grid.products)
        if size > MOST:
            raise SpecError(f"{size:,} cells are more than the {MOST:,} that a campaign may have")
        cells: dict[Spec, bool] = {}
        for grid in grids:
            with _at(grid.place):
                for cell in grid.cells():
                    cells[cell] = grid.control or cells.get(cell, False)
        return [*cells, *_lacking(cells)]


def _lacking(cells: Mapping[Spec, bool]) -> list[Spec]:
    """The controls of those cells that want one, but for what is a cell already; each in the seed of its first cell."""
    controls: dict[Spec, Spec] = {}
    for cell, controlled in cells.items():
        if controlled:
            controls.setdefault(_drawn(control(cell)), control(cell))
    there = set(map(_drawn, cells))
    return [spec for drawn, spec in controls.items() if drawn not in there]


def _drawn(spec: Spec) -> Spec:
    """A run without the streams from which a control draws nothing."""
    assert isinstance(spec.seed, Seeds)
    return msgspec.structs.replace(spec, seed=msgspec.structs.replace(spec.seed, server=0, adversary=0))


@dataclass(frozen=True)
class Grid:
    """One grid of a campaign, whose values are not checked yet."""

    place: str
    products: list[Axes]
    """Of its own fields, then of each include."""
    exclude: list[Axes]
    override: list[tuple[Axes, Axes]]
    """Conditions, and what they set."""
    control: bool

    def cells(self) -> list[Spec]:
        """The resolved cells, in order; raises SpecError."""
        cells = [cell for axes in self.products for cell in product(spelled(axes))]
        excluded: set[int] = set()
        for i, condition in enumerate(self.exclude, 1):
            with _at(f"exclude {i}"):
                excluded.update(must_meet(cells, condition))
        cells = [cell for i, cell in enumerate(cells) if i not in excluded]
        if not cells:
            raise SpecError("all its cells are excluded: there is nothing to run")
        for i, (condition, axes) in enumerate(self.override, 1):
            with _at(f"override {i}"):
                values = assembled({key: value for key, (value,) in spelled(axes).items()})
                for k in must_meet(cells, condition):
                    cells[k] = msgspec.structs.replace(cells[k], **values)
        return [self._resolved(cell) for cell in cells]

    def _resolved(self, cell: Spec) -> Spec:
        try:
            return resolve(cell)
        except SpecError as error:
            place = ", ".join(f"{key} = {shown(getattr(cell, key))}" for key in self._varied())
            raise SpecError(f"cell {place}: {error}" if place else str(error)) from None

    def _varied(self) -> list[str]:
        """The fields in which cells differ, but for the seed, which is no reason why a cell cannot be."""
        own, *included = self.products
        lists = [key for axes in self.products for key in axes if len(axes[key]) > 1]
        others = [key for axes in included for key in axes if axes[key] != own.get(key)]
        set_ = [key for _, axes in self.override for key in axes]
        return [key for key in dict.fromkeys([*lists, *others, *set_]) if key not in STREAMS | {"seed"}]


def _grids(table: Mapping[str, Any]) -> list[Grid]:
    check_names(table, FIELDS | OPTIONS | {"grid"}, "a run")
    if "grid" not in table:
        return [_grid("", table)]
    shared = {key: value for key, value in table.items() if key != "grid"}
    if apart := [key for key in shared if key in OPTIONS - {"control"}]:
        raise SpecError(f"{apart[0]} stands beside [[grid]]: it belongs into one of the grids")
    grids = []
    for i, own in enumerate(_tables("grid", table["grid"]), 1):
        with _at(f"grid {i}"):
            grids.append(_grid(f"grid {i}", shared | dict(own)))
    if not grids:
        raise SpecError("grid is an empty list: there is nothing to run")
    return grids


def _grid(place: str, table: Mapping[str, Any]) -> Grid:
    check_names(table, FIELDS | OPTIONS, "a run")
    said = {key: value for key, value in table.items() if key in FIELDS}
    fields = said | UNSAID | said  # in the order in which they are said
    for key in ("n", "f"):
        if key not in fields:
            raise SpecError(f"a run must say its {key}")
    controlled = table.get("control", True)
    if not isinstance(controlled, bool):
        raise SpecError(f"control takes true or false, got {shown(controlled)}")

    def included(given: Mapping[str, Any]) -> Axes:
        axes_of(given)  # which checks it alone
        return axes_of(fields | dict(given))

    return Grid(
        place,
        products=[axes_of(fields), *_each("include", table, included)],
        exclude=_each("exclude", table, axes_of),
        override=_each("override", table, _override),
        control=controlled,
    )


def _override(given: Mapping[str, Any]) -> tuple[Axes, Axes]:
    check_names(given, frozenset({"when", "set"}), "an override")
    for key in ("when", "set"):
        if not isinstance(given.get(key), Mapping):
            raise SpecError(f"it takes a table of fields as its {key}, got {shown(given.get(key))}")
    when, axes = axes_of(given["when"]), axes_of(given["set"])
    for key, values in axes.items():
        if len(values) > 1:
            raise SpecError(f"it sets {key} to {len(values)} values: only a grid or an include spans several")
    return when, axes


def _each(option: str, table: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """What the tables of an option say."""
    made = []
    for i, given in enumerate(_tables(option, table.get(option, ())), 1):
        with _at(f"{option} {i}"):
            made.append(read(given))
    return made


def _tables(option: str, value: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise SpecError(f"{option} takes a list of tables, got {shown(value)}")
    return value


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Mistakes say where they stand."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{place}: {error}" if place else str(error)) from None


def with_settings(table: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The table with fields set, to a value or a list, in all its grids, whatever these say of them.

    What then has no meaning goes: an include or override that changes nothing else, and a condition that asks for
    another value. Mistakes are left for `expand` to find.
    """
    made = _without(table, settings) | dict(settings)
    if isinstance(grids := table.get("grid"), list | tuple) and "grid" not in settings:
        made["grid"] = [_without(grid, settings) if isinstance(grid, Mapping) else grid for grid in grids]
    return made


def _without(grid: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A grid as it is where the settings are said elsewhere."""
    made = {key: value for key, value in grid.items() if key not in settings}
    for option in OPTIONS & made.keys():
        if isinstance(given := made[option], list | tuple):
            made[option] = [left for item in given if (left := _left(option, item, settings)) is not None]
    return made


def _left(option: str, item: Any, settings: Mapping[str, Any]) -> Any:
    """What is left of an include, exclude or override; None for nothing, and as it is where it makes no sense."""
    match option, item:
        case "include", Mapping() if item:
            return {key: value for key, value in item.items() if key not in settings} or None
        case "exclude", Mapping():
            return item if _possible(item, settings) else None
        case "override", {"when": Mapping() as when, "set": Mapping() as values} if values:
            values = {key: value for key, value in values.items() if key not in settings}
            return {**item, "set": values} if values and _possible(when, settings) else None
    return item


def _possible(condition: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a cell with the settings may meet a condition."""
    with suppress(SpecError):  # which `expand` will raise
        for key in condition.keys() & settings.keys():
            cells = product({"n": [1], "f": [0]} | spelled(axes_of({key: settings[key]})))
            if not meeting(list(cells), axes_of({key: condition[key]})):
                return False
    return True
