"""Rules on batches of candidates, differentiable by autograd: what an adversary that looks ahead searches with.

The exact evaluator stays the truth. A batched form is a model of it that takes C inputs at once, in plain torch. What
a rule selects, a form takes as given: its derivative is right almost everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Generator, Tensor

from turncoat.rules.base import Chain, CoordinateRule, Rule, WeightRule, entropy
from turncoat.rules.bulyan import Bulyan, NearestToMedian
from turncoat.rules.centered_clipping import CenteredClipping
from turncoat.rules.clipping import ARC, Clipping
from turncoat.rules.geometric_median import RIDGE, STEPS, GeometricMedian
from turncoat.rules.krum import NEIGHBOURS, Krum, MultiKrum
from turncoat.rules.linear_scalarization import LinearScalarization
from turncoat.rules.mda import MDA
from turncoat.rules.mean import Mean
from turncoat.rules.median import MeaMed, Median, Phocas, SignMajority, TrimmedMean
from turncoat.rules.mixing import NNM, Bucketing, Resampling
from turncoat.rules.mixtailor import MixTailor
from turncoat.rules.nearest import AKSEL, CGE, Medoid, MoNNA
from turncoat.rules.spectral import CAF

SUBSETS = 2000  # that MDA compares at most
AT_ONCE = 2**22  # distances that it looks at together
WIDE = 2**15  # numbers, from which a sorting network beats many small sorts where no derivative is asked for
ROUNDING = 64 * torch.finfo(torch.float64).eps  # of the rows' lengths: a distance below it is that between copies
NEAR = 1e-12  # of the distances: rows count as this far from the geometric median at least

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
        return vectors + _average(weights.to(X), X - X.detach()), _stacked([after for _, after in found])

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
            rest = _rows(X.detach(), left)
            nearest = _lengths(rest - pick(rest, None, generator)[0][:, None]).argmin(1, keepdim=True)
            picked.append(left.gather(1, nearest))
            left = left[left != picked[-1]].view(len(X), -1)
        return last(_rows(X, torch.cat(picked, 1).sort(1).values), state, generator)

    return BatchedRule(step, last.init)


def _centered_clipping(rule: CenteredClipping, n: int, f: int, frozen: bool) -> BatchedRule:
    def step(X: Tensor, state: Tensor | None, generator: Generator | None) -> tuple[Tensor, Any]:
        v = X.mean(1) if state is None else state
        for _ in range(rule.iterations):
            v = v + _shortened(X - v[:, None], rule.tau).mean(1)
        return v, None if state is None else v.to(state.dtype)

    return BatchedRule(step, lambda like: None if rule.start == "mean" else torch.zeros_like(like[:, 0]))


# Coordinate-wise rules.


def _of_ranks(first: int, last: int) -> Aggregate:
    return lambda X: X.sort(1).values[:, first : last + 1].mean(1)


def _of_nearest(n: int, count: int, first: int, last: int) -> Aggregate:
    """The average of the `count` values nearest to that of the ranks first..last: in sorted order, a window."""

    def aggregate(X: Tensor) -> Tensor:
        values = X.sort(1).values
        centre = values[:, first : last + 1].mean(1, keepdim=True)
        moved = (values[:, count:] - centre < centre - values[:, : n - count]).sum(1, keepdim=True)
        return values.gather(1, moved + torch.arange(count, device=X.device)[:, None]).mean(1)

    return aggregate


def _median(n: int, even: str = "average") -> Aggregate:
    return _of_ranks((n - 1) // 2, (n - 1) // 2 if even == "lower" else n // 2)


def _trimmed_mean(rule: TrimmedMean, n: int, f: int) -> Aggregate:
    f = min(f, (n - 1) // 2)
    return _of_ranks(f, n - f - 1)


def _side_by_side(rule: CoordinateRule, n: int, f: int, aggregate: Aggregate) -> Aggregate:
    """The aggregate; of many numbers without a derivative, by the exact reduction, all candidates in one wide block."""

    def wide(X: Tensor) -> Tensor:
        if X.requires_grad or X.numel() < WIDE:
            return aggregate(X)
        return rule.reduction(n, f)(X.transpose(0, 1).reshape(n, -1)).view(len(X), -1)

    return wide


# Rules that select rows.


def _lengths(X: Tensor) -> Tensor:
    """Euclidean lengths along the last dimension, in float64; their derivative at 0 is 0."""
    return torch.linalg.vector_norm(X, dim=-1, dtype=torch.float64)


def _distances(X: Tensor, p: float = 2.0) -> Tensor:
    """(C, n, n) l_p distances without a derivative, 0 between copies."""
    X = X.detach().double()
    lengths = _lengths(X)
    unit = 1.0 if p == 2 else lengths.amax(1)[:, None, None].clamp(min=1e-300)  # powers of 16 must not overflow
    D = torch.cdist(X / unit, X / unit, p, compute_mode="donot_use_mm_for_euclid_dist") * unit
    noise = (lengths[:, :, None] + lengths[:, None]) * ROUNDING
    return torch.where(noise < D, D, 0.0)


def _rows(X: Tensor, indices: Tensor) -> Tensor:
    """(C, k, d) the rows of every candidate with its indices (C, k)."""
    return X.gather(1, indices[:, :, None].expand(-1, -1, X.shape[2]))


def _average(weights: Tensor, X: Tensor) -> Tensor:
    """(C, d) sums of the rows with weights (C, n)."""
    return (weights[:, None].to(X.dtype) @ X)[:, 0]


def _tolerance(X: Tensor) -> float:
    """The relative difference up to which scores are equal, as for the exact rules."""
    return 64 * torch.finfo(torch.promote_types(X.dtype, torch.float32)).eps


def _first(scores: Tensor, tolerance: float) -> Tensor:
    """(C, 1) the index of the lowest score (C, k), of equal ones the first; scores are at least 0."""
    return (scores <= scores.amin(1, keepdim=True) * (1 + tolerance)).byte().argmax(1, keepdim=True)


def _best_row(scores: Scores) -> Aggregate:
    return lambda X: _rows(X, _first(scores(X), _tolerance(X)))[:, 0]


def _best_rows(count: int, scores: Scores) -> Aggregate:
    """The average of the `count` rows with the lowest scores, of equal ones the first."""

    def aggregate(X: Tensor) -> Tensor:
        found = scores(X.detach())
        limit = found.kthvalue(count, 1, keepdim=True).values
        slack = limit.abs() * _tolerance(X)
        below, equal = found < limit - slack, (found - limit).abs() <= slack
        chosen = below | (equal & (equal.cumsum(1) <= count - below.sum(1, keepdim=True)))
        return _average(chosen.to(X.dtype) / count, X)

    return aggregate


def _krum_scores(rule: Krum, n: int, f: int) -> Scores:
    count = min(n - 1, max(1, n - f - NEIGHBOURS[rule.neighbours]))

    def scores(X: Tensor) -> Tensor:
        nearest = _distances(X, rule.p).topk(count + 1, 2, largest=False, sorted=False).values  # its own 0 adds 0
        return nearest.pow(rule.power).sum(2)

    return scores


def _monna(rule: MoNNA, n: int, f: int) -> Aggregate:
    own = torch.arange(n) == rule.trusted  # before any row that is equal to it

    def scores(X: Tensor) -> Tensor:
        return _lengths(X - X[:, rule.trusted, None]).masked_fill(own.to(X.device), -1.0)

    return _best_rows(n - f, scores)


def _aksel(rule: AKSEL, n: int, f: int) -> Aggregate:
    median, count = _median(n), n - f if rule.keep == "n-f" else -(-n // 2)
    return _best_rows(count, lambda X: _lengths(X - median(X)[:, None]))


def _mda(rule: MDA, n: int, f: int) -> Aggregate | None:
    if comb(n, f) > SUBSETS:
        return None
    subsets = torch.tensor(list(combinations(range(n), n - f)))
    i, j = torch.combinations(torch.arange(n - f), with_replacement=True).T
    pairs = subsets[:, i] * n + subsets[:, j]

    def aggregate(X: Tensor) -> Tensor:
        squares = _distances(X).square().flatten(1)
        diameters = [part[:, pairs.to(X.device)].amax(2) for part in squares.split(max(1, AT_ONCE // pairs.numel()))]
        best = _first(torch.cat(diameters), _tolerance(X))[:, 0]
        return _rows(X, subsets.to(X.device)[best]).mean(1)

    return aggregate


# The geometric median.


def _geometric_median(rule: GeometricMedian, n: int, f: int) -> Aggregate | None:
    if rule.p != 2:
        return _median(n) if rule.p == 1 else None
    return _nearest_to_all if rule.iterations is None else _weiszfeld(rule, n, rule.iterations)


def _weiszfeld(rule: GeometricMedian, n: int, iterations: int) -> Aggregate:
    starts: dict[str, Aggregate] = {
        "row": lambda X: _rows(X, _distances(X).sum(2).argmin(1, keepdim=True))[:, 0],
        "median": _median(n),
        "origin": lambda X: torch.zeros_like(X[:, 0]),
    }

    def aggregate(X: Tensor) -> Tensor:
        X = X.double()
        y = starts[rule.start](X)
        for _ in range(iterations):
            y = _average(_share(1 / _lengths(X - y[:, None]).clamp(min=rule.nu)), X)
        return y

    return aggregate


def _share(pulls: Tensor) -> Tensor:
    return pulls / pulls.sum(1, keepdim=True)


def _nearest_to_all(X: Tensor) -> Tensor:
    """The exact geometric median, with the derivative that sum_i (y - x_i) / |y - x_i| = 0 gives it.

    Where it sits on a row, it moves with it; where on copies, with their average.
    """
    X = X.double()
    weights, between = _minimise(X.detach())
    y = _average(weights, X)
    if not (y.requires_grad and len(between)):
        return y
    found = y.detach()[between]
    away = found[:, None] - X[between]
    r = _lengths(away)
    r = r.clamp(min=NEAR * r.detach().median(1, keepdim=True).values)
    resultant = (away / r[..., None]).sum(1)
    return y.index_copy(0, between, found - _newton(away.detach(), r.detach(), resultant - resultant.detach()))


def _minimise(X: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C, n) of the minimum, and the numbers of the candidates where it is not on the best row.

    The steps are those of `geometric_median.minimise`, on coordinates (n are enough) instead of inner products.
    """
    D = _distances(X)
    best = D.sum(2).argmin(1, keepdim=True)
    to_best, Z = _rows(D, best)[:, 0], X - _rows(X, best)
    if Z.shape[2] > Z.shape[1]:
        Z = torch.linalg.qr(Z.mT, mode="r").R.mT
    here = (to_best == 0).double()
    pull, copies = torch.where(to_best > 0, 1 / to_best, 0.0), here.sum(1)
    resultant = _average(pull, Z)
    length = _lengths(resultant)
    weights = _share(here)
    between = (length > copies * (1 + NEAR)).nonzero()[:, 0]  # rows on a line can pull as much as the best one holds
    if len(between):
        start = resultant * ((1 - copies / length) / pull.sum(1))[:, None]
        weights = weights.index_copy(0, between, _descend(Z[between], to_best[between], start[between]))
    return weights, between


def _descend(Z: Tensor, to_best: Tensor, y: Tensor) -> Tensor:
    """Weights of the minimum by Newton steps from y, a Weiszfeld step where it falls further; the best row is 0."""
    floor = NEAR * torch.where(to_best > 0, to_best, torch.inf).amin(1, keepdim=True)
    gain, r = (found[:, 0] for found in _gain(Z, to_best, y[:, None]))
    for _ in range(STEPS):
        before, away, r = gain, y[:, None] - Z, r.maximum(floor)
        newton = y - _newton(away, r, (away / r[..., None]).sum(1))
        candidates = torch.stack([newton, _average(_share(1 / r), Z)], 1)
        gains, distances = _gain(Z, to_best, candidates)
        better = gains.argmax(1, keepdim=True)
        gain, r, y = gains.gather(1, better)[:, 0], _rows(distances, better)[:, 0], _rows(candidates, better)[:, 0]
        if not (gain > before + NEAR * _lengths(y)).any():
            break
    return _share(1 / r.maximum(floor))


def _gain(Z: Tensor, to_best: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the sum of distances falls from 0 to the points Y (C, k, d), and the distances (C, k, n) to them.

    Each row's share is a difference of squares over a sum, so that a far row does not drown the others.
    """
    Y, Z = Y[:, :, None], Z[:, None]
    distances = _lengths(Y - Z)
    fall = ((2 * Z - Y) * Y).sum(-1)
    return (fall / (distances + to_best[:, None])).sum(-1).nan_to_num(nan=-torch.inf), distances


def _newton(Z: Tensor, r: Tensor, v: Tensor) -> Tensor:
    """The inverse Hessian of sum_i |z_i| times v (C, d), by the smaller of two systems; r (C, n) are the lengths.

    The Hessian is s I - A^T A with s = sum 1/r_i and rows a_i = z_i / r_i^(3/2).
    """
    n, d = Z.shape[1:]
    A, s = Z / r.pow(1.5)[..., None], (1 / r).sum(1, keepdim=True)
    ridged = (s * (1 + RIDGE))[..., None] * torch.eye(min(n, d), dtype=Z.dtype, device=Z.device)
    if d <= n:
        return torch.linalg.solve_ex(ridged - A.mT @ A, v).result
    bent = torch.linalg.solve_ex(ridged - A @ A.mT, _products(A, v)).result
    return (v + _average(bent, A)) / s


def _products(Z: Tensor, v: Tensor) -> Tensor:
    """(C, n) inner products of the rows with vectors (C, d)."""
    return (Z @ v[..., None])[..., 0]


# CAF.


def _caf(rule: CAF, n: int, f: int) -> Aggregate:
    def aggregate(X: Tensor) -> Tensor:
        X = X.double()
        c = torch.ones_like(X[:, :, 0])
        best, narrowest = c / n, torch.full_like(c[:, :1], torch.inf)
        for _ in range(2 * f):
            outlying, variance = _spread(X, c)
            better = variance < narrowest
            best, narrowest = torch.where(better, _share(c), best), torch.where(better, variance, narrowest)
            most = torch.where(c > 0, outlying, 0.0).amax(1, keepdim=True)
            left = 1 - outlying / torch.where(most > 0, most, 1.0)
            shrunk = c * torch.where(left > NEAR, left, 0.0)
            c = torch.where(shrunk.sum(1, keepdim=True) > n - 2 * f, shrunk, c)
        return _average(best, X)

    return aggregate


def _spread(X: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """(C, n) squared projections on the direction of largest variance under weights c, and that variance (C, 1).

    The direction v has the derivative of an eigenvector, dv = (variance I - S)^+ dS v. With rows a_j along the
    principal directions, of squared length their variance, S is sum_j a_j a_j^T, and the inverse of such terms, too.
    """
    w = _share(c)
    Z = X - _average(w, X)[:, None]
    rooted = w.detach().sqrt()[..., None] * Z.detach()
    values, vectors = torch.linalg.eigh(rooted @ rooted.mT)
    A, variance = vectors.mT @ rooted, values[:, -1:]
    apart = variance > ROUNDING**2 * (w * _lengths(X).square()).sum(1, keepdim=True)
    scale = torch.where(apart, variance, torch.inf)
    gap = scale - values[:, :-1]
    terms = torch.cat([1 / torch.where(gap > ROUNDING * scale, gap, torch.inf), -1 / scale], 1) / scale
    v = A[:, -1] / scale.sqrt()
    Sv = _average(w * _products(Z, v), Z)
    change = Sv - Sv.detach()
    v = v + change / scale + _average(terms * _products(A, change), A)
    return _products(Z, v).square(), torch.where(apart, variance, 0.0)


# Mixings, in float64: mixtures of the same rows then differ by less than the distances resolve.


def _nnm(mixing: NNM, n: int, f: int) -> Mix:
    def mix(X: Tensor, generator: Generator | None) -> Tensor:
        D = _distances(X)
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
    return lambda X, generator: _shortened(X, _lengths(X).kthvalue(n - clipped, 1, keepdim=True).values)


def _shortened(X: Tensor, bound: float | Tensor) -> Tensor:
    """The rows, those longer than a bound shortened to it."""
    lengths = _lengths(X)
    longer = lengths > bound
    return X * torch.where(longer, bound / torch.where(longer, lengths, 1.0), 1.0)[..., None]


RULES: dict[type[Rule], Callable[[Any, int, int], Aggregate | None]] = {
    Mean: lambda rule, n, f: lambda X: X.mean(1),
    Median: lambda rule, n, f: _median(n, rule.even),
    TrimmedMean: _trimmed_mean,
    MeaMed: lambda rule, n, f: _of_nearest(n, n - f, (n - 1) // 2, n // 2),
    Phocas: lambda rule, n, f: _of_nearest(n, n - f, f, n - f - 1),
    NearestToMedian: lambda rule, n, f: _of_nearest(n, max(1, n - 2 * f), (n - 1) // 2, n // 2),
    SignMajority: lambda rule, n, f: lambda X: X.sign().sum(1).sign(),
    Krum: lambda rule, n, f: _best_row(_krum_scores(rule, n, f)),
    MultiKrum: lambda rule, n, f: _best_rows(rule._count(n, f), _krum_scores(rule, n, f)),
    Medoid: lambda rule, n, f: _best_row(lambda X: _distances(X).sum(2)),
    MoNNA: _monna,
    AKSEL: _aksel,
    CGE: lambda rule, n, f: _best_rows(n - f, _lengths),
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
    Clipping: lambda mixing, n, f: lambda X, generator: _shortened(X, mixing.bound),
    ARC: _arc,
}
