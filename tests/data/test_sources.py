import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from turncoat import registry
from turncoat.data import downloads
from turncoat.data.sources import Cifar10, Dataset, Digits, FashionMnist, MeanEstimation, Mnist, Source, load
from turncoat.data.stored import files_checksum
from turncoat.errors import DataUnavailableError, InputError, SpecError

DATA = os.environ.get("TURNCOAT_DATA")
STORED = {"mnist": "grey", "fashion_mnist": "grey", "cifar10": "colour", "svhn": "colour"}


def test_digits_are_embedded_normalised_and_divided_by_class():
    digits = load("digits")
    assert digits.x_train.shape == (Digits.train, *Digits.shape) == (1438, 1, 8, 8)
    assert digits.x_test.shape == (Digits.test, *Digits.shape) == (359, 1, 8, 8)
    assert digits.x_train.dtype == torch.float32
    assert digits.y_train.dtype == torch.int64
    assert abs(digits.x_train.mean()) < 0.01
    assert abs(digits.x_train.std() - 1) < 0.01
    shares = torch.bincount(digits.y_test) / (torch.bincount(digits.y_test) + torch.bincount(digits.y_train))
    assert shares.sub(0.2).abs().max() < 0.01
    assert digits.checksum == "b26ed3730b9b3050c02811f085d1bf06a4b87f68bfbc1d4f7a4dbcb1d5f48f39"
    assert digits.origin == "scikit-learn's digits"


def test_digits_division_uses_every_sample_once():
    raw, _ = Digits().read()
    from sklearn.datasets import load_digits

    pixels, _ = load_digits(return_X_y=True)
    together = np.concatenate([raw.x_train, raw.x_test]).reshape(1797, 64)
    assert sorted(map(bytes, together)) == sorted(map(bytes, np.asarray(pixels, np.uint8)))


def test_every_data_set_is_listed_with_its_traits():
    entries = registry.entries("dataset")
    assert set(entries) == {"digits", "mean_estimation", *STORED}
    for name, entry in entries.items():
        assert entry.summary
        assert entry.source
        assert {"shape", "classes", "model"} <= set(entry.traits), name
    assert entries["cifar10"].parameters == {}
    assert list(entries["mean_estimation"].parameters) == ["mean", "std", "samples"]
    assert set(downloads.HOMES) == set(STORED)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("mnist", "npz", "idx.gz"),
        ("fashion_mnist", "idx", "npz"),
        ("cifar10", "batches", "tar"),
        ("cifar10", "npz", "batches"),
        ("svhn", "mat", "npz"),
    ],
)
def test_the_same_content_has_the_same_checksum(tmp_path, request, write, name, first, second):
    raw = request.getfixturevalue(STORED[name])
    write[first](tmp_path / "a", raw, name)
    write[second](tmp_path / "b", raw, name)
    a, b = load(name, tmp_path / "a"), load(name, tmp_path / "b")
    assert a.checksum == b.checksum
    assert a.origin != b.origin
    assert torch.equal(a.x_train, b.x_train)
    write["npz"](tmp_path / "c", raw._replace(y_train=raw.y_train[::-1]), name)
    assert load(name, tmp_path / "c").checksum != a.checksum


def test_images_are_normalised_channel_by_channel(tmp_path, write, colour):
    write["npz"](tmp_path, colour, "cifar10")
    x = load("cifar10", tmp_path).x_test
    for channel, (mean, std) in enumerate(zip(Cifar10.pixel_mean, Cifar10.pixel_std, strict=True)):
        expected = (colour.x_test[:, channel] / 255 - mean) / std
        np.testing.assert_allclose(x[:, channel].numpy(), expected, atol=1e-5)


def test_jpeg_copy_is_taken_last_and_says_so(tmp_path, write, colour):
    write["jpeg"](tmp_path, colour, "cifar10")
    assert load("cifar10", tmp_path).origin == "CIFAR-10, JPEG copy, from the folder given"
    write["tar"](tmp_path / "cifar10", colour, "cifar10")
    assert load("cifar10", tmp_path).origin == "CIFAR-10, Python archive, from the folder given"


def test_places_are_looked_into_in_order(tmp_path, write, grey, monkeypatch):
    places = {
        "the package dataset-fashion-mnist": tmp_path / "package",
        "the cache": downloads.cache_folder() / "fashion_mnist",
        "TURNCOAT_DATA": tmp_path / "second" / "FashionMNIST" / "raw",
        "the folder given": tmp_path / "given" / "fashion_mnist",
    }
    (tmp_path / "given").mkdir()
    monkeypatch.setitem(
        registry.find("dataset", "fashion_mnist").traits,
        "package",
        ("dataset-fashion-mnist", str(tmp_path / "package")),
    )
    monkeypatch.setenv("TURNCOAT_DATA", os.pathsep.join(["", str(tmp_path / "first"), str(tmp_path / "second")]))
    for i, (place, folder) in enumerate(places.items()):
        write["idx.gz"](folder, grey._replace(y_train=(grey.y_train + i) % 10), "fashion_mnist")
        found = load("fashion_mnist", tmp_path / "given")
        assert found.origin == f"Fashion-MNIST, IDX, from {place}"
        np.testing.assert_array_equal(found.y_train, (grey.y_train + i) % 10)


def test_files_that_carry_no_name_are_not_taken_for_another_data_set(tmp_path, write, grey):
    labels = {source: np.array([*map(int, source.opening), 0, 0, 0, 0]) for source in (Mnist, FashionMnist)}
    for source, other in ((Mnist, FashionMnist), (FashionMnist, Mnist)):
        folder = tmp_path / source.name
        write["idx"](folder, grey._replace(y_test=labels[source]), "")
        np.testing.assert_array_equal(load(source.name, folder).y_test, labels[source])
        with pytest.raises(DataUnavailableError):
            load(other.name, folder)


def test_a_damaged_file_is_named_not_passed_over(tmp_path, write, grey, monkeypatch):
    write["npz"](tmp_path / "whole", grey, "mnist")
    write["npz"](tmp_path / "damaged", grey, "mnist")
    monkeypatch.setenv("TURNCOAT_DATA", str(tmp_path / "whole"))
    path = tmp_path / "damaged" / "mnist.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataUnavailableError, match=r"damaged.mnist\.npz cannot be read"):
        load("mnist", tmp_path / "damaged")


@pytest.mark.parametrize("name", STORED)
def test_where_all_fails_the_error_says_what_to_do(name):
    with pytest.raises(DataUnavailableError) as error:
        load(name)
    message = str(error.value)
    assert "\n" not in message
    assert f"put {name}.npz or " in message
    assert "into a folder that TURNCOAT_DATA names" in message
    assert ("install the package dataset-fashion-mnist" in message) == (name == "fashion_mnist")
    assert "or download it, which failed: file:///nowhere/" in message


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataUnavailableError, match=r"there is no folder .*/typo to look for MNIST in"):
        load("mnist", tmp_path / "typo")


def test_mean_estimation_draws_from_its_law():
    points = load("mean_estimation(mean=-3, std=0.5, samples=4000)", seed=1)
    assert points.classes == 0
    assert points.x_train.shape == (4000, 2)
    assert torch.equal(points.x_train, points.y_train)
    assert (points.x_train.mean(0) + 3).abs().max() < 5 * 0.5 / 4000**0.5
    assert (points.x_train.std(0) - 0.5).abs().max() < 0.03
    assert abs(np.corrcoef(points.x_train.T)[0, 1]) < 0.08
    assert points.optimum is not None
    assert points.optimum.tolist() == points.y_test[0].tolist() == [-3, -3]


def test_mean_estimation_is_a_function_of_its_seed():
    first, again, other = (load("mean_estimation", seed=seed) for seed in (1, 1, 2))
    assert first.checksum == again.checksum != other.checksum
    assert torch.equal(first.x_train, again.x_train)
    exact = load(MeanEstimation(std=0.0))
    assert torch.equal(exact.x_train, torch.full((12000, 2), 2.0))


@pytest.mark.parametrize(
    "wrong",
    [{"mean": np.nan}, {"mean": "far"}, {"std": -1}, {"std": np.inf}, {"std": True}, {"samples": 0}, {"samples": 2.5}],
)
def test_mean_estimation_refuses_what_is_no_law(wrong):
    with pytest.raises(SpecError, match=f"{next(iter(wrong))} must be"):
        MeanEstimation(**wrong)


OWN = """
import numpy as np
from dataclasses import dataclass
from turncoat.data.sources import Dataset, Source

def points(seed):
    x = np.random.default_rng(seed).normal(size=(6, 3))
    return Dataset.of("points", x, [0, 1, 2] * 2, x[:3], [0, 1, 2], origin="a test")

fixed = points(0)

@dataclass(frozen=True)
class Made(Source):
    def load(self, folder=None, seed=0):
        return points(seed)

def nothing():
    return None
"""


@pytest.mark.parametrize("attribute", ["points", "fixed", "Made"])
def test_ones_own_data_set(tmp_path, attribute):
    (tmp_path / "mine.py").write_text(OWN)
    found = load(f"{tmp_path / 'mine.py'}:{attribute}", seed=0)
    assert (found.name, found.classes, found.origin) == ("points", 3, "a test")
    again = load(f"{tmp_path / 'mine.py'}:{attribute}", seed=5)
    assert (found.checksum == again.checksum) == (attribute == "fixed")


def test_what_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(SpecError, match="expected a Dataset, a Source or a function returning a Dataset, got None"):
        load(f"{tmp_path / 'mine.py'}:nothing")
    with pytest.raises(SpecError, match="unknown dataset 'mnits': did you mean mnist"):
        load("mnits")


def test_a_function_gets_the_folder_where_it_asks_for_it(tmp_path):
    seen = []

    def mine(folder: Path) -> Dataset:
        seen.append(folder)
        return load("digits")

    assert load(mine, str(tmp_path)).name == "digits"
    assert seen == [tmp_path]


X, Y = np.zeros((4, 2)), np.arange(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X.astype(int)}, "x_train holds torch.int64: scale it"),
        ({"x_test": X + np.inf}, "x_test has entries that are not finite"),
        ({"x_test": np.zeros((4, 3))}, "do not fit together"),
        ({"x_train": [[1.0], [1.0, 2.0]]}, "x_train is no array of numbers"),
        ({"x_train": [["a", "b"]]}, "x_train is no array of numbers"),
        ({"y_train": Y[:3]}, "y_train must hold 4 integer labels from 0"),
        ({"y_train": Y - 1}, "y_train must hold 4 integer labels from 0"),
        ({"y_train": Y == 0}, "y_train must hold 4 integer labels from 0"),
        ({"y_test": Y / 2}, "y_test must hold 4 integer labels from 0"),
        ({"y_test": []}, "y_test of shape .* holds no samples"),
        ({"y_train": Y[:3] / 2, "y_test": Y / 2}, "do not fit together"),
    ],
)
def test_ones_own_arrays_are_checked(change, message):
    arrays = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    assert Dataset.of("mine", **arrays).classes == 4
    with pytest.raises(InputError, match=message):
        Dataset.of("mine", **(arrays | change))


def test_a_data_set_moves_to_a_precision_and_thins_its_test_set():
    digits = load("digits")
    moved = digits.to("cpu", torch.float64, np.array([3, 5]))
    assert moved.x_train.dtype == moved.x_test.dtype == torch.float64
    assert moved.y_train.dtype == torch.int64
    assert torch.equal(moved.y_test, digits.y_test[[3, 5]])
    assert digits.to("cpu", torch.float32).x_train.data_ptr() == digits.x_train.data_ptr()
    points = load("mean_estimation").to("cpu", torch.float64)
    assert points.y_train.dtype == torch.float64
    assert points.optimum is not None
    assert points.optimum.dtype == torch.float64
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.name = "other"  # type: ignore[misc]


def test_a_source_must_say_how_it_is_loaded():
    with pytest.raises(NotImplementedError):
        load(Source())


@pytest.mark.skipif(DATA is None, reason="TURNCOAT_DATA names no folder")
@pytest.mark.parametrize("name", STORED)
def test_real_data_sets(name):
    assert DATA
    source = registry.entries("dataset")[name].load()
    try:
        real = load(name, next(Path(part) for part in DATA.split(os.pathsep) if part))
    except DataUnavailableError as error:
        if "is not here" not in str(error):
            raise
        pytest.skip(f"{name} is not in TURNCOAT_DATA")
    assert len(real.x_test) == source.test
    assert 0.9 * source.train <= len(real.x_train) <= source.train
    assert real.classes == len(real.y_train.unique()) == 10
    assert real.x_train.mean(dim=(0, 2, 3)).abs().max() < 0.02
    assert (real.x_train.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02
    if source.opening:
        assert "".join(map(str, real.y_test[:8].tolist())) == source.opening


def test_a_checksum_of_files_follows_them_and_needs_no_reading(tmp_path, write, grey, monkeypatch):
    with pytest.raises(DataUnavailableError, match="MNIST is not here"):
        files_checksum("mnist")
    monkeypatch.setenv("TURNCOAT_DATA", str(tmp_path))
    write["idx"](tmp_path / "mnist", grey, "mnist")
    first = files_checksum("mnist")
    assert len(first) == 64
    assert files_checksum("mnist") == first
    write["idx"](tmp_path / "mnist", grey._replace(y_train=grey.y_train[::-1].copy()), "mnist")
    assert files_checksum("mnist") != first
    assert len(files_checksum("digits")) == 64
    assert files_checksum("mean_estimation") == ""
