"""Telling others about a run while it lasts: experiment trackers, dashboards, loggers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from turncoat.results.result import Record, Result
from turncoat.spec import Spec


class Tracker(Protocol):
    """Whoever wants to hear of a run: one object a run."""

    def start(self, spec: Spec) -> None:
        """The run begins or continues; the spec is resolved."""

    def record(self, record: Record) -> None:
        """An evaluation was made."""

    def end(self, result: Result | None) -> None:
        """The run is over; None where it failed or was interrupted."""


Tell = Callable[[str, Any], None]
"""Called with the name of an event, `record` or `end`, and what there is to tell of it."""


@contextmanager
def told(trackers: Iterable[Tracker], spec: Spec) -> Iterator[Tell]:
    """Keep trackers informed of a run: of its start, of what the function is called with, of its end if it fails.

    One that raises is warned about and told no more: no run is lost for its diary.
    """
    listening = list(trackers)

    def tell(event: str, news: Any) -> None:
        for tracker in list(listening):
            try:
                getattr(tracker, event)(news)
            except Exception as error:
                listening.remove(tracker)
                what = f"the tracker {type(tracker).__name__} raised {type(error).__name__}: {error}"
                warnings.warn(f"{what}; it is told no more", stacklevel=2)

    tell("start", spec)
    try:
        yield tell
    except BaseException:
        tell("end", None)
        raise
