"""What runs leave behind: the result of one run, its file, and many of them read together."""

from turncoat.results.files import package_hash, write_atomically
from turncoat.results.reading import frame, read_all
from turncoat.results.result import Environment, Record, Result

__all__ = ["Environment", "Record", "Result", "frame", "package_hash", "read_all", "write_atomically"]
