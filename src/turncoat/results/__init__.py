"""What runs leave behind: the result of one run, its file, and many of them read together.

The room bears the name of the function that most come for, and is that function too: `tc.results(folder)`.
"""

import sys
from types import ModuleType

from turncoat.results.files import source_hash, write_atomically
from turncoat.results.reading import frame, read_all, results
from turncoat.results.result import Environment, Record, Result

__all__ = ["Environment", "Record", "Result", "frame", "read_all", "results", "source_hash", "write_atomically"]


class _Room(ModuleType):
    __call__ = staticmethod(results)


sys.modules[__name__].__class__ = _Room
