"""Names: what exists, with its parameters, sources and traits, read from the source files without importing them.

A component (rule, attack, data set, split, model) is a frozen dataclass with a `name` in one of the files below. Its
fields are its parameters, its plain class attributes are its traits, the first line of its docstring is its summary.
That class is all there is to write: listing, parsing, the specs' defaults and the shared tests find it here.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from turncoat.errors import SpecError
from turncoat.presets import NOT_OFFERED, PRESETS
from turncoat.spelling import Call, Value, parse

PACKAGE = Path(__file__).parent
ROOMS = {
    "rule": "rules/*.py",
    "attack": "attacks/**/*.py",
    "dataset": "data/sources.py",
    "split": "data/splits.py",
    "model": "learning/models.py",
}


class Component:
    """A named part whose dataclass fields are its parameters; `str()` gives the call that makes it again."""

    name: ClassVar[str]
    source: ClassVar[str] = ""
    strength: ClassVar[str] = ""
    """The parameter that a spelling always shows: two attacks are never compared on a strength left unsaid."""

    def __str__(self) -> str:
        given = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            shown = value != field.default or (field.name == self.strength and value is not None)
            if shown and not field.kw_only:
                given[field.name] = _spelled(value)
        return str(Call(self.name, (), given))


def _spelled(value: Any) -> Value:
    """A parameter's value as a call writes it: parts of a part by their own spelling."""
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return str(value) if isinstance(value, Component) else value


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a listing shows of one component."""

    kind: str
    name: str
    module: str
    class_name: str
    parameters: dict[str, Value]
    """The defaults, by name."""
    kinds: dict[str, str]
    """The annotations, by name."""
    summary: str
    source: str
    traits: dict[str, Value]

    def load(self) -> type:
        return getattr(importlib.import_module(self.module), self.class_name)


@cache
def entries(kind: str) -> dict[str, Entry]:
    """All registered components of a kind, by name."""
    paths = sorted(PACKAGE.glob(ROOMS[kind]))
    room = {name: node for path in paths for name, node in _classes(path).items()}  # they inherit from one another
    found = [entry for path in paths for entry in _read(kind, path, room)]
    return {entry.name: entry for entry in found}


def _read(kind: str, path: Path, classes: dict[str, ast.ClassDef]) -> Iterable[Entry]:
    module = ".".join(("turncoat", *path.relative_to(PACKAGE).with_suffix("").parts))
    for node in _classes(path).values():
        parameters, kinds, traits = _attributes(node, classes)
        if "name" in _attributes(node, {})[2]:
            name, source = str(traits.pop("name")), str(traits.pop("source", ""))
            summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            yield Entry(kind, name, module, node.name, parameters, kinds, summary, source, traits)


@cache
def _classes(path: Path) -> dict[str, ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _attributes(
    node: ast.ClassDef, classes: dict[str, ast.ClassDef]
) -> tuple[dict[str, Value], dict[str, str], dict[str, Value]]:
    """Fields, their annotations, and plain attributes, all with literal values, those of the bases first."""
    parameters: dict[str, Value] = {}
    kinds: dict[str, str] = {}
    traits: dict[str, Value] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            inherited = _attributes(classes[base.id], classes)
            parameters |= inherited[0]
            kinds |= inherited[1]
            traits |= inherited[2]
    for item in node.body:
        match item:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                kinds[name] = ast.unparse(annotation)
                found = traits if "ClassVar" in kinds[name] else parameters
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found = traits
            case ast.FunctionDef(name=name):  # what depends on the parameters is no trait of the class
                traits.pop(name, None)
                continue
            case _:
                continue
        with suppress(ValueError):  # what is no literal is no parameter that a call could spell
            found[name] = ast.literal_eval(value)
    return parameters, kinds, traits


def find(kind: str, name: str) -> Entry:
    """The entry of that name; raises `SpecError` with the nearest names that exist."""
    known = entries(kind)
    if name not in known:
        raise SpecError(f"unknown {kind} {name!r}: {suggest(name, known)}")
    return known[name]


def suggest(name: str, known: Iterable[str]) -> str:
    """What to say beside an unknown name: the nearest ones, or all where none is near."""
    known = sorted(known)
    if not known:
        return "there are none"
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def check(kind: str, call: Call) -> Entry | None:
    """Check a call's name and argument names without importing anything; None stands for the user's own part."""
    if is_own(call.name):
        return None
    call = expand(call)
    entry = find(kind, call.name)
    bind(entry, call)
    return entry


def expand(call: Call) -> Call:
    """The call that a `preset` among its arguments stands for, in this project's own terms; any other as it is.

    Arguments given beside the preset win. Raises `SpecError` for an unknown preset and for what it has no name for.
    """
    preset = call.kwargs.get("preset")
    if preset is None:
        return call
    if preset not in PRESETS:
        raise SpecError(f"{call}: unknown preset {preset!r}: {suggest(str(preset), PRESETS)}")
    if why := NOT_OFFERED.get((str(preset), call.name)):
        raise SpecError(f"{call}: {preset}'s {call.name} is not offered: {why}")
    known = parse(PRESETS[str(preset)].get(call.name, call.name))
    given = {key: value for key, value in call.kwargs.items() if key != "preset"}
    return Call(known.name, call.args, known.kwargs | given)


def with_preset(call: Call, preset: str | None) -> Call:
    """The call with a preset that is given apart, unless it names one itself."""
    if preset is None or is_own(call.name):
        return call
    return Call(call.name, call.args, {"preset": preset} | call.kwargs)


def bind(entry: Entry, call: Call) -> dict[str, Value]:
    """The call's arguments by name."""
    names = list(entry.parameters)
    if len(call.args) > len(names):
        raise SpecError(f"{call}: {entry.name} takes at most {len(names)} argument(s): {', '.join(names) or 'none'}")
    given = dict(zip(names, call.args, strict=False))
    for key, value in call.kwargs.items():
        if key not in names:
            raise SpecError(f"{call}: {entry.name} has no argument {key!r}: {suggest(key, names)}")
        if key in given:
            raise SpecError(f"{call}: argument {key!r} is given twice")
        given[key] = value
    for key, value in given.items():
        if not _fits(value, entry.kinds.get(key, "")):
            raise SpecError(f"{call}: {key} takes {entry.kinds[key].replace(' | ', ' or ')}, got {value!r}")
    return given


def _fits(value: Value, kind: str) -> bool:
    """Whether a value is of a kind such as `float` or `int | None`, as annotations write it; floats are finite."""
    kinds = {"NoneType" if name == "None" else name for name in kind.split(" | ")}
    if not kinds <= {"int", "float", "str", "bool", "NoneType"}:
        return True
    if isinstance(value, float):
        return "float" in kinds and math.isfinite(value)
    return type(value).__name__ in kinds or (type(value) is int and "float" in kinds)


def make(kind: str, call: Call, **inherited: Any) -> Any:
    """Build a registered component, or load the user's own as it is."""
    if is_own(call.name):
        return load_own(call.name)
    call = expand(call)
    entry = find(kind, call.name)
    given = bind(entry, call)
    try:
        return entry.load()(**given, **inherited)
    except SpecError as error:
        raise SpecError(f"{call}: {error}") from None


def is_own(name: str) -> bool:
    """Whether a name means the user's own part: `path.py:name` or `package.module:name`."""
    return ":" in name


def load_own(target: str) -> Any:
    """Import `path.py:name` or `package.module:name`; raises `SpecError` where it is not there.

    A file that was edited is imported anew, what it imports itself is not, as ever in one process of Python.
    """
    where, _, attribute = target.rpartition(":")
    file = own_path(where) if where.endswith(".py") else None
    if file is not None and not file.is_file():
        raise SpecError(f"{target}: there is no file {where}")
    try:
        with _beside(file):
            module = importlib.import_module(where) if file is None else _executed(file)
    except Exception as error:
        raise SpecError(f"{target}: cannot import {where}: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise SpecError(f"{target}: {where} has no {attribute!r}: {suggest(attribute, names)}")
    return getattr(module, attribute)


def own_path(where: str) -> Path:
    """The file that a name like `~/own.py` means."""
    return Path(where).expanduser().resolve()


def _executed(file: Path) -> ModuleType:
    """A file as a module of its own: another content or another place is another module."""
    content = file.read_bytes()
    name = f"turncoat_own_{file.stem}_{hashlib.sha256(os.fsencode(file) + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        exec(compile(content, file, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


class Beside:
    """Finds what lies beside the user's own files, for Python's import, before what is on its path."""

    folders: ClassVar[list[Path]] = []
    """Those of the files that were loaded, the last one first."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [*map(str, cls.folders), *sys.path]) if path is None else None


@contextmanager
def _beside(file: Path | None) -> Iterator[None]:
    """Let a file of the user's own import what lies beside it before all else, and nothing beside those before it.

    Its functions may still import what lies there when they are called, unless a file loaded later has its like.
    """
    before, folders = Beside.folders, [] if file is None else [file.parent]
    offered = {path.stem for folder in folders for path in folder.glob("*.py")}
    offered |= {path.parent.name for folder in folders for path in folder.glob("*/__init__.py")}
    strangers = set(before).difference(folders, (Path(place).resolve() for place in sys.path))
    homes = {name: _home(module) for name, module in list(sys.modules.items()) if "." not in name}
    aside = {name for name, home in homes.items() if home in strangers or (name in offered and home not in folders)}
    modules = {name: sys.modules[name] for name in list(sys.modules) if name.partition(".")[0] in aside - KEPT}
    for name in modules:
        del sys.modules[name]
    if Beside not in sys.meta_path:
        sys.meta_path.insert(sys.meta_path.index(PathFinder), Beside)
    Beside.folders = folders
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # an edit within a second would not be seen
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        Beside.folders = [*folders, *(folder for folder in before if folder not in folders)]
        replaced = offered.union(sys.modules)
        sys.modules.update({name: module for name, module in modules.items() if name.partition(".")[0] not in replaced})


def _home(module: Any) -> Path | None:
    """The folder in which a module that is in no package lies."""
    place = next(iter(getattr(module, "__path__", None) or ()), None) or getattr(module, "__file__", None)
    return Path(place).resolve().parent if isinstance(place, str) else None


KEPT = {*sys.stdlib_module_names, "__main__", "turncoat"}


def files(call: Call) -> list[str]:
    """The files that a registered component's arguments name, such as the plan of `replay(plan.safetensors)`."""
    entry = next((entries(kind)[call.name] for kind in ROOMS if call.name in entries(kind)), None)
    if entry is None or "files" not in entry.traits:
        return []
    given = bind(entry, expand(call))
    return [str(given[key]) for key in entry.traits["files"] if key in given]  # type: ignore[union-attr]


def accepted(function: Any, **offered: Any) -> dict[str, Any]:
    """Those of the offered arguments that a callable has a parameter for; none where it does not tell."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {key: value for key, value in offered.items() if key in parameters}
