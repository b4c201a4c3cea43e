import functools
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

from turncoat.data import downloads
from turncoat.data.sources import load
from turncoat.errors import DataUnavailableError

PUBLISHED = {name: dict(files) for name, files in downloads.HOMES.items()}


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if "broken" in self.path:  # announces more than it sends, as where a connection is lost
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            super().do_GET()

    def log_message(self, format, *args):  # noqa: A002
        pass


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A web server on this machine; returns a function that makes it the home of a data set's files."""
    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()

        def serve(name):
            host = f"http://127.0.0.1:{server.server_port}"
            files = {path.name: path for path in (tmp_path / "served").iterdir()}
            sums = {f"{host}/{key}": hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}
            monkeypatch.setitem(downloads.HOMES, name, sums)
            return server.asked  # type: ignore[attr-defined]

        yield serve
        server.shutdown()


@pytest.fixture
def cached():
    return lambda name: sorted(path.name for path in (downloads.cache_folder() / name).iterdir())


def test_every_published_file_has_a_sha256():
    for files in PUBLISHED.values():
        for url, sha256 in files.items():
            assert url.startswith("http")
            assert re.fullmatch("[0-9a-f]{64}", sha256)


@pytest.mark.parametrize(
    ("name", "how", "fixture"), [("mnist", "idx.gz", "grey"), ("cifar10", "tar", "colour"), ("svhn", "mat", "colour")]
)
def test_a_download_is_kept(tmp_path, request, write, home, capfd, name, how, fixture):
    raw = request.getfixturevalue(fixture)
    write[how](tmp_path / "served", raw, name)
    asked = home(name)
    fetched = load(name)
    assert fetched.origin.endswith("from its public home")
    np.testing.assert_array_equal(fetched.y_train, raw.y_train)
    assert len(asked) == len(downloads.HOMES[name])
    assert load(name).origin.endswith("from the cache")
    assert load(name).checksum == fetched.checksum
    assert len(asked) == len(downloads.HOMES[name])
    assert capfd.readouterr() == ("", "")


def test_only_missing_files_are_fetched(tmp_path, write, home, grey):
    write["idx.gz"](tmp_path / "served", grey, "mnist")
    asked = home("mnist")
    load("mnist")
    (downloads.cache_folder() / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    asked.clear()
    load("mnist")
    assert asked == ["/t10k-labels-idx1-ubyte.gz"]


def test_another_content_than_published_is_discarded(tmp_path, write, home, cached, grey):
    write["idx.gz"](tmp_path / "served", grey, "mnist")
    home("mnist")
    (tmp_path / "served" / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>Please log in</html>")
    with pytest.raises(DataUnavailableError, match=r"train-labels-idx1-ubyte.gz answered with something else: its sha"):
        load("mnist")
    assert not any("labels-idx1" in name and "train" in name for name in cached("mnist"))
    assert not any(name.endswith(".part") for name in cached("mnist"))


@pytest.mark.parametrize(
    ("file", "why"), [("absent", "HTTP Error 404"), ("broken", "answered with something else|IncompleteRead")]
)
def test_a_failed_download_leaves_nothing(tmp_path, home, cached, monkeypatch, file, why):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / file).write_bytes(b"whole")
    home("cifar10")
    (tmp_path / "served" / file).unlink()
    with pytest.raises(DataUnavailableError, match=why) as error:
        load("cifar10")
    assert "\n" not in str(error.value)
    assert cached("cifar10") == []


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path, write, home, monkeypatch, grey):
    write["idx.gz"](tmp_path / "served", grey, "mnist")
    home("mnist")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataUnavailableError, match=r"cannot be fetched into .*/file/turncoat/mnist"):
        load("mnist")


def test_the_cache_stands_where_the_desktop_says(monkeypatch, tmp_path):
    assert downloads.cache_folder().name == "turncoat"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert downloads.cache_folder() == tmp_path / ".cache" / "turncoat"


def test_progress_is_shown_on_a_terminal_only(tmp_path, write, home, grey, monkeypatch, capsys):
    write["idx.gz"](tmp_path / "served", grey, "mnist")
    home("mnist")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    load("mnist")
    out, err = capsys.readouterr()
    assert out == ""
    assert "t10k-labels-idx1-ubyte.gz" in err
