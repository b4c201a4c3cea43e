import torch
from hypothesis import given
from hypothesis import strategies as st

from turncoat.linalg.networks import Middle, network


@given(n=st.integers(1, 40), data=st.data())
def test_the_middle_ranks_of_every_column_are_found(n, data):
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first, n - 1))
    X = torch.randn(n, 17, generator=torch.Generator().manual_seed(n)).round(decimals=1)  # with ties
    before = X.clone()
    found = torch.stack(Middle(n, first, last)(X)).sort(0).values
    assert torch.equal(found, X.sort(0).values[first : last + 1])
    assert torch.equal(X, before)


def test_zero_one_principle_for_small_networks():
    """A network that sorts all 0-1 inputs sorts everything (Knuth 5.3.4, theorem Z)."""
    for n in range(1, 11):
        X = torch.tensor([[i >> k & 1 for i in range(2**n)] for k in range(n)], dtype=torch.float32)
        for rank in range(n):
            assert torch.equal(Middle(n, rank, rank)(X)[0], X.sort(0).values[rank])


def test_scratch_is_reused_and_blocks_may_shrink():
    middle = Middle(5, 2, 2)
    wide, narrow = torch.randn(5, 100), torch.randn(5, 7)
    middle(wide)
    scratch = middle.scratch
    assert torch.equal(middle(narrow)[0], narrow.median(0).values)
    assert middle.scratch is scratch


def test_pruning_leaves_fewer_exchanges_than_sorting():
    assert len(network(25, 12, 12)) < len(network(25, 5, 19)) < 138  # Batcher's network for 25 has 138 exchanges
