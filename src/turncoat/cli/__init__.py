"""The command line: it parses, calls the library and prints."""

from turncoat.cli import train, plan, stress, leaderboard, reproduce, results, report, show  # isort: skip  # the order in which the help lists the commands
from turncoat.cli.base import app, main

__all__ = ["app", "leaderboard", "main", "plan", "report", "reproduce", "results", "show", "stress", "train"]
