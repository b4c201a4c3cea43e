"""The driver of a campaign: it hands out runs, hears how they go, and loses none."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol

from turncoat.campaign.messages import (
    Answer,
    Began,
    Changed,
    Check,
    Checked,
    Done,
    Failed,
    Job,
    Lost,
    Order,
    Progress,
    Stop,
    Stopped,
)
from turncoat.campaign.plan import Cell, Plan
from turncoat.campaign.store import Store
from turncoat.errors import ResultError, SpecError
from turncoat.results.failure import Failure
from turncoat.results.result import now

RESUMED = 5  # times that a run is taken up again after its worker was killed
GRACE = 20.0  # seconds for saving what is under way
PARTS = (  # what of a spec decides whether its parts can be made and fit together
    *("task", "rule", "attack", "split", "share", "n", "f", "f_actual", "knowledge", "attack_start", "attack_stop"),
    *("nonfinite", "gradients", "device"),
)
STARTING = 60.0  # seconds that workers may take to stand and to make a run's parts, beside what a run may take
TICK = 0.5  # seconds between looks at the clock


class Engine(Protocol):
    """Workers, here or elsewhere, numbered from 0, each with one run at a time."""

    workers: int

    def ready(self) -> Iterable[int]:
        """Those that can be given something to do, where they have nothing."""
        ...

    def send(self, worker: int, order: Order) -> None:
        """Give a worker something to do; one that is no more is replaced first."""

    def receive(self, timeout: float | None) -> list[tuple[int, Answer]]:
        """What workers have to say, `Lost` in place of those that died, after at most so many seconds."""
        ...

    def kill(self, worker: int) -> None:
        """End a worker at once."""

    def close(self) -> None:
        """End all."""


Watch = Callable[[int, Cell, Answer], None]
"""Called with a worker, the run that it has and what it says."""


@dataclass(frozen=True, kw_only=True)
class Care:
    """How runs are looked after; none of it decides their figures."""

    retry_failed: bool = False
    timeout: float | None = None
    """Seconds that a run may take once its worker stands and its parts are made, also where it continues."""
    memory: float | None = None
    """GiB that a worker may hold."""
    every: float = 60.0
    """Seconds between checkpoints."""
    save_attack: Path | str | None = None
    trackers: Sequence[str] = ()


@dataclass
class Running:
    """A run on a worker."""

    cell: Cell
    begun: float
    started: str
    until: float
    rounds: int = 0


class Driver:
    """One campaign: what is to be done, who does it, and how it stands."""

    def __init__(self, plan: Plan, engine: Engine, care: Care, watch: Watch | None = None) -> None:
        self.plan, self.engine, self.care, self.watch = plan, engine, care, watch
        self.store = Store(plan.folder)
        self._todo = deque(plan.left(care.retry_failed))
        self._running: dict[int, Running] = {}
        self._lost: Counter[str] = Counter()

    def run(self) -> None:
        """Compute what is left; raises `SpecError` for parts that cannot be made, before any run begins.

        Raises `KeyboardInterrupt` after Ctrl-C or SIGTERM, with all that was under way saved.
        """
        with _terminable(), contextlib.closing(self.engine):
            try:
                self._check()
                while self._todo or self._running:
                    self._hand_out()
                    self._hear(TICK)
                    self._look_at_the_clock()
            except (KeyboardInterrupt, ResultError):
                self._stop()
                raise

    def _check(self) -> None:
        """Make the parts of all runs, each combination once, on the first worker."""
        specs = {tuple(getattr(cell.key.spec, part) for part in PARTS): cell.key.spec for cell in self._todo}
        order, lost = Check(specs=list(specs.values()), trackers=tuple(self.care.trackers)), 0
        until = self._until(STARTING)
        if specs:
            self.engine.send(0, order)
        while specs:
            if monotonic() > until:
                raise SpecError(f"making the parts of these runs does not end: not after {self._limit + STARTING:g} s")
            for worker, answer in self.engine.receive(TICK):
                match answer:
                    case Checked(error=None):
                        if any(map(self._is_own, self._todo)):
                            self.engine.kill(0)
                        return
                    case Checked(error=str(error)):
                        raise SpecError(error)
                    case Lost(why=why, killed=killed) if worker == 0:
                        lost += 1
                        if not killed or lost > RESUMED:
                            raise SpecError(f"the parts of these runs cannot even be made: {why}")
                        self.engine.send(0, order)

    @property
    def _limit(self) -> float:
        return math.inf if self.care.timeout is None else self.care.timeout

    def _until(self, more: float = 0.0) -> float:
        """When a run that begins now has taken too long."""
        return monotonic() + self._limit + more

    def _is_own(self, cell: Cell) -> bool:
        """Whether code of the user's own is in a run, which may leave its traces in a worker."""
        return bool(cell.key.files or self.care.trackers)

    def _hand_out(self) -> None:
        for worker in self.engine.ready():
            if worker not in self._running and self._todo:
                cell = self._todo.popleft()
                self._running[worker] = Running(cell, monotonic(), now(), self._until(STARTING))
                self.engine.send(worker, self._job(cell))
                self._show(worker, self._running[worker], Progress(rounds=0))

    def _job(self, cell: Cell) -> Job:
        care = self.care
        return Job(
            name=cell.name,
            key=cell.key.digest,
            spec=cell.key.spec,
            folder=str(self.store.folder),
            memory=care.memory,
            every=care.every,
            save_attack=None if care.save_attack is None else str(Path(care.save_attack).absolute()),
            trackers=tuple(care.trackers),
        )

    def _hear(self, timeout: float) -> None:
        for worker, answer in self.engine.receive(timeout):
            running = self._running.get(worker)
            if running is None:
                continue
            match answer:
                case Began():
                    running.until = self._until()
                case Progress(rounds=rounds):
                    running.rounds = rounds
                case Done() | Stopped():
                    del self._running[worker]
                    if self._is_own(running.cell):
                        self.engine.kill(worker)
                case Failed():
                    del self._running[worker]
                    self.engine.kill(worker)  # who knows what state it is in
                case Changed(what=what):
                    del self._running[worker]
                    raise ResultError(f"{what}: start again, and only what is concerned will be computed again")
                case Lost():
                    del self._running[worker]
                    answer = self._take_up(running, answer)
            self._show(worker, running, answer)

    def _take_up(self, running: Running, lost: Lost) -> Answer:
        """A worker is gone: its run goes on with the next, unless it left by itself or was killed too often."""
        name = running.cell.name
        self._lost[name] += 1
        if lost.killed and self._lost[name] <= RESUMED:
            self._todo.appendleft(running.cell)
            return lost
        return self._fail(running, "killed", f"{lost.why} (time {self._lost[name]})")

    def _fail(self, running: Running, kind: Literal["timeout", "killed"], error: str) -> Answer:
        if self.store.result(running.cell.name).exists():  # it was done, and could not say so any more
            self._todo.append(running.cell)
            return Lost(why=error, killed=True)
        key, since = running.cell.key, monotonic() - running.begun
        failure = Failure.of(
            key.spec, key.digest, kind, error, rounds=running.rounds, seconds=since, started=running.started
        )
        failure.save(self.store.failure(running.cell.name))
        return Failed(error=error)

    def _look_at_the_clock(self) -> None:
        for worker, running in list(self._running.items()):
            if monotonic() > running.until:
                self.engine.kill(worker)
                del self._running[worker]
                self._show(worker, running, self._fail(running, "timeout", f"not done after {self._limit:g} seconds"))

    def _show(self, worker: int, running: Running, answer: Answer) -> None:
        if self.watch:
            self.watch(worker, running.cell, answer)

    def _stop(self) -> None:
        """Have what is under way saved; a second interruption, or too much patience, leaves it at its checkpoint."""
        for worker in self._running:
            self.engine.send(worker, Stop())
        until = monotonic() + GRACE
        with contextlib.suppress(KeyboardInterrupt, ResultError):
            while self._running and monotonic() < until:
                self._hear(TICK)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Take SIGTERM and SIGHUP for a Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
