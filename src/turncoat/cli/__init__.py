"""The command line: it parses, calls the library and prints."""

from turncoat.cli import train, plan, stress, leaderboard, results, report, show  # isort: skip  # the order in which the help lists the commands
from turncoat.cli.base import app, main

__all__ = ["app", "leaderboard", "main", "plan", "report", "results", "show", "stress", "train"]
