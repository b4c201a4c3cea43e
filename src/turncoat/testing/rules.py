"""Checks that any rule can be put to."""

from __future__ import annotations

import copy
import functools
import operator
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import combinations, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turncoat.attacks import attack
from turncoat.errors import SpecError, ToleranceError
from turncoat.registry import accepted
from turncoat.rules import OwnRule, Rule, rule
from turncoat.testing.calls import Calls, Raised
from turncoat.testing.clouds import SIZES, cloud, far, hostile, placed, uneven
from turncoat.testing.report import Failed, NotApplicable, Report, run
from turncoat.testing.subject import Subject
from turncoat.testing.values import DTYPES, same, short, watched

EXACT = 1e-5  # differences that rounding and iterative rules may make in float64, relative to the rows' size
ROUGH = 1e-3  # the same in float32
MANY, WIDE = 200, 20_000  # rows and coordinates of the largest inputs
SUBSETS = 2000  # at most so many sets S are tried against a bound kappa
ATTACKS = ("alie(z=1.5)", "alie(z=-8)", "ipm(epsilon=0.1)", "ipm(epsilon=2.5)", "min_max", "min_sum")


def reference(subject: Subject) -> str:
    """It agrees with the given reference, closely in float64 and roughly in float32."""
    function = subject.reference
    if function is None:
        raise NotApplicable("no reference was given")
    known = accepted(function, f=subject.f, n=subject.n)
    worst = {torch.float64: 0.0, torch.float32: 0.0}
    for what, X in uneven(subject.n, subject.d, subject.f, subject.seed):
        for dtype in worst:
            given = X.to(dtype)
            found = subject(given, f"{what} in {short(dtype)}")
            expected = subject.calls(_vector, function, given.double().numpy(), known)
            apart = _apart(found, expected, given)
            worst[dtype] = max(worst[dtype], apart)
            if not apart <= (EXACT if dtype == torch.float64 else ROUGH):
                raise Failed(f"{what} in {short(dtype)}: off by {apart:.2g} of the rows' size")
    return f"off by at most {worst[torch.float64]:.1g} in float64, {worst[torch.float32]:.1g} in float32"


def _vector(function: Callable[..., Any], X: np.ndarray, known: dict[str, Any]) -> Tensor:
    return torch.as_tensor(function(X, **known)).reshape(X.shape[1])


def permutation(subject: Subject) -> str:
    """The order of the rows does not matter, ties aside."""
    if not subject.rule.permutes:
        raise NotApplicable("the order of the rows matters by definition")
    worst = 0.0
    for what, X in uneven(subject.n, subject.d, subject.f, subject.seed):
        before = subject(X, what)
        for order in (torch.arange(subject.n).flip(0), torch.randperm(subject.n, generator=subject.stream())):
            apart = _apart(subject(X[order], f"{what}, reordered"), before, X)
            worst = max(worst, apart)
            if not apart <= EXACT:
                raise Failed(f"{what}: reordered rows move the aggregate by {apart:.2g} of the rows' size")
    return f"reordered rows move the aggregate by at most {worst:.1g} of the rows' size"


def translation(subject: Subject) -> str:
    """It moves with the rows: F(X + v) = F(X) + v."""
    if not subject.rule.translates:
        raise NotApplicable("does not move with the rows by definition")
    direction = cloud(1, subject.d, subject.seed + 1)[0]
    return _follows(subject, "moved", [(1.0, 10 * direction), (1.0, torch.full_like(direction, -100.0))])


def scaling(subject: Subject) -> str:
    """It scales with the rows: F(c X) = c F(X) for c > 0."""
    if not subject.rule.scales:
        raise NotApplicable("has a scale of its own by definition")
    rest = torch.zeros(subject.d, dtype=torch.float64)
    return _follows(subject, "scaled", [(1e-4, rest), (3.0, rest), (1e5, rest)])


def _follows(subject: Subject, done: str, changes: list[tuple[float, Tensor]]) -> str:
    worst = 0.0
    for what, X in uneven(subject.n, subject.d, subject.f, subject.seed):
        before = subject(X, what)
        for c, v in changes:
            size = f"by {c:g}" if c != 1 else f"a distance of {float(v.norm()):.2g}"
            after = subject(c * X + v, f"{what}, {done} {size}")
            apart = _apart((after - v) / c, before, X)
            worst = max(worst, apart)
            if not apart <= EXACT:
                raise Failed(f"{what}: off by {apart:.2g} of the rows' size after all rows were {done} {size}")
    return f"off by at most {worst:.1g} of the rows' size after all rows were {done}"


def breakdown(subject: Subject) -> str:
    """f rows, wherever they are, leave the aggregate near the honest mean."""
    _needs_robustness(subject)
    honest, worst, count = subject.honest, 0.0, 0
    places = ("first", "last", "anywhere") if subject.rule.permutes else ("last",)
    for size in SIZES:
        for what, traitors in far(honest, subject.f, size, subject.seed + 2):
            where = places[count % len(places)]
            case = f"{subject.f} rows {what} at {size:g} honest spreads, {where}"
            off = subject.near(placed(honest, traitors, where, count), honest, case)
            worst, count = max(worst, off), count + 1
    return f"at most {worst:.2g} honest spreads off over {count} placements, allowed are {subject.allowed:.2g}"


def kappa(subject: Subject) -> str:
    """The bound that is proven for it holds: |S| ||F - mean_S||^2 <= kappa sum_S ||x_i - mean_S||^2 for |S| = n - f."""
    n, f = subject.n, subject.f
    bound = subject.calls(subject.rule.kappa, n, f)
    if bound is None:
        raise NotApplicable("no bound is known for it")
    _needs_traitors(subject)
    outside = list(islice(combinations(range(n), f), SUBSETS))
    inside = torch.ones((len(outside) + 1, n), dtype=torch.float64)
    inside[torch.arange(len(outside))[:, None], torch.tensor(outside, dtype=torch.long).view(len(outside), f)] = 0
    inside[-1, n - f :] = 0  # the honest rows
    worst, count = 0.0, 0
    for what, X in _contested(subject):
        found, count = subject.finite(X, what), count + 1
        means = inside @ X / (n - f)
        spread = inside @ X.square().sum(1) - (n - f) * means.square().sum(1)
        ratio = float(((n - f) * (found - means).square().sum(1) / spread.clamp(min=1e-9)).max())
        worst = max(worst, ratio)
        if not ratio <= bound:
            raise Failed(f"{what}: a ratio of {ratio:.3g} is above the bound kappa = {bound:.3g}")
    return f"ratios of at most {worst:.3g} on {count} inputs, kappa = {bound:.3g}"


def _contested(subject: Subject) -> Iterator[tuple[str, Tensor]]:
    """Honest clouds and the traitors of several attacks, last."""
    h, f, d = subject.n - subject.f, subject.f, subject.d
    yield from uneven(subject.n, d, f, subject.seed)
    for seed in range(3):
        honest = cloud(h, d, subject.seed + seed) * cloud(h, 1, seed).exp() ** seed  # heavier tails from seed to seed
        for name in ATTACKS:
            yield f"{name}, honest cloud {seed}", torch.cat([honest, attack(name, f=f)(honest)])
        for size in (0.3, 1.0, 3.0, 100.0):
            for what, traitors in far(honest, f, size, seed):
                yield f"rows {what} at {size:g} honest spreads, honest cloud {seed}", torch.cat([honest, traitors])


def hostile_rows(subject: Subject) -> str:
    """Rows that are not finite, huge, subnormal, zero, equal or far from the origin neither break nor mislead it."""
    count = 0
    for dtype in (torch.float64, torch.float32):
        for what, honest, traitors in hostile(subject.n - subject.f, subject.f, subject.d, dtype, subject.seed):
            X, case = torch.cat([honest, traitors]), f"{what} in {short(dtype)}"
            if not X.isfinite().all() and subject.rule.nonfinite != "exclude":
                continue
            count += 1
            if _has_to_follow(subject, X, honest):
                subject.near(X, honest, case)
            else:
                subject.finite(X, case)
    return f"finite on {count} inputs" + (", and near the honest rows" if subject.rule.robust and subject.f else "")


def _has_to_follow(subject: Subject, X: Tensor, honest: Tensor) -> bool:
    """Whether the aggregate has to be near the honest rows; the same row as theirs, if they are all equal."""
    robust = subject.rule.robust and subject.f > 0
    if not (honest == honest[0]).all():
        return robust
    return subject.rule.scales and (robust or bool((X[0] == X).all()))


def dtypes(subject: Subject) -> str:
    """Every floating dtype comes back as it came, and so do NumPy arrays."""
    X = cloud(subject.n, subject.d, subject.seed)
    for dtype in DTYPES:
        vector = subject.finite(X.to(dtype), short(dtype))
        if vector.dtype != dtype:
            raise Failed(f"{short(dtype)} came back as {short(vector.dtype)}")
    for kind in (np.float64, np.float32):
        array = subject.calls(subject.aggregate, X.numpy().astype(kind))
        if not isinstance(array, np.ndarray) or array.dtype != kind:
            came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise Failed(f"a NumPy array of {np.dtype(kind)} came back as {came}")
    return f"{', '.join(map(short, DTYPES))} and NumPy's arrays come back as they came"


def mutation(subject: Subject) -> str:
    """It does not write to the rows."""
    for what, X in uneven(subject.n, subject.d, subject.f, subject.seed):
        for rows in (X, X.float(), X.clone().mul_(1e20)):
            before = rows.clone()
            made, written = _watched(subject.rule)
            replace(subject, rule=made)(rows, what)
            if written or not torch.equal(rows, before):
                raise Failed(f"{what} in {short(rows.dtype)}: the rows were written to")
    return "the rows are as they were"


def _watched(rule: Rule) -> tuple[Rule, list[Any]]:
    """The rule, and a list that is filled when it ends in a callable that writes to its argument, which is a copy."""
    *mixings, last = rule.parts()
    if not isinstance(last, OwnRule):
        return rule, []
    function, written = watched(last.function)
    chain = functools.reduce(operator.rshift, [*mixings, replace(last, function=function)])
    assert isinstance(chain, Rule)
    return chain, written


def determinism(subject: Subject) -> str:
    """The same rows, state and stream give the same bits, and a given state is not written to."""
    rounds = 0
    for what, X in uneven(subject.n, subject.d, subject.f, subject.seed):
        state = subject.calls(subject.rule.init, X)
        for t in range(2):
            before = copy.deepcopy(state)
            seeds = [t, t] if subject.rule.draws else [t, t + 1]
            streams = [torch.Generator().manual_seed(seed) for seed in seeds]
            (one, after), (two, again) = (subject.calls(subject.rule.step, X, state, stream) for stream in streams)
            if not same(one.vector, two.vector) or not same(after, again):
                raise Failed(f"{what}: the same rows, state and stream gave two aggregates")
            if not same(state, before):
                raise Failed(f"{what}: the given state was written to")
            state, rounds = after, rounds + 1
    return f"the same bits twice in {rounds} rounds"


def bounds(subject: Subject) -> str:
    """Too many traitors for the rows that there are raise ToleranceError or SpecError."""
    if subject.own:
        raise NotApplicable("a callable says nothing about its bounds")
    _needs_robustness(subject)
    for n in sorted({2 * subject.f, subject.smallest - 1}):
        try:
            subject.calls(subject.aggregate, cloud(n, subject.d, subject.seed))
        except Raised as seen:
            if not isinstance(seen.error, ToleranceError | SpecError):
                raise Failed(f"n = {n}, f = {subject.f}: {seen}, not ToleranceError") from seen
        else:
            raise Failed(f"n = {n}, f = {subject.f} was accepted")
    return f"f = {subject.f} is refused below n = {subject.smallest}"


def sizes(subject: Subject) -> str:
    """One coordinate and many, and from as few rows as it allows up to many."""
    counts = sorted({subject.smallest, subject.n, MANY})
    shapes = [(n, d) for n in counts if subject.own or subject.admits(n) for d in sorted({1, 2, subject.d})]
    for n, d in [*shapes, (subject.n, WIDE)]:
        subject.finite(cloud(n, d, subject.seed), f"n = {n}, d = {d}")
    return f"n from {shapes[0][0]} to {shapes[-1][0]}, d from 1 to {WIDE}"


def time(subject: Subject) -> str:
    """Every call of the checks before returned in time."""
    return subject.calls.summary()


CHECKS = (
    reference,
    permutation,
    translation,
    scaling,
    breakdown,
    kappa,
    hostile_rows,
    dtypes,
    mutation,
    determinism,
    bounds,
    sizes,
    time,
)


def check_rule(
    my_rule: str | Rule | Callable[..., Any],
    n: int = 11,
    f: int = 2,
    d: int = 30,
    *,
    reference: Callable[..., Any] | None = None,
    without: Collection[str] = (),
    seed: int = 0,
    seconds: float = 5.0,
) -> Report:
    """Put a rule, its spelling or any callable (n, d) -> (d,) to all checks, with f traitors among n rows.

    `reference` is a function of a float64 array (n, d), and of `f` and `n` where it has such parameters, to what the
    aggregate should be. `without` names checks that the rule is not meant to pass. A call that takes longer than
    `seconds` counts as one that never returns. What the rule raises is a failed check; SpecError and ToleranceError
    are raised for a rule that does not exist or does not allow f of n.

    Examples:
        >>> def biased(X):
        ...     return X.median(0).values + 1
        >>> report = check_rule(biased)
        >>> [check.name for check in report.failures]
        ['scaling', 'hostile rows']
    """
    made = rule(my_rule, f=f)
    made.check(n)
    if d < 1 or not seconds > 0:
        raise SpecError(f"d is at least 1 and seconds are above 0, got d = {d}, seconds = {seconds}")
    subject = Subject(made, n, f, d, Calls(seconds), seed, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hostile rows make honest code warn
        return run(f"{made} with n = {n}, f = {f}, d = {d}", CHECKS, subject, without)


def _needs_robustness(subject: Subject) -> None:
    if not subject.rule.robust:
        raise NotApplicable("promises nothing about traitors")
    _needs_traitors(subject)


def _needs_traitors(subject: Subject) -> None:
    if subject.f == 0:
        raise NotApplicable("there are no traitors at f = 0")


def _apart(found: Tensor, expected: Tensor, X: Tensor) -> float:
    """The largest difference between two vectors, relative to the size of their and the rows' entries."""
    found, expected = found.double(), expected.double()
    size = X.double().abs().median() + expected.abs().max()
    return float((found - expected).abs().max() / size)
