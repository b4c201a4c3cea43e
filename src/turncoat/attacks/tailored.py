"""Attacks that know the rule and choose their strength by what it would do: AGR-tailored, Fang's on Krum and S2's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View, check_population, mean_row, same_row
from turncoat.attacks.min_max import DIRECTIONS, perturbation
from turncoat.attacks.search import logarithmic, maximise
from turncoat.attacks.span import Span
from turncoat.errors import HiddenError, SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows
from turncoat.rules import Krum

FARTHEST, DECADES, A_DECADE = 1e4, 7, 6  # the range of a search, as for `strongest`
HALVINGS = 60
SMALLEST = 1e-5  # at which Fang et al. stop halving


@dataclass(frozen=True)
class AGRTailored(Attack):
    """Go from the honest mean along a direction as far as the rule still selects the Byzantine rows.

    Shejwalkar and Houmansadr 2021 (AGR-tailored). Of a rule that selects rows, the largest strength at which it selects
    as many crafted ones as it can; of any other rule, the strength that takes the aggregate farthest from the mean.
    Directions as for Min-Max.
    """

    name = "agr_tailored"
    source = "Shejwalkar and Houmansadr 2021"
    draws = True
    needs_rule = True
    direction: str = "std"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise SpecError(f"direction is one of {', '.join(DIRECTIONS)}, got {self.direction!r}")

    def craft(self, view: View) -> Tensor:
        mean, p = perturbation(Rows.of(view.honest), self.direction)
        length = float(p.double().norm())
        if length == 0.0:
            return same_row(mean, view.f)
        span = Span(view, [mean, mean + p])
        at_mean = span.see(on_line([0.0] * view.f)).honest
        selects = at_mean is not None and not (at_mean > 0).all()

        def score(gamma: float) -> float:
            seen = span.see(on_line([gamma] * view.f))
            if not selects or seen.honest is None:
                return seen.distance
            return gamma if _selects_all(seen.honest, view.f) else -1.0

        grid = [0.0, *logarithmic(FARTHEST * max(span.radius / length, 1.0), DECADES, A_DECADE)]
        return span.rows(on_line([maximise(score, grid)[0][1]] * view.f))


def _selects_all(honest: Tensor, f: int) -> bool:
    """Whether a rule that averages m rows takes all f crafted ones, or no others; from the others' weights."""
    taken = honest > 0
    if not taken.any():
        return True
    selected = round(1 / float(honest[taken].max()))
    return int(taken.sum()) <= selected - f


@dataclass(frozen=True)
class FangKrum(Attack):
    """Send minus lambda times the signs of the honest mean, with the largest lambda of a halving that Krum selects.

    Fang et al. 2020, for Krum. Lambda starts at the paper's upper bound and is halved until Krum selects a crafted row.
    The other Byzantine rows lie within `epsilon` times lambda of the first, in every coordinate. `population="own"` is
    the paper's partial knowledge: the Byzantine workers' own vectors stand for the honest ones. Against a rule other
    than Krum it is crafted for Krum all the same.
    """

    name = "fang_krum"
    source = "Fang et al. 2020"
    draws = True
    population: str = "honest"
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        check_population(self.population)
        if not 0 <= self.epsilon < 1:
            raise SpecError(f"epsilon is a share of lambda, at least 0 and below 1, got {self.epsilon}")

    @property
    def needs_own(self) -> bool:
        return self.population == "own"

    def craft(self, view: View) -> Tensor:
        known = view.honest if self.population == "honest" else view.own
        rows = Rows.of(known)
        signs = mean_row(rows).sign()
        krum = replace(view.rule if type(view.rule) is Krum else Krum(), f=view.f)
        lam = _upper_bound(rows, len(known) + view.f, view.f)
        span = Span(replace(view, rule=krum), [torch.zeros_like(signs), -signs], list(known))
        for _ in range(HALVINGS):
            honest = span.see(on_line([lam] * view.f)).honest
            if lam <= SMALLEST or (honest is not None and not (honest > 0).any()):
                break
            lam /= 2
        crafted = same_row(signs * -lam, view.f)
        if self.epsilon == 0:
            return crafted
        noise = torch.rand((view.f - 1, known.shape[1]), generator=view.generator).mul_(2).sub_(1) * self.epsilon * lam
        return torch.cat([crafted[:1], crafted[1:] + noise.to(known)])


@dataclass(frozen=True)
class Tailored(Attack):
    """Turn the aggregate round: send what makes it minus lambda times what it would have been, lambda at its largest.

    S2, appendix A.1, in its eight forms. The target is the aggregate without attack, of the Byzantine workers' own
    vectors and the honest ones; crafted rows are minus a multiple of it, and the multiple is searched for the largest
    pull against the target. `rows="same"` is the paper's suboptimal form, "distinct" gives every row a multiple of its
    own. `form="model"` has the rule aggregate models, the broadcast one less each vector, as in S2's model averaging.
    With partial knowledge, which is a run's `knowledge` or `known` workers of all n (the Byzantine ones included), the
    vectors not seen are replaced by the mean of the known ones.
    """

    name = "tailored"
    source = "S2 A.1"
    draws = True
    needs_rule = True
    form: str = "gradient"
    rows: str = "same"
    known: int | None = None

    def __post_init__(self) -> None:
        if self.form not in ("gradient", "model"):
            raise SpecError(f'form is "gradient" or "model", got {self.form!r}')
        if self.rows not in ("same", "distinct"):
            raise SpecError(f'rows is "same" or "distinct", got {self.rows!r}')
        if self.known is not None and self.known < 1:
            raise SpecError(f"known counts the workers whose vectors are seen, at least f, got {self.known}")

    @property
    def needs_own(self) -> bool:
        return True

    def craft(self, view: View) -> Tensor:
        others, own, origin = self._received(view)
        if view.rule is None:
            raise HiddenError("the rule is hidden: give rule=... or use the attack in a training run")
        state = view.rule.init(others) if view.rule_state is None else view.rule_state
        without, _ = view.rule.step([*own, *others], state, torch.Generator().manual_seed(0), examined=False)
        target = without.vector - origin
        span = Span(view, [origin, origin - target], others, towards=target)
        offset = float(origin.double() @ target.double()) / span.length

        def pull(multiples: list[float]) -> float:
            return offset - span.see(on_line(multiples)).along

        grid = [0.0, *logarithmic(FARTHEST, DECADES, A_DECADE)]
        multiples = [maximise(lambda t: pull([t] * view.f), grid)[0][1]] * view.f
        if self.rows == "distinct":
            multiples = _ascend(pull, multiples)
        crafted = span.rows(on_line(multiples))
        return crafted if self.form == "gradient" else origin - crafted

    def _received(self, view: View) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """What the adversary takes the other workers' rows to be, its own rows, and where the aggregate starts from."""
        seen = [] if view.honest_rows is None else list(view.honest_rows)
        if self.known is not None:
            seen = seen[: max(0, self.known - view.f)]
        own = list(view.own)
        if self.form == "model":
            if view.parameters is None:
                raise HiddenError("the model that was broadcast is missing: give parameters=...")
            seen, own = ([view.parameters - row for row in rows] for rows in (seen, own))
        unseen = view.n - view.f - len(seen)
        mean = mean_row(Rows.of([*own, *seen]))
        origin = view.parameters if self.form == "model" and view.parameters is not None else torch.zeros_like(mean)
        return [*seen, *[mean] * unseen], own, origin


def on_line(multiples: Sequence[float]) -> Tensor:
    """(f, 2) coefficients of rows at these places on the line from a first point, at 0, to a second, at 1."""
    t = torch.tensor(multiples, dtype=torch.float64)
    return torch.stack([1 - t, t], dim=1)


def _ascend(score: Callable[[list[float]], float], start: list[float]) -> list[float]:
    """Improve the numbers one after the other, twice round."""
    best, value = list(start), score(start)
    for i in [*range(len(start))] * 2:

        def of_one(t: float, i: int = i) -> float:
            return score([*best[:i], t, *best[i + 1 :]])

        around = [0.0, *logarithmic(max(abs(best[i]), 1.0) * 10, 2, 4)]
        found, t = maximise(of_one, around)[0]
        if found > value:
            best[i], value = t, found
    return best


def _upper_bound(rows: Rows, n: int, f: int) -> float:
    """Where the halving starts: no larger lambda can be selected by Krum (Fang et al. 2020, theorem 1)."""
    d, nearest = rows.d, max(1, min(rows.n - 1, n - f - 2))
    others = passes.squared_distances(rows, passes.gram(rows)).fill_diagonal_(math.inf)
    least = float(others.sort(1).values[:, :nearest].sum(1).min()) if rows.n > 1 else 0.0
    farthest = float(passes.squared_norms(rows).max()) ** 0.5
    return math.sqrt(least / (max(1, n - 2 * f - 1) * d)) + farthest / math.sqrt(d)
