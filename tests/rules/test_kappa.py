"""The bounds that are claimed for rules, beside the worst of many inputs on a line and in the plane."""

from itertools import combinations

import pytest
import torch

from turncoat.rules import rule

RULES = ["median", 'median(even="lower")', "trimmed_mean", "krum", "krum(neighbours=n-f-1)", "geometric_median"]
CHAINS = ["nnm >> trimmed_mean", "nnm >> median"]


def ratio(X, vector, f):
    """The largest over all sets of n - f rows."""
    worst = 0.0
    for out in combinations(range(len(X)), f):
        rows = X[[i for i in range(len(X)) if i not in out]]
        mean = rows.mean(0)
        spread = float((rows - mean).square().sum(1).mean())
        apart = float((vector - mean).square().sum())
        worst = max(worst, apart / spread if spread > 1e-12 else 0.0 if apart < 1e-12 else float("inf"))
    return worst


@pytest.mark.filterwarnings("ignore:.* has no guarantee")
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(("n", "f"), [(5, 1), (6, 2), (7, 2), (9, 3)])
@pytest.mark.parametrize("spelling", [*RULES, *CHAINS])
def test_no_input_is_worse_than_the_bound(spelling, n, f, d):
    made, stream = rule(spelling.replace("n-f-1", '"n-f-1"'), f=f), torch.Generator().manual_seed(n)
    bound, worst = made.kappa(n, f), 0.0
    if bound is None:
        pytest.skip("no bound is claimed")
    for k in range(100):
        X = torch.randn((n, d), generator=stream, dtype=torch.float64)
        X = X.round() if k % 3 == 0 else X  # ties
        X[n - f :] = X[n - f :] * 3 if k % 2 else X[n - f] + (k % 7) * X[:1]
        worst = max(worst, ratio(X, made(X), f))
    assert worst <= bound * (1 + 1e-9)


def test_the_trimmed_mean_reaches_the_bound_below_which_no_rule_is():
    X = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0]], dtype=torch.float64)
    made = rule("trimmed_mean", f=2)
    assert ratio(X, made(X), 2) == pytest.approx(made.kappa(5, 2)) == pytest.approx(2.0)
