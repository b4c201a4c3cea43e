"""turncoat: what can f traitors among n workers do to this training run, and which defence stops them?

    import turncoat as tc

    rule = tc.rule("nnm >> trimmed_mean", f=5)
    vector = rule(gradients)  # (n, d) -> (d,)
    result = tc.train("digits", n=20, f=4, rule=rule, attack="alie(z=8)")

Names are imported when they are first used, so that listing and planning need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turncoat.attacks import (
        ALIE,
        IPM,
        Attack,
        Gaussian,
        LabelFlip,
        MinMax,
        MinSum,
        Nothing,
        SignFlip,
        View,
        attack,
    )
    from turncoat.data.sources import Dataset
    from turncoat.data.splits import Partition, Split
    from turncoat.errors import (
        DataUnavailableError,
        HiddenError,
        InputError,
        ResultError,
        SpecError,
        ToleranceError,
        TurncoatError,
    )
    from turncoat.learning.training import Training, train
    from turncoat.linalg.allocator import tune_allocator
    from turncoat.results.result import Record, Result
    from turncoat.rules import (
        NNM,
        Aggregation,
        Bucketing,
        CenteredClipping,
        GeometricMedian,
        Krum,
        Mean,
        Median,
        Mixing,
        MultiKrum,
        Rule,
        TrimmedMean,
        rule,
    )
    from turncoat.spec import Seeds, Spec

__version__ = "0.1.0"

_HOMES = {
    "turncoat.attacks": "ALIE IPM Attack Gaussian LabelFlip MinMax MinSum Nothing SignFlip View attack",
    "turncoat.data.sources": "Dataset",
    "turncoat.data.splits": "Partition Split",
    "turncoat.errors": "DataUnavailableError HiddenError InputError ResultError SpecError ToleranceError TurncoatError",
    "turncoat.learning.training": "Training train",
    "turncoat.linalg.allocator": "tune_allocator",
    "turncoat.results.result": "Record Result",
    "turncoat.rules": "NNM Aggregation Bucketing CenteredClipping GeometricMedian Krum Mean Median Mixing MultiKrum "
    "Rule TrimmedMean rule",
    "turncoat.spec": "Seeds Spec",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ALIE", "IPM", "NNM", "Aggregation", "Attack", "Bucketing", "CenteredClipping", "DataUnavailableError", "Dataset",
    "Gaussian", "GeometricMedian", "HiddenError", "InputError", "Krum", "LabelFlip", "Mean", "Median", "MinMax",
    "MinSum", "Mixing", "MultiKrum", "Nothing", "Partition", "Record", "Result", "ResultError", "Rule", "Seeds",
    "SignFlip", "Spec", "SpecError", "Split", "ToleranceError", "Training", "TrimmedMean", "TurncoatError", "View",
    "attack", "rule", "train", "tune_allocator",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'turncoat' has no attribute {name!r}")
    thing = getattr(import_module(_HOME[name]), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
