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
    from turncoat import ddp as ddp
    from turncoat import flower as flower
    from turncoat import testing as testing
    from turncoat.attacks import (
        ALIE,
        IPM,
        NLP,
        ROP,
        SSNLP,
        STAB,
        AGRTailored,
        Attack,
        Backdoor,
        BadNets,
        Beam,
        FangKrum,
        FangTrimmedMean,
        Gaussian,
        LabelFlip,
        LookAhead,
        Mimic,
        MinMax,
        MinSum,
        ModelReplacement,
        NonFinite,
        Nothing,
        OneCoordinate,
        OneSided,
        Plan,
        PoolAttack,
        RandomIPM,
        Replay,
        SignFlip,
        Strongest,
        Tailored,
        View,
        attack,
        strongest,
    )
    from turncoat.campaign.run import Finished, plan, run
    from turncoat.data.sources import Dataset
    from turncoat.data.splits import Partition, Split
    from turncoat.errors import (
        BudgetError,
        DataUnavailableError,
        GroupError,
        HiddenError,
        InputError,
        NonFiniteError,
        ResultError,
        SpecError,
        ToleranceError,
        TurncoatError,
    )
    from turncoat.learning.trackers import Tracker
    from turncoat.learning.training import Training, train
    from turncoat.linalg.allocator import tune_allocator
    from turncoat.report.folders import report as report
    from turncoat.results.reading import results as results
    from turncoat.results.result import Planned, Record, Result
    from turncoat.rules import (
        AKSEL,
        ARC,
        CAF,
        CGE,
        MDA,
        NNM,
        SMEA,
        Aggregation,
        Bucketing,
        Bulyan,
        CenteredClipping,
        Clipping,
        DnC,
        GeometricMedian,
        Krum,
        LinearScalarization,
        MeaMed,
        Mean,
        Median,
        Medoid,
        Mixing,
        MixTailor,
        MoNNA,
        MultiKrum,
        Phocas,
        Resampling,
        Rule,
        SignGuard,
        SignMajority,
        SimilarityFilter,
        TrimmedMean,
        Zeno,
        rule,
    )
    from turncoat.spec import Seeds, Spec
    from turncoat.stress.run import stress as stress

__version__ = "0.1.0"

_HOMES = {
    "turncoat.attacks": "ALIE IPM NLP ROP SSNLP STAB AGRTailored Attack Backdoor BadNets Beam FangKrum "
    "FangTrimmedMean Gaussian LabelFlip LookAhead Mimic MinMax MinSum "
    "ModelReplacement NonFinite Nothing OneCoordinate OneSided Plan PoolAttack "
    "RandomIPM Replay SignFlip Strongest Tailored View attack strongest",
    "turncoat.campaign.run": "Finished plan run",
    "turncoat.data.sources": "Dataset",
    "turncoat.data.splits": "Partition Split",
    "turncoat.errors": "BudgetError DataUnavailableError GroupError HiddenError InputError NonFiniteError "
    "ResultError SpecError ToleranceError TurncoatError",
    "turncoat.learning.trackers": "Tracker",
    "turncoat.learning.training": "Training train",
    "turncoat.linalg.allocator": "tune_allocator",
    "turncoat.results.result": "Planned Record Result",
    "turncoat.rules": "AKSEL ARC CAF CGE MDA NNM SMEA Aggregation Bucketing Bulyan CenteredClipping "
    "Clipping DnC GeometricMedian Krum LinearScalarization MeaMed Mean Median Medoid "
    "MixTailor Mixing MoNNA MultiKrum Phocas Resampling Rule SignGuard SignMajority "
    "SimilarityFilter TrimmedMean Zeno rule",
    "turncoat.spec": "Seeds Spec",
}
_ROOMS = ("ddp", "flower", "report", "results", "stress", "testing")
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AKSEL", "ALIE", "ARC", "CAF", "CGE", "IPM", "MDA", "NLP", "NNM", "ROP", "SMEA", "SSNLP", "STAB", "AGRTailored",
    "Aggregation", "Attack", "Backdoor", "BadNets", "Beam", "Bucketing", "BudgetError", "Bulyan", "CenteredClipping",
    "Clipping", "DataUnavailableError", "Dataset", "DnC", "FangKrum", "FangTrimmedMean", "Finished", "Gaussian",
    "GeometricMedian", "GroupError", "HiddenError", "InputError", "Krum", "LabelFlip", "LinearScalarization",
    "LookAhead", "MeaMed", "Mean", "Median", "Medoid", "Mimic", "MinMax", "MinSum", "MixTailor", "Mixing", "MoNNA",
    "ModelReplacement", "MultiKrum", "NonFinite", "NonFiniteError", "Nothing", "OneCoordinate", "OneSided", "Partition",
    "Phocas", "Plan", "Planned", "PoolAttack", "RandomIPM", "Record", "Replay", "Resampling", "Result", "ResultError",
    "Rule", "Seeds", "SignFlip", "SignGuard", "SignMajority", "SimilarityFilter", "Spec", "SpecError", "Split",
    "Strongest", "Tailored", "ToleranceError", "Tracker", "Training", "TrimmedMean", "TurncoatError", "View", "Zeno",
    "attack", "ddp", "plan", "report", "results", "rule", "run", "stress", "strongest", "train", "tune_allocator",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"turncoat.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'turncoat' has no attribute {name!r}")
    thing = getattr(import_module(_HOME[name]), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
