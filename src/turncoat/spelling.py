"""The tiny call syntax in which rules, attacks, splits and models are named: `nnm >> krum(neighbours="n-f-1")`.

Python's own parser reads it, nothing is evaluated: only names, literals and calls with literal arguments pass.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
from dataclasses import dataclass, field
from typing import TypeGuard

from turncoat.errors import SpecError

Value = None | bool | int | float | str | list | tuple
LONGEST = 2000  # characters; Python's parser is not made for hostile input of any length
OWN = re.compile(r"^\s*([\w./\\~ -]+\.py|[A-Za-z_][\w.]*):([A-Za-z_]\w*)\s*$")


@dataclass(frozen=True)
class Call:
    """`name(*args, **kwargs)`; its `str` is the shortest spelling that parses to the same call."""

    name: str
    args: tuple[Value, ...] = ()
    kwargs: dict[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = [spell(value) for value in self.args] + [f"{key}={spell(value)}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(inside)})" if inside else self.name


def spell(value: Value) -> str:
    """A literal as it is written in a call; text that is itself a call stands bare, as it came."""
    if isinstance(value, str) and value.isascii() and value.isidentifier() and not keyword.iskeyword(value):
        return value
    if isinstance(value, str) and _is_call(value):
        return value
    if isinstance(value, list | tuple):
        return f"[{', '.join(spell(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def parse(text: str) -> Call:
    """One call; raises `SpecError`."""
    call, *more = parse_chain(text)
    if more:
        raise SpecError(f"{text!r} is a chain where one name is wanted")
    return call


def parse_chain(text: str) -> tuple[Call, ...]:
    """`a(x=1) >> b` as calls from left to right; raises `SpecError`.

    Examples:
        >>> [str(call) for call in parse_chain("nnm>>krum( neighbours='n-f-1' )")]
        ['nnm', 'krum(neighbours="n-f-1")']
    """
    if not isinstance(text, str) or not text.strip():
        raise SpecError(f"expected a name such as 'median' or 'nnm >> trimmed_mean', got {text!r}")
    if len(text) > LONGEST:
        raise SpecError(f"a name of {len(text)} characters is longer than the {LONGEST} allowed")
    return tuple(_parse_link(link, text) for link in _links(text))


def _links(text: str) -> list[str]:
    """Split at each `>>` outside parentheses."""
    links, depth = [""], 0
    for piece in re.split(r"(>>|[()])", text):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == ">>" and depth == 0:
            links.append("")
        else:
            links[-1] += piece
    return links


def _parse_link(link: str, text: str) -> Call:
    if own := OWN.match(link):
        return Call(f"{own[1]}:{own[2]}")
    try:
        node = ast.parse(link.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SpecError(f"cannot read {link.strip()!r} in {text!r}: write name, name(key=value) or a >> b") from None
    if isinstance(node, ast.Name):
        return Call(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if any(keyword.arg is None for keyword in node.keywords):
            raise SpecError(f"cannot read {link.strip()!r}: ** is not part of the syntax")
        kwargs = {keyword.arg: _value(keyword.value, link) for keyword in node.keywords if keyword.arg}
        if len(kwargs) < len(node.keywords):
            raise SpecError(f"an argument is given twice in {link.strip()!r}")
        return Call(node.func.id, tuple(_value(arg, link) for arg in node.args), kwargs)
    raise SpecError(f"cannot read {link.strip()!r} in {text!r}: write name, name(key=value) or a >> b")


def _is_call(text: str) -> bool:
    try:
        return len(text) <= LONGEST and str(parse(text)) == text and text.endswith(")")
    except SpecError:
        return False


def _finite(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _value(node: ast.expr, link: str) -> Value:
    match node:
        case ast.Name():
            return node.id
        case ast.List():
            return [_value(item, link) for item in node.elts]
        case ast.Call():  # a part inside a part stays text, parsed again by whoever takes it
            return str(_parse_link(ast.unparse(node), link))
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | str) or _finite(value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if _finite(value):
            return -value
    raise SpecError(f"cannot read {ast.unparse(node)!r} in {link.strip()!r}: only numbers, names, strings and lists")
