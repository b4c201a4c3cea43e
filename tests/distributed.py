"""Ranks of a gloo group as processes, which run functions of an importable module for as long as a test needs them."""

from __future__ import annotations

import multiprocessing
import queue
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

NO_ANSWER = "no answer"


class Ranks:
    """n processes in one group: `run` a function on each, with the rank first, and get what each returned.

    An exception that a rank raises comes back as its value, `NO_ANSWER` from one that has died or not answered in time.
    """

    def __init__(self, n: int, timeout: float = 60.0) -> None:
        self.n = n
        self._folder = tempfile.TemporaryDirectory()
        context = multiprocessing.get_context("forkserver")  # which imports torch once
        context.set_forkserver_preload(["torch", "turncoat.ddp", "turncoat.rules"])
        self._tasks = [context.Queue() for _ in range(n)]
        self._answers = context.Queue()
        store = Path(self._folder.name) / "store"
        self.processes = [
            context.Process(target=_serve, args=(i, n, store, timeout, self._tasks[i], self._answers), daemon=True)
            for i in range(n)
        ]
        for process in self.processes:
            process.start()

    def run(self, function: Callable[..., Any], *args: Any, limit: float = 120.0) -> list[Any]:
        for tasks in self._tasks:
            tasks.put((function, args))
        found: dict[int, Any] = {}
        end = time.monotonic() + limit
        while time.monotonic() < end and any(p.is_alive() for i, p in enumerate(self.processes) if i not in found):
            try:
                rank, value = self._answers.get(timeout=0.2)
            except queue.Empty:
                continue
            found[rank] = value
        return [found.get(rank, NO_ANSWER) for rank in range(self.n)]

    def close(self) -> None:
        for process, tasks in zip(self.processes, self._tasks, strict=True):
            if process.is_alive():
                tasks.put(None)
        for process in self.processes:
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()
        self._folder.cleanup()

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(rank: int, n: int, store: Path, timeout: float, tasks: Any, answers: Any) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=store.as_uri(), rank=rank, world_size=n, timeout=timedelta(seconds=timeout)
    )
    while (task := tasks.get()) is not None:
        function, args = task
        try:
            value = function(rank, *args)
        except Exception as error:
            error.add_note(traceback.format_exc())
            value = error
        answers.put((rank, value))
