"""One run of a campaign in the process of a worker: from its key to its file, whatever happens on the way."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import msgspec
import torch

from turncoat import registry
from turncoat.campaign.keys import Key, keys_of
from turncoat.campaign.messages import (
    Answer,
    Began,
    Changed,
    Check,
    Checked,
    Done,
    Failed,
    Job,
    Progress,
    Stopped,
    Warned,
)
from turncoat.campaign.store import Store
from turncoat.errors import ResultError, SpecError, TurncoatError
from turncoat.learning.trackers import Tracker, told
from turncoat.learning.training import Training, check_parts
from turncoat.results.failure import Failure
from turncoat.results.result import Record, Result, now

BREATH = 0.2  # seconds between reports of progress
GIB = 2**30
SHARE = 20  # checkpoints may take a twentieth of the time

Tell = Callable[[Answer], None]


def check(order: Check, tell: Tell) -> Checked:
    """What is wrong with the first spec whose parts cannot be made, in a line."""
    try:
        with _overheard(tell):
            for name in order.trackers:
                registry.load_own(name)
            for spec in order.specs:
                check_parts(spec)
    except TurncoatError as error:
        return Checked(error=str(error))
    except Exception as error:
        return Checked(error=_line(error))
    return Checked(error=None)


def work(job: Job, tell: Tell, stopping: Callable[[], bool]) -> Done | Failed | Changed | Stopped:
    """Compute a run and leave its result, its checkpoint or its failure as a file."""
    store, begun, started = Store(job.folder), monotonic(), now()
    training: Training | None = None
    try:
        with _limited(job.memory), _overheard(tell):
            key = _key(job)
            if (done := _done(job, store)) is not None:
                return done
            store.failure(job.name).unlink(missing_ok=True)
            training = _continued(store.checkpoint(job.name), tell) or Training(key.spec)
            return _finish(job, key, training, store, tell, stopping)
    except _Stopping:
        assert training is not None
        _save(training, store.checkpoint(job.name), tell)
        return Stopped(rounds=training.state.round)
    except _Changed as error:
        return Changed(what=str(error))
    except Exception as error:
        kind, text = "memory" if _out_of_memory(error) else "exception", _line(error)
        rounds, seconds, trace = training.state.round if training else 0, monotonic() - begun, traceback.format_exc()
        failure = Failure.of(
            job.spec, job.key, kind, text, rounds=rounds, seconds=seconds, started=started, trace=trace
        )
        failure.save(store.failure(job.name))
        return Failed(error=text)


class _Stopping(BaseException):
    """The driver wants the run stopped, whatever the user's own code catches."""


class _Changed(Exception):  # noqa: N818
    """What the run depends on is not what was planned."""


def _key(job: Job) -> Key:
    """The key as this process finds it; raises `_Changed` where that is not what was planned."""
    (key,) = keys_of([job.spec])
    if key.digest != job.key:
        raise _Changed("turncoat's code, the data or a file of the user's own changed since the campaign was planned")
    return key


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _save(training: Training, checkpoint: Path, tell: Tell) -> None:
    """Save a run where that is possible; where it is not, the last checkpoint stands, and the run goes on."""
    try:
        training.save(checkpoint)
    except ResultError as error:
        tell(Warned(text=f"no checkpoint: {error}"))


def _done(job: Job, store: Store) -> Done | None:
    """The answer for a run whose result is there: who computed it was killed before it could say so."""
    try:
        result = Result.load(store.result(job.name))
    except ResultError:
        return None
    if result.key != job.key or job.save_attack is not None:
        return None
    store.checkpoint(job.name).unlink(missing_ok=True)
    return Done(accuracy=result.final_accuracy, flags=result.flags)


def _finish(job: Job, key: Key, training: Training, store: Store, tell: Tell, stopping: Callable[[], bool]) -> Done:
    checkpoint = store.checkpoint(job.name)
    tell(Began(rounds=training.state.round))
    said = saved = monotonic()
    pause = job.every
    with told(_trackers(job.trackers), training.spec) as track:

        def watch(rounds: int, record: Record | None) -> None:
            nonlocal said, saved, pause
            if record:
                track("record", record)
            if stopping():
                raise _Stopping
            time = monotonic()
            if time - said >= BREATH:
                tell(Progress(rounds=rounds))
                said = time
            if time - saved >= pause and rounds < job.spec.rounds:
                _save(training, checkpoint, tell)
                saved = monotonic()
                pause = max(job.every, SHARE * (saved - time))

        def planning(simulated: int, budget: float) -> None:
            nonlocal said
            if stopping():
                raise _Stopping
            if monotonic() - said >= BREATH:
                tell(Progress(rounds=training.state.round, simulated=simulated, budget=budget))
                said = monotonic()

        result = training.finish(watch, planning)
        _key(job)  # what was edited meanwhile may or may not have been read
        result = msgspec.structs.replace(result, key=key.digest, files=key.files, data_files=key.data)
        result.save(store.result(job.name))
        track("end", result)
    checkpoint.unlink(missing_ok=True)
    if job.save_attack is not None:
        training.plan().save(job.save_attack)
    return Done(accuracy=result.final_accuracy, flags=result.flags)


def _trackers(names: Iterable[str]) -> Iterator[Tracker]:
    for name in names:
        try:
            yield registry.load_own(name)()
        except Exception as error:
            warnings.warn(f"the tracker {name} cannot be made: {_line(error)}", stacklevel=2)


def _continued(checkpoint: Path, tell: Tell) -> Training | None:
    """The run saved there; one that cannot be read is begun anew."""
    try:
        return Training.load(checkpoint) if checkpoint.exists() else None
    except (ResultError, SpecError) as error:
        tell(Warned(text=f"begun anew: {error}"))
        return None


@contextmanager
def _limited(memory: float | None):
    """Make allocations beyond so many GiB of this process's data fail, where the system can."""
    if memory is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory * GIB), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that there was no memory left; torch says so in words."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and _out_of_memory(before)


@contextmanager
def _overheard(tell: Tell):
    """Pass warnings on to the driver, each once."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, category, *_, **__: tell(Warned(text=f"{category.__name__}: {message}"))
        yield
