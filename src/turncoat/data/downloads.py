"""Fetching a data set's files from its usual public home into the cache.

Every file is checked against the sha256 of the published one before anything gets to see it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from turncoat.errors import DataUnavailableError

TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 18  # bytes

_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_SVHN = "http://ufldl.stanford.edu/housenumbers"
HOMES = {
    "mnist": {
        f"{_MNIST}/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        f"{_MNIST}/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        f"{_MNIST}/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        f"{_MNIST}/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion_mnist": {
        f"{_FASHION}/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        f"{_FASHION}/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        f"{_FASHION}/t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        f"{_FASHION}/t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    "cifar10": {
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz": (
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
        ),
    },
    "svhn": {
        f"{_SVHN}/train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        f"{_SVHN}/test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    },
}


def cache_folder() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/turncoat`, else `~/.cache/turncoat`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "turncoat"


def download(name: str, folder: Path) -> None:
    """Fetch the data set's files that the folder lacks; raises `DataUnavailableError`.

    A file appears under its name only when it is whole and its sha256 is right, so a download can be interrupted and
    several processes can fetch the same file. A progress bar is shown on stderr where that is a terminal.
    """
    for url, sha256 in HOMES[name].items():
        target = folder / url.rpartition("/")[2]
        if not target.exists():
            _fetch(url, target, sha256)


def _fetch(url: str, target: Path, sha256: str) -> None:
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        part = Path(name)
        found = _copy(url, handle, target.name)
        if found == sha256:
            part.replace(target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer, too
        raise DataUnavailableError(f"{url} cannot be fetched into {target.parent}: {error}") from error
    finally:
        if part:
            part.unlink(missing_ok=True)
    if found != sha256:
        raise DataUnavailableError(f"{url} answered with something else: its sha256 is {found}, expected {sha256}")


def _copy(url: str, handle: int, title: str) -> str:
    """Copy what the address answers into an open file; returns its sha256."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty())
    digest = hashlib.sha256()
    with open(handle, "wb") as file, urllib.request.urlopen(url, timeout=TIMEOUT) as answer, bar:
        length = answer.headers.get("Content-Length")
        task = bar.add_task(title, total=int(length) if length else None)
        while block := answer.read(BLOCK):
            file.write(block)
            digest.update(block)
            bar.advance(task, len(block))
    return digest.hexdigest()
