"""Running specs one after the other; what is finished is a file and is not computed again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import torch

from turncoat.errors import ResultError, SpecError
from turncoat.learning.simulator import Watch as Planning
from turncoat.learning.training import Training, check_parts
from turncoat.results.files import package_hash, write_atomically
from turncoat.results.result import Record, Result
from turncoat.spec import Spec, key

Watch = Callable[[int, int, Record | None], None]
"""Called with the number of the run, its rounds done so far and the record where one was taken."""


def run_all(
    specs: Sequence[Spec],
    folder: Path | str,
    watch: Watch | None = None,
    planning: Planning | None = None,
    save_attack: Path | str | None = None,
) -> list[Result]:
    """Run every spec that has no result in the folder yet, and return all results in the order of the specs.

    A file's name holds a hash of the complete spec, the user's own files and the package's source; nothing else
    decides whether a result is used again. An interrupted run is saved and continued by the next call. Before the first
    run, the parts of all are made and the folder is written to, so that mistakes show at once. `save_attack` names a
    file for what the traitors of the one spec did; the run is then computed in any case.
    """
    if save_attack is not None and len(specs) != 1:
        raise SpecError(f"one run's attack can be saved, and these are {len(specs)} runs")
    folder = Path(folder)
    for spec in specs:
        check_parts(spec)
    write_atomically(folder / ".writable", b"").unlink()
    return [
        _run(spec, folder, None if watch is None else partial(watch, i), planning, save_attack)
        for i, spec in enumerate(specs)
    ]


def result_path(spec: Spec, folder: Path) -> Path:
    """Where the result of a spec belongs."""
    filled = msgspec.structs.replace(spec, threads=spec.threads or torch.get_num_threads())
    digest = hashlib.sha256(f"{key(filled)} {package_hash()}".encode()).hexdigest()
    slug = re.sub(r"\W+", "-", f"{spec.rule} {spec.attack}").strip("-")[:60]
    return folder / f"{slug}-{digest[:16]}.json"


def _run(
    spec: Spec,
    folder: Path,
    watch: Callable[[int, Record | None], None] | None,
    planning: Planning | None,
    save_attack: Path | str | None,
) -> Result:
    path = result_path(spec, folder)
    if path.exists() and save_attack is None:
        result = Result.load(path)
        if watch:
            watch(spec.rounds, result.last)
        return result
    checkpoint = path.with_suffix(".safetensors")
    training = _continued(checkpoint) or Training(spec)
    try:
        result = training.finish(watch, planning)
    except KeyboardInterrupt:
        training.save(checkpoint)
        raise
    if save_attack is not None:
        training.plan().save(save_attack)
    result.save(path)
    checkpoint.unlink(missing_ok=True)
    return result


def _continued(checkpoint: Path) -> Training | None:
    """The run saved there; one that cannot be read is begun anew."""
    try:
        return Training.load(checkpoint) if checkpoint.exists() else None
    except ResultError:
        return None
