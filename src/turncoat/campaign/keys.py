"""A run's key: everything that decides its figures, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from turncoat import registry
from turncoat.campaign.imports import files_of
from turncoat.data.stored import files_checksum
from turncoat.errors import SpecError
from turncoat.learning.own import own_of, texts
from turncoat.results.files import source_hash
from turncoat.spec import Spec, canonical, resolve, task_parts


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
    read, files, data = source_hash(), cache(own_files), cache(_data)  # each file once, even for thousands of runs
    keys = []
    for spec in specs:
        spec = resolve(msgspec.structs.replace(spec, threads=spec.threads or 1))
        own = {name: content for text in texts(spec).values() for name, content in files(text).items()}
        dataset, _ = task_parts(spec.task)
        keys.append(Key(spec=spec, files=dict(sorted(own.items())), data=data(dataset.name), source=read))
    return keys


def _data(name: str) -> str:
    return "" if registry.is_own(name) else files_checksum(name)


def own_files(text: str) -> dict[str, str]:
    """sha256 of all that a spelling has of the user's own, by name; raises `SpecError` for what cannot be read."""
    own = own_of(text)
    found = {file: Path(file) for file in own.files}
    for target in own.names:
        found |= files_of(target)
    return {name: _content(text, name, path) for name, path in found.items()}


def _content(text: str, name: str, path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SpecError(f"{text}: cannot read {name}: {error.strerror or error}") from None
