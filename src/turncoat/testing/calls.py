"""Calls of code that may raise, or never return."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
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
    """Makes calls on threads of their own and does not wait longer than `seconds` for any of them.

    A Python loop that goes on after that is stopped by an exception. Code that hangs outside Python is left behind on
    its thread, which does not keep the interpreter from ending.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.count = 0
        self.slowest = 0.0
        self.lost = 0
        """Calls that did not return in time."""

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the function returns; raises Raised where it raises, Failed where it does not return in time."""
        if self.lost >= PATIENCE:
            raise Failed(f"not tried, as {self.lost} calls before did not return within {self.seconds:g} s")
        results, errors = [], []

        def work() -> None:
            try:
                results.append(function(*args, **kwargs))
            except BaseException as error:
                errors.append(error)

        self.count += 1
        started = time.perf_counter()
        thread = Thread(target=work, daemon=True)
        thread.start()
        thread.join(self.seconds)
        self.slowest = max(self.slowest, time.perf_counter() - started)
        if not results and not errors:
            self.lost += 1
            _stop(thread)
            raise Failed(f"did not return within {self.seconds:g} s")
        if errors:
            raise Raised(errors[0]) from errors[0]
        return results[0]

    def summary(self) -> str:
        """How long the calls took; raises Failed where one did not return."""
        if self.lost:
            raise Failed(f"{self.lost} of {self.count} calls did not return within {self.seconds:g} s")
        return f"the slowest of {self.count} calls took {self.slowest:.2g} s"


def _stop(thread: Thread) -> None:
    """Have SystemExit raised in a thread, as soon as it executes Python code again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    thread.join(0.1)
