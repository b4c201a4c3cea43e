"""`turncoat plan`: what a campaign would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from typer import Option

from turncoat.cli.base import Folder, Jobs, Json, app
from turncoat.cli.train import Attacks, Campaign, Device, F, N, Rounds, Rules, Seed, Set, Split, Task, specs_of
from turncoat.spec import Spec

if TYPE_CHECKING:
    from rich.table import Table

    from turncoat.campaign.plan import Cell, Plan

SHOWN = 20  # runs that are listed unasked
MEANING = {
    "done": "a result with the same key is there",
    "failed": "not tried again without --retry-failed",
    "stopped": "continues from a checkpoint",
}


@app.command()
def plan(
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
    every: Annotated[bool, Option("--all", help="List every run, also those that are done.")] = False,
    json: Json = False,
) -> None:
    """What a campaign would do: which runs are done, which failed, which are left and why, and how long that may take.

    A run is done if there is a result with the same key: the complete specification with its seeds, the files of the
    data set, your own files, and turncoat's code that computes. Nothing is computed, and nothing is written.

    Examples:

        turncoat plan grid.toml -o results --jobs 4

        turncoat plan grid.toml --set rounds=100 --all
    """
    from turncoat.campaign.run import plan, workers_of

    given = {"task": task, "rule": rule, "attack": attack, "n": n, "f": f, "split": split, "rounds": rounds}
    specs = specs_of(spec, set_, given | {"seed": seed, "device": device})
    todo = plan(specs, output)
    if json:
        print(msgspec.json.encode({"folder": todo.folder, "cells": todo.cells}).decode())
        return
    _print(todo, workers_of(specs, jobs, len(todo.left())), every)


def _print(todo: Plan, workers: int, every: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from turncoat.campaign.live import in_words

    console, left, seconds = Console(highlight=False), todo.left(), todo.seconds()
    varying, shared = _fields([cell.key.spec for cell in todo.cells])
    console.print(Text(f"{len(todo.cells)} runs in {todo.folder}: {shared}"))
    counts = Table(box=None, show_header=False, pad_edge=False)
    counts.add_column(justify="right")
    kinds = Counter((cell.status, MEANING.get(cell.status, cell.why)) for cell in todo.cells)
    for (status, meaning), count in sorted(kinds.items()):
        counts.add_row(str(count), Text(status, "bold"), meaning)
    console.print(counts)
    if left:
        time = "no run like these was measured yet" if seconds is None else f"about {in_words(seconds / workers)}"
        console.print(f"{len(left)} to compute, {workers} at a time: {time}")
    listed = todo.cells if every else [cell for cell in todo.cells if cell.status != "done"]
    shown = listed if every else listed[:SHOWN]
    if shown:
        console.print(_table(shown, varying))
    if len(shown) < len(listed):
        console.print(f"... and {len(listed) - len(shown)} more: --all lists them")


def _table(cells: Sequence[Cell], varying: Sequence[str]) -> Table:
    """The runs with what sets them apart, and why they are not done."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from turncoat.campaign.live import in_words

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    failed = any(cell.status == "failed" for cell in cells)
    for name in ("", *varying, "time", *["error"] * failed):
        table.add_column(name, overflow="fold", justify="right" if name in ("time", "seed") else "left")
    for cell in cells:
        time = "" if cell.seconds is None or cell.status == "done" else in_words(cell.seconds)
        named = [_value(cell.key.spec, field) for field in varying]
        error = [cell.why if cell.status == "failed" else ""] * failed
        table.add_row(*map(Text, (cell.status, *named, time, *error)))
    return table


def _fields(specs: Sequence[Spec]) -> tuple[list[str], str]:
    """The fields in which runs differ, and the rest of what a reader wants to know, in a line."""
    fields = Spec.__struct_fields__
    varying = [field for field in fields if len({_value(spec, field) for spec in specs}) > 1]
    shared = [field for field in ("task", "n", "f", "split", "rule", "attack", "rounds") if field not in varying]
    return varying, ", ".join(
        _value(specs[0], field) if field in ("task", "split") else f"{field} = {_value(specs[0], field)}"
        for field in shared
    )


def _value(spec: Spec, field: str) -> str:
    from turncoat.results.settings import seeds_text

    return seeds_text(spec.seed) if field == "seed" else str(getattr(spec, field))
