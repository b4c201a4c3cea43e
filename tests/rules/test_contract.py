"""What rules accept, in which form they answer, and what they say to bad input."""

import numpy as np
import pytest
import torch
from torch import nn

import turncoat as tc


def test_classes_and_spellings_make_the_same_rules():
    assert tc.rule("nnm >> trimmed_mean", f=5) == tc.NNM(f=5) >> tc.TrimmedMean(f=5)
    assert tc.rule("bucketing(s=3) >> nnm >> median", f=1) == tc.Bucketing(s=3, f=1) >> tc.NNM(f=1) >> tc.Median(f=1)
    assert tc.rule("krum(f=2)") == tc.Krum(f=2)
    for spelling in ("median", 'krum(neighbours="n-f-1")', "bucketing(s=3) >> geometric_median(nu=0.1)"):
        assert str(tc.rule(spelling, f=2)) == spelling


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("medan", "did you mean median or mean"),
        ("krum(k=3)", "krum has no argument 'k'"),
        ("krum(neighbour='n-f')", "did you mean neighbours"),
        ("krum(neighbours='n')", "neighbours is one of n-f-2, n-f-1, n-f"),
        ("krum('n-f', 2, 2, 2)", "at most 3 argument"),
        ("krum('n-f', neighbours='n-f')", "given twice"),
        ("krum >> median", "only a mixing"),
        ("nnm", "is a mixing, not a rule"),
        ("bucketing(s=0) >> mean", "at least 1"),
        ("geometric_median(nu=0)", "above 0"),
        ("centered_clipping(tau=-1)", "above 0"),
        ("", "expected a name"),
        ("krum(", "cannot read"),
        ("krum(**x)", r"\*\*"),
        ("__import__('os').system('true')", "cannot read"),
        ("mean if 1 else median", "cannot read"),
        ("nowhere.py:rule", "there is no file nowhere.py"),
        ("nowhere:rule", "cannot import nowhere"),
        ("numpy:medan", "did you mean"),
    ],
)
def test_bad_spellings_get_one_clear_line(spelling, message):
    with pytest.raises(tc.SpecError, match=message) as error:
        tc.rule(spelling, f=1)
    assert "\n" not in str(error.value)


def test_f_is_checked_against_the_bound_and_the_given_object():
    X = torch.zeros(10, 3)
    with pytest.raises(tc.ToleranceError, match=r"trimmed_mean needs n > 2f.*largest f at n = 10 is 4"):
        tc.TrimmedMean(f=5)(X)
    with pytest.raises(tc.ToleranceError, match=r"bucketing|trimmed_mean needs n > 2f.*n = 5"):
        tc.rule("bucketing >> trimmed_mean", f=3)(X)
    with pytest.raises(tc.SpecError, match="needs f"):
        tc.Krum()(X)
    with pytest.raises(tc.SpecError, match="built with f = 2"):
        tc.rule(tc.Krum(f=2), f=3)
    with pytest.raises(tc.SpecError, match="same f"):
        tc.NNM(f=1) >> tc.Median(f=2)
    with pytest.raises(tc.SpecError, match="whole number"):
        tc.Median(f=-1)
    with pytest.warns(UserWarning, match="no guarantee at n = 2f"):
        tc.Krum(f=4)(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (torch.zeros(3), r"shape \(3,\)"),
        (torch.zeros(0, 3), "nothing to aggregate"),
        (torch.zeros(3, 0), "nothing to aggregate"),
        (torch.zeros(3, 2, dtype=torch.int64), "int64"),
        (np.zeros((3, 2), dtype=bool), "bool"),
        ([], "no vectors"),
        ("vectors", "expected an"),
        (7, "expected an"),
        ([torch.zeros(2), torch.zeros(3)], "ragged vectors: vector 1"),
        ([torch.zeros(2), "x"], "expected vectors of numbers"),
        ([[torch.zeros(2)], [torch.zeros(3)]], "ragged vectors: vector 1 .* layer 0"),
        ([[torch.zeros(2)], [torch.zeros(2), torch.zeros(1)]], "2 layers where vector 0 has 1"),
        ([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}], "other keys"),
        ([{"a": torch.zeros(2, dtype=torch.long)}] * 2, "layer 'a' of vector 0 is of int64"),
    ],
)
def test_input_that_is_no_vectors_gets_one_clear_line(X, message):
    with pytest.raises(tc.InputError, match=message) as error:
        tc.Median()(X)
    assert "\n" not in str(error.value)


def test_the_answer_has_the_form_of_the_question():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)) for _ in range(5)]
    flat = torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models])
    rule = tc.rule("nnm >> trimmed_mean", f=1)
    vector = rule(flat)
    assert torch.allclose(torch.from_numpy(rule(flat.numpy())), vector)
    assert isinstance(rule(flat.numpy()), np.ndarray)
    assert torch.equal(rule(list(flat)), vector)
    assert isinstance(rule(list(flat.numpy())), np.ndarray)
    state = rule([m.state_dict() for m in models])
    assert list(state) == list(models[0].state_dict())
    assert torch.allclose(torch.cat([part.flatten() for part in state.values()]), vector)
    layers = rule([[p.detach() for p in m.parameters()] for m in models])
    assert [part.shape for part in layers] == [p.shape for p in models[0].parameters()]
    models[0].load_state_dict(state)
    mixed = rule([[p.detach()[0].double(), p.detach()[0].half()] for p in flat[:, None].split(1)])
    assert [part.dtype for part in mixed] == [torch.float64, torch.float16]


def test_rules_need_no_gradients_and_no_contiguity():
    X = torch.randn(6, 8, requires_grad=True)
    assert not tc.Median()(X).requires_grad
    columns = torch.randn(8, 6).T
    assert torch.equal(tc.Median()(columns), tc.Median()(columns.contiguous()))
    readonly = np.ones((5, 3))
    readonly.flags.writeable = False
    assert (tc.Median()(readonly) == 1).all()


def test_policies_for_rows_that_are_not_finite():
    X = torch.randn(9, 4)
    X[2] = torch.nan
    assert tc.Median(f=2).explain(X).excluded == (2,)
    with pytest.raises(tc.InputError, match="row 2 of 9"):
        tc.Median(f=2, nonfinite="raise")(X)
    assert torch.isnan(tc.rule("mean", f=2, nonfinite="propagate")(X)).all()
    with pytest.raises(tc.InputError, match=r"row 2 of 9 .* more than the 0"):
        tc.Median(f=0)(X)
    with pytest.raises(tc.InputError, match="rows 0, 1, 2"):
        tc.Median(f=1)(torch.full((3, 2), torch.nan))
    with pytest.raises(tc.SpecError, match="exclude, raise, propagate"):
        tc.Median(nonfinite="ignore")


def test_propagated_rows_never_hang_or_crash_a_rule():
    X = torch.randn(9, 4)
    X[2], X[5, 1] = torch.nan, torch.inf
    for name in ("median", "trimmed_mean", "krum", "multi_krum", "geometric_median", "centered_clipping"):
        for chain in (name, f"nnm >> {name}"):
            assert tc.rule(chain, f=2, nonfinite="propagate")(X).shape == (4,)


def test_centered_clipping_is_not_poisoned_for_ever():
    rule = tc.CenteredClipping(tau=1.0, nonfinite="propagate")
    X = torch.randn(5, 3)
    bad = X.clone()
    bad[0] = torch.nan
    _, state = rule.step(bad, rule.init(X))
    assert torch.isfinite(rule.step(X, state)[0].vector).all()


def test_propagated_rows_are_not_chosen_by_krum():
    X = torch.randn(9, 4)
    X[0], X[5] = 1e6, torch.nan
    for name in ("krum", "multi_krum"):
        found = tc.rule(name, f=2, nonfinite="propagate")(X)
        assert found.norm() < 10


def test_rule_objects_take_the_f_and_the_policy_of_their_use():
    assert tc.rule(tc.NNM() >> tc.TrimmedMean(), f=2) == tc.rule("nnm >> trimmed_mean", f=2)
    with pytest.raises(tc.SpecError, match="built with nonfinite = 'exclude'"):
        tc.rule(tc.Median(), f=1, nonfinite="propagate")


def test_zeros_beside_the_largest_and_smallest_numbers():
    X = torch.zeros(9, 3, dtype=torch.float64)
    for odd in (1.7e308, 1e-320):
        X[8] = odd
        for name in ("trimmed_mean", "krum", "geometric_median", "nnm >> median"):
            assert tc.rule(name, f=1)(X).abs().max() <= 1e-300


def test_vectors_of_mixed_precision():
    rows = [torch.randn(40) for _ in range(6)]
    rows[3] = rows[3].double()
    assert tc.rule("multi_krum", f=1)(rows).dtype == torch.float32


def test_centered_clipping_in_half_precision_remembers():
    X = torch.ones(5, 100_000, dtype=torch.float16)
    _, state = tc.CenteredClipping(tau=1e4).step(X, torch.zeros(100_000, dtype=torch.float16))
    assert torch.equal(state, X[0])


def test_geometric_median_of_single_precision_under_an_offset_and_scattered_traitors():
    X = 1e3 + torch.randn(20, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.06
    X[11:] += 300 * torch.randn(9, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rule = tc.rule("geometric_median", f=9)
    assert (rule(X.float()).double() - rule(X)).norm() < 0.02 * (X[:11] - X[:11].mean(0)).norm(dim=1).mean()


def test_own_rules(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import numpy as np\ndef clipped(X, f, n):\n    return np.clip(X, -f, n).mean(0)\n")
    rule = tc.rule(f"{path}:clipped", f=1)
    X = torch.randn(5, 3)
    assert torch.allclose(rule(X), X.clamp(-1, 5).mean(0))
    assert str(rule) == f"{path}:clipped"
    assert torch.equal(tc.rule(lambda X: X[0])(X), X[0])
    mixed = tc.rule(f"nnm >> {path}:clipped", f=1)
    assert torch.allclose(mixed(X), tc.NNM(f=1)(X).clamp(-1, 5).mean(0))
    with pytest.raises(tc.InputError, match=r"returned shape \(5,\)"):
        tc.rule(lambda X: X[:, 0])(X)
    path.write_text("def clipped(X):\n    return X[0] * 0\n")
    assert (tc.rule(f"{path}:clipped", f=1)(X) == 0).all()  # an edited file is read again
    with pytest.raises(tc.SpecError, match="no 'clip'"):
        tc.rule(f"{path}:clip", f=1)
    (tmp_path / "broken.py").write_text("1/0\n")
    with pytest.raises(tc.SpecError, match="ZeroDivisionError"):
        tc.rule(f"{tmp_path / 'broken.py'}:clip", f=1)


def test_an_own_rule_cannot_write_to_the_rows():
    def vandal(X):
        X.zero_()
        return X[0]

    X = torch.ones(3, 2)
    tc.rule(vandal)(X)
    assert (X == 1).all()
