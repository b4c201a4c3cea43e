"""Data sets: the registered sources, and `load`, which finds one on this machine or fetches it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from turncoat import registry
from turncoat.data.formats import Raw
from turncoat.data.stored import obtain
from turncoat.errors import DataUnavailableError, InputError, SpecError
from turncoat.registry import Component
from turncoat.spelling import parse


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set and a test set, ready for use: N samples each, `x` float32 and `y` int64 labels (N,).

    Where there are no classes (`classes` is 0), `y` is float32 and holds targets, and `optimum` the parameters to be
    found, where they are known. `checksum` is the sha256 of the content before normalisation: the same content has the
    same checksum, however it was stored. `origin` says in a few words where it came from.
    """

    name: str
    x_train: Tensor = field(repr=False)
    y_train: Tensor = field(repr=False)
    x_test: Tensor = field(repr=False)
    y_test: Tensor = field(repr=False)
    classes: int
    checksum: str
    origin: str
    optimum: Tensor | None = field(default=None, repr=False)

    def to(self, device: torch.device | str, dtype: torch.dtype, test: np.ndarray | None = None) -> Dataset:
        """The same data on a device and in a precision; of the test set only these samples, where given."""
        chosen = slice(None) if test is None else torch.from_numpy(test)
        tensors = (self.x_train, self.y_train, self.x_test[chosen], self.y_test[chosen])
        x_train, y_train, x_test, y_test = (
            tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype) for tensor in tensors
        )
        optimum = None if self.optimum is None else self.optimum.to(device, dtype)
        return replace(self, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, optimum=optimum)

    @staticmethod
    def of(name: str, x_train: Any, y_train: Any, x_test: Any, y_test: Any, origin: str = "the user's own") -> Dataset:
        """Make a data set of one's own from arrays or tensors; raises `InputError` where they do not fit together.

        `x` must be of floating point, finite and scaled as the model wants it. `y` is one integer label from 0 a
        sample, or a floating-point target.
        """
        x_train, x_test = _floats("x_train", x_train), _floats("x_test", x_test)
        y_train, y_test = _tensor("y_train", y_train), _tensor("y_test", y_test)
        if y_train.is_floating_point():
            y_train, y_test, classes = _floats("y_train", y_train), _floats("y_test", y_test), 0
        else:
            _check_labels("y_train", y_train, x_train)
            _check_labels("y_test", y_test, x_test)
            y_train, y_test = y_train.long(), y_test.long()
            classes = int(max(y_train.max(), y_test.max())) + 1
        if len(y_train) != len(x_train) or len(y_test) != len(x_test) or x_train.shape[1:] != x_test.shape[1:]:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x_train, y_train, x_test, y_test))
            raise InputError(f"{name}: x_train, y_train, x_test, y_test of shapes {shapes} do not fit together")
        parts = (x_train, y_train, x_test, y_test)
        return Dataset(name, *parts, classes, checksum(*(part.numpy() for part in parts)), origin)


def _tensor(what: str, value: Any) -> Tensor:
    try:
        tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} is no array of numbers: {error}") from None
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise InputError(f"{what} of shape {tuple(tensor.shape)} holds no samples")
    return tensor.clone(memory_format=torch.contiguous_format)  # into torch's memory, as pixels are


def _floats(what: str, value: Any) -> Tensor:
    tensor = _tensor(what, value)
    if not tensor.is_floating_point():
        raise InputError(f"{what} holds {tensor.dtype}: scale it and give it as floating-point numbers")
    if not torch.isfinite(tensor).all():
        raise InputError(f"{what} has entries that are not finite")
    return tensor.float()


def _check_labels(what: str, y: Tensor, x: Tensor) -> None:
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or y.shape != x.shape[:1] or y.min() < 0:
        raise InputError(f"{what} must hold {len(x)} integer labels from 0, found {y.dtype} of shape {tuple(y.shape)}")


def checksum(*arrays: np.ndarray) -> str:
    """The sha256, in hexadecimal, of the arrays' types, shapes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def load(
    dataset: str | Source | Callable[..., Dataset] | Dataset, folder: Path | str | None = None, seed: int = 0
) -> Dataset:
    """A data set by name (`"mnist"`, `"mean_estimation(std=0.5)"`, `"path.py:name"`), by source or by function.

    A stored one is looked for in `folder`, then in the folders that TURNCOAT_DATA names, in the cache, among the files
    of Debian's package, and at last fetched from its public home into the cache. `seed` is for sources that draw their
    samples. A function of the user's own gets `folder` and `seed` where it has parameters of these names. Raises
    `SpecError` for what is no data set, and `DataUnavailableError`, which says how to get it, where it cannot be found
    or read.

    >>> load("digits").x_train.shape
    torch.Size([1438, 1, 8, 8])
    """
    made = registry.make("dataset", parse(dataset)) if isinstance(dataset, str) else dataset
    folder = None if folder is None else Path(folder)
    if isinstance(made, type) and issubclass(made, Source):
        made = made()
    if isinstance(made, Source):
        return made.load(folder, seed)
    if callable(made):
        made = made(**registry.accepted(made, folder=folder, seed=seed))
    if not isinstance(made, Dataset):
        raise SpecError(f"{dataset}: expected a Dataset, a Source or a function returning a Dataset, got {made!r:.50}")
    return made


class Source(Component):
    """Where a data set comes from.

    Traits: the shape of a sample, the number of classes, the default model's name, whether the seed draws the samples.
    """

    shape: ClassVar[tuple[int, ...]]
    classes: ClassVar[int]
    model: ClassVar[str]
    drawn: ClassVar[bool] = False

    def load(self, folder: Path | None = None, seed: int = 0) -> Dataset:
        """The data set; `load` says what the arguments mean and what raises."""
        raise NotImplementedError


class Images(Source):
    """Images of bytes, kept in files: looked up, read, and normalised by the data set's usual mean and deviation."""

    title: ClassVar[str]
    pixel_mean: ClassVar[tuple[float, ...]]
    pixel_std: ClassVar[tuple[float, ...]]
    formats: ClassVar[tuple[str, ...]]  # in the order in which they are looked for
    folders: ClassVar[tuple[str, ...]]  # where, below the folder that is looked into
    pixel_max = 255
    package = ("", "")  # Debian's package and where it puts the files
    opening = ""  # the first test labels, which tell apart files that carry no name

    def load(self, folder: Path | None = None, seed: int = 0) -> Dataset:
        raw, origin = self.read(folder)
        x_train, x_test = self._normalised(raw.x_train), self._normalised(raw.x_test)
        y_train, y_test = torch.from_numpy(raw.y_train), torch.from_numpy(raw.y_test)
        return Dataset(self.name, x_train, y_train, x_test, y_test, self.classes, checksum(*raw), origin)

    def read(self, folder: Path | None = None) -> tuple[Raw, str]:
        """The bytes as they are stored, and where they came from."""
        if folder is not None and not folder.is_dir():
            raise DataUnavailableError(f"there is no folder {folder} to look for {self.title} in")
        found = obtain(self.name, folder)
        raw = found.format.read(found.paths, self.shape, self.classes)
        return raw, f"{self.title}, {found.format.title}, from {found.place}"

    def _normalised(self, pixels: np.ndarray) -> Tensor:
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.pixel_mean, self.pixel_std))
        values = torch.empty(pixels.shape)  # not NumPy's memory: where it begins decides the last bits of products
        values.numpy()[:] = pixels
        return values.div_(self.pixel_max).sub_(mean).div_(std)


@dataclass(frozen=True)
class Digits(Images):
    """8 x 8 grey digits, 1,438 to train and 359 to test, embedded: nothing to fetch.

    scikit-learn's copy of the test part of the Optical Recognition of Handwritten Digits data. The third of every five
    samples of a class, in the order of the file, is for testing.
    """

    name = "digits"
    source = "Alpaydin & Kaynak 1998"
    title = "Digits"
    shape = (1, 8, 8)
    classes = 10
    train = 1438
    test = 359
    model = "softmax"
    embedded = ("sklearn", "datasets/data/digits.csv.gz")  # where scikit-learn keeps them
    pixel_mean = (0.3053,)
    pixel_std = (0.3760,)
    pixel_max = 16

    def read(self, folder: Path | None = None) -> tuple[Raw, str]:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        x, y = np.asarray(pixels, np.uint8).reshape(-1, *self.shape), np.asarray(labels, np.int64)
        test = np.zeros(len(y), bool)
        for label in range(self.classes):
            test[np.flatnonzero(y == label)[2::5]] = True
        return Raw(x[~test], y[~test], x[test], y[test]), "scikit-learn's digits"


@dataclass(frozen=True)
class Mnist(Images):
    """28 x 28 grey handwritten digits, 60,000 to train and 10,000 to test."""

    name = "mnist"
    source = "LeCun, Bottou, Bengio & Haffner 1998"
    title = "MNIST"
    shape = (1, 28, 28)
    classes = 10
    train = 60000
    test = 10000
    model = "cnn"
    pixel_mean = (0.1307,)
    pixel_std = (0.3081,)
    formats = ("npz", "idx")
    folders = (".", "mnist", "MNIST/raw")
    opening = "72104149"


@dataclass(frozen=True)
class FashionMnist(Images):
    """28 x 28 grey pictures of clothes, 60,000 to train and 10,000 to test."""

    name = "fashion_mnist"
    source = "Xiao, Rasul & Vollgraf 2017"
    title = "Fashion-MNIST"
    shape = (1, 28, 28)
    classes = 10
    train = 60000
    test = 10000
    model = "lenet5"
    pixel_mean = (0.2860,)
    pixel_std = (0.3530,)
    formats = ("npz", "idx")
    folders = (".", "fashion_mnist", "FashionMNIST/raw")
    package = ("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist")
    opening = "92116146"


@dataclass(frozen=True)
class Cifar10(Images):
    """32 x 32 colour pictures of ten kinds of things, 50,000 to train and 10,000 to test.

    A lossy copy is read too, last: its figures must say "CIFAR-10, JPEG copy", as the data set's origin does.
    """

    name = "cifar10"
    source = "Krizhevsky 2009"
    title = "CIFAR-10"
    shape = (3, 32, 32)
    classes = 10
    train = 50000
    test = 10000
    model = "alexnet"
    pixel_mean = (0.4914, 0.4822, 0.4465)
    pixel_std = (0.2470, 0.2435, 0.2616)
    formats = ("npz", "batches", "tar", "jpeg")
    folders = (".", "cifar10")


@dataclass(frozen=True)
class Svhn(Images):
    """32 x 32 colour house numbers, 73,257 to train and 26,032 to test."""

    name = "svhn"
    source = "Netzer et al. 2011"
    title = "SVHN"
    shape = (3, 32, 32)
    classes = 10
    train = 73257
    test = 26032
    model = "alexnet"
    pixel_mean = (0.4377, 0.4438, 0.4728)
    pixel_std = (0.1980, 0.2010, 0.1970)
    formats = ("npz", "mat")
    folders = (".", "svhn")


@dataclass(frozen=True)
class MeanEstimation(Source):
    """Points in the plane around (mean, mean), which a model of two parameters is to find.

    Each training sample is drawn from N((mean, mean), std² I) by the seed, and is its own target. The test set is the
    one point (mean, mean), the optimum: S0 plots the distance to it. S0 does not state the deviation.
    """

    name = "mean_estimation"
    source = "S0"
    shape = (2,)
    classes = 0
    model = "point"
    drawn = True
    mean: float = 2.0
    std: float = 1.0
    samples: int = 12000

    def __post_init__(self) -> None:
        for key, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise SpecError(f"{key} must be a finite number, got {value!r}")
        if self.std < 0:
            raise SpecError(f"std must be at least 0, got {self.std}")
        if isinstance(self.samples, bool) or not isinstance(self.samples, int) or self.samples < 1:
            raise SpecError(f"samples must be a whole number from 1, got {self.samples!r}")

    def load(self, folder: Path | None = None, seed: int = 0) -> Dataset:
        draws = np.random.default_rng(seed).standard_normal((self.samples, 2))
        x = (self.mean + self.std * draws).astype(np.float32)
        centre = np.full((1, 2), self.mean, np.float32)
        drawn = Dataset.of(self.name, x, x, centre, centre, origin=f"drawn from seed {seed}")
        return replace(drawn, optimum=drawn.x_test[0])
