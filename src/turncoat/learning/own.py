"""Which names of a run mean the user's own parts, parts of parts included, found without importing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from turncoat import registry
from turncoat.errors import SpecError
from turncoat.spec import Spec, task_parts
from turncoat.spelling import Value, parse_chain


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
    found = list(dict.fromkeys(_in_text(text)))
    return Own(tuple(name for is_file, name in found if not is_file), tuple(name for is_file, name in found if is_file))


def _in_text(text: str) -> Iterator[tuple[bool, str]]:
    try:
        calls = parse_chain(text)
    except SpecError:
        return  # an argument that is no name
    for call in calls:
        if registry.is_own(call.name):
            yield False, call.name
        files = registry.files(call)
        for file in files:
            yield True, file
            for used in dict.fromkeys(_in_plan(Path(file))):
                yield from _in_text(used)
        yield from _in_values([value for value in (*call.args, *call.kwargs.values()) if value not in files])


def _in_values(values: list[Value] | tuple[Value, ...]) -> Iterator[tuple[bool, str]]:
    for value in values:
        if isinstance(value, str):
            yield from _in_text(value)
        elif isinstance(value, list | tuple):
            yield from _in_values(value)


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
