"""Aggregation rules: from n vectors, f of them possibly Byzantine, to one."""

from turncoat.rules.base import Aggregation, Chain, Mixing, Rule
from turncoat.rules.build import rule
from turncoat.rules.centered_clipping import CenteredClipping
from turncoat.rules.geometric_median import GeometricMedian
from turncoat.rules.krum import Krum, MultiKrum
from turncoat.rules.mean import Mean
from turncoat.rules.median import Median, TrimmedMean
from turncoat.rules.mixing import NNM, Bucketing
from turncoat.rules.own import OwnRule

__all__ = [
    "NNM",
    "Aggregation",
    "Bucketing",
    "CenteredClipping",
    "Chain",
    "GeometricMedian",
    "Krum",
    "Mean",
    "Median",
    "Mixing",
    "MultiKrum",
    "OwnRule",
    "Rule",
    "TrimmedMean",
    "rule",
]
