"""Conformance checks for rules and attacks, the user's own and ours."""

from turncoat.testing.attacks import check_attack
from turncoat.testing.report import Check, Report
from turncoat.testing.rules import check_rule

__all__ = ["Check", "Report", "check_attack", "check_rule"]
