import gzip
import os
import pickle
import shutil
import sys
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from turncoat.data.formats import BATCH_FOLDER, BATCHES, FORMATS, IDX_FILES, Raw
from turncoat.errors import DataUnavailableError

GREY = ("npz", "idx", "idx.gz")
COLOUR = ("npz", "batches", "batches of Python 3", "tar", "mat")
SHAPES = {"grey": (1, 28, 28), "colour": (3, 32, 32)}


def read(folder, how, shape, name="some"):
    form = FORMATS[how.split(" ")[0].removesuffix(".gz")]
    paths = form.find(folder, name)
    assert paths is not None
    return form.read(paths, shape, 10)


@pytest.mark.parametrize(("kind", "how"), [*(("grey", how) for how in GREY), *(("colour", how) for how in COLOUR)])
def test_every_format_gives_back_what_was_written(tmp_path, request, write, kind, how):
    raw = request.getfixturevalue(kind)
    write[how](tmp_path, raw, "some")
    for found, written in zip(read(tmp_path, how, SHAPES[kind]), raw, strict=True):
        assert found.dtype == written.dtype
        np.testing.assert_array_equal(found, written)


def test_npz_takes_channels_first_too(tmp_path, colour):
    np.savez(tmp_path / "some.npz", **colour._asdict())
    np.testing.assert_array_equal(read(tmp_path, "npz", SHAPES["colour"]).x_test, colour.x_test)


def test_jpeg_copy_is_close_and_keeps_labels(tmp_path, write, colour):
    smooth = np.broadcast_to(np.arange(32, dtype=np.uint8) * 7, (20, 3, 32, 32))
    raw = Raw(smooth, colour.y_train, smooth[:6], colour.y_test)
    write["jpeg"](tmp_path, raw, "some")
    found = read(tmp_path, "jpeg", SHAPES["colour"])
    assert np.abs(found.x_train.astype(int) - raw.x_train).max() <= 8
    np.testing.assert_array_equal(found.y_train, raw.y_train)


def test_jpeg_copy_without_pillow_says_what_to_install(tmp_path, write, colour, monkeypatch):
    write["jpeg"](tmp_path, colour, "some")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataUnavailableError, match=r"pip install 'turncoat\[images\]'"):
        read(tmp_path, "jpeg", SHAPES["colour"])


@pytest.mark.parametrize("size", [(16, 16), (32, 33)])
def test_jpeg_of_another_size_is_named(tmp_path, write, size):
    labels = np.zeros(3, np.int64)
    x = np.zeros((3, 3, *size), np.uint8)
    write["jpeg"](tmp_path, Raw(x, labels, x, labels), "some")
    with pytest.raises(DataUnavailableError, match=r"some_jpeg.npz: train image 0 is not 32 x 32 pixels in colour"):
        read(tmp_path, "jpeg", SHAPES["colour"])


def test_an_incomplete_set_of_files_is_no_data_set(tmp_path, write, grey):
    write["idx"](tmp_path, grey, "some")
    (tmp_path / IDX_FILES[1]).unlink()
    assert FORMATS["idx"].find(tmp_path, "some") is None


class Evil:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("where", ["whole", "data", "labels"])
def test_a_pickle_that_calls_something_is_refused(tmp_path, write, colour, protocol, where):
    write["batches"](tmp_path, colour, "some")
    evil = Evil(os.mkdir, str(tmp_path / "harm"))
    batch = evil if where == "whole" else {"data": [[0] * 3072] * 4, "labels": [0] * 4} | {where: evil}
    (tmp_path / BATCH_FOLDER / BATCHES[2]).write_bytes(pickle.dumps(batch, protocol))
    with pytest.raises(DataUnavailableError, match=r"data_batch_3 cannot be read .* names (posix|nt)\.mkdir"):
        read(tmp_path, "batches", SHAPES["colour"])
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "data", [np.zeros((4, 3072)), np.array([None] * 4), np.zeros(4, "u1,u1"), b"bytes", [1, 2], np.zeros((4, 3), "u1")]
)
def test_a_batch_with_other_arrays_is_refused(tmp_path, write, colour, data):
    write["batches"](tmp_path, colour, "some")
    batch = pickle.dumps({b"data": data, b"labels": [0] * 4}, protocol=4)
    (tmp_path / BATCH_FOLDER / BATCHES[0]).write_bytes(batch)
    with pytest.raises(DataUnavailableError, match="data_batch_1 cannot be read as a CIFAR-10 batch"):
        read(tmp_path, "batches", SHAPES["colour"])


def test_a_batch_in_fortran_order_keeps_its_rows(tmp_path, write, colour):
    write["batches"](tmp_path, colour, "some")
    batch = {"data": np.asfortranarray(colour.x_test.reshape(6, -1)), "labels": colour.y_test.tolist()}
    (tmp_path / BATCH_FOLDER / BATCHES[-1]).write_bytes(pickle.dumps(batch, protocol=4))
    np.testing.assert_array_equal(read(tmp_path, "batches", SHAPES["colour"]).x_test, colour.x_test)


def test_an_archive_without_a_batch_is_named(tmp_path, write, colour):
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataUnavailableError, match=r"cifar-10-python.tar.gz lacks cifar-10-batches-py/data_batch_1"):
        read(tmp_path, "tar", SHAPES["colour"])


WRONG = {
    "lacks x_test": lambda raw: {"x_test": None},
    "expected images of uint8, found float64": lambda raw: {"x_train": raw.x_train / 255},
    r"expected images of shape \(N, 1, 28, 28\), found \(30, 28, 27\)": lambda raw: {
        "x_train": raw.x_train[:, 0, :, 1:]
    },
    r"expected images of shape .*, found \(0, 1, 28, 28\)": lambda raw: {"x_test": raw.x_test[:0]},
    "expected 30 integer labels, found int64 of shape": lambda raw: {"y_train": raw.y_train[:-1]},
    "expected 12 integer labels, found float64": lambda raw: {"y_test": raw.y_test / 2},
    r"labels must lie in 0..9, found 1..10": lambda raw: {"y_test": np.arange(12) % 10 + 1},
    r"labels must lie in 0..9, found -1..9": lambda raw: {"y_test": np.arange(12) % 11 - 1},
    "cannot be read as a .npz archive: Object arrays": lambda raw: {"y_test": np.array([Evil(os.getcwd)] * 12)},
}


@pytest.mark.parametrize("message", WRONG)
def test_an_archive_with_something_wrong_says_what(tmp_path, grey, message):
    arrays = grey._asdict() | WRONG[message](grey)
    np.savez(tmp_path / "some.npz", **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(DataUnavailableError, match=rf"some\.npz:? {message}"):
        read(tmp_path, "npz", SHAPES["grey"])


def test_a_single_array_is_no_archive(tmp_path, grey):
    with (tmp_path / "some.npz").open("wb") as file:
        np.save(file, grey.x_train)
    with pytest.raises(DataUnavailableError, match="is a single array"):
        read(tmp_path, "npz", SHAPES["grey"])


def test_idx_files_with_something_wrong_say_what(tmp_path, write, grey):
    write["idx"](tmp_path, grey, "some")
    images = tmp_path / IDX_FILES[0]
    whole = images.read_bytes()
    for content, message in (
        (whole[:-1], f"{images} announces 23520 bytes and holds 23519: it is truncated or corrupt"),
        (whole + b"0", f"{images} announces 23520 bytes and holds 23521: it is truncated or corrupt"),
        (b"", f"{images} does not begin like an IDX file of bytes in 3 dimension"),
        (b"\0\0\r" + whole[3:], f"{images} does not begin like an IDX file"),
    ):
        images.write_bytes(content)
        with pytest.raises(DataUnavailableError) as error:
            read(tmp_path, "idx", SHAPES["grey"])
        assert str(error.value).startswith(message)
    shutil.move(images, tmp_path / "elsewhere")
    (tmp_path / f"{IDX_FILES[0]}.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(DataUnavailableError, match=r"ubyte\.gz cannot be read as an IDX file"):
        read(tmp_path, "idx", SHAPES["grey"])


def test_a_matlab_file_of_other_variables_is_named(tmp_path, write, colour):
    write["mat"](tmp_path, colour, "some")
    savemat(tmp_path / "test_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8)})
    with pytest.raises(DataUnavailableError, match=r"test_32x32.mat lacks y"):
        read(tmp_path, "mat", SHAPES["colour"])


@pytest.mark.parametrize("how", [*GREY, "batches", "tar", "mat", "jpeg"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_raise_anything_else(tmp_path_factory, write, grey, colour, how, data):
    """Cut short, or with some bytes changed: the files are read, where the damage does not show, or refused."""
    kind = "grey" if how in GREY else "colour"
    folder = tmp_path_factory.mktemp("damaged")
    write[how](folder, {"grey": grey, "colour": colour}[kind], "some")
    path = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        ends = st.one_of(st.integers(0, min(400, len(content) - 1)), st.integers(0, len(content) - 1))
        for i in data.draw(st.lists(ends, min_size=1, max_size=3)):
            content[i] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    refusal = None
    try:
        raw = read(folder, how, SHAPES[kind])
    except DataUnavailableError as error:
        refusal = str(error)
    else:
        assert raw.x_train.shape == (len(raw.y_train), *SHAPES[kind])
        assert raw.y_train.min() >= 0
        assert raw.y_train.max() < 10
    if refusal is not None:
        assert str(folder) in refusal
        assert "\n" not in refusal
