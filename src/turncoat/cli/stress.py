"""`turncoat stress` and `turncoat replay`: the worst that traitors can do to a rule, and what did it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from turncoat.cli.base import Interrupted, Jobs, Json, Quiet, app

N = Annotated[int, Option("-n", "--n", help="Workers.")]
F = Annotated[int, Option("-f", "--f", help="Traitors among them, as many as the rule is told of.")]


@app.command()
def stress(
    rule: Annotated[str, Argument(help='A rule by name, "nnm >> krum", own.py:name or package.module:name.')],
    n: N = 25,
    f: F = 5,
    suite: Annotated[str, Option(help="The frozen clouds, attacks, searches and seeds that the scores stand for.")] = (
        "standard-1"
    ),
    level: Annotated[
        str, Option(help="calls: single aggregations; quick: trainings on digits too; full: on Fashion-MNIST.")
    ] = "quick",
    output: Annotated[
        Path | None, Option("--output", "-o", help="Folder of what is left; by default stress/RULE-nN-fF.")
    ] = None,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """How strong a rule really is: one call, no knobs, the worst case that a frozen suite finds.

    All clouds of honest vectors meet all attacks, and searches through the rule and around it make the worst of them
    worse; then the attackers grow from none to half of the workers, and trainings meet them. RULE is a name, a chain of
    names, or your own function of the (n, d) matrix, in NumPy or torch, as path.py:name or package.module:name. The
    score card says by how much the aggregate is off (*kappa*, beside what no rule can avoid), what is left of the
    *descent*, where the rule breaks, and what to doubt.

    The folder gets the card as card.json and card.html, the worst cases as kappa.witness and descent.witness, for
    `turncoat replay`, and the trainings in runs. What is there is not trained again: the same command continues.

    Examples:

        turncoat stress "nnm >> trimmed_mean"

        turncoat stress my_rules.py:my_rule -n 12 -f 2 --level calls

        turncoat stress krum --level calls --json
    """
    from turncoat.stress.run import stress as stressed

    folder = output or Path("stress") / folder_name(rule, n, f)
    try:
        card = stressed(rule, n, f, suite, level, output=folder, jobs=jobs, progress=not quiet)
    except KeyboardInterrupt:
        done = f"interrupted: trainings that are finished lie in {folder / 'runs'}"
        raise Interrupted(f"{done}; the same command continues") from None
    from turncoat.stress.page import write_card

    page = write_card(card, folder / "card.html")
    if json:
        print(card.encode().decode())
        return
    from rich.console import Console

    from turncoat.stress.show import print_card

    print_card(Console(highlight=False), card, [page, *(folder / f"{score}.witness" for score in ("kappa", "descent"))])


def folder_name(rule: str, n: int, f: int) -> str:
    """A folder's name for a rule: `nnm-trimmed_mean-n25-f5`."""
    import re

    words = [*re.findall(r"\w+", rule), f"n{n}", f"f{f}"]
    return "-".join(words)[-80:].lstrip("-")


@app.command()
def replay(
    witness: Annotated[Path, Argument(help="A worst case that turncoat stress saved.")],
    rule: Annotated[str | None, Option(help="Another rule on the same rows.")] = None,
    json: Json = False,
) -> None:
    """See a worst case again: honest vectors, hostile rows, and what a rule makes of them.

    Says whether the rule that it was found for gives what was saved, to the last digit; with --rule, what another
    one makes of it. That rule need not be as badly off: what harms it most is another case.

    Examples:

        turncoat replay stress/krum-n25-f5/kappa.witness

        turncoat replay stress/krum-n25-f5/kappa.witness --rule "nnm >> krum"
    """
    from turncoat.stress.witness import Witness

    found = Witness.load(witness)
    seen = found.replay(rule)
    if json:
        from turncoat.cli.report import to_json

        about = found.about
        plain = {"rule": rule or about.rule, "about": about, "seen": seen, "same": seen == about.seen}
        print(to_json(plain).decode(), end="")
        return
    from rich.console import Console

    from turncoat.stress.show import print_replay

    print_replay(Console(highlight=False), found, seen, rule)
