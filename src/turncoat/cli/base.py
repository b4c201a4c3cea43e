"""The application that the commands belong to, their common options, and how a failure is told."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from turncoat import __version__
from turncoat.errors import TurncoatError


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C during runs, with what is finished and how to go on."""


app = typer.Typer(
    name="turncoat",
    help="What can f traitors among n workers do to this training run, and which defence stops them?",
    epilog="Start with: turncoat demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, Option("--json", help="Print JSON for machines instead of tables.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress.")]
Jobs = Annotated[int | None, Option("--jobs", "-j", help="Runs at a time; by default one a core, on a GPU one.")]
Engine = Annotated[str, Option(help="Where runs are computed: local, or ray (extra `ray`).")]
Address = Annotated[str | None, Option(help="Of a Ray cluster, or auto; without one, Ray is started here.")]
Folder = Annotated[Path, Option("--output", "-o", help="Folder of the result files, one a run.")]


def main() -> None:
    """Entry point: a mistake in the input is one line and exit code 2, an interruption exit code 130."""
    with suppress(OSError):  # for `package.module:name`; last, so that no file there hides another module
        sys.path.append(str(Path.cwd()))
    warnings.formatwarning = lambda message, category, *_, **__: f"turncoat: {category.__name__}: {message}\n"
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TurncoatError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, Interrupted) as error:
        _fail(str(error) or "interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's usage errors have it
            raise
        message: str = error.format_message()  # type: ignore[attr-defined]
        if not message:  # the help was shown, for want of arguments
            sys.exit(2)
        _fail(f"{message} Try turncoat --help.", 2)


def _fail(message: str, code: int) -> None:
    print(f"turncoat: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
