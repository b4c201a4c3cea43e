"""One run from its description to its result: set up, advance round by round, evaluate, save and continue."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from turncoat import registry
from turncoat.attacks import Attack, attack
from turncoat.attacks.backdoor import Backdoor
from turncoat.attacks.planning.moves import Use
from turncoat.attacks.planning.plan import Plan
from turncoat.data.sources import Dataset, Source, load
from turncoat.data.splits import deal
from turncoat.errors import InputError, ResultError, SpecError
from turncoat.learning.batches import Batches
from turncoat.learning.gradients import Learner
from turncoat.learning.machine import device_of, threads
from turncoat.learning.models import Recipe, build_model
from turncoat.learning.own import own_parts
from turncoat.learning.round import Clock, Federation, Sent, check
from turncoat.learning.simulator import Watch as Planning
from turncoat.learning.state import State
from turncoat.learning.streams import derive, everywhere, numpy_stream, untouched
from turncoat.learning.trackers import Tell, Tracker, told
from turncoat.progress import progress as bar
from turncoat.results.files import source_hash, write_atomically
from turncoat.results.result import Environment, Record, Result, now
from turncoat.rules import Rule, rule
from turncoat.spec import Seeds, Spec, canonical, from_mapping, resolve, schedule, task_parts
from turncoat.spelling import Call, parse

Watch = Callable[[int, Record | None], None]
"""Called at the start of a run and after every round with the rounds done, and with the record where one was taken."""


@dataclass(frozen=True)
class Parts:
    """Objects that stand in for names of a spec: the user's own rule, attack, model or data set."""

    rule: Rule | Callable[..., Any] | None = None
    attack: Attack | Callable[..., Any] | None = None
    model: Any = None
    dataset: Dataset | None = None


class Training:
    """A run under way: `advance()` by one round, `save()` it, `load()` it elsewhere, `finish()` it."""

    def __init__(self, spec: Spec, parts: Parts | None = None) -> None:
        parts = parts or Parts()
        spec = resolve(spec)
        with threads(spec.threads):
            self.dataset, self.federation = set_up(spec, parts)
            self.spec = msgspec.structs.replace(
                spec, gradients=self.federation.learner.method, threads=torch.get_num_threads()
            )
            self.state = self.federation.initial()
        self.records: list[Record] = []
        self.flags = [
            f"the {kind} is an object: the spec cannot make it again"
            for kind, thing in vars(parts).items()
            if thing is not None and not _spelled(spec, kind)
        ]
        device = self.federation.x.device
        self.clock = Clock(synchronise=partial(torch.cuda.synchronize, device) if device.type == "cuda" else None)
        self.started = now()
        self._stopped = False

    @property
    def done(self) -> bool:
        return self._stopped or self.state.round >= self.spec.rounds

    def advance(self) -> Record | None:
        """One round, and the record of it where an evaluation is due (also one of the start, before round 1)."""
        with threads(self.spec.threads):
            return self._advance()

    def _begin(self) -> None:
        if not self.records:
            self.records.append(self._evaluate(self.state))

    def _advance(self) -> Record | None:
        self._begin()
        if self.done:
            return None
        round = self.state.round + 1
        try:
            following, sent, aggregation = self.federation.step(self.state, self.clock, keep=False)
        except InputError:
            sent = self.federation.prepare(self.state)
            if torch.isfinite(sent.rows[: sent.honest]).all():
                raise
            self._stopped = True
            self._flag(f"diverged: the honest vectors are not finite in round {round}")
            self.records.append(self._evaluate(self.state))
            return self.records[-1]
        if any(i < sent.honest for i in aggregation.excluded):
            self._flag(f"honest vectors were excluded as not finite (first in round {round})")
        record = None
        if round % (self.spec.evaluate_every or 1) == 0 or round == self.spec.rounds:
            train_loss = float(sent.losses[: sent.honest].mean())
            if not np.isfinite(train_loss):
                self._flag(f"the training loss is not finite (first seen in round {round})")
            record = self._evaluate(following, train_loss, _compared(aggregation.vector, sent))
        before, self.state = self.state, following  # only now, so that an interrupted evaluation is made up for
        self.federation.forget(before)
        self.records += [record] if record else []
        return record

    def finish(self, watch: Watch | None = None, planning: Planning | None = None) -> Result:
        """Advance to the end and return the result."""
        self.federation.watch = planning
        if not self.records:
            with threads(self.spec.threads):
                self._begin()
            if watch:
                watch(0, self.records[0])
        while not self.done:
            record = self.advance()
            if watch:
                watch(self.state.round, record)
        return self.result()

    def result(self) -> Result:
        """The result as it stands."""
        spent = sum(seconds for phase, seconds in self.clock.seconds.items() if phase != "evaluation")
        return Result(
            spec=self.spec,
            records=list(self.records),
            timings=dict(self.clock.seconds),
            rounds_per_second=self.state.round / spent if spent else 0.0,
            environment=self._environment(),
            flags=list(self.flags),
            gradients=self.federation.learner.method,
            source_hash=source_hash(),
            plans=list(self.state.attack.planned) if isinstance(self.state.attack, Plan) else [],
            data_origin=self.dataset.origin,
            data_checksum=self.dataset.checksum,
            started=self.started,
            finished=now(),
        )

    def plan(self) -> Plan:
        """What the traitors did and will do as they stand, for `Plan.save` and the attack `replay`."""
        if isinstance(self.state.attack, Plan):
            return self.state.attack
        return Plan((Use(self.federation.attack),) * self.federation.remaining(0))

    def save(self, path: Path | str) -> Path:
        """Write all that it takes to continue, as one safetensors file; raises ResultError where it cannot."""
        about = {
            "round": self.state.round,
            "stopped": self._stopped,
            "result": self.result().encode().decode(),
        }
        tensors = {name: tensor.contiguous() for name, tensor in self.state.tensors().items()}
        return write_atomically(path, save_tensors(tensors, {"turncoat": json.dumps(about)}))

    @classmethod
    def load(cls, path: Path | str, parts: Parts | None = None) -> Training:
        """Continue where `save` left off; raises ResultError for a file that is not such a checkpoint."""
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {})["turncoat"])
                # copied, because the last bits of MKL's products depend on where in memory their factors begin
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            before = Result.decode(about["result"].encode(), str(path))
            state = State.of(int(about["round"]), tensors)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise ResultError(f"{path} is no checkpoint of turncoat: {error}") from None
        parts = parts or Parts()
        training = cls(before.spec, parts)
        if state.parameters.shape != training.state.parameters.shape:
            raise ResultError(f"{path} holds {state.parameters.numel()} parameters, this model has other ones")
        device = training.federation.x.device
        training.state = State.of(state.round, {name: tensor.to(device) for name, tensor in tensors.items()})
        training.records = list(before.records)
        training.clock.seconds = dict(before.timings)
        training.flags, training.started = list(before.flags), before.started
        training._stopped = bool(about["stopped"])
        where = f"continued at round {state.round}"
        if before.source_hash != source_hash():
            training._flag(f"{where} by another version of the source code")
        if changes := _changes(before.environment, training._environment()):
            training._flag(f"{where} in another environment ({changes})")
        own = own_parts(training.spec, "model", "rule", "attack").names or parts.model is not None
        if own and state.round:
            training._flag(f"{where}: what the user's own code remembers by itself is not in a checkpoint")
        return training

    def _environment(self) -> Environment:
        device = self.federation.x.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        return Environment.here(name, self.spec.threads or 0)

    def _flag(self, text: str) -> None:
        kind = text.split(" (")[0]
        if not any(flag.startswith(kind) for flag in self.flags):
            self.flags.append(text)

    def _evaluate(
        self,
        state: State,
        train_loss: float | None = None,
        compared: Mapping[str, float] = MappingProxyType({}),
    ) -> Record:
        self.clock.start()
        data, federation = self.dataset, self.federation
        extra = {}
        with federation.drawing(federation.seeds.model, "own evaluation", state.round):
            loss, accuracy = federation.learner.evaluate(
                state.parameters, data.x_test, data.y_test, buffers=state.buffers
            )
            if isinstance(federation.attack, Backdoor) and data.classes:
                extra = self._success(federation.attack, state)
        if data.optimum is not None:
            extra["error"] = float((state.parameters - data.optimum).norm())
            if len(data.optimum) == 2:  # a trajectory that can be drawn
                extra |= {"theta_1": float(state.parameters[0]), "theta_2": float(state.parameters[1])}
        self.clock.lap("evaluation")
        return Record(
            round=state.round,
            test_accuracy=accuracy,
            test_loss=loss,
            train_loss=train_loss,
            extra=extra,
            **compared,
        )

    def _success(self, door: Backdoor, state: State) -> dict[str, float]:
        """The share of the test samples of other classes that the model, shown the trigger, calls the target."""
        data = self.dataset
        x, y = door.shown(data.x_test, data.y_test, data.classes)
        if not len(x):
            return {}
        loss, success = self.federation.learner.evaluate(state.parameters, x, y, buffers=state.buffers)
        assert success is not None
        return {"attack_success": loss if np.isnan(loss) else success}  # of outputs that are NaN, argmax makes class 0


def _compared(aggregate: Tensor, sent: Sent) -> dict[str, float]:
    """The aggregate beside the mean of the honest vectors, and beside that of the Byzantine ones where they differ."""
    honest = sent.rows[: sent.honest].mean(0)
    apart = aggregate - honest
    found = {
        "distance": float(apart.norm()),
        "cosine": float(torch.nn.functional.cosine_similarity(aggregate, honest, dim=0)),
    }
    if sent.honest < len(sent.rows):
        way = sent.rows[sent.honest :].mean(0) - honest
        length = float(torch.linalg.vector_norm(way, dtype=torch.float64))
        if 0 < length < math.inf:
            found["passed"] = float(apart @ (way / length)) / length
    return found


def set_up(spec: Spec, parts: Parts) -> tuple[Dataset, Federation]:
    """The data and the federation that a resolved spec describes."""
    assert isinstance(spec.seed, Seeds)
    with _drawing(spec, parts)(spec.seed.data, "own parts"):
        return _set_up(spec, parts, spec.seed)


def _set_up(spec: Spec, parts: Parts, seeds: Seeds) -> tuple[Dataset, Federation]:
    assert spec.f_actual is not None
    device, drawing = device_of(spec.device), _drawing(spec, parts)
    dataset_call, model_call = task_parts(spec.task)
    dataset = parts.dataset or _loaded(dataset_call, derive(seeds.data, "dataset"))
    split = registry.make("split", parse(spec.split))
    y_train, y_test = dataset.y_train.numpy(), dataset.y_test.numpy()
    rng = numpy_stream(seeds.data, "split")
    partition = deal(split, y_train, y_test, spec.n, spec.f_actual, rng, spec.share)
    dataset = dataset.to(device, getattr(torch, spec.dtype), partition.test)
    recipe = registry.make("model", model_call) if parts.model is None else parts.model
    shape = tuple(dataset.x_train.shape[1:])
    with drawing(seeds.model, "own model"):
        model = build_model(recipe, shape, dataset.classes, derive(seeds.model, "initial"))
    learner = Learner(model.to(device, getattr(torch, spec.dtype)), _loss(dataset.classes), spec.gradients)
    federation = Federation(
        spec,
        learner,
        dataset.x_train,
        dataset.y_train,
        dataset.classes,
        Batches(partition.workers, spec.batch, seeds.data, device),
        rule(spec.rule if parts.rule is None else parts.rule, f=spec.f, nonfinite=spec.nonfinite),
        attack(spec.attack if parts.attack is None else parts.attack, f=spec.f_actual),
        schedule(spec),
        dataset.optimum,
        drawing,
    )
    return dataset, federation


def _drawing(spec: Spec, parts: Parts) -> Callable[..., AbstractContextManager[None]]:
    """What is done about global generators where code of the user's own runs, which may draw from them."""
    return everywhere if own_parts(spec).names or parts.model is not None else untouched


def check_parts(spec: Spec) -> None:
    """Make a spec's parts, short of reading data, and raise what they would raise in a run."""
    device_of(spec.device)
    dataset_call, model_call = task_parts(spec.task)
    split = registry.make("split", parse(spec.split))
    source = registry.make("dataset", dataset_call)
    classes = source.classes if isinstance(source, Source) else None
    aggregating, attacking = rule(spec.rule, f=spec.f, nonfinite=spec.nonfinite), attack(spec.attack, f=spec.f_actual)
    check(spec, aggregating, attacking, classes, fed=spec.share == "all" or getattr(split, "feeds", False))
    recipe = registry.make("model", model_call)
    if isinstance(source, Source):
        with torch.device("meta") if isinstance(recipe, Recipe) else nullcontext():
            model = build_model(recipe, source.shape, source.classes, seed=0)
        Learner(model, _loss(source.classes), spec.gradients)


def _loss(classes: int) -> str:
    return "cross_entropy" if classes else "half_squared_error"


_load_once = lru_cache(maxsize=2)(load)  # for the next run of a grid


def _loaded(call: Call, seed: int) -> Dataset:
    """A data set as a call spells it; runs that differ in the seed share what the seed does not draw."""
    if registry.is_own(call.name):
        return load(str(call), seed=seed)
    drawn = registry.find("dataset", call.name).traits["drawn"]
    return _load_once(str(call), seed=seed if drawn else 0)


def train(
    task: str = "digits",
    *,
    n: int,
    f: int,
    rule: str | Rule | Callable[..., Any] = "mean",
    attack: str | Attack | Callable[..., Any] = "none",
    model: Any = None,
    dataset: Dataset | None = None,
    checkpoint: Path | str | None = None,
    save_attack: Path | str | None = None,
    progress: bool = True,
    watch: Watch | None = None,
    trackers: Iterable[Tracker] = (),
    **fields: Any,
) -> Result:
    """Train under attack and return what was measured; further fields are those of `Spec`.

    A name may be one in the registry or `path.py:name`; rule and attack may be objects, `model` any `nn.Module`.
    With `checkpoint`, the run is saved there when it is interrupted and continued from there when the file exists.
    `save_attack` names a file for what the traitors did, which `attack="replay(FILE)"` does again.
    `progress` shows a bar with the time left where the standard error is a terminal; `trackers` are told how the run
    goes. Raises SpecError for names,
    fields and values that do not exist or fit, and DataUnavailableError for a data set that is not there.
    """
    parts = Parts(
        rule=None if isinstance(rule, str) else rule,
        attack=None if isinstance(attack, str) else attack,
        model=model,
        dataset=dataset,
    )
    names = {"rule": _name("rule", rule), "attack": _name("attack", attack)}
    spec = from_mapping({"task": task, "n": n, "f": f, **names, **fields})
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        training = Training.load(path, parts)
        if canonical(training.spec) != canonical(_fill(spec, training.spec)):
            raise ResultError(f"{path} belongs to another run: its spec differs from this one's")
    else:
        training = Training(spec, parts)
    try:
        with told(trackers, training.spec) as tell, _shown(training, progress, watch, tell) as (seen, planning):
            result = training.finish(seen, planning)
            tell("end", result)
    except KeyboardInterrupt:
        if path is not None:
            training.save(path)
        raise
    if save_attack is not None:
        training.plan().save(save_attack)
    return result


@contextmanager
def _shown(training: Training, progress: bool, watch: Watch | None, tell: Tell) -> Iterator[tuple[Watch, Planning]]:
    """What is to be called after every round, for the bar, trackers and the caller's own, and while a plan is made."""
    with bar(training.spec.rounds, quiet=not progress) as show:

        def seen(done: int, record: Record | None) -> None:
            show(done, f"{training.spec.rule} under {training.spec.attack}")
            if record:
                tell("record", record)
            if watch:
                watch(done, record)

        yield seen, show.planning


def _spelled(spec: Spec, kind: str) -> bool:
    """Whether a spec can make an object again from its name."""
    return kind in ("rule", "attack") and not getattr(spec, kind).startswith("object:")


def _fill(spec: Spec, resolved: Spec) -> Spec:
    """The spec with what the trainer chose itself."""
    return msgspec.structs.replace(
        spec, gradients=spec.gradients or resolved.gradients, threads=spec.threads or resolved.threads
    )


def _name(kind: str, thing: Any) -> str:
    """How a spec names a rule or an attack: by its spelling, an object that has none as `object:its_name`."""
    if isinstance(thing, str):
        return thing
    spelling, f = str(thing), getattr(thing, "f", None)
    with suppress(SpecError):
        made = attack(spelling, f) if kind == "attack" else rule(spelling, f, getattr(thing, "nonfinite", None))
        if made == thing:
            return spelling
    return f"object:{getattr(thing, '__name__', type(thing).__name__).strip('<>')}"


def _changes(before: Environment, now: Environment) -> str:
    """What of an environment is another one."""
    fields = ((field, getattr(before, field), getattr(now, field)) for field in Environment.__struct_fields__)
    return "; ".join(f"{field} {one}, then {other}" for field, one, other in fields if one != other)
