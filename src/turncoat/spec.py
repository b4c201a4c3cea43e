"""The complete description of one training run: its fields, what their short forms mean, and its canonical form.

Nothing here imports torch, so that a plan is checked before anything slow begins.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from turncoat import registry
from turncoat.errors import SpecError
from turncoat.registry import Entry
from turncoat.spelling import LONGEST, Call, Value, parse, parse_chain

Method = Literal["grouped", "vmap", "sequential"]  # of the workers' gradients
EVALUATIONS = 20  # about how many there are in a run that does not say how often
SEEDS = 2**63  # all that torch's generators tell apart; its other integers, too, have 64 bits
SPELLED = ("task", "rule", "attack", "split", "schedule", "knowledge", "seed")  # what has several spellings
SHOWN = Repr()
SHOWN.maxstring = SHOWN.maxother = 100
SCHEDULES = {  # the learning rate's factor over the rounds; see `schedule`
    name: Entry("schedule", name, __name__, "", dict.fromkeys(parameters), {}, "", "", {})
    for name, parameters in {
        "constant": (),
        "step": ("every", "factor"),
        "cosine": (),
        "linear_warmup": ("rounds",),
    }.items()
}


class Seeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The seeds of a run's independent random streams.

    `data` deals the examples and draws the batches, `model` the initial parameters and dropout, `server` what a
    randomised rule draws, `adversary` what the attack draws. They are never shared, so that an adversary which knows
    its own stream knows nothing about the server's.
    """

    data: int
    model: int
    server: int
    adversary: int

    @classmethod
    def derive(cls, seed: int) -> Seeds:
        """Four streams from one number: for 7, the first 53 bits of sha256 over `7/data`, `7/model` and so on.

        53 bits, so that every JSON reader in every language reads the same integers.

        Examples:
            >>> Seeds.derive(7).data
            4137957872384763
        """
        return cls(**{name: _stream(seed, name) for name in cls.__struct_fields__})


def _stream(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training run. `resolve` says what its short forms and its Nones mean.

    Wherever a name of the registry stands (task, rule, attack, split), the user's own `path.py:name` or
    `package.module:name` may stand.
    """

    task: str = "digits"
    """`dataset/model`, or `dataset` with its default model."""
    n: int
    """Workers."""
    f: int
    """Byzantine workers that the rule tolerates; below n/2."""
    f_actual: int | None = None
    """Byzantine workers that there are; None: f."""
    rule: str = "mean"
    attack: str = "none"
    split: str = "iid"
    rounds: int = 300
    batch: int = 32
    """Examples a worker and local step."""
    lr: float = 0.1
    schedule: str = "constant"
    """Of the learning rate: constant, step(every=..., factor=...), cosine or linear_warmup(rounds=...)."""
    momentum: float = 0.0
    """Of each worker."""
    momentum_form: Literal["damped", "undamped"] = "damped"
    """damped: m <- momentum m + (1 - momentum) g; undamped: m <- momentum m + g."""
    server_momentum: float = 0.0
    """On the aggregate, undamped."""
    weight_decay: float = 0.0
    clip: float | None = None
    """Largest Euclidean norm; None: none."""
    clip_at: Literal["worker", "server_inputs", "aggregate"] = "worker"
    """worker: honest gradients, before momentum; server_inputs: all that arrives; aggregate: what the rule returns."""
    local_steps: int = 1
    """Above 1, workers send the difference that so many steps make."""
    local_lr: float | None = None
    """Learning rate of the local steps, whose difference the server scales by lr; needed for more than one step."""
    share: Literal["all", "honest"] = "all"
    """Over whom the data is dealt."""
    byzantine: Literal["last", "random"] = "last"
    """Always the last workers, or others in each round."""
    attack_start: int = 0
    """First round under attack, from 0."""
    attack_stop: int | None = None
    """First round no longer under attack; None: attacked to the end."""
    knowledge: str = "omniscient"  # or "partial(k)", k honest workers' vectors; or "own": its own data only
    """What the adversary sees: all honest vectors, or what its own workers computed."""
    nonfinite: Literal["exclude", "raise", "propagate"] = "exclude"
    """What the rule does with rows that are not finite."""
    evaluate_every: int | None = None
    """Rounds; None: about 20 evaluations a run."""
    gradients: Method | None = None
    """Method of the workers' gradients; None: the trainer's table chooses."""
    device: str = "cpu"
    threads: int | None = None
    """Of torch; None: as many as the process has."""
    dtype: Literal["float32", "float64"] = "float32"
    seed: int | Seeds = 0
    """An int stands for `Seeds.derive` of it."""


def from_mapping(given: Mapping[str, Any]) -> Spec:
    """A spec from a table, as TOML, JSON or keyword arguments give it, with its types checked.

    Raises `SpecError` for an unknown key (naming the nearest ones), a missing key or a wrong type.
    """
    _check_keys(given, Spec, "a run")
    if isinstance(given.get("seed"), Mapping):
        _check_keys(given["seed"], Seeds, "seed")
    try:
        return msgspec.convert(dict(given), Spec)
    except msgspec.ValidationError:
        for key, value in given.items():
            _typed(key, value)
        raise


def _typed(key: str, value: Any) -> Any:
    """A field's value, 1 as 1.0 where that is a number; raises `SpecError` for a wrong type."""
    hint = _hints()[key]
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        raise SpecError(f"{key} takes {_describe(hint)}, got {shown(value)}") from None


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Spec)


def shown(value: Any) -> str:
    """A value in an error: whatever it is, one short line."""
    try:
        return SHOWN.repr(value)
    except ValueError:
        return "an integer of too many digits"


def check_names(given: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    """Raise `SpecError` for the first key that is unknown, naming the nearest ones."""
    if not known.issuperset(given):
        unknown = next(key for key in given if key not in known)
        raise SpecError(f"{what} has no {shown(unknown)}: {registry.suggest(str(unknown)[:100], known)}")


def _check_keys(given: Mapping[str, Any], struct: type[msgspec.Struct], what: str) -> None:
    known, required = _keys(struct)
    check_names(given, known, what)
    for key in required:
        if key not in given:
            raise SpecError(f"{what} must say its {key}")


@cache
def _keys(struct: type[msgspec.Struct]) -> tuple[frozenset[str], list[str]]:
    """All fields, and those without a default."""
    fields = msgspec.structs.fields(struct)
    return frozenset(field.name for field in fields), [field.name for field in fields if field.required]


def _describe(hint: Any) -> str:
    """A type in words: what a field takes."""
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    if hint is Seeds:
        return "a table of data, model, server and adversary"
    return {int: "an integer", float: "a number", str: "a string", NoneType: "None"}[hint]


def resolve(spec: Spec) -> Spec:
    """The same run with nothing left to guess: Nones filled, names spelled canonically, seeds derived, all checked.

    `gradients` and `threads` stay as they are where they are None: the trainer knows them. Resolving twice changes
    nothing. Raises `SpecError`.
    """
    spec = from_mapping(msgspec.structs.asdict(spec))  # a Struct does not check types when it is made by hand
    check(spec)
    return msgspec.structs.replace(
        spec,
        **{key: _spelled(key, getattr(spec, key)) for key in SPELLED},
        **{key: filled(spec, key) for key in ("f_actual", "local_lr", "evaluate_every")},
    )


def filled(spec: Spec, key: str) -> Any:
    """A field's value, or what its None stands for."""
    value = getattr(spec, key)
    if value is not None:
        return value
    match key:
        case "f_actual":
            return spec.f
        case "local_lr":
            return spec.lr
        case "evaluate_every":
            return max(1, round(spec.rounds / EVALUATIONS))
    return None


def control(spec: Spec) -> Spec:
    """The run that tells whether a resolved run's setting can be learnt at all: plain mean without attack.

    What is idle without an attack is set to one value, so that one control serves all attacks of a setting and seed:
    knowledge, attack_start, attack_stop, byzantine, and f_actual, which becomes f. Where share = "honest" it becomes 0,
    as nobody attacks and all n workers share the data.
    """
    return msgspec.structs.replace(
        spec,
        rule="mean",
        attack="none",
        f_actual=spec.f if spec.share == "all" else 0,
        byzantine="last",
        attack_start=0,
        attack_stop=None,
        knowledge="omniscient",
    )


def check(spec: Spec) -> None:
    """Raise `SpecError`, in one line, for the first value out of range."""
    n, f, most = spec.n, spec.f, (spec.n - 1) // 2
    for key, least in {"n": 1, "f": 0, "f_actual": 0, "rounds": 0, "batch": 1, "local_steps": 1}.items():
        _at_least(spec, key, least)
    for key, least in {"attack_start": 0, "attack_stop": 1, "evaluate_every": 1, "threads": 1}.items():
        _at_least(spec, key, least)
    if f > most:
        raise SpecError(f"f = {f} of n = {n} is no minority: f must be below n/2, here at most {most}")
    if spec.f_actual is not None and spec.f_actual >= n:
        raise SpecError(f"f_actual = {spec.f_actual} of n = {n} leaves no honest worker: at most {n - 1}")
    if spec.attack_stop is not None and spec.attack_stop <= spec.attack_start:
        raise SpecError(f"attack_stop = {spec.attack_stop} must come after attack_start = {spec.attack_start}")
    for key in ("lr", "local_lr", "clip"):
        value = getattr(spec, key)
        if value is not None and not 0 < value < math.inf:
            raise SpecError(f"{key} = {value} must be positive and finite")
    for key in ("momentum", "server_momentum"):
        if not 0 <= getattr(spec, key) < 1:
            raise SpecError(f"{key} = {getattr(spec, key)} must be at least 0 and below 1")
    if not 0 <= spec.weight_decay < math.inf:
        raise SpecError(f"weight_decay = {spec.weight_decay} must be at least 0 and finite")
    _schedule(spec.schedule)
    if spec.byzantine == "random" and spec.share == "honest":
        raise SpecError("byzantine = 'random' makes every worker honest in some round: it needs share = 'all'")
    if spec.local_steps > 1 and spec.local_lr is None:
        raise SpecError(f"local_steps = {spec.local_steps} needs local_lr: lr is then the server's, often 1")
    seen(spec)
    _check_seed(spec.seed)


def _check_seed(seed: int | Seeds) -> None:
    for number in msgspec.structs.astuple(seed) if isinstance(seed, Seeds) else (seed,):
        if not 0 <= number < SEEDS:
            raise SpecError(f"seed {shown(number)} must be at least 0 and below 2**63")


def seen(spec: Spec) -> int | None:
    """How many honest workers' vectors the adversary sees; None for all of them."""
    return _seen(spec.knowledge)


@lru_cache(2**14)
def _seen(knowledge: str) -> int | None:
    call = parse(knowledge)
    levels = {"omniscient": None, "own": 0}
    if call.name in levels and not (call.args or call.kwargs):
        return levels[call.name]
    match call.args:
        case (int(k),) if call.name == "partial" and k > 0 and not call.kwargs:
            return k
    raise SpecError(f"knowledge is omniscient, partial(k) with k honest vectors seen, or own, got {knowledge!r}")


def _at_least(spec: Spec, key: str, least: int) -> None:
    value = getattr(spec, key)
    if value is not None and not least <= value < SEEDS:
        raise SpecError(f"{key} = {shown(value)} must be at least {least}{' and below 2**63' * (value >= SEEDS)}")


def task_parts(task: str) -> tuple[Call, Call]:
    """The data set and the model that a task names; its data set's default model where it names none.

    A `/` may also stand in the path of the user's own part: the data set is the shortest head of the task that is
    a registered name or a whole `path.py:name`. Raises `SpecError` for unknown names and where no model is known.
    """
    if len(task) > LONGEST:
        raise SpecError(f"a task of {len(task)} characters is longer than the {LONGEST} allowed")
    ends = [slash.start() for slash in re.finditer("/", task)] + [len(task)]
    end = next((end for end in ends if _is_dataset(task[:end])), ends[0])
    dataset = parse(task[:end])
    entry = registry.check("dataset", dataset)
    model = task[end + 1 :] or (entry.traits.get("model") if entry else None)
    if not isinstance(model, str):
        raise SpecError(f"task {task!r} names no model, and {dataset} has no default one: write {dataset}/model")
    call = parse(model)
    registry.check("model", call)
    return dataset, call


def _is_dataset(text: str) -> bool:
    try:
        name = parse(text).name
    except SpecError:
        return False
    return registry.is_own(name) or name in registry.entries("dataset")


def spell_field(key: str, value: Any) -> Any:
    """One field's value as a resolved spec has it, as far as no other field decides it.

    Raises `SpecError` for a wrong type, and for a name, an argument or a seed that cannot be.
    """
    value = _typed(key, value)
    return _spelled(key, value) if key in SPELLED else value


@lru_cache(2**14)  # the runs of a campaign share most of their names
def _spelled(key: str, value: Any) -> Any:
    match key:
        case "task":
            dataset, model = task_parts(value)
            return f"{_spell('dataset', dataset)}/{_spell('model', model)}"
        case "rule":
            return " >> ".join(_spell("rule", call) for call in parse_chain(value))
        case "schedule":
            return _spell_bound(*_schedule(value))
        case "knowledge":
            _seen(value)
            return str(parse(value))
        case "seed":
            _check_seed(value)
            return value if isinstance(value, Seeds) else Seeds.derive(value)
    return _spell(key, parse(value))


def _spell(kind: str, call: Call) -> str:
    """A call as all its spellings are written when resolved; raises `SpecError` for unknown names and arguments."""
    call = registry.expand(call)
    entry = registry.check(kind, call)
    return str(call) if entry is None else _spell_bound(entry, registry.bind(entry, call))


def _spell_bound(entry: Entry, given: Mapping[str, Value]) -> str:
    """Arguments by name and in order, without defaults other than a strength, and 8.0 as 8."""
    kept: dict[str, Value] = {}
    for key, default in entry.parameters.items():
        value = given.get(key, default)
        if value == default and (key != entry.traits.get("strength") or value is None):
            continue
        kept[key] = _plain(value)
    return str(Call(entry.name, (), kept))


def _plain(value: Value) -> Value:
    """8.0 as 8, in lists too; not where an integer would be longer."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value  # type: ignore[arg-type]


@lru_cache(2**14)
def _schedule(text: str) -> tuple[Entry, dict[str, Value]]:
    """A schedule and its arguments, all of which it needs."""
    call = parse(text)
    if call.name not in SCHEDULES:
        raise SpecError(f"unknown schedule {call.name!r}: {registry.suggest(call.name, SCHEDULES)}")
    entry = SCHEDULES[call.name]
    given = registry.bind(entry, call)
    for key in entry.parameters:
        value = given.get(key)
        whole = key in ("every", "rounds")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < math.inf:
            raise SpecError(f"schedule {call}: {key} must be {'a whole' if whole else 'a'} number above 0")
    return entry, given


def schedule(spec: Spec) -> Callable[[int], float]:
    """The learning rate as a function of the round t = 0, 1, ... .

    constant: lr. step(every=E, factor=c): lr c^floor(t / E). cosine: lr (1 + cos(pi t / rounds)) / 2.
    linear_warmup(rounds=W): lr min(1, (t + 1) / W).
    """
    entry, given = _schedule(spec.schedule)
    numbers: dict[str, Any] = given
    match entry.name:
        case "step":
            return lambda t: spec.lr * numbers["factor"] ** (t // numbers["every"])
        case "cosine":
            return lambda t: spec.lr * (1 + math.cos(math.pi * t / spec.rounds)) / 2
        case "linear_warmup":
            return lambda t: spec.lr * min(1.0, (t + 1) / numbers["rounds"])
    return lambda t: spec.lr


def canonical(spec: Spec) -> bytes:
    """The resolved spec as JSON with sorted keys: the same bytes for every spelling of the same run."""
    return msgspec.json.encode(resolve(spec), order="sorted")
