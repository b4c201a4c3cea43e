"""What the checks found, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from turncoat.errors import SpecError
from turncoat.registry import suggest

Subject = TypeVar("Subject")

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


class Failed(Exception):  # noqa: N818 - a verdict
    """What was checked does not hold; the message says what was seen instead."""


class NotApplicable(Exception):  # noqa: N818
    """There is nothing to check; the message says why."""


@dataclass(frozen=True)
class Check:
    """One line of a report."""

    name: str
    status: str
    """ "passed", "failed" or "not applicable"."""
    detail: str
    """What was seen, in one line."""


@dataclass(frozen=True)
class Report:
    """What a suite of checks found; `str()` makes a table of it."""

    title: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == FAILED)

    def rows(self) -> list[dict[str, str]]:
        """The checks as plain dicts."""
        return [asdict(check) for check in self.checks]

    def __getitem__(self, name: str) -> Check:
        """The check of that name."""
        return {check.name: check for check in self.checks}[name]

    def __str__(self) -> str:
        counts = [sum(check.status == status for check in self.checks) for status in (PASSED, FAILED, NOT_APPLICABLE)]
        title = f"{self.title}: {counts[0]} passed, {counts[1]} failed, {counts[2]} not applicable"
        wide = max(len(check.name) for check in self.checks)
        lines = [
            f"  {check.name:{wide}}  {check.status:{len(NOT_APPLICABLE)}}  {check.detail}" for check in self.checks
        ]
        return "\n".join([title, *lines])


def run(
    title: str, suite: Sequence[Callable[[Subject], str]], subject: Subject, without: Collection[str] = ()
) -> Report:
    """Run every check of the suite on the subject, but for those named in `without`.

    A check is a function that returns what it saw; its name is the function's. Raises SpecError for a name in
    `without` that no check has.
    """
    names = [check.__name__.replace("_", " ") for check in suite]
    left_out = {without} if isinstance(without, str) else set(without)
    for name in sorted(left_out - set(names)):
        raise SpecError(f"there is no check {name!r} to leave out: {suggest(name, names)}")
    found = []
    for name, check in zip(names, suite, strict=True):
        if name in left_out:
            found.append(Check(name, NOT_APPLICABLE, "left out by the caller"))
        else:
            found.append(Check(name, *_result(check, subject)))
    return Report(title, tuple(found))


def _result(check: Callable[[Subject], str], subject: Any) -> tuple[str, str]:
    try:
        return PASSED, check(subject)
    except NotApplicable as reason:
        return NOT_APPLICABLE, str(reason)
    except Failed as seen:
        return FAILED, str(seen)


def about(what: str, seen: str) -> str:
    """What was seen, with the case that it was seen in before it."""
    return f"{what}: {seen}" if what else seen
