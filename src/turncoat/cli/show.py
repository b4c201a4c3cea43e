"""`turncoat list`: what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from typer import Argument

from turncoat import registry
from turncoat.cli.base import Json, app
from turncoat.errors import SpecError

KINDS = {"rules": "rule", "attacks": "attack", "datasets": "dataset", "splits": "split", "models": "model"}
TRAITS = {
    "rules": ("needs", "draws"),
    "attacks": ("knowledge", "collusion", "manipulates"),
    "datasets": ("shape", "classes", "model"),
    "splits": (),
    "models": (),
}


@app.command("list")
def list_(
    kind: Annotated[str, Argument(help="rules, attacks, datasets, splits, models or figures.")],
    json: Json = False,
) -> None:
    """What there is: names, parameters with their defaults, sources, and one line each."""
    if kind == "figures":
        _print_figures(json)
        return
    if kind not in KINDS:
        raise SpecError(f"unknown kind {kind!r}: {registry.suggest(kind, [*KINDS, 'figures'])}")
    entries = registry.entries(KINDS[kind])
    if json:
        import msgspec

        plain = [
            {"name": e.name, "parameters": e.parameters, "source": e.source, "summary": e.summary, **e.traits}
            for e in entries.values()
        ]
        print(msgspec.json.encode(plain).decode())
        return
    _print_entries(kind, sorted(entries.values(), key=lambda entry: entry.name))


def _print_figures(json: bool) -> None:
    """What `turncoat reproduce` takes: figures of the papers, with their claims."""
    import msgspec
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from turncoat.papers.run import FIGURES

    if json:
        claims = {one.id: [{"name": c.name, "says": c.says} for c in one.claims] for one in FIGURES.values()}
        plain = [{"id": one.id, "title": one.title, "claims": claims[one.id]} for one in FIGURES.values()]
        print(msgspec.json.encode(plain).decode())
        return
    console = Console(highlight=False)
    for one in FIGURES.values():
        console.print(Text.assemble((one.id, "bold"), f"  {one.title}"))
        for claim in one.claims:
            console.print(Padding(Text(claim.says, "dim"), (0, 0, 0, 4)))


def _print_entries(kind: str, entries: Sequence[registry.Entry]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from turncoat.spelling import spell

    console = Console(highlight=False)
    for entry in entries:
        parameters = ", ".join(f"{key}={spell(value)}" for key, value in entry.parameters.items())
        call = f"({parameters})" if parameters else ""
        console.print(Text.assemble((entry.name, "bold"), call, (f"  {entry.source}", "dim")))
        console.print(Padding(Text(entry.summary), (0, 0, 0, 4)))
        traits = [f"{trait}: {_plain(entry.traits[trait])}" for trait in TRAITS[kind] if trait in entry.traits]
        if traits:
            console.print(Padding(Text("   ".join(traits), "italic"), (0, 0, 0, 4)))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
