"""How a campaign stands while it runs: a live view on a terminal, a line for each run that ends anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

from turncoat.campaign.messages import Answer, Began, Done, Failed, Lost, Progress, Stopped, Warned
from turncoat.campaign.plan import Cell, Plan

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from turncoat.campaign.runner import Watch

WIDTH = 40  # of the bar of all runs


class Standing:
    """The counts, the running and the times of a campaign, as its driver tells them."""

    def __init__(self, plan: Plan, workers: int, retry_failed: bool = False) -> None:
        left = plan.left(retry_failed)
        self.workers, self.total = workers, len(plan.cells)
        self.failed = 0 if retry_failed else plan.counts.get("failed", 0)
        self.done = self.total - len(left) - self.failed
        self._first: dict[str, int] = {}
        self.running: dict[int, tuple[Cell, float, Progress]] = {}
        self.ended: list[tuple[float, Cell]] = []
        """The final accuracies that are known, with their runs."""
        self.line = ""
        """`summary`, as of the last second."""
        self._left = {cell.name: cell for cell in left}
        self._times, self._summed = plan.times, -1.0
        self._told()

    def hear(self, worker: int, cell: Cell, answer: Answer) -> float:
        """What a worker says of its run; returns the seconds that it has been at it."""
        _, begun, before = self.running.get(worker, (cell, monotonic(), Progress(rounds=0)))
        running = dict(self.running)  # as a view on another thread goes through those that it knows
        match answer:
            case Began(rounds=rounds):
                self._first[cell.name] = rounds
                running[worker] = cell, begun, Progress(rounds=rounds)
            case Progress():
                running[worker] = cell, begun, answer
            case Done(accuracy=accuracy):
                self.done += 1
                self.ended += [] if accuracy is None else [(accuracy, cell)]
                played = cell.key.spec.rounds - self._first.get(cell.name, 0)
                self._times.add(cell.key.spec, monotonic() - begun, played)
                del self._left[cell.name]
            case Failed():
                self.failed += 1
                del self._left[cell.name]
            case Warned():
                running[worker] = cell, begun, before
        if not isinstance(answer, Began | Progress | Warned):
            running.pop(worker, None)
        self.running = running
        self._told(now=not isinstance(answer, Progress))
        return monotonic() - begun

    def _told(self, now: bool = True) -> None:
        """Sum up, if it is time to."""
        if now or monotonic() - self._summed > 1:
            self._summed, self.line = monotonic(), self.summary()

    def seconds(self) -> float | None:
        """What is left, spread over the workers; None before anything like it was measured."""
        times = {name: self._times.of(cell.key.spec) for name, cell in self._left.items()}
        known = [time for time in times.values() if time is not None]
        if not known:
            return None
        expected = {name: sum(known) / len(known) if time is None else time for name, time in times.items()}
        spent = sum(min(monotonic() - begun, expected[cell.name]) for cell, begun, _ in self.running.values())
        return (sum(expected.values()) - spent) / max(min(self.workers, len(expected)), 1)

    def summary(self) -> str:
        """The counts and the time left, in a line."""
        seconds = self.seconds()
        parts = [f"{self.done} of {self.total} runs done", f"{len(self.running)} running", f"{self.failed} failed"]
        parts += [] if seconds is None or seconds < 1 else [f"about {in_words(seconds)} left"]
        return ", ".join(part for part in parts if not part.startswith("0 ") or part.endswith("done"))


class Lines:
    """A line for each run that ends, on the standard error."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._warned: set[str] = set()

    def __call__(self, worker: int, cell: Cell, answer: Answer) -> None:
        seconds = self.standing.hear(worker, cell, answer)
        match answer:
            case Done(accuracy=accuracy, flags=flags):
                end = "" if accuracy is None else f": {accuracy:.1%}"
                doubts = f" ({'; '.join(flags)})" if flags else ""
                self.say(f"{label(cell)}{end} in {in_words(seconds)}{doubts}; {self.standing.line}")
            case Failed(error=error):
                self.say(f"{label(cell)} FAILED: {error}; {self.standing.line}")
            case Lost(why=why):
                self.say(f"{label(cell)} is taken up again: {why}")
            case Stopped(rounds=rounds):
                self.say(f"{label(cell)} is saved after {rounds} of {cell.key.spec.rounds} rounds")
            case Warned(text=text) if text not in self._warned:
                self._warned.add(text)
                self.say(f"{label(cell)}: {text}")

    def say(self, line: str) -> None:
        with suppress(OSError):  # nobody reads it any more
            print(line, file=sys.stderr, flush=True)


class View(Lines):
    """A live view: all runs, those under way, the best and the worst end so far; what is worth a line stands above."""

    def __init__(self, standing: Standing) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(standing)
        self.live = Live(get_renderable=self.render, console=Console(stderr=True), refresh_per_second=4, transient=True)

    def __call__(self, worker: int, cell: Cell, answer: Answer) -> None:
        if isinstance(answer, Done) and not answer.flags:
            self.standing.hear(worker, cell, answer)
        else:
            super().__call__(worker, cell, answer)

    def say(self, line: str) -> None:
        self.live.console.print(line, markup=False, highlight=False)

    def render(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        standing = self.standing
        running = [run for _, run in sorted(standing.running.items(), key=lambda item: item[0])]
        table = Table.grid(padding=(0, 1))
        under_way = sum(progress.rounds / max(cell.key.spec.rounds, 1) for cell, _, progress in running)
        ended = standing.done + standing.failed
        whole = ProgressBar(total=max(standing.total, 1), completed=ended + under_way, width=WIDTH)
        table.add_row(whole, Text(standing.line, "bold"))
        for cell, _, progress in running:
            rounds = cell.key.spec.rounds
            text = f"{label(cell)}  {progress.rounds}/{rounds}"
            if progress.simulated:
                text += f", planning: {progress.simulated} rounds simulated"
            table.add_row(ProgressBar(total=max(rounds, 1), completed=progress.rounds, width=WIDTH), Text(text))
        lines: list[RenderableType] = [table]
        if standing.ended:
            best, worst = (choose(standing.ended, key=lambda end: end[0]) for choose in (max, min))
            shown = [f"{name} {value:.1%} {label(cell)}" for name, (value, cell) in (("best", best), ("worst", worst))]
            lines.append(Text("   ".join(shown), "dim"))
        return Group(*lines)


@contextmanager
def shown(standing: Standing, quiet: bool = False) -> Iterator[Watch | None]:
    """Whoever is to be told how a campaign goes: a live view where the standard error is a terminal, else lines."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        view = View(standing)
        with view.live:
            yield view
    else:
        yield Lines(standing)


def in_words(seconds: float) -> str:
    """A duration as people say it: 0.4 s, 40 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"


def label(cell: Cell) -> str:
    """A run in short."""
    spec = cell.key.spec
    return f"{spec.rule} without attack" if spec.attack == "none" else f"{spec.rule} under {spec.attack}"
