"""Checks that any attack can be put to."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from turncoat.attacks import Attack, View, attack
from turncoat.attacks.build import OwnAttack
from turncoat.attacks.non_finite import NonFinite
from turncoat.errors import HiddenError, SpecError, ToleranceError
from turncoat.rules import Rule, rule
from turncoat.testing.calls import Calls, Raised
from turncoat.testing.clouds import cloud
from turncoat.testing.report import Failed, NotApplicable, Report, about, run
from turncoat.testing.values import DTYPES, same, short, watched

REFUSALS = (SpecError, ToleranceError, HiddenError)  # of too few rows, say
WIDE = 20_000  # coordinates of the largest inputs
LR = 0.1


@dataclass
class Subject:
    """The attack under test, the sizes to test it at, and its calls."""

    attack: Attack
    n: int
    f: int
    d: int
    calls: Calls
    seed: int = 0
    against: Rule | None = None

    def view(self, h: int | None = None, d: int | None = None, dtype: torch.dtype = torch.float64) -> View:
        """A view of h honest rows and the f own ones, with nothing hidden."""
        h, d = h or self.n - self.f, d or self.d
        X = cloud(h + self.f + 1, d, self.seed).to(dtype)
        return View(h + self.f, self.f, X[:h], X[h:-1], lr=LR, parameters=X[-1], rule=self.against)

    def rows(self, view: View, what: str) -> Tensor:
        """The Byzantine rows of a first round; raises Failed where there are none."""
        try:
            rows = self.first(view)
        except Failed as seen:
            raise Failed(about(what, str(seen))) from seen
        expected = (self.f, view.like.shape[-1])
        if not isinstance(rows, Tensor) or rows.shape != expected:
            shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise Failed(about(what, f"sent {shape}, expected a tensor of shape {expected}"))
        return rows

    def first(self, view: View) -> Any:
        """What it sends in a first round, with a fresh stream."""
        state = self.calls(self.attack.init, view.like)
        return self.calls(self.attack.step, replace(view, generator=self.stream()), state)[0]

    def stream(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def shape(subject: Subject) -> str:
    """It sends f rows of d coordinates."""
    subject.rows(subject.view(), "")
    return f"{subject.f} rows of {subject.d} coordinates"


def sizes(subject: Subject) -> str:
    """One honest row or one coordinate are enough, or one of our errors says why not; many are not too many."""
    shapes = [(h, d) for h in (1, 2, subject.n - subject.f) for d in (1, subject.d, WIDE)]
    refused = 0
    for h, d in shapes:
        try:
            subject.rows(subject.view(h, d), f"h = {h}, d = {d}")
        except Failed as seen:
            if not isinstance(seen.__cause__, Raised) or not isinstance(seen.__cause__.error, REFUSALS):
                raise
            refused += 1
    return f"h from 1 to {shapes[-1][0]}, d from 1 to {WIDE}" + (f", {refused} of them refused" if refused else "")


def dtypes(subject: Subject) -> str:
    """It sends rows of the dtype that it sees."""
    for dtype in DTYPES:
        rows = subject.rows(subject.view(dtype=dtype), short(dtype))
        if rows.dtype != dtype:
            raise Failed(f"{short(dtype)} came back as {short(rows.dtype)}")
    return f"{', '.join(map(short, DTYPES))} come back as they came"


def finite(subject: Subject) -> str:
    """What it sends is finite where honest rows are, be they equal, zero, large or small."""
    if isinstance(subject.attack, NonFinite):
        raise NotApplicable("it is about rows that are not finite")
    count = 0
    for dtype in DTYPES:
        view = subject.view(dtype=dtype)
        changes: dict[str, Callable[[Tensor], Tensor]] = {
            "ordinary rows": lambda rows: rows,
            "equal rows": lambda rows: rows[:1].repeat(len(rows), 1),
            "rows of zeros": torch.zeros_like,
            "large rows": lambda rows: rows * (1e15 if rows.dtype.itemsize > 2 else 10),
            "small rows": lambda rows: rows * 1e-30,
        }
        for what, change in changes.items():
            seen = replace(view, honest_rows=change(view.honest), own_rows=change(view.own))
            if not subject.rows(seen, f"{what} in {short(dtype)}").isfinite().all():
                raise Failed(f"{what} in {short(dtype)}: what it sends is not finite")
            count += 1
    return f"finite on {count} inputs"


def mutation(subject: Subject) -> str:
    """It does not write to what it sees."""
    for dtype in DTYPES[:2]:
        view = subject.view(dtype=dtype)
        before = copy.deepcopy((view.honest, view.own, view.parameters))
        attack, written = _watched(subject.attack)
        replace(subject, attack=attack).rows(view, short(dtype))
        if written or not same((view.honest, view.own, view.parameters), before):
            raise Failed(f"{short(dtype)}: what it sees was written to")
    return "what it sees is as it was"


def _watched(attack: Attack) -> tuple[Attack, list[str]]:
    """The attack, and a list that is filled when it is a callable that writes to its argument, which is a copy."""
    if not isinstance(attack, OwnAttack):
        return attack, []
    function, written = watched(attack.function)
    return replace(attack, function=function), written


def determinism(subject: Subject) -> str:
    """The same view, state and stream give the same bits, and a given state is not written to."""
    view = subject.view()
    state = subject.calls(subject.attack.init, view.like)
    for t in range(3):
        before, found = copy.deepcopy(state), []
        for seed in [t, t] if subject.attack.draws else [t, t + 1]:
            seen = replace(view, round=t, generator=torch.Generator().manual_seed(seed))
            found.append(copy.deepcopy(subject.calls(subject.attack.step, seen, state)))
        if not same(*found):
            raise Failed(f"round {t}: the same view, state and stream gave two different answers")
        if not same(state, before):
            raise Failed(f"round {t}: the given state was written to")
        state = found[0][1]
    return "the same bits twice in 3 rounds"


def knowledge(subject: Subject) -> str:
    """It reads no more than it says, and raises HiddenError where what it needs is hidden."""
    view, needed = subject.view(), []
    openly = subject.rows(view, "").clone()
    parts = {
        "the honest rows": ("honest_rows", subject.attack.knowledge == "omniscient"),
        "its own rows": ("own_rows", subject.attack.needs_own),
    }
    for what, (part, says) in parts.items():
        refuses = _refuses(subject, replace(view, **{part: None}), what)
        other = replace(view, **{part: -getattr(view, part)})
        if not says and (refuses or not same(subject.first(other), openly)):
            raise Failed(f"it does not say that it needs {what}, but uses them")
        if says and not refuses and part == "own_rows":
            raise Failed(f"it says that it needs {what}, but with them hidden it sends others")
        needed += [what] * refuses
    return f"needs {' and '.join(needed)}" if needed else "can do without the honest rows and without its own"


def _refuses(subject: Subject, view: View, what: str) -> bool:
    """Whether the attack raises HiddenError on a view, which hides what it says."""
    try:
        subject.first(view)
    except Raised as seen:
        if not isinstance(seen.error, HiddenError):
            raise Failed(f"with {what} hidden it {seen}, not HiddenError") from seen
        return True
    return False


def time(subject: Subject) -> str:
    """Every call of the checks before returned in time."""
    return subject.calls.summary()


CHECKS = (shape, sizes, dtypes, finite, mutation, determinism, knowledge, time)


def check_attack(
    my_attack: str | Attack | Callable[..., Any],
    n: int = 11,
    f: int = 2,
    d: int = 30,
    *,
    against: str | Rule | Callable[..., Any] = "median",
    without: Collection[str] = (),
    seed: int = 0,
    seconds: float = 5.0,
) -> Report:
    """Put an attack, its spelling or any callable (h, d) -> (f, d) or (d,) to all checks, with f traitors among n.

    `against` is the rule that it sees, `without` names checks that it is not meant to pass. A call that takes longer
    than `seconds` counts as one that never returns. What the attack raises is a failed check; SpecError is raised for
    an attack that does not exist or looks ahead.

    Examples:
        >>> report = check_attack(lambda honest: -honest[0].sqrt())
        >>> [check.name for check in report.failures]
        ['finite']
    """
    made = attack(my_attack, f=f)
    if made.needs_run:
        raise SpecError(f"{made} looks ahead, which takes a training run: it cannot be checked by hand")
    if not 0 < f < n or d < 1 or not seconds > 0:
        raise SpecError(f"there are f from 1 to n - 1 traitors, got n = {n}, f = {f}, d = {d}, seconds = {seconds}")
    subject = Subject(made, n, f, d, Calls(seconds), seed, rule(against, f=f))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(f"{made} with n = {n}, f = {f}, d = {d}", CHECKS, subject, without)
