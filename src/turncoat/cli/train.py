"""`turncoat demo` and `turncoat run`: train under attack."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from typer import Argument, Option

from turncoat.cli.base import Folder, Interrupted, Json, Quiet, app
from turncoat.errors import SpecError

if TYPE_CHECKING:
    from turncoat.results.result import Result
    from turncoat.spec import Spec


@app.command()
def demo(output: Folder = Path("demo"), quiet: Quiet = False) -> None:
    """Watch an attack ruin plain averaging and a robust rule hold, on real images, in under a minute.

    20 workers hold unlike shares of scikit-learn's handwritten digits, 4 of them are traitors: five rules against
    six attacks, a table, and a page with the accuracy curves.
    """
    from turncoat.campaign.grid import read_grid

    with as_file(files("turncoat") / "campaign" / "demo.toml") as path:
        specs = read_grid(path)
    results = _run(specs, output, quiet)
    _print_table(results)
    _write_page(results, output / "demo.html", "turncoat demo")


@app.command()
def run(
    spec: Annotated[Path | None, Argument(help="A TOML file; a field that is a list spans a grid.")] = None,
    task: Annotated[str | None, Option(help="`dataset/model`, or a data set with its default model.")] = None,
    rule: Annotated[list[str] | None, Option(help='A rule, such as "nnm >> trimmed_mean"; repeat for several.')] = None,
    attack: Annotated[list[str] | None, Option(help='An attack, such as "alie(z=8)"; repeat for several.')] = None,
    n: Annotated[int | None, Option("-n", "--n", help="Workers.")] = None,
    f: Annotated[int | None, Option("-f", "--f", help="Byzantine workers among them.")] = None,
    split: Annotated[str | None, Option(help='How the data is dealt, such as "dirichlet(0.3)".')] = None,
    rounds: Annotated[int | None, Option(help="Rounds of training.")] = None,
    seed: Annotated[int | None, Option(help="Of data, model, server and adversary.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda or cuda:0.")] = None,
    set_: Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any other field, as in TOML.")] = None,
    output: Folder = Path("results"),
    page: Annotated[Path | None, Option(help="Write a page with the curves here.")] = None,
    save_attack: Annotated[
        Path | None, Option(help='Write what the traitors did here, for --attack "replay(FILE)".')
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train under attack: one run, or every combination of several rules and attacks.

    Finished runs are files in the output folder and are not computed again; the same command continues after Ctrl-C.

    Examples:

        turncoat run --task digits --rule median --attack "ipm(epsilon=10)" -n 20 -f 4

        turncoat run grid.toml --set rounds=100 --json
    """
    from turncoat.campaign.grid import expand, read_table

    given = {"task": task, "rule": rule, "attack": attack, "n": n, "f": f, "split": split, "rounds": rounds}
    given |= {"seed": seed, "device": device}
    table = (read_table(spec) if spec else {"n": 20, "f": 4}) | _settings(set_ or [])
    table |= {key: value for key, value in given.items() if value is not None}
    results = _run(expand(table, str(spec or "")), output, quiet, save_attack)
    if json:
        import msgspec

        for result in results:
            print(msgspec.json.format(result.encode(), indent=-1).decode())
    else:
        _print_table(results)
    if page:
        _write_page(results, page, str(spec or results[0].spec.task), to=sys.stderr if json else sys.stdout)


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` as TOML reads it; a value that is no TOML is a string."""
    import tomllib

    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"--set {text}: write key=value")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings


def _run(specs: Sequence[Spec], folder: Path, quiet: bool, save_attack: Path | None = None) -> list[Result]:
    from turncoat.campaign.runner import run_all
    from turncoat.linalg.allocator import tune_allocator
    from turncoat.progress import progress

    tune_allocator()
    before = [0, *accumulate(spec.rounds for spec in specs)]
    finished = 0

    with progress(before[-1], quiet) as show:

        def watch(i: int, done: int, record: object) -> None:
            nonlocal finished
            finished = i + (done >= specs[i].rounds)
            show(before[i] + done, f"run {i + 1} of {len(specs)}: {specs[i].rule} under {specs[i].attack}")

        try:
            return run_all(specs, folder, watch, show.planning, save_attack)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted: {finished} of {len(specs)} runs are finished in {folder}; the same command continues"
            ) from None


def _print_table(results: Sequence[Result]) -> None:
    from rich.console import Console

    from turncoat.report.tables import accuracy_table

    Console().print(accuracy_table(results))


def _write_page(results: Sequence[Result], path: Path, title: str, to: TextIO = sys.stdout) -> None:
    from turncoat.report.page import write_page

    print(f"page with the curves: {write_page(results, path, title)}", file=to)
