"""`turncoat demo` and `turncoat run`: train under attack."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer import Argument, Option

from turncoat.cli.base import Address, Engine, Folder, Interrupted, Jobs, Json, Quiet, app
from turncoat.errors import SpecError

if TYPE_CHECKING:
    from turncoat.campaign.run import Finished
    from turncoat.spec import Spec

Campaign = Annotated[Path | None, Argument(help="A TOML file; a field that is a list spans a grid.", metavar="[SPEC]")]
Task = Annotated[str | None, Option(help="`dataset/model`, or a data set with its default model.")]
Rules = Annotated[list[str] | None, Option(help='A rule, such as "nnm >> trimmed_mean"; repeat for several.')]
Attacks = Annotated[list[str] | None, Option(help='An attack, such as "alie(z=8)"; repeat for several.')]
N = Annotated[int | None, Option("-n", "--n", help="Workers.")]
F = Annotated[int | None, Option("-f", "--f", help="Byzantine workers among them.")]
Split = Annotated[str | None, Option(help='How the data is dealt, such as "dirichlet(0.3)".')]
Rounds = Annotated[int | None, Option(help="Rounds of training.")]
Seed = Annotated[int | None, Option(help="Of data, model, server and adversary.")]
Device = Annotated[str | None, Option(help="cpu, cuda or cuda:0.")]
Set = Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any other field, as in TOML.")]


@app.command()
def demo(output: Folder = Path("demo"), quiet: Quiet = False) -> None:
    """Watch an attack ruin plain averaging and a robust rule hold, on real images, in under a minute.

    20 workers hold unlike shares of scikit-learn's handwritten digits, 4 of them are traitors: five rules against
    six attacks, a table, and a page with the accuracy curves.
    """
    from turncoat.campaign.grid import read_grid

    with as_file(files("turncoat") / "campaign" / "demo.toml") as path:
        finished = _run(read_grid(path), output, quiet)
    _print_table(finished)
    _write_page(finished, output / "demo.html", "turncoat demo")


@app.command()
def run(
    spec: Campaign = None,
    task: Task = None,
    rule: Rules = None,
    attack: Attacks = None,
    n: N = None,
    f: F = None,
    split: Split = None,
    rounds: Rounds = None,
    seed: Seed = None,
    device: Device = None,
    set_: Set = None,
    output: Folder = Path("results"),
    jobs: Jobs = None,
    retry_failed: Annotated[bool, Option(help="Try runs again that failed before.")] = False,
    timeout: Annotated[float | None, Option(help="Seconds that a run may take.")] = None,
    memory: Annotated[float | None, Option(help="GiB of memory that a worker process may hold.")] = None,
    checkpoint_every: Annotated[float, Option(help="Seconds between the checkpoints of a run.")] = 60.0,
    engine: Engine = "local",
    address: Address = None,
    tracker: Annotated[list[str] | None, Option(help="`path.py:Class` to be told how each run goes.")] = None,
    page: Annotated[Path | None, Option(help="Write a page with the curves here.")] = None,
    save_attack: Annotated[
        Path | None, Option(help='Write what the traitors did here, for --attack "replay(FILE)".')
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train under attack: one run, or a campaign, every combination that a file spans.

    Finished runs are files in the output folder and are not computed again; whatever ends it, the same command
    continues. A run that fails is recorded, and the others go on. `turncoat plan` says beforehand what would run.

    Examples:

        turncoat run --task digits --rule median --attack "ipm(epsilon=10)" -n 20 -f 4

        turncoat run grid.toml --jobs 8 --set rounds=100

        turncoat run grid.toml --engine ray --address auto
    """
    given = {"task": task, "rule": rule, "attack": attack, "n": n, "f": f, "split": split, "rounds": rounds}
    finished = _run(
        specs_of(spec, set_, given | {"seed": seed, "device": device}),
        output,
        quiet,
        jobs=jobs,
        engine=engine,
        address=address,
        retry_failed=retry_failed,
        timeout=timeout,
        memory=memory,
        checkpoint_every=checkpoint_every,
        save_attack=save_attack,
        trackers=tracker or [],
    )
    results = finished.results
    if json:
        import msgspec

        for result in results:
            print(msgspec.json.format(result.encode(), indent=-1).decode())
    elif results:
        _print_table(finished)
    if page:
        _write_page(finished, page, str(spec or task or "turncoat"), to=sys.stderr if json else sys.stdout)
    if finished.failures:
        failed = len(finished.failures)
        print(f"turncoat: {failed} of {failed + len(results)} runs failed, see {output / 'failed'}", file=sys.stderr)
        raise typer.Exit(1)


def specs_of(path: Path | None, set_: Sequence[str] | None, given: Mapping[str, Any]) -> list[Spec]:
    """The runs of a file, or of nothing, with what the command line says instead."""
    from turncoat.campaign.grid import expand, read_table, with_settings

    table = read_table(path) if path else {"n": 20, "f": 4, "control": False}
    settings = _settings(set_ or []) | {key: value for key, value in given.items() if value is not None}
    return expand(with_settings(table, settings), str(path or ""))


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


def _run(specs: Sequence[Spec], folder: Path, quiet: bool, **care: Any) -> Finished:
    from turncoat.campaign.run import plan, run

    try:
        return run(specs, folder, progress=not quiet, **care)
    except KeyboardInterrupt:
        cells = plan(specs, folder).cells
        done = sum(cell.status == "done" for cell in cells)
        raise Interrupted(
            f"interrupted: {done} of {len(cells)} runs are finished in {folder}; the same command continues"
        ) from None


def _print_table(finished: Finished) -> None:
    from rich.console import Console

    from turncoat.report.tables import print_comparison
    from turncoat.results.comparison import compare

    for one in compare(finished.results, finished.failures):
        print_comparison(Console(highlight=False), one)


def _write_page(finished: Finished, path: Path, title: str, to: TextIO = sys.stdout) -> None:
    from turncoat.report.page import write_page

    page = write_page(finished.results, path, title, finished.failures)
    print(f"page with the curves: {page}", file=to)
