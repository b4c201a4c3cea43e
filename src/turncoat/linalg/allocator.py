"""The C library's allocator, told to keep what it frees: fresh pages are several times slower than reused ones."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
MEBIBYTE = 2**20
MOST = 2**31 - 1  # the options are C ints


def tune_allocator() -> bool:
    """Keep freed memory for the next large tensor instead of giving it back; whether that was done (glibc only).

    It holds for the whole process, which then stays as large as its peak: for programs, never for an import.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mapped_from = mallopt(M_MMAP_THRESHOLD, 1024 * MEBIBYTE) or mallopt(M_MMAP_THRESHOLD, 32 * MEBIBYTE)  # old: <= 32
    trimmed_from = mallopt(M_TRIM_THRESHOLD, MOST)
    padded = mallopt(M_TOP_PAD, 64 * MEBIBYTE)
    return bool(mapped_from and trimmed_from and padded)
