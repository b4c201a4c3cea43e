"""The folder of a campaign: a file a finished run, a checkpoint an unfinished one, a record a failed one."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import IO

from turncoat.campaign.keys import Key
from turncoat.errors import ResultError
from turncoat.results.failure import FAILED

UNFINISHED = "unfinished"
LOCK = ".lock"
STALE = 3600.0  # seconds after which nobody writes a file any more
TRIES = 100  # to hold a folder that others give up meanwhile


class Store:
    """Where the files of each run of a campaign belong."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser().absolute()

    def name(self, key: Key) -> str:
        """What a run's files are called: its rule and attack for the eye, its key for certainty."""
        slug = re.sub(r"\W+", "-", f"{key.spec.rule} {key.spec.attack}").strip("-")[:60].rstrip("-")
        return f"{slug}-{key.digest[:16]}"

    def result(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def checkpoint(self, name: str) -> Path:
        return self.folder / UNFINISHED / f"{name}.safetensors"

    def failure(self, name: str) -> Path:
        return self.folder / FAILED / f"{name}.json"

    def sweep(self) -> None:
        """Remove what writers that were killed have left: files half written, and checkpoints of runs that are done."""
        for folder in (self.folder, self.folder / UNFINISHED, self.folder / FAILED):
            for path in folder.glob(".*.tmp"):
                with suppress(FileNotFoundError):
                    if time() - path.stat().st_mtime > STALE:
                        path.unlink()
        for path in (self.folder / UNFINISHED).glob("*.safetensors"):
            if self.result(path.stem).exists():
                path.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that no other campaign runs in it; raises `ResultError` where one does.

        The lock goes with the process, however that ends. A folder in which nothing came about is not left behind.
        """
        path = self.folder / LOCK
        with _locked(path) as file:
            try:
                yield
            finally:
                if _is(path, file):
                    path.unlink()
                with suppress(OSError):
                    self.folder.rmdir()


def _locked(path: Path) -> IO[str]:
    """A file, locked, with our process in it; raises `ResultError` where another holds it, or it cannot be written."""
    for _ in range(TRIES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except FileNotFoundError:  # the folder was given up in this moment
            continue
        except OSError as error:
            raise ResultError(f"cannot write into {path.parent}: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with file:
                file.seek(0)
                raise ResultError(f"another campaign, process {file.read().strip()}, runs in {path.parent}") from None
        if _is(path, file):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file
        file.close()  # it was given up, and is nobody's lock any more
    raise ResultError(f"cannot hold {path.parent}: others come and go")


def _is(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
