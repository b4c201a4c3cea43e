"""Workers on this machine: long-lived processes, each with one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from turncoat.campaign.messages import WITHIN, Answer, Lost, Order, decode_answer, encode

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LocalEngine:
    """So many processes on this machine, replaced when they are needed again after they died.

    They are started as a module of their own, not forked and not by importing the caller's program again; they share
    no memory with the driver, and end when it does.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._processes = {worker: _start() for worker in range(workers)}

    def ready(self) -> range:
        """All: one that is no more is replaced when it is needed."""
        return range(self.workers)

    def send(self, worker: int, order: Order) -> None:
        """Give a worker something to do; that it is dead shows in `receive`."""
        if worker not in self._processes:
            self._processes[worker] = _start()
        with suppress(OSError):
            self._processes[worker][1].send_bytes(encode(order))

    def receive(self, timeout: float | None) -> list[tuple[int, Answer]]:
        """What workers have to say, after at most so many seconds."""
        places = {connection: worker for worker, (_, connection) in self._processes.items()}
        heard: list[Any] = wait(list(places), timeout)
        answers = [(places[connection], self._read(places[connection], connection)) for connection in heard]
        for worker, (process, connection) in list(self._processes.items()):
            if connection not in heard and process.poll() is not None and not connection.poll():
                answers.append((worker, self._end(worker)))  # what it forked may hold its end of the line
        return answers

    def _read(self, worker: int, connection: Connection) -> Answer:
        try:
            return decode_answer(connection.recv_bytes())
        except (EOFError, OSError):
            self._processes[worker][0].wait()
            return self._end(worker)

    def kill(self, worker: int) -> None:
        """End a worker at once, and what it has forked; it is replaced when it is needed again."""
        if worker in self._processes:
            self._end(worker)

    def _end(self, worker: int) -> Lost:
        process, connection = self._processes.pop(worker)
        connection.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return _ended(process.wait())

    def close(self) -> None:
        for worker in list(self._processes):
            self.kill(worker)


def threads() -> dict[str, str]:
    """What says to libraries how many threads to use in a worker: one, where the environment has no other number."""
    return {name: os.environ.get(name, "1") for name in THREADS}


def _start() -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    command = [sys.executable, "-P", "-m", "turncoat.campaign.process", str(theirs.fileno())]
    environment = {"PYTHONHASHSEED": "0"} | os.environ | threads()  # sets of strings in the same order in all
    path = (str(folder) or str(Path.cwd()) for folder in sys.path)
    environment["PYTHONPATH"] = os.pathsep.join(path)  # so that names mean there what they mean here
    environment[WITHIN] = "1"
    process = subprocess.Popen(
        command,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__.fileno() if sys.__stderr__ else None,  # the driver's output is for its results
        env=environment,
        process_group=0,  # a Ctrl-C is the driver's to handle
    )
    theirs.close()
    return process, ours


def _ended(code: int) -> Lost:
    if code >= 0:
        return Lost(why=f"its process left with code {code}", killed=False)
    known = -code in set(signal.Signals)
    return Lost(why=f"its process was ended by {signal.Signals(-code).name if known else -code}", killed=True)
