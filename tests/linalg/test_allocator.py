"""The allocator is tuned where the C library is glibc, and left alone elsewhere."""

import platform
import subprocess
import sys

import pytest

from turncoat.linalg import allocator


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_tunes_glibc():
    code = "from turncoat.linalg.allocator import tune_allocator; print(tune_allocator())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"


def test_leaves_other_libraries_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)
    assert allocator.tune_allocator() is False
