"""Where a data set's files are on this machine, and their checksum, without reading what is in them or torch."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turncoat import registry
from turncoat.data.downloads import cache_folder, download
from turncoat.errors import DataUnavailableError

if TYPE_CHECKING:
    from turncoat.data.formats import Format


@dataclass(frozen=True)
class Stored:
    """A data set's files: how they are to be read, and in what kind of place they were found."""

    format: Format
    paths: tuple[Path, ...]
    place: str


def find(name: str, folder: Path | None = None) -> Stored | None:
    """The files of a registered data set: in `folder`, where TURNCOAT_DATA says, in the cache, in Debian's package."""
    from turncoat.data.formats import FORMATS

    traits = _traits(name)
    for place, where in _places(traits, folder):
        for form in traits["formats"]:
            for below in traits["folders"]:
                paths = FORMATS[form].find(where / below, name)
                if paths and not (form == "idx" and below == "." and _is_other(name, paths[-1])):
                    return Stored(FORMATS[form], tuple(paths), place)
    return None


def _traits(name: str) -> dict[str, Any]:
    return registry.find("dataset", name).traits


def _places(traits: dict[str, Any], folder: Path | None) -> Iterator[tuple[str, Path]]:
    if folder is not None:
        yield "the folder given", folder
    for named in filter(None, os.environ.get("TURNCOAT_DATA", "").split(os.pathsep)):
        yield "TURNCOAT_DATA", Path(named).expanduser()
    yield "the cache", cache_folder()
    package, where = traits["package"]
    if package:
        yield f"the package {package}", Path(where)


def _is_other(name: str, labels: Path) -> bool:
    """Whether IDX files, whose names do not say of which data set they are, are known to be of another one."""
    from turncoat.data.formats import idx

    others = [entry.traits.get("opening", "") for entry in registry.entries("dataset").values() if entry.name != name]
    known = [str(opening) for opening in others if opening]
    first = "".join(str(label) for label in idx(labels, 1)[: max(map(len, known))])
    return any(first.startswith(opening) for opening in known)


def obtain(name: str, folder: Path | None = None) -> Stored:
    """`find`, and where that finds nothing fetch the files into the cache; raises `DataUnavailableError`."""
    if found := find(name, folder):
        return found
    try:
        download(name, cache_folder() / name)
    except DataUnavailableError as error:
        raise DataUnavailableError(f"{_advice(name)}, which failed: {error}") from error
    found = find(name)
    assert found
    return replace(found, place="its public home")


def _advice(name: str) -> str:
    """What to do where a data set's files are missing."""
    from turncoat.data.formats import FORMATS

    traits = _traits(name)
    files = " or ".join(FORMATS[form].wanted(name) for form in traits["formats"])
    package = f" install the package {traits['package'][0]}," if traits["package"][0] else ""
    return f"{traits['title']} is not here: put {files} into a folder that TURNCOAT_DATA names,{package} or download it"


def files_checksum(name: str) -> str:
    """sha256 over the files of a registered data set, in hexadecimal; empty for one that is drawn from a seed.

    Raises `DataUnavailableError`, which says how to get them, where they are missing.
    """
    traits = _traits(name)
    if "embedded" in traits:
        package, below = traits["embedded"]
        spec = importlib.util.find_spec(package)
        assert spec
        assert spec.submodule_search_locations
        return _checksum((Path(spec.submodule_search_locations[0]) / below,))
    if "formats" not in traits:
        return ""
    stored = find(name)
    if stored is None:
        raise DataUnavailableError(_advice(name))
    return _checksum(stored.paths)


def _checksum(paths: tuple[Path, ...]) -> str:
    try:
        return _read(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))
    except OSError as error:
        raise DataUnavailableError(f"cannot read {error.filename}: {error.strerror}") from None


@lru_cache(maxsize=16)
def _read(files: tuple[tuple[Path, int, int], ...]) -> str:
    """The checksum of files in that size and age, so that a grid reads them once."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
