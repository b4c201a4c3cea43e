"""The files that importing a user's own part runs, found without importing anything."""

from __future__ import annotations

import ast
import importlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from turncoat.errors import SpecError
from turncoat.registry import PACKAGE, Beside, own_path

NOT_OWN = [Path(place).resolve() for place in (*map(sysconfig.get_path, ("stdlib", "platstdlib")), PACKAGE)]
INSTALLED = {"site-packages", "dist-packages"}


def files_of(target: str) -> dict[str, Path]:
    """The files that `path.py:name` or `package.module:name` runs, by what they are called; `SpecError` for no module.

    A file is called as it is given, `sub/own.py`, and what lies beside it or below in the same way; a module by its
    place in its package, `package/module.py`. What they import from elsewhere has its place in the working folder, or
    its absolute one. What is installed is left out, unless the part itself is in that package: the versions of Python
    and its packages are another matter.
    """
    where = target.rpartition(":")[0]
    importlib.invalidate_caches()
    if where.endswith(".py"):
        start = own_path(where)
        return _followed({start: where}, [str(start.parent), *sys.path], start.parent, Path(where).parent)
    specs = _specs(where, sys.path)
    if len(specs) <= where.count("."):
        raise SpecError(f"{target}: there is no module {where} on Python's path")
    folder, package = _home(specs[0]), specs[0].name
    found = {path: _called(path, folder, Path()) for path in _files(specs)}
    return _followed(found, sys.path, folder / package, Path(package))


def _followed(found: dict[Path, str], places: list[str], near: Path, called: Path) -> dict[str, Path]:
    """Files and all that they import, looked for in these places; those in the folder `near` are called so."""
    todo = list(found)
    while todo:
        for path in _imports(todo.pop(), places):
            if path not in found and not _is_installed(path, near):
                found[path] = _called(path, near, called)
                todo.append(path)
    return {name: path for path, name in found.items()}


def _called(path: Path, near: Path, called: Path) -> str:
    """A file's place in a folder that is called so, or in the working folder, or its absolute one."""
    for folder, name in ((near, called), (Path.cwd(), Path())):
        if path.is_relative_to(folder):
            return str(name / path.relative_to(folder))
    return str(path)


def _is_installed(path: Path, near: Path) -> bool:
    """Whether a file belongs to Python, to turncoat or to an installed package, and not to that of the part itself."""
    parts = (path.relative_to(near) if path.is_relative_to(near) else path).parts
    theirs = any(path.is_relative_to(each) and not near.is_relative_to(each) for each in NOT_OWN)
    return theirs or bool(INSTALLED.intersection(parts))


def _imports(path: Path, places: list[str]) -> Iterator[Path]:
    """The files that a Python file's import statements run, wherever in it they stand."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # importing it will say so
    for node in ast.walk(tree):
        level = 0
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
            level = node.level
        else:
            continue
        for name in names:
            yield from _files(_specs(name, [str(folder) for folder in path.parents[level - 1 : level]] or places))


def _specs(name: str, places: list[str]) -> list[ModuleSpec]:
    """What is found for the packages and the module of a dotted name, in order and as far as anything is."""
    found = []
    for part in name.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None and not found and part not in sys.stdlib_module_names:  # what is installed for development
            others = (finder for finder in sys.meta_path if finder not in (PathFinder, Beside))
            spec = next(filter(None, (finder.find_spec(part, None) for finder in others)), None)
        if spec is None:
            break
        found.append(spec)
        places = list(spec.submodule_search_locations or ())
    return found


def _files(specs: Iterable[ModuleSpec]) -> Iterator[Path]:
    """Where modules lie; a file that is a link keeps its place, from which it imports what is relative to it."""
    places = (Path(spec.origin) for spec in specs if spec.has_location and spec.origin)
    yield from (place.parent.resolve() / place.name for place in places)


def _home(spec: ModuleSpec) -> Path:
    """The folder in which a module or package that is in no other lies."""
    return Path(next(iter(spec.submodule_search_locations or ()), spec.origin or "")).resolve().parent
