"""Reproductions as pages that need nothing but themselves: one a paper, and an index of all claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from turncoat.papers.campaigns import left_out, seeds, shrunk
from turncoat.papers.evidence import Undecided
from turncoat.papers.figure import Judgement
from turncoat.papers.pictures import Picture
from turncoat.papers.run import PAPERS, Shown, by_paper, judgements
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
LETTERS = 100  # of a line below a drawing's title
STATES = ("holds", "fails", "undecided", "unavailable")


@dataclass(frozen=True)
class Drawn:
    """A figure as a page shows it: its pictures, with their charts' places in the page."""

    shown: Shown
    pictures: list[tuple[Picture, dict[str, str]]]
    setting: str
    """Seeds and scale, and what is not as at the scale paper."""
    undrawn: str = ""
    """Why there are no pictures."""

    @property
    def unlearnt(self) -> list[str]:
        """What each control reached that did not learn."""
        return list(dict.fromkeys(each.numbers[0] for each in self.shown.judgements if not each.learnt))


def tally(judgements: Sequence[Judgement]) -> str:
    """How many claims hold, fail, and are undecided or unavailable, in words."""
    counts = Counter(each.state for each in judgements)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def write_papers(shown: Sequence[Shown], judged: Sequence[Judgement], scale: str, folder: Path | str) -> list[Path]:
    """Write a page for each paper, an index of claims, and each figure as PNG and SVG; returns the pages.

    `judged` are the claims of the index, those of papers that are not shown now among them.
    """
    folder = Path(folder)
    pages = [_write_paper(paper, figures, scale, folder) for paper, figures in by_paper(shown).items()]
    return [_write_index(judged, scale, folder), *pages]


def _write_paper(paper: str, shown: Sequence[Shown], scale: str, folder: Path) -> Path:
    charts: dict[str, Chart] = {}
    drawn = []
    for each in shown:
        setting, undrawn, placed = setting_of(each, scale), "", []
        try:
            pictures = each.figure.draws(each.found)
        except Undecided as reason:
            pictures, undrawn = [], str(reason)
        for i, picture in enumerate(pictures):
            places = {f"{each.figure.id}-{i}-{j}": heading for j, heading in enumerate(picture.panels)}
            charts |= dict(zip(places, picture.panels.values(), strict=True))
            placed.append((picture, places))
            _write_picture(picture, f"{each.figure.id}, {setting}", folder / "figures" / f"{each.figure.id}-{i}")
        drawn.append(Drawn(each, placed, setting, undrawn))
    page = render(
        "paper.html.j2",
        payload_of(charts),
        room=ROOM,
        title=f"{TITLES[paper]}, reproduced",
        facts=[f"scale: {scale}", counted(len(shown), "figure"), tally(judgements(shown))],
        notices=[],
        drawn=drawn,
        scale=scale,
    )
    return write_atomically(folder / f"{paper}.html", page.encode())


def setting_of(shown: Shown, scale: str) -> str:
    """Scale and seeds, and what is not as at the scale paper."""
    if not shown.cells:
        return "computed"
    changes = shrunk(shown.cells)
    if scale == "quick":
        changes += [f"without {attack}" for attack in left_out(shown.figure.campaign)]
    said = f"scale {scale}, seeds {seeds(shown.figure.campaign, shown.cells.values())}"
    return f"{said}; not as at the scale paper: {'; '.join(changes)}" if changes else said


def _write_picture(picture: Picture, about: str, stem: Path) -> None:
    """A picture as PNG and SVG, with what it stands for in words that fit below its title."""
    charts = list(picture.panels.values())
    drawing = standalone(charts[0], []) if len(charts) == 1 else sheet(picture.title, "", picture.panels, [])
    drawing["title"]["subtitle"] = wrap(about, LETTERS)
    write_drawing(drawing, stem)


def _write_index(judged: Sequence[Judgement], scale: str, folder: Path) -> Path:
    empirical, computed = ([each for each in judged if each.computed is one] for one in (False, True))
    papers = {
        paper: [(figure, mine) for figure in figures if (mine := [one for one in judged if one.figure == figure.id])]
        for paper, figures in PAPERS.items()
    }
    page = render(
        "claims.html.j2",
        {},
        room=ROOM,
        charts=False,
        title="What reproduces",
        facts=[f"scale: {scale}", counted(len({each.figure for each in judged}), "figure"), tally(judged)],
        notices=[],
        papers={paper: figures for paper, figures in papers.items() if figures},
        titles=TITLES,
        empirical=tally(empirical),
        computed=tally(computed),
    )
    return write_atomically(folder / "index.html", page.encode())
