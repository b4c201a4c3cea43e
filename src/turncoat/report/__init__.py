"""What results look like: tables for the terminal, charts, and the page that holds them.

The room bears the name of the function that most come for, and is that function too: `tc.report(folder)`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


class _Room(ModuleType):
    def __call__(self, folder: Path | str, output: Path | str | None = None) -> Path:
        from turncoat.report.folders import report  # with it come altair and jinja2, which tables do without

        return report(folder, output)


sys.modules[__name__].__class__ = _Room
