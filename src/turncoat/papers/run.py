"""Reproducing: what figures need is run or computed, their claims are judged, and all of it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from turncoat.campaign.plan import survey
from turncoat.campaign.run import obtain, run
from turncoat.errors import DataUnavailableError, ResultError, SpecError
from turncoat.papers import s0, s1, s2, s3
from turncoat.papers.campaigns import check_scale
from turncoat.papers.evidence import Runs
from turncoat.papers.figure import Figure, Judgement
from turncoat.papers.kept import save
from turncoat.registry import suggest
from turncoat.results.files import write_atomically
from turncoat.results.result import Result
from turncoat.spec import Spec

PAPERS = {"S0": s0.FIGURES, "S1": s1.FIGURES, "S2": s2.FIGURES, "S3": s3.FIGURES}
FIGURES = {figure.id: figure for figures in PAPERS.values() for figure in figures}
ALL = "all"
RUNS, CLAIMS = "runs", "claims.json"  # of an output folder
UNAVAILABLE = "unavailable until supplied"


@dataclass(frozen=True)
class Shown:
    """A figure, what there is of it, and what became of its claims."""

    figure: Figure
    found: Any
    """Its runs, or what was computed."""
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
    retry_failed: bool = False,
    progress: bool = True,
    told: Callable[[str], None] = lambda line: None,
) -> list[Shown]:
    """Run what figures of the papers need and is not in the folder yet, and judge their claims, paper by paper.

    `names` are figures such as S3-F1, papers, or all; figures of the same papers that the folder holds already come
    along. The scale `quick` is for two cores, `paper` has the paper's own sizes. A figure whose data set cannot be had
    is unavailable, claims that a failed run leaves open are undecided, and the others go on.

    Raises `SpecError` for a figure or scale that does not exist, and what `run` raises.
    """
    check_scale(scale)
    place, shown, asked = Path(folder) / scale, [], chosen(names)
    before = {judgement.figure for judgement in _judged_before(place / CLAIMS)}
    for paper, figures in PAPERS.items():
        if not (wanted := [figure for figure in figures if figure in asked]):
            continue
        cells = {figure.id: figure.cells(scale, device) for figure in figures if figure in asked or figure.id in before}
        missing = {name: why for name, found in cells.items() if (why := _missing(found.values()))}
        todo = dict.fromkeys(spec for one in wanted if one.id not in missing for spec in cells[one.id].values())
        others = {spec for name, found in cells.items() if name not in missing for spec in found.values()} - todo.keys()
        results = _done(others, place / RUNS)
        if todo:
            told(f"{paper}: {len(todo):,} runs")
            options = {"engine": engine, "address": address, "retry_failed": retry_failed, "progress": progress}
            finished = run(list(todo), place / RUNS, jobs=jobs, **options)
            results += finished.results
            if finished.failures:
                told(f"{paper}: {len(finished.failures)} runs failed, see {place / RUNS / 'failed'}")
        for figure in figures:
            if figure.id in cells:
                told(f"{figure.id}: {figure.title}")
                shown.append(_shown(figure, cells[figure.id], results, missing.get(figure.id, "")))
    return shown


def _done(specs: Iterable[Spec], folder: Path) -> list[Result]:
    """Those of some runs that a folder holds."""
    if not folder.is_dir() or not (specs := list(specs)):
        return []
    done = [cell for cell in survey(specs, folder).cells if cell.status == "done"]
    return [Result.load(folder / f"{cell.name}.json") for cell in done]


def _judged_before(path: Path) -> list[Judgement]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Judgement])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        raise ResultError(f"{path} holds no verdicts of turncoat: {error}") from None


def _shown(figure: Figure, cells: Mapping[Spec, Spec], results: Sequence[Result], missing: str) -> Shown:
    if missing:
        undecided = [figure.undecided(claim, UNAVAILABLE) for claim in figure.claims]
        return Shown(figure, figure.runs(cells, []), undecided, cells, missing)
    found = figure.computes() if figure.computes else figure.runs(cells, results)
    return Shown(figure, found, figure.judged(found), cells)


def judgements(shown: Iterable[Shown]) -> list[Judgement]:
    """Those of all figures."""
    return [judgement for each in shown for judgement in each.judgements]


def by_paper(shown: Iterable[Shown]) -> dict[str, list[Shown]]:
    """The figures of each paper."""
    found: dict[str, list[Shown]] = {}
    for each in shown:
        found.setdefault(each.figure.paper, []).append(each)
    return found


def keep(shown: Sequence[Shown], folder: Path | str) -> list[Path]:
    """Write what to publish of a reproduction: each paper's runs as one small file, and all verdicts."""
    folder, written = Path(folder), []
    for paper, figures in by_paper(shown).items():
        trained = [each.found for each in figures if isinstance(each.found, Runs)]
        results = {result.spec: result for runs in trained for _, result in runs.done}
        written += [save(list(results.values()), folder / f"{paper}.json")] if results else []
    judged = judgements(shown)
    ours = {judgement.figure for judgement in judged}
    judged += [judgement for judgement in _judged_before(folder / CLAIMS) if judgement.figure not in ours]
    judged.sort(key=lambda judgement: list(FIGURES).index(judgement.figure))
    return [*written, write_atomically(folder / CLAIMS, encode(judged))]


def encode(judgements: Sequence[Judgement]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(judgements), indent=1) + b"\n"


def _missing(specs: Iterable[Spec]) -> str:
    """Why a data set of some runs cannot be had, and how to supply it; nothing where all can."""
    try:
        obtain(specs)
    except DataUnavailableError as error:
        return str(error)
    return ""
