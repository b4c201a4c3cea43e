"""The conformance suite finds planted faults: every check can fail."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

import turncoat as tc
from turncoat.rules import Median, Rule
from turncoat.rules.base import Outcome
from turncoat.rules.inputs import read
from turncoat.testing import Check, Report, check_attack, check_rule
from turncoat.testing.rules import CHECKS as RULE_CHECKS


def failures(report):
    return {check.name for check in report.failures}


def trimmed(X, f):
    return X.sort(0).values[f : len(X) - f].mean(0)


def trimmed_in_numpy(X, f):
    return np.sort(np.asarray(X, dtype=np.float64), axis=0)[f : len(X) - f].mean(0)


@pytest.mark.parametrize("rule", [trimmed, trimmed_in_numpy, lambda X: X.median(0).values])
def test_good_callables_pass(rule):
    without = ["dtypes"] if rule is trimmed_in_numpy else []  # NumPy has no bfloat16
    report = check_rule(rule, n=9, f=2, d=12, without=without)
    assert report.passed, str(report)
    assert report["kappa"].status == report["bounds"].status == "not applicable"


# Rules with a fault, and the checks that have to see it.


def biased(X):
    return X.median(0).values + 1


def anchored(X, f):
    """Pulled towards the origin by a share that depends on the distance to it."""
    middle = X.median(0).values
    return middle / (1 + middle.norm())


def first_counts(X):
    return (X.median(0).values + X[0].clamp(-1, 1)) / 2


def writes(X):
    X.sub_(X[0].clone())
    return X.median(0).values


def blanks(X):
    return X.median(0).values * torch.nan


def squares(X):
    return X.median(0).values + 0 * (X**2).mean(0)  # no number where the squares overflow


def averages(X):
    return X.mean(0)


def forgets_its_stream(X):
    return X[int(torch.randint(len(X), ()))]


def raises(X):
    raise ZeroDivisionError("no\nluck")


def raises_where_rows_are_equal(X):
    assert not (X[0] == X).all(), "all rows are equal"
    return X.median(0).values


def of_the_wrong_shape(X):
    return X[:, 0]


def of_no_numbers(X):
    return "median"


def exits(X):
    raise SystemExit(1)


def of_ten_rows_at_most(X):
    return X[:10].median(0).values if len(X) <= 11 else X[:, None]


RULE_FAULTS = {
    "biased": (biased, {"scaling", "hostile rows"}),
    "anchored": (anchored, {"translation", "scaling", "hostile rows"}),
    "first counts": (first_counts, {"permutation", "translation", "scaling", "hostile rows"}),
    "writes": (writes, {"mutation", "translation", "permutation", "breakdown", "hostile rows"}),
    "blanks": (blanks, {"breakdown", "hostile rows", "dtypes", "sizes", "permutation", "translation", "scaling"}),
    "squares": (squares, {"hostile rows"}),
    "averages": (averages, {"breakdown", "hostile rows"}),
    "raises where rows are equal": (raises_where_rows_are_equal, {"hostile rows"}),
    "of ten rows at most": (of_ten_rows_at_most, {"sizes", "permutation"}),
}


@pytest.mark.parametrize("fault", RULE_FAULTS)
def test_planted_faults_are_found_and_nothing_else(fault):
    rule, expected = RULE_FAULTS[fault]
    report = check_rule(rule)
    assert failures(report) == expected, str(report)


def test_a_rule_that_draws_from_elsewhere_is_found():
    assert check_rule(forgets_its_stream)["determinism"].status == "failed"
    kept = check_rule(lambda X, generator: X[int(torch.randint(len(X), (), generator=generator))])
    assert kept["determinism"].status == "passed"


@pytest.mark.parametrize("rule", [raises, of_the_wrong_shape, of_no_numbers, exits])
def test_rules_that_return_nothing_fail_and_do_not_crash_the_suite(rule):
    report = check_rule(rule, reference=trimmed_in_numpy)
    assert failures(report) == {check.name for check in report.checks} - {"kappa", "bounds", "time"}
    assert "\n" not in report.failures[0].detail
    if rule is raises:
        assert report["determinism"].detail == "raised ZeroDivisionError: no"


def spins(X):
    while True:
        X = X + 0


def sleeps(X):
    time.sleep(2)
    return X[0]


def hangs_on_far_rows(X):
    while X.abs().max() > 1e25:
        X = X + 0
    return X.median(0).values


@pytest.mark.parametrize("rule", [spins, sleeps])
def test_a_rule_that_hangs_does_not_hang_the_suite(rule):
    before, started = threading.active_count(), time.perf_counter()
    report = check_rule(rule, seconds=0.1)
    assert time.perf_counter() - started < 30  # a busy machine is no failure
    assert "did not return within 0.1 s" in report["permutation"].detail
    assert "not tried, as 3 calls before did not return" in report["sizes"].detail
    assert report["time"].detail == "3 of 3 calls did not return within 0.1 s"
    deadline = time.monotonic() + 30
    while rule is spins and threading.active_count() > before:  # it is stopped, though not at once
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_rule_that_hangs_now_and_then_is_checked_on():
    report = check_rule(hangs_on_far_rows, seconds=1)
    assert failures(report) == {"breakdown", "hostile rows", "time"}
    assert "at 1e+30 honest spreads" in report["breakdown"].detail
    assert report["determinism"].status == "passed"


@dataclass(frozen=True)
class Faulty(Median):
    """The median with faults that a callable cannot have."""

    name = "faulty"
    fault: str = ""
    memory: list = field(default_factory=list)

    def most(self, n):
        return n if self.fault == "accepts any f" else super().most(n)

    def check(self, n):
        if self.fault == "refuses in its own words" and self.f * 2 >= n:
            raise ArithmeticError("too many")
        super().check(n)

    def kappa(self, n, f):
        return 1e-3 if self.fault == "claims too much" else super().kappa(n, f)

    def init(self, like):
        return {"sum": torch.zeros(read(like)[0].d)} if "state" in self.fault else None

    def outcome(self, look, state):
        found = super().outcome(look, state)
        if self.fault == "writes to its state":
            state["sum"] += 1
        if self.fault == "remembers outside its state":
            self.memory.append(1)
            return Outcome(found.vector + len(self.memory))
        if self.fault == "returns float32":
            return Outcome(found.vector.float())
        if self.fault == "returns another shape":
            return Outcome(found.vector[None])
        return Outcome(found.vector, state=state)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("", set()),
        ("accepts any f", {"bounds"}),
        ("refuses in its own words", {"bounds"}),
        ("claims too much", {"kappa"}),
        ("writes to its state", {"determinism"}),
        ("returns float32", {"dtypes"}),
    ],
)
def test_faults_of_rule_classes(fault, expected):
    report = check_rule(Faulty(f=2, fault=fault))
    assert failures(report) == expected, str(report)


def test_rules_that_remember_or_return_what_they_should_not():
    assert "determinism" in failures(check_rule(Faulty(f=2, fault="remembers outside its state")))
    report = check_rule(Faulty(f=2, fault="returns another shape"))
    assert "returned (1, 30), expected a tensor of shape (30,)" in report["permutation"].detail


def test_a_rule_is_held_to_what_it_says_of_itself():
    @dataclass(frozen=True)
    class Honest(Median):
        """Says that it is nothing."""

        name = "honest"
        permutes = translates = scales = robust = False

        def outcome(self, look, state):
            return Outcome(look.dense()[0].sign())

        def kappa(self, n, f):
            return None

    report = check_rule(Honest(f=2))
    assert report.passed
    assert {check.name for check in report.checks if check.status == "not applicable"} == {
        *("reference", "permutation", "translation", "scaling", "breakdown", "kappa", "bounds"),
    }


def test_agreement_with_a_reference():
    assert check_rule("trimmed_mean", reference=trimmed_in_numpy)["reference"].status == "passed"
    assert failures(check_rule("median", reference=trimmed_in_numpy)) == {"reference"}
    assert "raised" in check_rule("median", reference=lambda X: 1 / 0)["reference"].detail
    rough = check_rule(lambda X: X.float().median(0).values.double(), reference=lambda X: np.median(X, axis=0))
    assert rough["reference"].status == "passed"  # to float32's precision everywhere, which is near enough
    rougher = check_rule(lambda X: X.bfloat16().median(0).values.double(), reference=lambda X: np.median(X, axis=0))
    assert rougher["reference"].status == "failed"


# The report, and what the suite is asked for.


def test_checks_can_be_left_out_by_their_names():
    report = check_rule(biased, without=("scaling", "hostile rows"))
    assert report.passed
    assert report["scaling"] == Check("scaling", "not applicable", "left out by the caller")
    assert check_rule(squares, without="hostile rows").passed
    with pytest.raises(tc.SpecError, match="no check 'permutations' to leave out: did you mean permutation"):
        check_rule("median", without=["permutations"])


def test_a_report_reads_as_a_table_and_as_rows():
    report = check_rule("nnm >> mean", n=9, f=2, d=4)
    lines = str(report).splitlines()
    assert lines[0].startswith("nnm >> mean with n = 9, f = 2, d = 4: ")
    assert len(lines) == 1 + len(RULE_CHECKS) == 1 + len(report.rows())
    assert len({line.index(check.status) for line, check in zip(lines[1:], report.checks, strict=True)}) == 1
    assert report.rows()[-1].keys() == {"name", "status", "detail"}
    with pytest.raises(AttributeError):
        report.title = "another"  # pyright: ignore[reportAttributeAccessIssue]
    bad = Report("", (Check("a", "passed", ""), Check("b", "failed", "")))
    assert not bad.passed
    assert bad.failures == (Check("b", "failed", ""),)


def test_nothing_is_printed_and_the_streams_of_others_are_left_alone(capsys):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    check_rule("bucketing >> median", n=9, f=1)
    check_attack("gaussian")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capsys.readouterr() == ("", "")


def test_rules_that_cannot_be_tried_are_refused():
    with pytest.raises(tc.SpecError, match="did you mean median"):
        check_rule("medan")
    with pytest.raises(tc.ToleranceError, match="bulyan needs n"):
        check_rule("bulyan", n=10, f=2)
    with pytest.raises(tc.SpecError, match="built with f = 3"):
        check_rule(tc.Median(f=3), f=2)
    for wrong in ({"d": 0}, {"seconds": 0}):
        with pytest.raises(tc.SpecError, match="d is at least 1 and seconds are above 0"):
            check_rule("median", **wrong)
    with pytest.raises(tc.SpecError, match="f from 1 to n - 1"):
        check_attack("ipm", n=2, f=2)


def test_small_problems():
    for n, f, d in ((1, 0, 1), (3, 1, 1), (5, 2, 2)):
        assert check_rule("median", n=n, f=f, d=d).passed
        assert check_rule("mean", n=n, f=f, d=d).passed
    assert check_rule("mean", n=4, f=3).passed


def test_rules_with_a_policy_for_what_is_not_finite():
    assert check_rule(tc.rule("median", f=2, nonfinite="raise")).passed
    assert check_rule(tc.rule("median", f=2, nonfinite="propagate")).passed


def test_a_callable_behind_a_mixing():
    assert check_rule(tc.NNM(f=2) >> tc.rule(trimmed, f=2)).passed
    assert "mutation" in failures(check_rule(tc.NNM(f=2) >> tc.rule(writes, f=2)))


def test_every_check_can_fail():
    seen = set().union(*(expected for _, expected in RULE_FAULTS.values()))
    seen |= {"reference", "bounds", "kappa", "dtypes", "determinism", "time"}  # in tests of their own
    assert seen == {check.__name__.replace("_", " ") for check in RULE_CHECKS}


def test_the_suite_is_found_under_the_package():
    assert issubclass(Faulty, Rule)
    assert tc.testing.check_rule is check_rule
