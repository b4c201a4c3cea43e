"""Other projects that have robust aggregation rules: what there is, what it is told of n and f, how it is called.

They are imported where one of their rules is made or listed, and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from turncoat.errors import SpecError

Factory = Callable[..., Any]
MARGIN = 0.25  # of a worker, in a fraction that its reader multiplies by n and rounds down to f


class Peer(ABC):
    """Another project."""

    package: ClassVar[str]
    """As it is imported, and as pip knows it."""
    classical: ClassVar[str] = ""
    """The aggregator before which each pre-aggregator is listed."""
    spelled: ClassVar[dict[str, str]] = {}
    """How those are listed that need an argument, or do nothing with their defaults."""
    remembers: ClassVar[frozenset[str]] = frozenset()
    """Those whose attributes carry something from one call to the next."""

    @abstractmethod
    def aggregators(self) -> dict[str, Factory]:
        """By name; raises `SpecError` where the project is not installed."""

    def mixings(self) -> dict[str, Factory]:
        """Pre-aggregators by name."""
        return {}

    def known(self, n: int, f: int) -> dict[str, Any]:
        """What parameters of these names are given."""
        return {"f": f}

    def listed(self, n: int, f: int) -> Iterator[str]:
        """What there is to stress: each aggregator, and each pre-aggregator before the trimmed mean."""
        yield from (self.spelled.get(name, name) for name in self.aggregators())
        yield from (f"{self.spelled.get(name, name)} >> {self.classical}" for name in self.mixings())

    def rows(self, X: Any) -> Any:
        """A matrix in the form that the project takes."""
        return X

    def mix(self, mixing: Any, rows: Any) -> Any:
        """What a pre-aggregator makes of rows."""
        return mixing(rows)

    def aggregate(self, aggregator: Any, rows: Any) -> Any:
        """What an aggregator makes of rows."""
        return aggregator(rows)


class ByzFL(Peer):
    """byzfl's classes, called with tensors."""

    package, classical = "byzfl", "TrMean"
    spelled: ClassVar = {"Bucketing": "Bucketing(s=2)"}
    remembers = frozenset({"CenteredClipping"})

    def aggregators(self) -> dict[str, Factory]:
        return self._classes("byzfl.aggregators.aggregators")

    def mixings(self) -> dict[str, Factory]:
        return self._classes("byzfl.aggregators.preaggregators")

    def _classes(self, module: str) -> dict[str, Factory]:
        with _bare(self.package):  # its `__init__` asks for what plots and for image data sets
            return _classes(_imported(self.package, module))


class ByzPy(Peer):
    """byzpy's classes, called with lists of tensors."""

    package, classical = "byzpy", "CoordinateWiseTrimmedMean"
    spelled: ClassVar = {
        "CenteredClipping": "CenteredClipping(c_tau=10)",
        "Bucketing": "Bucketing(bucket_size=2)",
    }

    def aggregators(self) -> dict[str, Factory]:
        kinds = ("coordinate_wise", "geometric_wise", "norm_wise")
        found = (_classes(_imported(self.package, f"byzpy.aggregators.{kind}")) for kind in kinds)
        return {name: factory for classes in found for name, factory in classes.items()}

    def mixings(self) -> dict[str, Factory]:
        return _classes(_imported(self.package, "byzpy.pre_aggregators"))

    def known(self, n: int, f: int) -> dict[str, Any]:
        return {"f": f, "q": n - f}

    def rows(self, X: Any) -> Any:
        return list(X)

    def mix(self, mixing: Any, rows: Any) -> Any:
        return mixing.pre_aggregate(rows)

    def aggregate(self, aggregator: Any, rows: Any) -> Any:
        return aggregator.aggregate(rows)


class Reply:
    """What one of Flower's clients answers: its row as the only layer, from one example."""

    def __init__(self, row: np.ndarray, app: ModuleType) -> None:
        arrays, metrics = app.ArrayRecord([row]), app.MetricRecord({"num-examples": 1})
        self.content = app.RecordDict({"arrays": arrays, "metrics": metrics})

    def has_error(self) -> bool:
        return False


class Flower(Peer):
    """Flower's strategies by their classes, and the older functions on lists of arrays by their own names."""

    package = "flwr"
    strategies = ("FedAvg", "FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan")
    functions = ("aggregate", "aggregate_median", "aggregate_trimmed_avg", "aggregate_krum")

    def aggregators(self) -> dict[str, Factory]:
        logging.getLogger("flwr").setLevel(logging.ERROR)  # a strategy says something in every round
        newer = _imported(self.package, "flwr.serverapp.strategy")
        older = _imported(self.package, "flwr.server.strategy.aggregate")
        bulyan = partial(older.aggregate_bulyan, aggregation_rule=older.aggregate_krum, to_keep=0)
        functions = {name: getattr(older, name) for name in self.functions} | {"aggregate_bulyan": bulyan}
        found = {name: getattr(newer, name) for name in self.strategies}
        return found | {name: _awaiting_rows(function) for name, function in functions.items()}

    def known(self, n: int, f: int) -> dict[str, Any]:
        share = (f + MARGIN) / n
        counts = {"num_malicious_nodes": f, "num_malicious": f}
        return counts | {"beta": share, "proportiontocut": share, "to_keep": 0}  # its own strategy's default

    def listed(self, n: int, f: int) -> Iterator[str]:
        spelled = {"MultiKrum": f"MultiKrum(num_nodes_to_select={n - f})"}
        yield from (spelled.get(name, name) for name in self.aggregators())
        yield f"aggregate_krum(to_keep={n - f})"

    def rows(self, X: Any) -> Any:
        return list(np.asarray(X))

    def aggregate(self, aggregator: Any, rows: Any) -> Any:
        if not hasattr(aggregator, "aggregate_train"):
            return aggregator([([row], 1) for row in rows])[0]
        app = _imported(self.package, "flwr.app")
        arrays, _ = aggregator.aggregate_train(1, [Reply(row, app) for row in rows])
        if arrays is None:
            raise ValueError(f"{type(aggregator).__name__} skips the round: too few workers for its f")
        return arrays.to_numpy_ndarrays()[0]


PEERS: dict[str, Peer] = {peer.package: peer for peer in (ByzFL(), ByzPy(), Flower())}


@cache
def code_of(package: str) -> dict[str, str]:
    """sha256 over a package's Python files, by its name and version."""
    digest = hashlib.sha256()
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    try:
        return {f"{package} {version(package)}": digest.hexdigest()}
    except PackageNotFoundError:
        return {package: digest.hexdigest()}


def _awaiting_rows(function: Callable[..., Any]) -> Factory:
    """A constructor for a function of rows and other arguments: it takes these, and makes what takes the rows."""

    def factory(**arguments: Any) -> Callable[[Any], Any]:
        return partial(function, **arguments)

    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1:]
    factory.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return factory


def _classes(module: ModuleType) -> dict[str, Factory]:
    """The classes that a module, or a package and what is in it, defines and that can be made."""
    return {
        name: each
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__.startswith(module.__name__) and not inspect.isabstract(each)
    }


def _imported(package: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        why = "is not installed" if error.name == package else f"cannot be imported, {error}"
        raise SpecError(f"{package} {why}: pip install {package}") from error


@contextmanager
def _bare(package: str) -> Iterator[None]:
    """Let modules of a package be imported without what its own `__init__` imports, and leave no trace of that."""
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None:
        yield
        return
    bare = sys.modules[package] = ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations or ())
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
