"""Calls of code that may raise, or never return."""

from __future__ import annotations

import ctypes
import queue
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from turncoat.testing.report import Failed

PATIENCE = 3  # calls that do not return, before no more are made


class Raised(Failed):
    """A call raised `error`."""

    def __init__(self, error: BaseException) -> None:
        lines = str(error).strip().splitlines()
        super().__init__(f"raised {type(error).__name__}: {lines[0]}" if lines else f"raised {type(error).__name__}")
        self.error = error


class Calls:
    """Makes calls on a thread of its own and does not wait longer than `seconds` for any of them.

    A Python loop that goes on after that is stopped by an exception. Code that hangs outside Python is left behind on
    its thread, which does not keep the interpreter from ending, and the next call is made on a new one. All on one
    thread, because each that multiplies matrices brings a pool of threads of its own.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.count = 0
        self.slowest = 0.0
        self.lost = 0
        """Calls that did not return in time."""
        self._hand: _Hand | None = None

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the function returns; raises Raised where it raises, Failed where it does not return in time."""
        if self.lost >= PATIENCE:
            raise Failed(f"not tried, as {self.lost} calls before did not return within {self.seconds:g} s")
        if self._hand is None:
            self._hand = _Hand()
        self.count += 1
        started = time.perf_counter()
        self._hand.orders.put(partial(function, *args, **kwargs))
        try:
            result, error = self._hand.answers.get(timeout=self.seconds)
        except queue.Empty:
            self.lost += 1
            self._hand.leave()
            self._hand = None
            raise Failed(f"did not return within {self.seconds:g} s") from None
        finally:
            self.slowest = max(self.slowest, time.perf_counter() - started)
        if error is not None:
            raise Raised(error) from error
        return result

    def __del__(self) -> None:
        if self._hand is not None:
            self._hand.orders.put(None)

    def summary(self) -> str:
        """How long the calls took; raises Failed where one did not return."""
        if self.lost:
            raise Failed(f"{self.lost} of {self.count} calls did not return within {self.seconds:g} s")
        return f"the slowest of {self.count} calls took {self.slowest:.2g} s"


class _Hand:
    """A thread that does one thing after the other."""

    def __init__(self) -> None:
        self.orders: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._thread = Thread(target=_work, args=(self.orders, self.answers), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Have SystemExit raised in the thread, as soon as it executes Python code again, and wait for it no more."""
        self.orders.put(None)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(SystemExit)
        )
        self._thread.join(0.1)


def _work(orders: queue.SimpleQueue[Any], answers: queue.SimpleQueue[Any]) -> None:
    while (order := orders.get()) is not None:
        try:
            answers.put((order(), None))
        except BaseException as error:
            answers.put((None, error))
        del order
