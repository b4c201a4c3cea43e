"""A bar with the time left, on the standard error, where that is a terminal and the work takes over two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE = 2.0  # seconds before a bar appears


class Bar:
    """What is done of something, and of a plan that is being made meanwhile."""

    def __init__(self, shown: Progress | None = None, total: int = 0) -> None:
        self._shown, self._since = shown, monotonic()
        self._task = shown and shown.add_task("", total=total)
        self._plan: TaskID | None = None

    def __call__(self, done: int, label: str) -> None:
        """So many rounds are done."""
        if self._shown is None or self._task is None:
            return
        if self._plan is not None:
            self._shown.remove_task(self._plan)
            self._plan = None
        self._shown.update(self._task, completed=done, description=label)
        self._start()

    def planning(self, spent: int, budget: float) -> None:
        """So many rounds are simulated, of a budget that may be infinite."""
        if self._shown is None:
            return
        total = None if budget == float("inf") else budget
        if self._plan is None:
            self._plan = self._shown.add_task("planning ahead: simulated rounds", total=total)
        self._shown.update(self._plan, completed=spent, total=total)
        self._start()

    def _start(self) -> None:
        assert self._shown is not None
        if not self._shown.live.is_started and monotonic() - self._since > PATIENCE:
            self._shown.start()


@contextmanager
def progress(total: int, quiet: bool = False) -> Iterator[Bar]:
    """A bar over so many rounds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Bar()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=console, transient=True)
    try:
        yield Bar(shown, total)
    finally:
        shown.stop()
