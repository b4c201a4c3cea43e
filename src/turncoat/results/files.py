"""Files that are written whole or not at all, and the hash of the code that computed what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from functools import cache
from pathlib import Path

from turncoat.errors import ResultError
from turncoat.registry import PACKAGE

COMPUTING = (
    *("spelling.py", "presets.py", "registry.py", "spec.py"),
    *(f"{room}/**/*.py" for room in ("linalg", "rules", "attacks", "data", "learning")),
)
"""The rooms, and single files, on which the figures of a run depend; a chart or a command may change without them."""


def write_atomically(path: Path | str, content: bytes) -> Path:
    """Write a file under a temporary name in its own folder, flush it to the disk and rename it into place.

    Missing folders are made. A reader sees the old file or the new one, never a part; a writer that is killed leaves
    at most a hidden `.tmp` file behind. Raises `ResultError` where the folder cannot be written.
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(path.parent)
    except OSError as error:
        raise ResultError(f"cannot write {path.name} into {path.parent}: {error.strerror or error}") from error
    return path


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, on file systems that can promise it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                os.fsync(handle)
        finally:
            os.close(handle)


@cache
def source_hash(*more: str) -> str:
    """sha256 over the package's Python files that have a say in what a run computes, and over more, sorted by path."""
    digest = hashlib.sha256()
    rooms = (*COMPUTING, *more)
    paths = {path.relative_to(PACKAGE).as_posix(): path for room in rooms for path in PACKAGE.glob(room)}
    for name, path in sorted(paths.items()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
