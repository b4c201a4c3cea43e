from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from turncoat.linalg.networks import Ranks, network


@given(n=st.integers(1, 40), data=st.data())
def test_the_middle_ranks_of_every_column_are_found(n, data):
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first, n - 1))
    X = torch.randn(n, 17, generator=torch.Generator().manual_seed(n)).round(decimals=1)  # with ties
    before = X.clone()
    found = torch.stack(Ranks(n, (first, last))(X)).sort(0).values
    assert torch.equal(found, X.sort(0).values[first : last + 1])
    assert torch.equal(X, before)


@given(n=st.integers(1, 40), data=st.data())
def test_groups_of_ranks_are_found(n, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, n), min_size=2)) | {n})
    groups = [(a, b - 1) for a, b in pairwise(cuts)][:: data.draw(st.sampled_from([1, 2]))]
    X = torch.randn(n, 9, generator=torch.Generator().manual_seed(n)).round(decimals=1)
    found, expected = torch.stack(Ranks(n, *groups)(X)), X.sort(0).values
    start = 0
    for first, last in groups:
        stop = start + last + 1 - first
        assert torch.equal(found[start:stop].sort(0).values, expected[first : last + 1])
        start = stop


def test_zero_one_principle_for_small_networks():
    """A network that sorts all 0-1 inputs sorts everything (Knuth 5.3.4, theorem Z)."""
    for n in range(1, 11):
        X = torch.tensor([[i >> k & 1 for i in range(2**n)] for k in range(n)], dtype=torch.float32)
        for rank in range(n):
            assert torch.equal(Ranks(n, (rank, rank))(X)[0], X.sort(0).values[rank])


def test_scratch_is_reused_and_blocks_may_shrink():
    middle = Ranks(5, (2, 2))
    wide, narrow = torch.randn(5, 100), torch.randn(5, 7)
    middle(wide)
    scratch = middle.scratch
    assert torch.equal(middle(narrow)[0], narrow.median(0).values)
    assert middle.scratch is scratch


def test_pruning_leaves_fewer_exchanges_than_sorting():
    assert len(network(25, ((12, 12),))) < len(network(25, ((5, 19),))) < 138  # in all of Batcher's
