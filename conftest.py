"""Examples in the README and the docs are tests: Python blocks share a page's namespace, `$ turncoat` lines run."""

import os
import shlex
from contextlib import ExitStack, chdir
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from hypothesis import settings
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

# A busy machine is no failure; and what CI tries is the same each time, so that it tells of the change alone.
settings.register_profile("turncoat", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("turncoat")

# What is about Flower needs it.
collect_ignore = [] if find_spec("flwr") else ["src/turncoat/flower", "docs/flower.md"]

SLOW = ("turncoat demo", "turncoat reproduce all")  # have tests of their own


def run_console(example: Example) -> None:
    from typer.testing import CliRunner

    from turncoat.cli import app

    for line in example.parsed.splitlines():
        if line.startswith("$ turncoat ") and not line.startswith(tuple(f"$ {command}" for command in SLOW)):
            found = CliRunner().invoke(app, shlex.split(line)[2:], catch_exceptions=False)
            assert found.exit_code == 0, found.output


def enter(namespace: dict) -> None:
    """Files that a page's examples write go to a folder of its own."""
    stack = namespace["_stack"] = ExitStack()
    stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))


def leave(namespace: dict) -> None:
    namespace["_stack"].close()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser(), CodeBlockParser(language="console", evaluator=run_console)],
    patterns=["README.md", "docs/*.md"],
    setup=enter,
    teardown=leave,
).pytest()
