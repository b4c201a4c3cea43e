"""A run's key: everything that decides its figures, and nothing else."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import msgspec

from turncoat import registry
from turncoat.data.stored import files_checksum
from turncoat.errors import SpecError
from turncoat.results.files import source_hash
from turncoat.spec import Spec, canonical, resolve, task_parts
from turncoat.spelling import parse, parse_chain


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's figures follow from: its resolved spec, the user's own files, the data's files and our own code."""

    spec: Spec
    files: dict[str, str]
    """sha256 of the user's own files by their names, with those that they import from beside them."""
    data: str
    """sha256 over the stored files of the data set; empty where it is drawn or the user's own."""
    source: str
    """sha256 over the package's files that compute."""

    @property
    def digest(self) -> str:
        """sha256 over all of it, in hexadecimal."""
        said = msgspec.json.encode([self.files, self.data, self.source], order="sorted")
        return hashlib.sha256(canonical(self.spec) + said).hexdigest()


def keys_of(specs: Iterable[Spec]) -> list[Key]:
    """The key of each run, which has as many torch threads as its spec says, else one.

    Raises `SpecError` where a file of the user's own is missing, and `DataUnavailableError` where a data set is.
    """
    read, files, data = source_hash(), cache(_files), cache(_data)  # each file once, even for thousands of runs
    keys = []
    for spec in specs:
        spec = resolve(msgspec.structs.replace(spec, threads=spec.threads or 1))
        dataset, model = task_parts(spec.task)
        attack = parse(spec.attack)
        own: dict[str, str] = {}
        for call in (dataset, model, *parse_chain(spec.rule), attack, parse(spec.split)):
            own |= files(call.name) if registry.is_own(call.name) else {}
        for path in registry.files("attack", attack):
            own[str(path)] = _content(attack.name, path)
        keys.append(Key(spec=spec, files=dict(sorted(own.items())), data=data(dataset.name), source=read))
    return keys


def _data(name: str) -> str:
    return "" if registry.is_own(name) else files_checksum(name)


def _files(target: str) -> dict[str, str]:
    """sha256 of the file behind the user's own part, and of those that it imports from beside it, by their names."""
    try:
        path = registry.own_file(target)
    except (ImportError, ValueError) as error:
        raise SpecError(f"{target}: {error}") from None
    if path is None:
        return {}
    given = target.rpartition(":")[0].endswith(".py")
    return {
        str(each if given else each.relative_to(_root(path))): _content(target, each) for each in _with_imports(path)
    }


def _content(target: str, path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpecError(f"{target}: cannot read {path}: {error.strerror or error}") from None


def _root(path: Path) -> Path:
    """The folder from which a file's package is imported; that of the file where it is in none."""
    return next(folder for folder in path.parents if not (folder / "__init__.py").is_file())


def _with_imports(path: Path) -> list[Path]:
    """A file and the files beside it, or in its package, that it imports, directly or through one another."""
    found, todo = [path], [path]
    while todo:
        following = [each for each in dict.fromkeys(_imports(todo.pop())) if each not in found]
        found += following
        todo += following
    return found


def _imports(path: Path) -> Iterator[Path]:
    """What a Python file's import statements name, as far as it lies beside the file or in its package."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # importing it will say so
    for node in ast.walk(tree):
        folders = [path.parent, _root(path)]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
            folders = list(path.parents)[node.level - 1 : node.level] if node.level else folders
        else:
            continue
        for name in names:
            parts = name.split(".")
            for folder in folders:
                stems = [folder.joinpath(*parts[:k]) for k in range(1, len(parts) + 1)]
                files = (file for stem in stems for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"))
                yield from (file for file in files if file.is_file())
