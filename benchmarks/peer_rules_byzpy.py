"""byzpy's rules and attacks behind a pipe. Runs in byzpy's virtual environment."""

from __future__ import annotations

import torch
from byzpy.aggregators.coordinate_wise.mean_of_medians import MeanOfMedians
from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
from byzpy.aggregators.coordinate_wise.trimmed_mean import CoordinateWiseTrimmedMean
from byzpy.aggregators.geometric_wise.geometric_median import GeometricMedian
from byzpy.aggregators.geometric_wise.krum import Krum, MultiKrum
from byzpy.aggregators.geometric_wise.minimum_diameter_average import MinimumDiameterAveraging
from byzpy.aggregators.geometric_wise.monna import MoNNA
from byzpy.aggregators.geometric_wise.smea import SMEA
from byzpy.aggregators.norm_wise import CAF, CenteredClipping, ComparativeGradientElimination
from byzpy.attacks.empire import EmpireAttack
from byzpy.attacks.little import LittleAttack
from byzpy.pre_aggregators.arc import ARC
from byzpy.pre_aggregators.bucketing import Bucketing
from byzpy.pre_aggregators.clipping import Clipping
from byzpy.pre_aggregators.nnm import NearestNeighborMixing
from peer_rules_common import Library, Make, chain


def before_trimmed_mean(mixing, f: int):
    return chain(mixing.pre_aggregate, CoordinateWiseTrimmedMean(f).aggregate)


def before_mean(mixing):
    return chain(mixing.pre_aggregate, torch.stack, lambda X: X.mean(0))


RULES: dict[str, Make] = {
    "median": lambda n, f: CoordinateWiseMedian().aggregate,
    "trimmed_mean": lambda n, f: CoordinateWiseTrimmedMean(f).aggregate,
    "krum": lambda n, f: Krum(f).aggregate,
    "multi_krum": lambda n, f: MultiKrum(f, q=n - f).aggregate,
    "geometric_median": lambda n, f: GeometricMedian().aggregate,
    "centered_clipping": lambda n, f: CenteredClipping(c_tau=10.0, M=1, init="zero").aggregate,
    "monna": lambda n, f: MoNNA(f).aggregate,
    "caf": lambda n, f: CAF(f).aggregate,
    "meamed": lambda n, f: MeanOfMedians(f).aggregate,
    "mda": lambda n, f: MinimumDiameterAveraging(f).aggregate,
    "smea": lambda n, f: SMEA(f).aggregate,
    "cge": lambda n, f: ComparativeGradientElimination(f).aggregate,
    "nnm >> trimmed_mean": lambda n, f: before_trimmed_mean(NearestNeighborMixing(f), f),
    "bucketing >> trimmed_mean": lambda n, f: before_trimmed_mean(Bucketing(2), f),
    "clipping >> trimmed_mean": lambda n, f: before_trimmed_mean(Clipping(2.0), f),
    "arc >> trimmed_mean": lambda n, f: before_trimmed_mean(ARC(f), f),
}
MIXINGS: dict[str, Make] = {
    "nnm >> mean": lambda n, f: before_mean(NearestNeighborMixing(f)),
    "bucketing >> mean": lambda n, f: before_mean(Bucketing(2)),
    "arc >> mean": lambda n, f: before_mean(ARC(f)),
}
ATTACKS: dict[str, Make] = {
    "alie": lambda n, f: lambda honest: LittleAttack(f).apply(honest_grads=honest),
    "ipm": lambda n, f: lambda honest: EmpireAttack(scale=-2.0).apply(honest_grads=honest),
}

if __name__ == "__main__":
    Library(RULES, MIXINGS, ATTACKS, form=list).serve()
