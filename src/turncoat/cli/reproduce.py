"""`turncoat reproduce`: figures of the papers, run, drawn, and their claims judged."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from turncoat.cli.base import Address, Engine, Interrupted, Jobs, Json, Quiet, app

if TYPE_CHECKING:
    from turncoat.papers.run import Shown


@app.command()
def reproduce(
    figures: Annotated[list[str], Argument(help="Figures such as S3-F1, papers such as S3, or all.", metavar="ID...")],
    scale: Annotated[
        str, Option(help="quick: about an hour a paper on two cores; paper: the paper's own sizes.")
    ] = "quick",
    output: Annotated[Path, Option("--output", "-o", help="Folder of runs, figures and pages.")] = Path("reproduction"),
    jobs: Jobs = None,
    engine: Engine = "local",
    address: Address = None,
    device: Annotated[str, Option(help="cpu, cuda or cuda:0.")] = "cpu",
    retry_failed: Annotated[bool, Option(help="Try runs again that failed before.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Figures, tables and theorems of the four papers: run again, drawn again, and their claims judged.

    Each sentence that a figure supports is a predicate over its runs, with a threshold: it holds, fails, or is
    undecided for want of seeds or scale. `turncoat list figures` names all. What is in the folder is not computed
    again; whatever ends it, the same command continues.

    Examples:

        turncoat reproduce S3-F1

        turncoat reproduce all --scale quick --jobs 2

        turncoat reproduce S0-F3 --scale paper --device cuda
    """
    from turncoat.papers.run import reproduce as reproduced

    told = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
    try:
        shown = reproduced(
            figures,
            scale,
            output,
            jobs=jobs,
            engine=engine,
            address=address,
            device=device,
            retry_failed=retry_failed,
            progress=not quiet,
            told=told,
        )
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: finished runs lie in {output / scale}; the same command continues") from None
    from turncoat.papers.page import write_papers
    from turncoat.papers.run import encode, judgements, keep

    pages = write_papers(shown, keep(shown, output / scale), scale, output / scale)
    if json:
        print(encode(judgements(shown)).decode(), end="")
        return
    _print(shown, pages)


def _print(shown: Sequence[Shown], pages: Sequence[Path]) -> None:
    """The verdicts as a table, what is counted, and where the pages lie."""
    from rich.console import Console
    from rich.table import Table

    from turncoat.papers.page import tally
    from turncoat.papers.run import judgements

    colours = {"holds": "green", "fails": "red", "undecided": "yellow"}
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("figure", "verdict", "claim"):
        table.add_column(name, no_wrap=name != "claim", overflow="fold")
    for one in judgements(shown):
        table.add_row(one.figure, f"[{colours[one.verdict]}]{one.state}[/]", one.says)
    console.print(table)
    console.print(tally(judgements(shown)))
    for page in pages:
        console.print(str(page), soft_wrap=True)
