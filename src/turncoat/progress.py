"""A bar with the time left, on the standard error, where that is a terminal and the work takes over two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

PATIENCE = 2.0  # seconds before a bar appears


@contextmanager
def progress(total: int, quiet: bool = False) -> Iterator[Callable[[int, str], None]]:
    """Yield a function to be called with the rounds done so far and a label."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, label: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=total)
    since = monotonic()

    def show(done: int, label: str) -> None:
        bar.update(task, completed=done, description=label)
        if not bar.live.is_started and monotonic() - since > PATIENCE:
            bar.start()

    try:
        yield show
    finally:
        bar.stop()
