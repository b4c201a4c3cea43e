"""Attacks on a whole pool of rules at once: the worst member decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.attacks.search import logarithmic, maximise
from turncoat.attacks.span import Seen, Span
from turncoat.errors import SpecError
from turncoat.linalg import passes
from turncoat.linalg.rows import Rows
from turncoat.rules import MixTailor

FARTHEST, DECADES, A_DECADE = 1e3, 6, 4
EVALUATIONS = 300
PENALTY = 1e3


@dataclass(frozen=True)
class PoolAttack(Attack):
    """Send what leaves no rule of a pool a step in the honest direction: minimise the largest <aggregate, honest mean>.

    S2, appendix A.4. `form` "P3" sends -lambda times the honest mean and searches lambda (global, then golden section).
    "P2" lets every row be any combination of the mean and the standard deviations, from P3's solution on (Powell).
    "P1" also keeps all rows at least `eps` (in units of the honest vectors' spread) apart, which evades a filter of
    copies. The pool is that of the run's mixtailor, or the run's rule alone, or the rules listed in `pool`. The attack
    succeeds against all of the pool where the largest inner product is negative.
    """

    name = "pool"
    source = "S2 A.4"
    draws = True
    needs_rule = True
    form: str = "P3"
    eps: float = 0.1
    pool: list | None = None

    def __post_init__(self) -> None:
        if self.form not in ("P1", "P2", "P3"):
            raise SpecError(f"form is P1, P2 or P3, got {self.form!r}")
        if not self.eps >= 0:
            raise SpecError(f"eps is a distance, at least 0, got {self.eps}")
        if self.pool is not None:
            object.__setattr__(self, "pool", tuple(self.pool))

    def craft(self, view: View) -> Tensor:
        return self.search(view)[0]

    def search(self, view: View) -> tuple[Tensor, Seen]:
        """The rows, and what the pool makes of them: `worst` is the largest inner product over the mean's square,
        `along` the average one, which bounds what a random draw of the pool does."""
        if self.pool is not None:
            view = replace(view, rule=MixTailor(pool=list(self.pool), f=view.f), rule_state=None)
        if view.rule is not None:
            view.rule.check(view.n)
        mean, deviation = passes.mean_and_deviation(Rows.of(view.honest), ddof=1)
        span = Span(view, [torch.zeros_like(mean), mean, deviation])
        scale = max(span.radius**2 / span.length, 1.0) ** 0.5
        best = self._along_mean(span, scale, view.f)
        if self.form != "P3" and float(deviation.double().norm()) > 0:
            best = self._powell(span, best, mean, deviation)
        coefficients = _coefficients(best)
        return span.rows(coefficients), span.exact(coefficients)

    @staticmethod
    def _along_mean(span: Span, scale: float, f: int) -> np.ndarray:
        def score(lam: float) -> float:
            return -span.see(_coefficients(np.array([[-lam, 0.0]] * f))).worst

        return np.array([[-maximise(score, logarithmic(FARTHEST * scale, DECADES, A_DECADE))[0][1], 0.0]] * f)

    def _powell(self, span: Span, start: np.ndarray, mean: Tensor, deviation: Tensor) -> np.ndarray:
        """Rows (f, 2) as multiples of mean and deviation, apart from one another for P1."""
        f = len(start)
        two = torch.stack([mean, deviation]).double()
        gram = (two @ two.T).numpy()
        apart = self.eps * span.radius if self.form == "P1" else 0.0
        spread = (np.arange(f) - (f - 1) / 2) * 1.01 * apart / gram[1, 1] ** 0.5
        start = start + np.stack([np.zeros(f), spread], axis=1)
        nearest: Callable[[np.ndarray], float] = lambda rows: _nearest(rows, gram)  # noqa: E731

        def cost(flat: np.ndarray) -> float:
            rows = flat.reshape(f, 2)
            short = max(0.0, apart - nearest(rows)) / max(apart, 1e-300)
            return span.see(_coefficients(rows)).worst + PENALTY * short**2

        found = minimize(cost, start.ravel(), method="Powell", options={"maxfev": EVALUATIONS}).x.reshape(f, 2)
        better = cost(found.ravel()) < cost(start.ravel()) and nearest(found) >= apart * (1 - 1e-9)
        return found if better else start


def _nearest(rows: np.ndarray, gram: np.ndarray) -> float:
    """The smallest distance between two rows of combinations."""
    if len(rows) < 2:
        return np.inf
    first, second = np.triu_indices(len(rows), 1)
    gaps = rows[first] - rows[second]
    return float(np.sqrt(np.maximum(((gaps @ gram) * gaps).sum(1), 0).min()))


def _coefficients(rows: np.ndarray) -> Tensor:
    """Multiples of mean and deviation as coefficients of the points origin, mean and deviation."""
    some = torch.from_numpy(np.ascontiguousarray(rows)).double()
    return torch.cat([1 - some.sum(1, keepdim=True), some], dim=1)
