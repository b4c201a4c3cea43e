"""The folder of a campaign: a file a finished run, a checkpoint an unfinished one, a record a failed one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from turncoat.campaign.keys import Key
from turncoat.errors import ResultError
from turncoat.results.failure import FAILED

UNFINISHED = "unfinished"
LOCK = ".lock"


class Store:
    """Where the files of each run of a campaign belong."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that no other campaign runs in it; raises `ResultError` where one does.

        The lock goes with the process, however that ends. A folder in which nothing came about is not left behind.
        """
        path = self.folder / LOCK
        with _locked(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    self.folder.rmdir()


def _locked(path: Path) -> IO[str]:
    """A file, locked, with our process in it; raises `ResultError` where another holds it, or it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = path.open("a+")
            with suppress(ImportError):  # no such locks on this system
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    with file:
                        at_work = file.read().strip()
                    raise ResultError(f"another campaign, process {at_work}, runs in {path.parent}") from None
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:  # not one just given up
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                return file
            file.close()
    except OSError as error:
        if isinstance(error, ResultError):
            raise
        raise ResultError(f"cannot write into {path.parent}: {error.strerror or error}") from None
