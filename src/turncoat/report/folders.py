"""From folders of results to pages: the report on one, and the differences between two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from turncoat.errors import ResultError
from turncoat.report.differences import Differences, differences
from turncoat.report.page import write_report
from turncoat.report.sections import Report
from turncoat.results.reading import read

PAGE = Path("report.html")


def report(folder: Path | str, output: Path | str | None = None) -> Path:
    """Write the report on a folder of results as one HTML page, by default `report.html`, and return its path.

    Raises `ResultError` where the folder is missing or empty, holds a file that is no result, or the page cannot be
    written.
    """
    return write_report(read_folder(folder), output or PAGE, title_of(folder))


def read_folder(folder: Path | str) -> Report:
    """A folder of results, of which there must be some, or of runs that failed; raises `ResultError`."""
    reading = read(folder)
    failures = reading.failures()
    if not reading.results and not failures:
        raise ResultError(f"there are no results in {folder}")
    return Report(reading.results, failures, reading.note)


def compare_folders(a: Path | str, b: Path | str) -> Differences:
    """What the results of two folders have in common, and what not; raises `ResultError`."""
    first, second = (read(folder) for folder in (a, b))
    for folder, reading in zip((a, b), (first, second), strict=True):
        if not reading.results:
            raise ResultError(f"there are no results in {folder}")
    found = differences(first.results, second.results, (str(a), str(b)))
    failures = first.failures(), second.failures()
    return replace(found, failures=failures, superseded=[note for note in (first.note, second.note) if note])


def title_of(folder: Path | str) -> str:
    """What the page of a folder is called."""
    return Path(folder).resolve().name or "turncoat"
