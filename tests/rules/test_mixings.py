"""What mixings make of the rows and of f."""

from dataclasses import dataclass

import pytest
import torch

import turncoat as tc
from turncoat.rules import Rule
from turncoat.rules.base import Outcome


def cloud(n=11, d=30, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Seen(Rule):
    """A rule that says what it was given: n and f."""

    name = "seen"

    def outcome(self, look, state):
        return Outcome(
            look.combine(torch.full((look.n,), 1.0 / look.n, dtype=torch.float64)),
            diagnostics={"n": look.n, "f": look.f},
        )


def given(mixing, X):
    found = (mixing >> Seen(f=mixing.f)).explain(X).diagnostics
    return found["n"], found["f"]


def test_bucketing_averages_disjoint_buckets_of_all_rows():
    for n, s in [(12, 2), (13, 2), (13, 4), (5, 9)]:
        X = torch.eye(n, dtype=torch.float64)
        for last, count in {"short": -(-n // s), "spread": max(1, n // s)}.items():
            M = tc.Bucketing(s=s, last=last)(X, generator(1))
            assert M.shape == (count, n)
            assert ((M > 0).sum(0) == 1).all()
            assert torch.allclose(M.sum(1), torch.ones(count, dtype=torch.float64))
            sizes = sorted((M > 0).sum(1).tolist())
            assert sizes[1:] == [s] * (count - 1) if last == "short" else sizes[-1] - sizes[0] <= 1
    assert given(tc.Bucketing(s=2, f=2), cloud(13, 3)) == (7, 2)


def test_resampling_uses_every_row_s_times():
    for n, s in [(12, 2), (5, 3), (4, 1)]:
        M = tc.Resampling(s=s)(torch.eye(n, dtype=torch.float64), generator(1))
        assert M.shape == (n, n)
        assert torch.allclose(M.sum(0), torch.ones(n, dtype=torch.float64))
        assert torch.allclose(M.sum(1), torch.ones(n, dtype=torch.float64))
        assert torch.allclose(M * s, (M * s).round())
    twice = [tc.Resampling(s=2)(torch.eye(6), generator(seed)).amax() == 1 for seed in range(30)]
    assert any(twice)  # a group can hold the same row twice
    assert not all(twice)


def test_what_resampling_makes_of_f():
    assert given(tc.Resampling(s=2, f=3), cloud(13, 3)) == (13, 6)
    assert given(tc.Resampling(s=2, f=3, tolerate="f"), cloud(13, 3)) == (13, 3)
    with pytest.raises(tc.ToleranceError, match="f = 6 is too large for n = 12"):
        tc.rule("resampling(s=2) >> median", f=3)(cloud(12, 3))
    X = cloud(13, 3)
    X[0] = torch.nan
    assert given(tc.Resampling(s=2, f=3), X) == (12, 4)
    X[13 - 3 :] = 1e6
    X[0] = 0
    assert tc.rule("resampling(s=2) >> median", f=3)(X).abs().max() < 10


def test_what_the_similarity_filter_drops_and_makes_of_f():
    X = cloud(13, 3)
    assert given(tc.SimilarityFilter(f=3), X) == (13, 3)
    X[10:] = X[10]
    assert given(tc.SimilarityFilter(f=3), X) == (10, 1)  # of three near each other, two at least are Byzantine
    X[11] += 1e-7
    assert given(tc.SimilarityFilter(f=3), X) == (10, 1)
    assert given(tc.SimilarityFilter(f=3, eps=1e-9), X) == (11, 2)
    X[9] = X[10]
    assert given(tc.SimilarityFilter(f=3), X) == (13, 3)  # no more than f may go
    assert given(tc.SimilarityFilter(f=0), X) == (13, 0)


def test_clipping_shortens_long_rows_only():
    X = cloud(9, 5)
    X[3] = 0
    rows = tc.Clipping(bound=2.0)(X)
    norms = X.norm(dim=1)
    assert torch.equal(rows[norms <= 2], X[norms <= 2])
    assert torch.allclose(rows.norm(dim=1), norms.clamp(max=2.0))


def test_how_many_rows_arc_clips():
    X = cloud(10, 5)
    for f, clipped in ((0, 0), (1, 1), (2, 3), (3, 4), (4, 4)):
        rows = tc.ARC(f=f)(X)
        assert int((rows != X).any(1).sum()) == clipped
        assert rows.norm(dim=1).max() == pytest.approx(float(X.norm(dim=1).sort().values[9 - clipped]))
