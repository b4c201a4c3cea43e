"""The checks of attacks find planted faults, and every registered attack passes them."""

import time
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from turncoat.attacks import Attack
from turncoat.registry import entries
from turncoat.testing import check_attack
from turncoat.testing.attacks import CHECKS as ATTACK_CHECKS


def failures(report):
    return {check.name for check in report.failures}


PLANS = {name for name, entry in entries("attack").items() if entry.traits.get("needs_run")} | {"replay"}


@pytest.mark.parametrize("name", sorted(entries("attack").keys() - PLANS))
def test_every_attack_conforms(name):
    for n, f, d in ((11, 2, 30), (3, 1, 1)):
        report = check_attack(name, n=n, f=f, d=d, seconds=30)
        assert report.passed, str(report)


def opposite(honest):
    return -honest.mean(0)


def opposite_in_float32(honest):
    return -honest.float().mean(0)


def writes_to_honest(honest):
    return honest.neg_().mean(0)


def divides(honest):
    return honest / honest.norm(dim=1, keepdim=True) * 0 - honest.mean(0)


def forgets_its_own_stream(honest):
    return torch.randn(honest.shape[1]).to(honest)


def needs_many(honest):
    return honest[:3].mean(0) if len(honest) >= 2 else honest[5]


ATTACK_FAULTS = {
    "none": (opposite, set()),
    "float32": (opposite_in_float32, set()),  # what a callable returns is converted
    "writes": (writes_to_honest, {"mutation"}),
    "divides": (lambda honest: divides(honest)[0], {"finite"}),
    "forgets its stream": (forgets_its_own_stream, {"determinism"}),
    "needs many": (needs_many, {"sizes"}),
    "wrong shape": (lambda honest: honest[:, 0], {"shape", "sizes", "dtypes", "finite", "mutation", "determinism"}),
}


@pytest.mark.parametrize("fault", ATTACK_FAULTS)
def test_planted_faults_of_attacks_are_found(fault):
    attack, expected = ATTACK_FAULTS[fault]
    report = check_attack(attack)
    assert failures(report) - {"knowledge"} == expected, str(report)


@dataclass(frozen=True)
class FaultyAttack(Attack):
    """Sends what it should not."""

    name = "faulty"
    knowledge = "own data"
    fault: str = ""

    @property
    def needs_own(self):
        return self.fault != "says nothing of its own rows"

    def init(self, like):
        return {"t": torch.zeros(1)} if "state" in self.fault else None

    def craft(self, view):
        return self.step(view, self.init(view.like))[0]

    def step(self, view, state) -> tuple[Any, Any]:
        if self.fault == "reads what is hidden":
            return view.own + view.honest.mean(0), state
        if self.fault == "uses what it happens to see":
            return view.own if view.honest_rows is None else view.own + view.honest_rows[0], state
        if self.fault == "substitutes":
            return (view.honest[: view.f] if view.own_rows is None else view.own), state
        if self.fault == "reads raw fields":
            return -view.own_rows, state
        if self.fault == "writes to its state":
            state["t"] += 1
        if self.fault == "writes to its own rows":
            view.own.neg_()
        if self.fault == "returns float32":
            return view.own.float(), state
        if self.fault == "returns no tensor":
            return None, state
        if self.fault == "hangs":
            while True:
                time.sleep(0.01)
        return view.own, state


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("", set()),
        ("says nothing of its own rows", {"knowledge"}),
        ("reads what is hidden", {"knowledge"}),
        ("uses what it happens to see", {"knowledge"}),
        ("substitutes", {"knowledge"}),
        ("reads raw fields", {"knowledge"}),
        ("writes to its state", {"determinism"}),
        ("writes to its own rows", {"mutation", "determinism"}),
        ("returns float32", {"dtypes"}),
        ("returns no tensor", {"shape", "sizes", "dtypes", "finite", "mutation", "knowledge"}),
        ("hangs", {check.__name__ for check in ATTACK_CHECKS}),
    ],
)
def test_faults_of_attack_classes(fault, expected):
    report = check_attack(FaultyAttack(f=2, fault=fault), seconds=0.2 if fault == "hangs" else 30)
    assert failures(report) == expected, str(report)
