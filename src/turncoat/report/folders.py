"""From folders of results to pages: the report on one, and the differences between two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from turncoat.errors import ResultError
from turncoat.report.differences import Differences, differences
from turncoat.report.page import write_report
from turncoat.report.sections import Report
from turncoat.results.failure import Failure, read_failures
from turncoat.results.reading import read

PAGE = Path("report.html")


@dataclass(frozen=True)
class Found:
    """What a folder holds: its results, drawn; the runs that failed and left none; a word on superseded files."""

    report: Report
    failures: list[Failure]
    superseded: str


def report(folder: Path | str, output: Path | str | None = None) -> Path:
    """Write the report on a folder of results as one HTML page, by default `report.html`, and return its path.

    Raises `ResultError` where the folder is missing or empty, holds a file that is no result, or the page cannot be
    written.
    """
    found = read_folder(folder)
    return write_report(found.report, output or PAGE, title_of(folder), found.failures, found.superseded)


def read_folder(folder: Path | str) -> Found:
    """A folder of results, of which there must be some; raises `ResultError`."""
    reading = read(folder)
    done = {result.key for result in reading.results}
    failures = [failure for failure in read_failures(folder) if failure.key not in done]
    if not reading.results and not failures:
        raise ResultError(f"there are no results in {folder}")
    return Found(Report(reading.results), failures, reading.note)


def compare_folders(a: Path | str, b: Path | str) -> Differences:
    """What the results of two folders have in common, and what not; raises `ResultError`."""
    readings = [read(folder).results for folder in (a, b)]
    for folder, results in zip((a, b), readings, strict=True):
        if not results:
            raise ResultError(f"there are no results in {folder}")
    return differences(readings[0], readings[1], (str(a), str(b)))


def title_of(folder: Path | str) -> str:
    """What the page of a folder is called."""
    return Path(folder).resolve().name or "turncoat"
