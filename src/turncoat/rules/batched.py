"""Rules on batches of candidates, differentiable by autograd: what an adversary that looks ahead searches with.

The exact evaluator stays the truth. A batched form is a model of it that takes C inputs at once, in plain torch. What
a rule selects, a form takes as given: its derivative is right almost everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Generator, Tensor

from turncoat.linalg import batches
from turncoat.rules.base import Chain, CoordinateRule, Rule, WeightRule, entropy
from turncoat.rules.bulyan import Bulyan, NearestToMedian
from turncoat.rules.centered_clipping import CenteredClipping
from turncoat.rules.clipping import ARC, Clipping
from turncoat.rules.geometric_median import GeometricMedian
from turncoat.rules.krum import NEIGHBOURS, Krum, MultiKrum
from turncoat.rules.linear_scalarization import LinearScalarization
from turncoat.rules.mda import MDA
from turncoat.rules.mean import Mean
from turncoat.rules.median import MeaMed, Median, Phocas, SignMajority, TrimmedMean
from turncoat.rules.mixing import NNM, Bucketing, Resampling
from turncoat.rules.mixtailor import MixTailor
from turncoat.rules.nearest import AKSEL, CGE, Medoid, MoNNA
from turncoat.rules.spectral import CAF, EQUAL

SUBSETS = 2000  # that MDA compares at most
AT_ONCE = 2**22  # distances that it looks at together
WIDE = 2**15  # numbers, from which a sorting network beats many small sorts where no derivative is asked for

Aggregate = Callable[[Tensor], Tensor]
"""(C, n, d) -> (C, d)"""
Scores = Callable[[Tensor], Tensor]
"""(C, n, d) -> (C, n), the lower the better"""
Mix = Callable[[Tensor, Generator | None], Tensor]
"""(C, n, d) -> (C, m, d)"""
Step = Callable[[Tensor, Any, Generator | None], tuple[Tensor, Any]]


@dataclass(frozen=True)
class BatchedRule:
    """A rule on C candidates for the n rows of a round, each with a state of its own."""

    step: Step
    start: Callable[[Tensor], Any] = lambda like: None

    def init(self, like: Tensor) -> Any:
        """The state before the first round, for rows (C, n, d): None, a tensor (C, ...) or a flat dict of such."""
        return self.start(like)

    def __call__(self, X: Tensor, state: Any = None, generator: Generator | None = None) -> tuple[Tensor, Any]:
        """The (C, d) aggregates of finite rows X (C, n, d), and the next state.

        From the generator is drawn what the exact rule draws in a round, once for all candidates.
        """
        vectors, state = self.step(X, state, generator)
        return vectors.to(X.dtype), state


def batched(rule: Rule, n: int, frozen: bool = True) -> BatchedRule | None:
    """The batched form of a rule for n rows, None where there is none.

    A rule without a form of its own that gives weights is run candidate by candidate: DnC, SMEA, SignGuard, linear
    scalarization, Zeno, MDA of more than 2000 subsets, chains with a similarity filter, the user's own WeightRule. The
    derivative then holds the weights fixed and does not reach into the state: right almost everywhere for rules that
    select, an approximation for the others. `frozen=False` leaves such forms out. There is no form for rules that give
    no weights either: callables, l_p geometric medians, the user's own subclasses of Rule and CoordinateRule. A
    subclass of a class here is the user's own. Raises what `rule.check(n)` raises.
    """
    rule.check(n)
    return _form(rule, n, rule.f or 0, frozen)


def _form(rule: Rule, n: int, f: int, frozen: bool) -> BatchedRule | None:
    """The form of a rule for n rows, f of them Byzantine, which in a chain need not be its own f."""
    form = _own_form(rule, n, f, frozen)
    if form is None and frozen and _gives_weights(rule):
        return _one_by_one(rule if f == (rule.f or 0) else rule.with_f(f))
    return form


def _own_form(rule: Rule, n: int, f: int, frozen: bool = False) -> BatchedRule | None:
    if make := COMPOUNDS.get(type(rule)):
        return make(rule, n, f, frozen)
    make = RULES.get(type(rule))
    aggregate = make and make(rule, n, f)
    if aggregate and isinstance(rule, CoordinateRule):
        aggregate = _side_by_side(rule, n, f, aggregate)
    return aggregate and BatchedRule(lambda X, state, generator: (aggregate(X), state))


def _gives_weights(rule: Rule) -> bool:
    """Whether the exact rule gives the weights of its aggregate."""
    match rule.parts()[-1]:
        case GeometricMedian(p=p):
            return p == 2
        case Bulyan() as last:
            return _gives_weights(last.made_of()[1])  # type: ignore[arg-type]
        case last:
            return isinstance(last, WeightRule | LinearScalarization)


def _one_by_one(rule: Rule) -> BatchedRule:
    """The exact rule on every candidate, its weights held fixed in the derivative."""

    def step(X: Tensor, state: Any, generator: Generator | None) -> tuple[Tensor, Any]:
        generator = generator or entropy()
        before, found = generator.get_state(), []
        for c, rows in enumerate(X.detach()):
            generator.set_state(before)
            found.append(rule.step(rows, _unstacked(state, c), generator, examined=False))
        vectors, weights = (torch.stack([getattr(a, what) for a, _ in found]) for what in ("vector", "weights"))
        return vectors + batches.average(weights.to(X), X - X.detach()), _stacked([after for _, after in found])

    return BatchedRule(step, lambda like: _stacked([rule.init(rows) for rows in like.detach()]))


def _stacked(states: list[Any]) -> Any:
    if isinstance(states[0], dict):
        return {key: torch.stack([state[key] for state in states]) for key in states[0]}
    return None if states[0] is None else torch.stack(states)


def _unstacked(state: Any, c: int) -> Any:
    if isinstance(state, dict):
        return {key: value[c].detach() for key, value in state.items()}
    return None if state is None else state[c].detach()


# Compounds, and the rule with a memory.


def _chain(rule: Chain, n: int, f: int, frozen: bool) -> BatchedRule | None:
    mixes: list[Mix] = []
    for mixing in rule.links[:-1]:
        if type(mixing) not in MIXINGS:
            return None
        mixes.append(MIXINGS[type(mixing)](mixing, n, f))
        n, f = mixing.count(n), mixing.contaminated(f, n, mixing.count(n))
    last = _form(rule.links[-1], n, f, frozen)  # type: ignore[arg-type]
    if last is None:
        return None

    def step(X: Tensor, state: Any, generator: Generator | None) -> tuple[Tensor, Any]:
        for mix in mixes:
            X = mix(X, generator)
        return last(X, state, generator)

    return BatchedRule(step, last.init)


def _mixtailor(rule: MixTailor, n: int, f: int, frozen: bool) -> BatchedRule | None:
    forms = [form for member in rule.members if (form := _form(member, n, f, frozen))]
    if len(forms) < len(rule.members):
        return None

    def known(states: dict[str, Any]) -> dict[str, Any] | None:
        return {key: state for key, state in states.items() if state is not None} or None

    def step(X: Tensor, state: Any, generator: Generator | None) -> tuple[Tensor, Any]:
        generator, states = generator or entropy(), state or {}
        drawn = int(torch.randint(len(forms), (), generator=generator))
        vectors, after = forms[drawn](X, states.get(str(drawn)), generator)
        return vectors, known(states | {str(drawn): after})

    return BatchedRule(step, lambda like: known({str(i): form.init(like) for i, form in enumerate(forms)}))


def _bulyan(rule: Bulyan, n: int, f: int, frozen: bool) -> BatchedRule | None:
    selection, phase2 = rule.made_of()
    picks = [form for m in range(n, 2 * f, -1) if (form := _own_form(selection, m, f))]  # type: ignore[arg-type]
    last = _form(phase2, n - 2 * f, f, frozen)  # type: ignore[arg-type]
    if last is None or len(picks) < n - 2 * f:
        return None

    def step(X: Tensor, state: Any, generator: Generator | None) -> tuple[Tensor, Any]:
        left, picked = torch.arange(n, device=X.device).expand(len(X), n), []
        for pick in picks:
            rest = batches.take(X.detach(), left)
            nearest = batches.lengths(rest - pick(rest, None, generator)[0][:, None]).argmin(1, keepdim=True)
            picked.append(left.gather(1, nearest))
            left = left[left != picked[-1]].view(len(X), -1)
        return last(batches.take(X, torch.cat(picked, 1).sort(1).values), state, generator)

    return BatchedRule(step, last.init)


def _centered_clipping(rule: CenteredClipping, n: int, f: int, frozen: bool) -> BatchedRule:
    def step(X: Tensor, state: Tensor | None, generator: Generator | None) -> tuple[Tensor, Any]:
        v = X.mean(1) if state is None else state
        for _ in range(rule.iterations):
            v = v + batches.shortened(X - v[:, None], rule.tau).mean(1)
        return v, None if state is None else v.to(state.dtype)

    return BatchedRule(step, lambda like: None if rule.start == "mean" else torch.zeros_like(like[:, 0]))


# Coordinate-wise rules.


def _of_ranks(first: int, last: int) -> Aggregate:
    return partial(batches.mean_of_ranks, first=first, last=last)


def _of_nearest(count: int, first: int, last: int) -> Aggregate:
    return partial(batches.mean_of_nearest, count=count, first=first, last=last)


def _side_by_side(rule: CoordinateRule, n: int, f: int, aggregate: Aggregate) -> Aggregate:
    """The aggregate; of many numbers without a derivative, by the exact reduction, all candidates in one wide block."""

    def wide(X: Tensor) -> Tensor:
        if X.requires_grad or X.numel() < WIDE:
            return aggregate(X)
        return rule.reduction(n, f)(X.transpose(0, 1).reshape(n, -1)).view(len(X), -1)

    return wide


# Rules that select rows.


def _tolerance(X: Tensor) -> float:
    """The relative difference up to which scores are equal, as for the exact rules."""
    return 64 * torch.finfo(torch.promote_types(X.dtype, torch.float32)).eps


def _best_row(scores: Scores) -> Aggregate:
    return lambda X: batches.take(X, batches.lowest(scores(X), _tolerance(X)))[:, 0]


def _best_rows(count: int, scores: Scores) -> Aggregate:
    """The average of the `count` rows with the lowest scores, of equal ones the first."""

    def aggregate(X: Tensor) -> Tensor:
        chosen = batches.among_lowest(scores(X.detach()), count, _tolerance(X))
        return batches.average(chosen.to(X.dtype) / count, X)

    return aggregate


def _krum_scores(rule: Krum, n: int, f: int) -> Scores:
    count = min(n - 1, max(1, n - f - NEIGHBOURS[rule.neighbours]))

    def scores(X: Tensor) -> Tensor:
        nearest = batches.distances(X, rule.p).topk(count + 1, 2, largest=False, sorted=False).values
        return nearest.pow(rule.power).sum(2)  # its own 0 adds 0

    return scores


def _medoid(X: Tensor) -> Tensor:
    return batches.take(X, batches.nearest_to_all(X, batches.distances(X), _tolerance(X))[0])[:, 0]


def _monna(rule: MoNNA, n: int, f: int) -> Aggregate:
    own = torch.arange(n) == rule.trusted  # before any row that is equal to it

    def scores(X: Tensor) -> Tensor:
        return batches.lengths(X - X[:, rule.trusted, None]).masked_fill(own.to(X.device), -1.0)

    return _best_rows(n - f, scores)


def _aksel(rule: AKSEL, n: int, f: int) -> Aggregate:
    count = n - f if rule.keep == "n-f" else -(-n // 2)
    return _best_rows(count, lambda X: batches.lengths(X - batches.median(X)[:, None]))


def _mda(rule: MDA, n: int, f: int) -> Aggregate | None:
    if comb(n, f) > SUBSETS:
        return None
    subsets = torch.tensor(list(combinations(range(n), n - f)))
    i, j = torch.combinations(torch.arange(n - f), with_replacement=True).T
    pairs = subsets[:, i] * n + subsets[:, j]

    def aggregate(X: Tensor) -> Tensor:
        squares = batches.distances(X).square().flatten(1)
        diameters = [part[:, pairs.to(X.device)].amax(2) for part in squares.split(max(1, AT_ONCE // pairs.numel()))]
        best = batches.lowest(torch.cat(diameters), _tolerance(X))[:, 0]
        return batches.take(X, subsets.to(X.device)[best]).mean(1)

    return aggregate


# The geometric median and CAF.


def _geometric_median(rule: GeometricMedian, n: int, f: int) -> Aggregate | None:
    if rule.p != 2:
        return batches.median if rule.p == 1 else None
    return batches.geometric_median if rule.iterations is None else _weiszfeld(rule, rule.iterations)


def _weiszfeld(rule: GeometricMedian, iterations: int) -> Aggregate:
    starts: dict[str, Aggregate] = {
        "row": lambda X: batches.take(X, batches.nearest_to_all(X, batches.distances(X))[0])[:, 0],
        "median": batches.median,
        "origin": lambda X: torch.zeros_like(X[:, 0]),
    }

    def aggregate(X: Tensor) -> Tensor:
        X = X.double()
        y = starts[rule.start](X)
        for _ in range(iterations):
            y = batches.average(batches.share(1 / batches.lengths(X - y[:, None]).clamp(min=rule.nu)), X)
        return y

    return aggregate


def _caf(rule: CAF, n: int, f: int) -> Aggregate:
    def aggregate(X: Tensor) -> Tensor:
        X = X.double()
        c = torch.ones_like(X[:, :, 0])
        best, narrowest = c / n, torch.full_like(c[:, :1], torch.inf)
        for _ in range(2 * f):
            outlying, variance = batches.spread(X, c)
            better = variance < narrowest
            best, narrowest = torch.where(better, batches.share(c), best), torch.where(better, variance, narrowest)
            most = torch.where(c > 0, outlying, 0.0).amax(1, keepdim=True)
            left = 1 - outlying / torch.where(most > 0, most, 1.0)
            shrunk = c * torch.where(left > EQUAL, left, 0.0)
            c = torch.where(shrunk.sum(1, keepdim=True) > n - 2 * f, shrunk, c)
        return batches.average(best, X)

    return aggregate


# Mixings, in float64: mixtures of the same rows then differ by less than the distances resolve.


def _nnm(mixing: NNM, n: int, f: int) -> Mix:
    def mix(X: Tensor, generator: Generator | None) -> Tensor:
        D = batches.distances(X)
        D.diagonal(dim1=1, dim2=2).fill_(-1.0)  # a row is its own nearest, also among copies
        nearest = D.argsort(dim=2, stable=True)[:, :, : n - f]
        return torch.zeros_like(D).scatter(2, nearest, 1 / (n - f)) @ X.double()

    return mix


def _bucketing(mixing: Bucketing, n: int, f: int) -> Mix:
    places = torch.arange(n)
    buckets = places.split(mixing.s) if mixing.last == "short" else places.tensor_split(mixing.count(n))
    shares = torch.block_diag(*(torch.full((1, len(b)), 1 / len(b), dtype=torch.float64) for b in buckets))

    def mix(X: Tensor, generator: Generator | None) -> Tensor:
        order = torch.randperm(n, generator=generator or entropy())
        return shares.to(X.device) @ X[:, order].double()

    return mix


def _resampling(mixing: Resampling, n: int, f: int) -> Mix:
    def mix(X: Tensor, generator: Generator | None) -> Tensor:
        order = torch.randperm(n * mixing.s, generator=generator or entropy()) % n
        return X.double()[:, order.view(n, mixing.s)].mean(2)

    return mix


def _arc(mixing: ARC, n: int, f: int) -> Mix:
    clipped = min(n - 1, 2 * f * (n - f) // n)
    return lambda X, generator: batches.shortened(X, batches.lengths(X).kthvalue(n - clipped, 1, keepdim=True).values)


RULES: dict[type[Rule], Callable[[Any, int, int], Aggregate | None]] = {
    Mean: lambda rule, n, f: lambda X: X.mean(1),
    Median: lambda rule, n, f: _of_ranks((n - 1) // 2, (n - 1) // 2 if rule.even == "lower" else n // 2),
    TrimmedMean: lambda rule, n, f: _of_ranks(min(f, (n - 1) // 2), max(n - f - 1, n // 2)),
    MeaMed: lambda rule, n, f: _of_nearest(n - f, (n - 1) // 2, n // 2),
    Phocas: lambda rule, n, f: _of_nearest(n - f, f, n - f - 1),
    NearestToMedian: lambda rule, n, f: _of_nearest(max(1, n - 2 * f), (n - 1) // 2, n // 2),
    SignMajority: lambda rule, n, f: lambda X: X.sign().sum(1).sign(),
    Krum: lambda rule, n, f: _best_row(_krum_scores(rule, n, f)),
    MultiKrum: lambda rule, n, f: _best_rows(rule._count(n, f), _krum_scores(rule, n, f)),
    Medoid: lambda rule, n, f: _medoid,
    MoNNA: _monna,
    AKSEL: _aksel,
    CGE: lambda rule, n, f: _best_rows(n - f, batches.lengths),
    MDA: _mda,
    GeometricMedian: _geometric_median,
    CAF: _caf,
}
COMPOUNDS: dict[type[Rule], Callable[[Any, int, int, bool], BatchedRule | None]] = {
    Chain: _chain,
    MixTailor: _mixtailor,
    Bulyan: _bulyan,
    CenteredClipping: _centered_clipping,
}
MIXINGS: dict[type, Callable[[Any, int, int], Mix]] = {
    NNM: _nnm,
    Bucketing: _bucketing,
    Resampling: _resampling,
    Clipping: lambda mixing, n, f: lambda X, generator: batches.shortened(X, mixing.bound),
    ARC: _arc,
}
