"""How image data sets are stored: one reader a format, from files to bytes of pixels and labels.

Readers take what they read for hostile: each returns checked arrays or raises `DataUnavailableError`, which names the
file and what is wrong with it. No file makes numpy, pickle or anything else call a function of its choice.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from turncoat.errors import DataUnavailableError

Shape = tuple[int, ...]  # (C, H, W)
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
BATCH_FOLDER = "cifar-10-batches-py"


class Raw(NamedTuple):
    """Images (N, C, H, W) uint8 and labels (N,) int64, as every reader returns them."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Format:
    """A way to store a data set: the files it consists of, relative to a folder, and their reader."""

    title: str
    files: tuple[str, ...]
    read: Callable[[Sequence[Path], Shape, int], Raw]
    gzipped: bool = False  # each file may also stand there with .gz behind its name

    def find(self, folder: Path, name: str) -> list[Path] | None:
        """The files of the data set `name` in a folder; None unless all are there."""
        paths = []
        with reading(folder, "a folder"):
            for file in self.files:
                path = folder / file.format(name=name)
                candidates = (path, path.with_name(path.name + ".gz")) if self.gzipped else (path,)
                present = [candidate for candidate in candidates if candidate.is_file()]
                if not present:
                    return None
                paths.append(present[0])
        return paths

    def wanted(self, name: str) -> str:
        """The files to supply, in a few words."""
        first, last = (self.files[i].format(name=name) + ("[.gz]" if self.gzipped else "") for i in (0, -1))
        return first if len(self.files) == 1 else f"{first} ... {last} ({len(self.files)} files)"


@contextmanager
def reading(path: Path | str, what: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a `DataUnavailableError` that names the file, in one line."""
    try:
        yield
    except DataUnavailableError:
        raise
    except Exception as error:  # zipfile, zlib, pickle, tarfile, scipy and numpy each raise many kinds
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataUnavailableError(f"{path} cannot be read as {what}: {why}") from error


def read_npz(paths: Sequence[Path], shape: Shape, classes: int) -> Raw:
    """One archive with x_train, y_train, x_test, y_test; images with their channels first, last or, if grey, absent."""
    [path] = paths
    arrays = _npz(path, Raw._fields)
    return Raw(*_pair(path, arrays[0], arrays[1], shape, classes), *_pair(path, arrays[2], arrays[3], shape, classes))


def read_idx(paths: Sequence[Path], shape: Shape, classes: int) -> Raw:
    """MNIST's four files: images and labels of the training set, images and labels of the test set."""
    x_train, y_train, x_test, y_test = (idx(path, dims) for path, dims in zip(paths, (3, 1, 3, 1), strict=True))
    return Raw(*_pair(paths[0], x_train, y_train, shape, classes), *_pair(paths[2], x_test, y_test, shape, classes))


def idx(path: Path, dims: int) -> np.ndarray:
    """An IDX file of bytes, gzipped or not: 0, 0, type, dimensions, their sizes as big-endian uint32, the content."""
    with reading(path, "an IDX file"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header = 4 + 4 * dims
    if len(content) < header or content[:4] != bytes((0, 0, 8, dims)):
        raise DataUnavailableError(f"{path} does not begin like an IDX file of bytes in {dims} dimension(s)")
    sizes = np.frombuffer(content, ">u4", dims, offset=4).tolist()
    if len(content) - header != math.prod(sizes):
        raise DataUnavailableError(
            f"{path} announces {math.prod(sizes)} bytes and holds {len(content) - header}: it is truncated or corrupt"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def read_mat(paths: Sequence[Path], shape: Shape, classes: int) -> Raw:
    """SVHN's cropped digits: X (H, W, C, N) and y (N, 1) in one MATLAB file a part, where 10 stands for the digit 0."""
    from scipy.io import loadmat

    parts = []
    for path in paths:
        with reading(path, "a MATLAB file"):
            content = loadmat(path, appendmat=False, variable_names=("X", "y"))
            missing = [key for key in ("X", "y") if key not in content]
            if missing:
                raise DataUnavailableError(f"{path} lacks {' and '.join(missing)}")
            images, labels = np.moveaxis(content["X"], -1, 0), content["y"].reshape(-1)
        parts += _pair(path, images, np.where(labels == 10, 0, labels), shape, classes)
    return Raw(*parts)


def read_jpeg(paths: Sequence[Path], shape: Shape, classes: int) -> Raw:
    """An archive of JPEG files end to end: jpeg_train, off_train (N + 1 offsets), y_train, and the same for test."""
    [path] = paths
    parts = []
    for part in ("train", "test"):
        stream, offsets, labels = _npz(path, (f"jpeg_{part}", f"off_{part}", f"y_{part}"))
        images = _decode(path, part, stream.tobytes(), offsets.tolist(), shape)
        parts += _pair(path, images, labels, shape, classes)
    return Raw(*parts)


def _decode(path: Path, part: str, stream: bytes, offsets: list[int], shape: Shape) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataUnavailableError(
            f"{path} holds JPEG images, which need Pillow: pip install 'turncoat[images]'"
        ) from error
    channels, height, width = shape
    pixels = bytearray()
    with reading(path, f"the JPEG images of its {part} part"):
        for i, (start, stop) in enumerate(pairwise(offsets)):
            with reading(path, f"JPEG images ({part} image {i})"), io.BytesIO(stream[start:stop]) as file:
                image = Image.open(file, formats=("JPEG",))
                if image.size != (width, height) or image.mode != "RGB":
                    raise DataUnavailableError(f"{path}: {part} image {i} is not {width} x {height} pixels in colour")
                pixels += image.tobytes()
        return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, channels)


def read_batches(paths: Sequence[Path], shape: Shape, classes: int) -> Raw:
    """CIFAR-10's six Python pickles, read without unpickling anything but plain data."""
    with reading(paths[0].parent, "a folder"):
        contents = [(path, path.read_bytes()) for path in paths]
    return _batches(contents, shape, classes)


def read_tar(paths: Sequence[Path], shape: Shape, classes: int) -> Raw:
    """The same six in the archive they are published in, which is not unpacked."""
    [path] = paths
    found = {}
    with reading(path, "a tar archive"), tarfile.open(path, "r:gz") as archive:
        for member in archive:
            batch = member.name.removeprefix(BATCH_FOLDER + "/")
            if batch in BATCHES and member.isfile() and (file := archive.extractfile(member)):
                found[batch] = file.read()
    missing = [batch for batch in BATCHES if batch not in found]
    if missing:
        raise DataUnavailableError(f"{path} lacks {BATCH_FOLDER}/{missing[0]}")
    return _batches([(path / BATCH_FOLDER / batch, found[batch]) for batch in BATCHES], shape, classes)


def _batches(contents: Iterable[tuple[Path, bytes]], shape: Shape, classes: int) -> Raw:
    pairs = [_pair(path, *_batch(path, content, shape), shape, classes) for path, content in contents]
    *train, (x_test, y_test) = pairs
    return Raw(np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]), x_test, y_test)


def _batch(path: Path, content: bytes, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    with reading(path, "a CIFAR-10 batch"):
        batch = _Plain(io.BytesIO(content), encoding="bytes").load()
        data, labels = (batch[key] if key in batch else batch[key.decode()] for key in (b"data", b"labels"))
        return data.array().reshape(-1, *shape), np.array(labels)


class _Inert:
    """Stands where a pickled array names numpy's functions, and keeps what they would have been called with."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, dtype, fortran, content = self.state
        if dtype.args[0] not in (b"u1", "u1"):
            raise ValueError(f"expected an array of bytes, found one of {dtype.args[0]!r}")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Plain(pickle.Unpickler):
    """Reads numbers, strings, lists, dicts and arrays of bytes; refuses whatever else a pickle can name."""

    arrays = frozenset(
        [("numpy", "ndarray"), ("numpy", "dtype")]
        + [(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")]
    )

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if (module, name) not in self.arrays:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR-10 batch does")
        return _Inert


def _npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    with reading(path, "a .npz archive"), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataUnavailableError(f"{path} is a single array, not a .npz archive")
        with archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise DataUnavailableError(f"{path} lacks {', '.join(missing)}")
            return [archive[name] for name in names]


def _pair(path: Path, x: np.ndarray, y: np.ndarray, shape: Shape, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and their labels, checked and brought to (N, C, H, W) uint8 and (N,) int64."""
    channels, height, width = shape
    if x.dtype != np.uint8:
        raise DataUnavailableError(f"{path}: expected images of uint8, found {x.dtype}")
    if x.shape[1:] == (height, width, channels):
        x = np.moveaxis(x, -1, 1)
    elif channels == 1 and x.shape[1:] == (height, width):
        x = x[:, None]
    if x.shape[1:] != shape or len(x) == 0:
        expected = f"(N, {', '.join(map(str, shape))})"
        raise DataUnavailableError(f"{path}: expected images of shape {expected}, found {x.shape}")
    if y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise DataUnavailableError(f"{path}: expected {len(x)} integer labels, found {y.dtype} of shape {y.shape}")
    if y.min() < 0 or y.max() >= classes:
        raise DataUnavailableError(f"{path}: labels must lie in 0..{classes - 1}, found {y.min()}..{y.max()}")
    return np.ascontiguousarray(x), y.astype(np.int64)


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
FORMATS = {
    "npz": Format("npz", ("{name}.npz",), read_npz),
    "idx": Format("IDX", IDX_FILES, read_idx, gzipped=True),
    "batches": Format("Python batches", tuple(f"{BATCH_FOLDER}/{batch}" for batch in BATCHES), read_batches),
    "tar": Format("Python archive", ("cifar-10-python.tar.gz",), read_tar),
    "mat": Format("MATLAB", ("train_32x32.mat", "test_32x32.mat"), read_mat),
    "jpeg": Format("JPEG copy", ("{name}_jpeg.npz",), read_jpeg),
}
