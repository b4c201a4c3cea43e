"""Small data sets in every format, and a machine without any of its own."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from turncoat import registry
from turncoat.data import downloads
from turncoat.data.formats import BATCH_FOLDER, BATCHES, IDX_FILES, Raw


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path_factory):
    """No data folder, an empty cache, no Debian package, no network."""
    monkeypatch.delenv("TURNCOAT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setitem(
        registry.find("dataset", "fashion_mnist").traits, "package", ("dataset-fashion-mnist", "/nowhere")
    )
    nowhere = {
        name: {f"file:///nowhere/{url.rpartition('/')[2]}": sha for url, sha in files.items()}
        for name, files in downloads.HOMES.items()
    }
    monkeypatch.setattr(downloads, "HOMES", nowhere)


def made(shape, train, test, seed=0):
    rng = np.random.default_rng(seed)
    parts = [(rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n)) for n in (train, test)]
    return Raw(*parts[0], *parts[1])


@pytest.fixture
def grey():
    return made((1, 28, 28), 30, 12)


@pytest.fixture
def colour():
    return made((3, 32, 32), 20, 6)


@pytest.fixture
def write():
    return WRITERS


def write_npz(folder, raw, name):
    folder.mkdir(parents=True, exist_ok=True)
    images = [np.moveaxis(x, 1, -1).squeeze() for x in (raw.x_train, raw.x_test)]
    labels = [y.astype(np.uint8) for y in (raw.y_train, raw.y_test)]
    np.savez(folder / f"{name}.npz", x_train=images[0], y_train=labels[0], x_test=images[1], y_test=labels[1])


def write_idx(folder, raw, name, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(IDX_FILES, raw, strict=True):
        content = array.squeeze().astype(np.uint8)
        header = struct.pack(f">BBBB{content.ndim}I", 0, 0, 8, content.ndim, *content.shape)
        data = header + content.tobytes()
        path = folder / (file + (".gz" if gz else ""))
        path.write_bytes(gzip.compress(data) if gz else data)


def python2_batch(x, y):
    """The bytes that Python 2 and the NumPy of its time wrote for a batch, as in the published files."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    flat = x.reshape(len(x), -1)
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    content = flat.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    )
    array += b"(" + number(1) + number(flat.shape[0]) + number(flat.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(content)) + content + b"tb"
    labels = b"](" + b"".join(number(int(label)) for label in y) + b"e"
    name = text(b"batch_label") + text(b"training batch")
    return b"\x80\x02}(" + name + text(b"labels") + labels + text(b"data") + array + b"u."


def python3_batch(x, y):
    batch = {b"batch_label": b"a batch", b"labels": y.tolist(), b"data": x.reshape(len(x), -1)}
    return pickle.dumps(batch, protocol=4)


def batches(raw, batch):
    xs, ys = np.split(raw.x_train, 5), np.split(raw.y_train, 5)
    parts = [*zip(xs, ys, strict=True), (raw.x_test, raw.y_test)]
    return {name: batch(x, y) for name, (x, y) in zip(BATCHES, parts, strict=True)}


def write_batches(folder, raw, name, batch=python2_batch):
    (folder / BATCH_FOLDER).mkdir(parents=True)
    for file, content in batches(raw, batch).items():
        (folder / BATCH_FOLDER / file).write_bytes(content)


def write_tar(folder, raw, name):
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for file, content in {"readme.html": b"hello", **batches(raw, python2_batch)}.items():
            member = tarfile.TarInfo(f"{BATCH_FOLDER}/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_mat(folder, raw, name):
    folder.mkdir(parents=True, exist_ok=True)
    for part, x, y in (("train", raw.x_train, raw.y_train), ("test", raw.x_test, raw.y_test)):
        labels = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": x.transpose(2, 3, 1, 0), "y": labels}, do_compression=True)


def write_jpeg(folder, raw, name):
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, x, y in (("train", raw.x_train, raw.y_train), ("test", raw.x_test, raw.y_test)):
        files = []
        for pixels in np.moveaxis(x, 1, -1):
            with io.BytesIO() as file:
                Image.fromarray(pixels).save(file, "JPEG", quality=95)
                files.append(file.getvalue())
        arrays[f"jpeg_{part}"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"off_{part}"] = np.cumsum([0, *map(len, files)])
        arrays[f"y_{part}"] = y.astype(np.uint8)
    np.savez(folder / f"{name}_jpeg.npz", **arrays)


WRITERS = {
    "npz": write_npz,
    "idx": write_idx,
    "idx.gz": lambda folder, raw, name: write_idx(folder, raw, name, gz=True),
    "batches": write_batches,
    "batches of Python 3": lambda folder, raw, name: write_batches(folder, raw, name, python3_batch),
    "tar": write_tar,
    "mat": write_mat,
    "jpeg": write_jpeg,
}
