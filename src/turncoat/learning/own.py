"""Which names of a run mean the user's own parts, parts of parts included, found without importing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from turncoat import registry
from turncoat.errors import SpecError
from turncoat.spec import Spec, task_parts
from turncoat.spelling import Call, Value, parse_chain


class Own(msgspec.Struct, frozen=True):
    """What of a run is the user's own: parts by their names, and files that turncoat's parts read, such as a plan."""

    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.files)


def own_parts(spec: Spec, *kinds: str) -> Own:
    """All that is the user's own among a spec's parts, or those of these kinds; `SpecError` for a task that is none."""
    found = [own_of(text) for kind, text in texts(spec).items() if kind in kinds or not kinds]
    return Own(
        tuple(dict.fromkeys(name for own in found for name in own.names)),
        tuple(dict.fromkeys(file for own in found for file in own.files)),
    )


def texts(spec: Spec) -> dict[str, str]:
    """The spellings of a spec's parts by their kind."""
    dataset, model = map(str, task_parts(spec.task))
    return {"dataset": dataset, "model": model, "rule": spec.rule, "attack": spec.attack, "split": spec.split}


def own_of(text: str) -> Own:
    """All that is the user's own in one spelling, such as `mixtailor(pool=["own.py:rule", median])`."""
    names: dict[str, None] = {}
    files: dict[str, None] = {}
    todo = [text]
    while todo:
        for call in _calls(todo.pop()):
            if registry.is_own(call.name):
                names[call.name] = None
            todo += _strings((*call.args, *call.kwargs.values()))
            for file in registry.files(call):
                todo += [] if file in files else _in_plan(Path(file))
                files[file] = None
    return Own(tuple(names), tuple(files))


def _calls(text: str) -> tuple[Call, ...]:
    """A spelling's parts; none in an argument that is no name."""
    try:
        return parse_chain(text)
    except SpecError:
        return ()


def _strings(values: Sequence[Value]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from _strings(value)


class _Move(msgspec.Struct):
    attack: str | None = None


class _Moves(msgspec.Struct):
    moves: list[_Move]


def _in_plan(path: Path) -> Iterator[str]:
    """The attacks that a plan's moves use; none where it is no plan, which reading it will say."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            about = msgspec.json.decode(file.get_tensor("about").tobytes(), type=_Moves)
    except (SafetensorError, OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    yield from (move.attack for move in about.moves if move.attack is not None)
