"""Other projects' rules by their own names, with stand-ins for the projects; the real ones are tested as peers."""

import random
import sys
from textwrap import dedent

import numpy as np
import pytest
import torch

from turncoat.errors import SpecError
from turncoat.rules import TrimmedMean
from turncoat.stress import adapters
from turncoat.stress.peers import PEERS, code_of

N, F, D = 7, 2, 5
BYZFL = {
    "byzfl/__init__.py": "import torchvision",
    "byzfl/tools.py": "def mean(rows): return rows.mean(0)",
    "byzfl/aggregators/__init__.py": "from .aggregators import *",
    "byzfl/aggregators/aggregators.py": """
        import numpy as np
        import torch
        from byzfl.tools import mean

        class Average:
            def __call__(self, vectors):
                return mean(vectors)

        class TrMean:
            def __init__(self, f=0):
                if not isinstance(f, int):
                    raise ValueError("f must be an integer")
                self.f = f

            def __call__(self, vectors):
                return mean(vectors.sort(0).values[self.f : len(vectors) - self.f])

        class CenteredClipping:
            def __init__(self, m=None, L=1, tau=100.0):
                if not isinstance(tau, float) or not isinstance(L, int):
                    raise ValueError("tau must be a float, L an integer")
                self.m, self.L, self.tau = m, L, tau

            def __call__(self, vectors):
                self.m = vectors.mean(0) if self.m is None else 0.5 * self.m
                return self.m

        class Drawn:
            def __call__(self, vectors):
                import random
                noise = torch.randn(1) + np.random.randn() + random.random()
                return mean(vectors) + noise
    """,
    "byzfl/aggregators/preaggregators.py": """
        class Bucketing:
            def __init__(self, s=1):
                self.s = s

            def __call__(self, vectors):
                return vectors[:: self.s]

        class Clipping:
            def __init__(self, c=2.0):
                self.c = c

            def __call__(self, vectors):
                vectors.clamp_(-self.c, self.c)
                return vectors
    """,
}
BYZPY = {
    "byzpy/__init__.py": "",
    "byzpy/aggregators/__init__.py": "",
    "byzpy/aggregators/coordinate_wise/__init__.py": "from .trimmed_mean import CoordinateWiseTrimmedMean",
    "byzpy/aggregators/coordinate_wise/trimmed_mean.py": """
        import torch

        class CoordinateWiseTrimmedMean:
            def __init__(self, f, *, chunk_size=4):
                self.f = f

            def aggregate(self, gradients):
                assert isinstance(gradients, list)
                return torch.stack(gradients).sort(0).values[self.f : len(gradients) - self.f].mean(0)
    """,
    "byzpy/aggregators/geometric_wise/__init__.py": """
        class MultiKrum:
            def __init__(self, f: int, q: int):
                self.f, self.q = f, q

            def aggregate(self, gradients):
                return gradients[0] * 0 + 10 * self.f + self.q
    """,
    "byzpy/aggregators/norm_wise/__init__.py": """
        class CenteredClipping:
            def __init__(self, *, c_tau: float, init: str = "mean"):
                self.c_tau = c_tau

            def aggregate(self, gradients):
                return gradients[0] * 0 + self.c_tau
    """,
    "byzpy/pre_aggregators/__init__.py": """
        import abc
        import random

        class PreAggregator(abc.ABC):
            @abc.abstractmethod
            def pre_aggregate(self, xs): ...

        class Bucketing(PreAggregator):
            def __init__(self, bucket_size, *, rng=None):
                self.rng = rng or random.Random()

            def pre_aggregate(self, xs):
                return self.rng.sample(xs, 5)
    """,
}
STRATEGIES = ("FedAvg", "FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan")
FLWR = {
    **{f"flwr/{room}__init__.py": "" for room in ("", "server/", "server/strategy/", "serverapp/")},
    "flwr/app.py": """
        class ArrayRecord(list):
            def to_numpy_ndarrays(self):
                return list(self)

        MetricRecord = RecordDict = dict
    """,
    "flwr/serverapp/strategy.py": """
        import numpy as np
        from flwr.app import ArrayRecord

        class FedAvg:
            def __init__(self, fraction_train=1.0):
                pass

            def keep(self, rows):
                return rows.mean(0)

            def aggregate_train(self, server_round, replies):
                assert not any(reply.has_error() for reply in replies)
                assert {reply.content["metrics"]["num-examples"] for reply in replies} == {1}
                return ArrayRecord([self.keep(np.stack([reply.content["arrays"][0] for reply in replies]))]), None

        class FedMedian(FedAvg):
            def keep(self, rows):
                return np.median(rows, 0)

        class FedTrimmedAvg(FedAvg):
            def __init__(self, beta=0.2):
                self.beta = beta

            def keep(self, rows):
                cut = int(self.beta * len(rows))
                return np.sort(rows, 0)[cut : len(rows) - cut].mean(0)

        class Krum(FedAvg):
            def __init__(self, num_malicious_nodes=0):
                self.f = num_malicious_nodes

            def keep(self, rows):
                return rows[self.f]

        class MultiKrum(Krum):
            def __init__(self, num_malicious_nodes=0, num_nodes_to_select=1):
                self.f = num_nodes_to_select

        class Bulyan(Krum):
            def aggregate_train(self, server_round, replies):
                return None, None
    """,
    "flwr/server/strategy/aggregate.py": """
        import numpy as np

        def aggregate(results):
            return [np.mean([weights[0] * count for weights, count in results], axis=0)]

        def aggregate_median(results):
            return [np.median([weights[0] for weights, _ in results], axis=0)]

        def aggregate_trimmed_avg(results, proportiontocut):
            return [results[int(proportiontocut * len(results))][0][0]]

        def aggregate_krum(results, num_malicious, to_keep):
            return [results[(num_malicious + to_keep) % len(results)][0][0]]

        def aggregate_bulyan(results, num_malicious, aggregation_rule, **kwargs):
            return aggregation_rule(results[::-1], num_malicious, **kwargs)
    """,
}


def of_peers():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PEERS}


@pytest.fixture(autouse=True)
def _nothing_is_kept():
    """Peers that are really there are set aside: their classes must not exist twice in the tests after these."""
    code_of.cache_clear()
    real = of_peers()
    for name in real:
        del sys.modules[name]
    yield
    code_of.cache_clear()
    for name in of_peers():
        del sys.modules[name]
    sys.modules.update(real)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    for path, source in (BYZFL | BYZPY | FLWR).items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(name="X")
def rows():
    return torch.randn((N, D), generator=torch.Generator().manual_seed(0)) + 1


def stream(seed):
    return torch.Generator().manual_seed(seed)


def aggregate(name, X, seed=0):
    rule = adapters.make(name, N, F)
    return rule.step(X, rule.init(X), stream(seed), examined=False)[0].vector


def trimmed(X, f=F):
    return X.sort(0).values[f : len(X) - f].mean(0)


@pytest.mark.parametrize("peer", PEERS)
def test_what_is_not_installed_says_how_to_install_it(peer, monkeypatch):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if "site-packages" not in place])
    with pytest.raises(SpecError, match=f"{peer}:Krum: {peer} is not installed: pip install {peer}"):
        adapters.make(f"{peer}:Krum", N, F)
    with pytest.raises(SpecError, match=f"pip install {peer}"):
        adapters.names(peer, N, F)


def test_a_project_that_is_broken_says_why(installed):
    (installed / "byzpy/pre_aggregators/__init__.py").write_text("import no_such_module")
    with pytest.raises(SpecError, match="byzpy cannot be imported, No module named 'no_such_module'"):
        adapters.make("byzpy:MultiKrum", N, F)


def test_other_rules_are_made_as_everywhere(X):
    assert str(adapters.make("nnm >> trimmed_mean", N, F)) == "nnm >> trimmed_mean"
    assert adapters.make(TrimmedMean(f=F), N, F) == TrimmedMean(f=F)
    assert torch.equal(adapters.make(lambda X: X[0], N, F)(X), X[0])
    with pytest.raises(SpecError, match="trimmed_mean"):
        adapters.make("trimed_mean", N, F)


def test_what_there_is_is_listed_and_can_be_made(installed, X):
    assert adapters.names("byzfl", N, F) == [
        *("byzfl:Average", "byzfl:TrMean", "byzfl:CenteredClipping", "byzfl:Drawn"),
        *("byzfl:Bucketing(s=2) >> TrMean", "byzfl:Clipping >> TrMean"),
    ]
    assert adapters.names("byzpy", N, F) == [
        *("byzpy:CoordinateWiseTrimmedMean", "byzpy:MultiKrum", "byzpy:CenteredClipping(c_tau=10)"),
        "byzpy:Bucketing(bucket_size=2) >> CoordinateWiseTrimmedMean",
    ]
    flower = adapters.names("flwr", N, F)
    assert {name.removeprefix("flwr:").partition("(")[0] for name in flower} >= {*STRATEGIES, "aggregate_bulyan"}
    assert "flwr:MultiKrum(num_nodes_to_select=5)" in flower
    for peer in PEERS:
        for name in adapters.names(peer, N, F):
            rule = adapters.make(name, N, F)
            rule.check(N)
            assert str(rule) == name
            assert rule.f == F
            if name != "flwr:Bulyan":
                assert aggregate(name, X).shape == (D,)
    with pytest.raises(SpecError, match="no adapter for 'byzflower'"):
        adapters.names("byzflower", N, F)


def test_they_aggregate_as_they_do_when_called_directly(installed, X):
    clipped = X.clamp(-0.5, 0.5)
    expected = {
        "byzfl:Average": X.mean(0),
        "byzfl:TrMean": trimmed(X),
        "byzfl:TrMean(f=1)": trimmed(X, 1),
        "byzfl:TrMean(1)": trimmed(X, 1),
        "byzfl:CenteredClipping(L=2, tau=10)": X.mean(0),
        "byzfl: Clipping(c=0.5) >> Bucketing(2)>>TrMean(f=1)": trimmed(clipped[::2], 1),
        "byzpy:CoordinateWiseTrimmedMean": trimmed(X),
        "byzpy:MultiKrum": torch.full((D,), 10.0 * F + N - F),
        "byzpy:MultiKrum(q=1)": torch.full((D,), 10.0 * F + 1),
        "byzpy:CenteredClipping(c_tau=3, init=median)": torch.full((D,), 3.0),
        "flwr:FedAvg": X.mean(0),
        "flwr:FedMedian": X.median(0).values,
        "flwr:FedTrimmedAvg": trimmed(X),
        "flwr:FedTrimmedAvg(beta=0.2)": trimmed(X, 1),
        "flwr:Krum": X[F],
        "flwr:MultiKrum": X[1],
        "flwr:aggregate": X.mean(0),
        "flwr:aggregate_median": X.median(0).values,
        "flwr:aggregate_trimmed_avg": X[F],
        "flwr:aggregate_krum": X[F],
        "flwr:aggregate_krum(to_keep=3)": X[F + 3],
        "flwr:aggregate_bulyan": X.flip(0)[F],
    }
    for name, vector in expected.items():
        before = X.clone()
        assert torch.allclose(aggregate(name, X), vector), name
        assert torch.equal(X, before), name


@pytest.mark.parametrize(("n", "f"), [(25, 5), (12, 2), (49, 1), (29, 14), (7, 3)])
def test_a_fraction_trims_f_of_n(n, f):
    assert int(PEERS["flwr"].known(n, f)["beta"] * n) == f
    assert PEERS["flwr"].known(n, f)["beta"] < 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("byzfl:TrMaen", "there is no 'TrMaen': did you mean TrMean"),
        ("byzfl:TrMean(g=1)", "TrMean has no argument 'g': "),
        ("byzfl:TrMean(1, 2)", "takes at most 1 argument"),
        ("byzfl:TrMean(1, f=2)", "argument 'f' is given twice"),
        ("byzfl:TrMean(f=1.5)", "f must be an integer"),
        ("byzfl:Clipping", "Clipping is a pre-aggregator: put an aggregator behind it, such as TrMean"),
        ("byzfl:Average >> TrMean", "Average is an aggregator: only a pre-aggregator can stand before >>"),
        ("byzfl:NNN >> TrMean", "there is no 'NNN': there are Bucketing, Clipping"),
        ("byzpy:CenteredClipping", r"CenteredClipping needs c_tau: write CenteredClipping\(c_tau=...\)"),
        ("flwr:Krumm", "did you mean Krum"),
        ("flwr:FedAvg >> Krum", "FedAvg is an aggregator"),
    ],
)
def test_what_does_not_exist_is_said_in_a_line(installed, name, message):
    with pytest.raises(SpecError, match=message) as seen:
        adapters.make(name, N, F)
    assert str(seen.value).startswith(f"{name}: ")


def test_what_it_is_told_follows_from_the_rows_that_are_left(installed, X):
    X[0] = float("nan")
    assert torch.equal(aggregate("byzpy:MultiKrum", X), torch.full((D,), 10.0 * (F - 1) + (N - 1) - (F - 1)))
    assert torch.allclose(aggregate("byzfl:TrMean", X), trimmed(X[1:], F - 1))


def test_only_what_is_told_n_or_f_saw_it(installed):
    told = {"byzfl:Average": False, "byzfl:TrMean": True, "byzfl:Clipping >> TrMean(f=1)": True, "flwr:FedAvg": False}
    assert {name: adapters.make(name, N, F).uses_f for name in told} == told


@pytest.mark.parametrize("name", ["byzfl:Drawn", "byzpy:Bucketing(2) >> CoordinateWiseTrimmedMean"])
def test_what_is_drawn_follows_from_the_servers_seed(installed, name, X):
    def state():
        return random.getstate(), torch.get_rng_state().tolist(), str(np.random.get_state())

    before = state()
    assert torch.equal(aggregate(name, X, 1), aggregate(name, X, 1))
    assert len({str(aggregate(name, X, seed)) for seed in range(5)}) > 1
    assert state() == before


def test_what_is_remembered_is_the_rules_state(installed, X):
    rule = adapters.make("byzfl:CenteredClipping", N, F)
    start = rule.init(X)
    assert start == [{"m": None, "L": 1, "tau": 100.0}]
    first, after = rule.step(X, start, stream(0))
    second, _ = rule.step(X, after, stream(0))
    again, _ = rule.step(X, after, stream(0))
    assert start == [{"m": None, "L": 1, "tau": 100.0}]
    assert torch.allclose(first.vector, X.mean(0))
    assert torch.allclose(second.vector, 0.5 * X.mean(0))
    assert torch.equal(second.vector, again.vector)
    assert torch.equal(rule(X), first.vector)
    assert adapters.make("byzfl:TrMean", N, F).init(X) is None


def test_a_round_that_is_skipped_is_an_error(installed, X):
    with pytest.raises(ValueError, match="Bulyan skips the round"):
        aggregate("flwr:Bulyan", X)


def test_importing_leaves_nothing_behind(installed):
    adapters.make("byzfl:TrMean", N, F)
    assert not [name for name in sys.modules if name.partition(".")[0] == "byzfl"]


def test_a_rules_files_are_the_users_or_the_projects(installed, monkeypatch):
    (installed / "own.py").write_text("def rule(X):\n    return X[0]\n")
    monkeypatch.chdir(installed)
    assert adapters.files("nnm >> krum") == adapters.files(TrimmedMean()) == {}
    before = adapters.files("own.py:rule"), adapters.files("byzfl:TrMean")
    assert [list(files) for files in before] == [["own.py"], ["byzfl"]]
    for path in ("own.py", "byzfl/tools.py"):
        (installed / path).write_text((installed / path).read_text() + "\n")
    code_of.cache_clear()
    after = adapters.files("own.py:rule"), adapters.files("byzfl:TrMean")
    assert all(one.values() != two.values() and one != two for one, two in zip(before, after, strict=True))
