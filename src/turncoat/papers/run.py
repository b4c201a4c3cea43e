"""Reproducing: what figures need is run or computed, their claims are judged, and all of it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from turncoat.campaign.run import run
from turncoat.data import stored
from turncoat.errors import DataUnavailableError, SpecError
from turncoat.papers import s0, s1, s2, s3
from turncoat.papers.evidence import Runs
from turncoat.papers.figure import Figure, Judgement, runs_of
from turncoat.papers.kept import save
from turncoat.registry import suggest
from turncoat.results.files import write_atomically
from turncoat.results.result import Result
from turncoat.spec import Spec

PAPERS = {"S0": s0.FIGURES, "S1": s1.FIGURES, "S2": s2.FIGURES, "S3": s3.FIGURES}
FIGURES = {figure.id: figure for figures in PAPERS.values() for figure in figures}
ALL = "all"
RUNS, CLAIMS = "runs", "claims.json"  # of an output folder


@dataclass(frozen=True)
class Shown:
    """A figure, what there is of it, and what became of its claims."""

    figure: Figure
    found: Any
    """Its runs, what was computed, or None where it is unavailable."""
    judgements: Sequence[Judgement]
    cells: Mapping[Spec, Spec] = field(default_factory=dict, repr=False)
    unavailable: str = ""


def chosen(names: Iterable[str]) -> list[Figure]:
    """Figures by their names, those of a paper by its name, or all; raises `SpecError` for what does not exist."""
    found: dict[str, Figure] = {}
    for name in names:
        if name == ALL:
            found |= FIGURES
        elif name in PAPERS:
            found |= {figure.id: figure for figure in PAPERS[name]}
        elif name in FIGURES:
            found[name] = FIGURES[name]
        else:
            raise SpecError(f"unknown figure {name!r}: {suggest(name, [*FIGURES, *PAPERS, ALL])}")
    return list(found.values())


def reproduce(
    names: Sequence[str],
    scale: str = "quick",
    folder: Path | str = "reproduction",
    *,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    device: str = "cpu",
    progress: bool = True,
    told: Callable[[str], None] = lambda line: None,
) -> list[Shown]:
    """Run what figures of the papers need and is not in the folder yet, and judge their claims, paper by paper.

    `names` are figures such as S3-F1, papers, or all. The scale `quick` is for two cores, `paper` has the paper's own
    sizes. A figure whose data set cannot be had is shown as unavailable, and the others go on.

    Raises `SpecError` for a figure or scale that does not exist, and what `run` raises.
    """
    shown = []
    for paper, figures in PAPERS.items():
        wanted = [figure for figure in chosen(names) if figure in figures]
        missing = {figure.id: why for figure in wanted if (why := _missing(figure))}
        cells = {figure.id: figure.cells(scale, device) for figure in wanted if figure.id not in missing}
        specs = list(dict.fromkeys(spec for found in cells.values() for spec in found.values()))
        results: list[Result] = []
        if specs:
            told(f"{paper}: {len(specs):,} runs")
            place = Path(folder) / scale / RUNS
            results = run(specs, place, jobs=jobs, engine=engine, address=address, progress=progress).results
        for figure in wanted:
            if figure.computes:
                told(f"{figure.id}: {figure.title}")
            shown.append(_shown(figure, cells.get(figure.id, {}), results, missing.get(figure.id, "")))
    return shown


def _shown(figure: Figure, cells: Mapping[Spec, Spec], results: Sequence[Result], missing: str) -> Shown:
    if missing:
        undecided = [figure.undecided(claim, "unavailable until supplied") for claim in figure.claims]
        return Shown(figure, None, undecided, cells, missing)
    found = figure.computes() if figure.computes else runs_of(cells, results)
    return Shown(figure, found, figure.judged(found), cells)


def keep(shown: Sequence[Shown], folder: Path | str) -> list[Path]:
    """Write what to publish of a reproduction: each paper's runs as one small file, and all verdicts."""
    folder, written = Path(folder), []
    for paper in PAPERS:
        results = {run.result.spec: run.result for each in shown if each.figure.paper == paper for run in _runs(each)}
        written += [save(list(results.values()), folder / f"{paper}.json")] if results else []
    judgements = [judgement for each in shown for judgement in each.judgements]
    return [*written, write_atomically(folder / CLAIMS, encode(judgements))]


def encode(judgements: Sequence[Judgement]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(judgements), indent=1) + b"\n"


def _runs(shown: Shown) -> Runs:
    return shown.found if isinstance(shown.found, Runs) else Runs([])


def _missing(figure: Figure) -> str:
    """Why its data set cannot be had, and how to supply it; nothing where it can."""
    if not figure.needs:
        return ""
    try:
        stored.obtain(figure.needs)
    except DataUnavailableError as error:
        return str(error)
    return ""
