"""Reproductions as pages that need nothing but themselves: one a paper, and an index of all claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from turncoat.papers.campaigns import seeds, shrunk
from turncoat.papers.evidence import Runs
from turncoat.papers.figure import Judgement
from turncoat.papers.pictures import Picture
from turncoat.papers.run import Shown
from turncoat.report.drawing import Chart
from turncoat.report.export import sheet, standalone, write_drawing
from turncoat.report.page import payload_of, render
from turncoat.report.summary import counted
from turncoat.results.files import write_atomically

ROOM = "turncoat.papers"
TITLES = {
    "S0": "Optimal attacks (S0)",
    "S1": "Fall of Empires (S1)",
    "S2": "MixTailor (S2)",
    "S3": "Stress-testing defences (S3)",
}
VERDICTS = ("holds", "fails", "undecided")


@dataclass(frozen=True)
class Drawn:
    """A figure as a page shows it: its pictures, with their charts' places in the page."""

    shown: Shown
    pictures: list[tuple[Picture, dict[str, str]]]
    changes: dict[str, list[tuple[str, str]]]
    seeds: list[str]

    @property
    def place(self) -> str:
        return self.shown.figure.id

    @property
    def learnt(self) -> bool:
        return not any("did not learn" in number for each in self.shown.judgements for number in each.numbers)


def tally(judgements: Sequence[Judgement]) -> str:
    """How many claims hold, fail and are undecided, in words."""
    counts = Counter(each.verdict for each in judgements)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def write_papers(shown: Sequence[Shown], scale: str, folder: Path | str) -> list[Path]:
    """Write a page for each paper, an index of all claims, and each figure as PNG and SVG; returns the pages."""
    folder, pages = Path(folder), []
    papers = list(dict.fromkeys(each.figure.paper for each in shown))
    for paper in papers:
        figures = [each for each in shown if each.figure.paper == paper]
        pages.append(_write_paper(paper, figures, scale, folder))
    return [_write_index(shown, scale, folder), *pages]


def _write_paper(paper: str, shown: Sequence[Shown], scale: str, folder: Path) -> Path:
    charts: dict[str, Chart] = {}
    drawn = []
    for each in shown:
        pictures = each.figure.draws(each.found) if _drawable(each) else []
        placed = []
        for i, picture in enumerate(pictures):
            places = {f"{each.figure.id}-{i}-{j}": heading for j, heading in enumerate(picture.panels)}
            charts |= dict(zip(places, picture.panels.values(), strict=True))
            placed.append((picture, places))
            _write_picture(picture, folder / "figures" / f"{each.figure.id}-{i}")
        drawn.append(Drawn(each, placed, shrunk(each.cells), seeds(each.cells.values())))
    judgements = [judgement for each in shown for judgement in each.judgements]
    page = render(
        "paper.html.j2",
        payload_of(charts),
        room=ROOM,
        title=f"{TITLES[paper]}, reproduced",
        facts=[f"scale: {scale}", counted(len(shown), "figure"), tally(judgements)],
        notices=[],
        drawn=drawn,
        scale=scale,
    )
    return write_atomically(folder / f"{paper}.html", page.encode())


def _drawable(shown: Shown) -> bool:
    return bool(shown.found) if isinstance(shown.found, Runs) else shown.found is not None


def _write_picture(picture: Picture, stem: Path) -> None:
    charts = dict(picture.panels)
    if len(charts) == 1:
        (chart,) = charts.values()
        write_drawing(standalone(chart, []), stem)
    elif charts:
        write_drawing(sheet(picture.title, "", charts, []), stem)


def _write_index(shown: Sequence[Shown], scale: str, folder: Path) -> Path:
    judgements = [judgement for each in shown for judgement in each.judgements]
    empirical = [each for each in judgements if not each.certain]
    page = render(
        "claims.html.j2",
        {},
        room=ROOM,
        charts=False,
        title="What reproduces",
        facts=[f"scale: {scale}", counted(len(shown), "figure"), tally(judgements)],
        notices=[],
        papers={
            paper: [each for each in shown if each.figure.paper == paper]
            for paper in dict.fromkeys(each.figure.paper for each in shown)
        },
        titles=TITLES,
        empirical=tally(empirical),
        certain=tally([each for each in judgements if each.certain]),
    )
    return write_atomically(folder / "index.html", page.encode())
