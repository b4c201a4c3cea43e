"""Reproducing: what figures need is run or computed, their claims are judged, and all of it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from turncoat.campaign.run import obtain, run
from turncoat.errors import DataUnavailableError, ResultError, SpecError
from turncoat.papers import s0, s1, s2, s3
from turncoat.papers.campaigns import check_scale
from turncoat.papers.evidence import Runs
from turncoat.papers.figure import UNAVAILABLE, Figure, Judgement, asked_for
from turncoat.papers.kept import load, save
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

    `names` are figures such as S3-F1, papers, or all; of the same papers, figures that the folder keeps whole come
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
        missing = {figure.id: why for figure in wanted if (why := _missing(cells[figure.id].values()))}
        todo = dict.fromkeys(spec for one in wanted if one.id not in missing for spec in cells[one.id].values())
        results = _kept_before(place / f"{paper}.json")
        if todo:
            told(f"{paper}: {len(todo):,} runs")
            options = {"engine": engine, "address": address, "retry_failed": retry_failed, "progress": progress}
            finished = run(list(todo), place / RUNS, jobs=jobs, **options)
            results = [one for one in results if asked_for(one) not in todo] + finished.results
            if finished.failures:
                told(f"{paper}: {len(finished.failures)} runs failed, see {place / RUNS / 'failed'}")
        for figure in figures:
            if figure in asked or (figure.id in before and _whole(figure, cells[figure.id], results)):
                told(f"{figure.id}: {figure.title}")
                if figure.id in missing:
                    told(f"{figure.id}: {UNAVAILABLE}: {missing[figure.id]}")
                shown.append(_shown(figure, cells[figure.id], results, missing.get(figure.id, "")))
    return shown


def _whole(figure: Figure, cells: Mapping[Spec, Spec], results: Sequence[Result]) -> bool:
    """Whether all that a figure shows is kept, or can be computed again as it was."""
    return not figure.timed and all(run.result is not None for run in figure.runs(cells, results))


def _kept_before(path: Path) -> list[Result]:
    return load(path) if path.exists() else []


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


def keep(shown: Sequence[Shown], folder: Path | str) -> list[Judgement]:
    """Write what to publish of a reproduction, each paper's runs as one small file and all verdicts; returns these.

    What the folder keeps of other figures stays.
    """
    folder = Path(folder)
    for paper, figures in by_paper(shown).items():
        path = folder / f"{paper}.json"
        done = [result for each in figures if isinstance(each.found, Runs) for _, result in each.found.done]
        if done:
            results = {result.spec: result for result in [*_kept_before(path), *done]}
            save(list(results.values()), path)
    ours = {each.figure.id for each in shown}
    judged = [one for one in _judged_before(folder / CLAIMS) if one.figure in FIGURES.keys() - ours]
    judged += judgements(shown)
    judged.sort(key=lambda judgement: list(FIGURES).index(judgement.figure))
    write_atomically(folder / CLAIMS, encode(judged))
    return judged


def encode(judgements: Sequence[Judgement]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(judgements), indent=1) + b"\n"


def _missing(specs: Iterable[Spec]) -> str:
    """Why a data set of some runs cannot be had, and how to supply it; nothing where all can."""
    try:
        obtain(specs)
    except DataUnavailableError as error:
        return str(error)
    return ""
