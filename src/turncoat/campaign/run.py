"""Campaigns in one call: what would run, and running it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from turncoat import registry
from turncoat.campaign.grid import expand, read_grid
from turncoat.campaign.live import Standing, shown
from turncoat.campaign.messages import WITHIN
from turncoat.campaign.plan import Plan, survey
from turncoat.campaign.runner import Care, Driver, Engine
from turncoat.campaign.store import Store
from turncoat.data import stored
from turncoat.errors import ResultError, SpecError
from turncoat.results.failure import Failure
from turncoat.results.result import Result
from turncoat.spec import Spec, task_parts

if TYPE_CHECKING:
    Campaign = Path | str | Mapping[str, Any] | Sequence[Spec]
    """A TOML file, what it would hold, or the runs themselves."""

Number = TypeVar("Number", float, "float | None")
ENGINES = ("local", "ray")


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign came to, in the order of its runs."""

    results: list[Result]
    failures: list[Failure]


def plan(campaign: Campaign, folder: Path | str = "results") -> Plan:
    """What a campaign would do in a folder: which runs are done, which are left and why, and what they may take.

    Raises `SpecError` for what is no campaign, and `DataUnavailableError` where a data set is missing.
    """
    return survey(_specs(campaign), folder)


def run(
    campaign: Campaign,
    folder: Path | str = "results",
    *,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    retry_failed: bool = False,
    timeout: float | None = None,
    memory: float | None = None,
    checkpoint_every: float = 60.0,
    save_attack: Path | str | None = None,
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> Finished:
    """Compute the runs of a campaign that have no result in the folder yet, `jobs` at a time; return all.

    A result is used again if and only if its key is the same: the complete spec, the data's files, the user's own files
    and turncoat's code that computes. What is interrupted or killed continues from its last checkpoint; a run that
    raises, takes more than `timeout` seconds or more than `memory` GiB is recorded as failed, and tried again only with
    `retry_failed`. `jobs` defaults to the cores there are, on a GPU to one. `trackers` are `path.py:Class` names of
    `Tracker`s, made anew for each run.

    Raises `SpecError` for what is no campaign, before any run begins; `DataUnavailableError` for a data set that cannot
    be had; `ResultError` where the folder is in use or cannot be written.
    """
    if WITHIN in os.environ:
        raise SpecError("a worker of a campaign began another one: put `run` under `if __name__ == '__main__':`")
    if isinstance(trackers, str) or not all(isinstance(tracker, str) for tracker in trackers):
        raise SpecError("trackers takes a list of `path.py:Class` names: each worker makes its own")
    specs = _specs(campaign)
    care = Care(
        retry_failed=retry_failed,
        timeout=_positive("timeout", timeout),
        memory=_positive("memory", memory),
        every=_positive("checkpoint_every", checkpoint_every),
        save_attack=save_attack,
        trackers=trackers,
    )
    if save_attack is not None and len(specs) != 1:
        raise SpecError(f"one run's attack can be saved, and these are {len(specs)} runs")
    store = Store(folder)
    with store.held():
        obtain(specs)
        todo = survey(specs, folder)
        if save_attack is not None:
            todo = replace(todo, cells=[msgspec.structs.replace(todo.cells[0], status="new")])
        if left := [cell.key.spec for cell in todo.left(retry_failed)]:
            hands = _engine(engine, left, store.folder, jobs, address)
            with shown(Standing(todo, hands.workers, retry_failed), quiet=not progress) as watch:
                Driver(todo, hands, care, watch).run()
        store.sweep()
        return _finished(store, todo)


def _specs(campaign: Campaign) -> list[Spec]:
    if isinstance(campaign, Path | str):
        return read_grid(campaign)
    if isinstance(campaign, Mapping):
        return expand(campaign)
    if isinstance(campaign, Sequence) and all(isinstance(spec, Spec) for spec in campaign):
        return list(campaign)
    raise SpecError(f"a campaign is a TOML file, a table or a list of Specs, got {campaign!r:.50}")


def _positive(name: str, value: Number) -> Number:
    if value is not None and not 0 < value < math.inf:
        raise SpecError(f"{name} must be above 0 and finite, got {value!r}")
    return value


def obtain(specs: Iterable[Spec]) -> None:
    """Fetch the data sets of some runs that are not here; raises `DataUnavailableError`."""
    for name in {task_parts(task)[0].name for task in {spec.task for spec in specs}}:
        if not registry.is_own(name) and "formats" in registry.find("dataset", name).traits:
            stored.obtain(name)


def workers_of(specs: Sequence[Spec], jobs: int | None, runs: int) -> int:
    """How many of so many runs are computed at a time; raises `SpecError` for a number of jobs below 1."""
    if jobs is not None and jobs < 1:
        raise SpecError(f"jobs is a number of runs at a time, from 1, got {jobs!r}")
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = any(spec.device != "cpu" for spec in specs)
    return max(1, min(jobs or (1 if shared else here), runs))


def _engine(name: str, specs: Sequence[Spec], folder: Path, jobs: int | None, address: str | None) -> Engine:
    """Workers for these runs."""
    workers = workers_of(specs, jobs, len(specs))
    if name == "local":
        from turncoat.campaign.local import LocalEngine

        return LocalEngine(workers)
    if name == "ray":
        from turncoat.campaign.on_ray import RayEngine

        return RayEngine(None if address and jobs is None else workers, address, specs, folder)
    raise SpecError(f"unknown engine {name!r}: {registry.suggest(name, ENGINES)}")


def _finished(store: Store, todo: Plan) -> Finished:
    results, failures = [], []
    for cell in todo.cells:
        if store.result(cell.name).exists():
            results.append(Result.load(store.result(cell.name)))
        elif store.failure(cell.name).exists():
            failures.append(Failure.load(store.failure(cell.name)))
        else:
            raise ResultError(f"{cell.name} was computed, and is no longer in {store.folder}")
    return Finished(results=results, failures=failures)
