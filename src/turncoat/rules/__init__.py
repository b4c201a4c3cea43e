"""Aggregation rules: from n vectors, f of them possibly Byzantine, to one."""

from turncoat.rules.base import Aggregation, Chain, Mixing, Rule
from turncoat.rules.build import rule
from turncoat.rules.bulyan import Bulyan
from turncoat.rules.centered_clipping import CenteredClipping
from turncoat.rules.clipping import ARC, Clipping
from turncoat.rules.geometric_median import GeometricMedian
from turncoat.rules.krum import Krum, MultiKrum
from turncoat.rules.linear_scalarization import LinearScalarization
from turncoat.rules.mda import MDA
from turncoat.rules.mean import Mean
from turncoat.rules.median import MeaMed, Median, Phocas, SignMajority, TrimmedMean
from turncoat.rules.mixing import NNM, Bucketing, Resampling, SimilarityFilter
from turncoat.rules.mixtailor import MixTailor
from turncoat.rules.nearest import AKSEL, CGE, Medoid, MoNNA
from turncoat.rules.own import OwnRule
from turncoat.rules.sign_guard import SignGuard
from turncoat.rules.smea import SMEA
from turncoat.rules.spectral import CAF, DnC
from turncoat.rules.zeno import Zeno

__all__ = [
    "AKSEL",
    "ARC",
    "CAF",
    "CGE",
    "MDA",
    "NNM",
    "SMEA",
    "Aggregation",
    "Bucketing",
    "Bulyan",
    "CenteredClipping",
    "Chain",
    "Clipping",
    "DnC",
    "GeometricMedian",
    "Krum",
    "LinearScalarization",
    "MeaMed",
    "Mean",
    "Median",
    "Medoid",
    "MixTailor",
    "Mixing",
    "MoNNA",
    "MultiKrum",
    "OwnRule",
    "Phocas",
    "Resampling",
    "Rule",
    "SignGuard",
    "SignMajority",
    "SimilarityFilter",
    "TrimmedMean",
    "Zeno",
    "rule",
]
