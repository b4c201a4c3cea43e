"""byzfl's rules and attacks behind a pipe. Runs in byzfl's virtual environment."""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

# byzfl imports torchvision for image data sets, which are not used here.
sys.modules |= {name: MagicMock() for name in ("torchvision", "torchvision.datasets", "torchvision.transforms")}

import byzfl  # noqa: E402
from byzfl.aggregators.preaggregators import ARC, NNM, Bucketing, Clipping  # noqa: E402
from peer_rules_common import Library, Make, chain  # noqa: E402

RULES: dict[str, Make] = {
    "mean": lambda n, f: byzfl.Average(),
    "median": lambda n, f: byzfl.Median(),
    "trimmed_mean": lambda n, f: byzfl.TrMean(f),
    "krum": lambda n, f: byzfl.Krum(f),
    "multi_krum": lambda n, f: byzfl.MultiKrum(f),
    "geometric_median": lambda n, f: byzfl.GeometricMedian(),
    "centered_clipping": lambda n, f: byzfl.CenteredClipping(tau=10.0),
    "monna": lambda n, f: byzfl.MoNNA(f),
    "caf": lambda n, f: byzfl.CAF(f),
    "meamed": lambda n, f: byzfl.Meamed(f),
    "mda": lambda n, f: byzfl.MDA(f),
    "smea": lambda n, f: byzfl.SMEA(f),
    "nnm >> trimmed_mean": lambda n, f: chain(NNM(f), byzfl.TrMean(f)),
    "bucketing >> trimmed_mean": lambda n, f: chain(Bucketing(2), byzfl.TrMean(f)),
    "clipping >> trimmed_mean": lambda n, f: chain(Clipping(2.0), byzfl.TrMean(f)),
    "arc >> trimmed_mean": lambda n, f: chain(ARC(f), byzfl.TrMean(f)),
}
MIXINGS: dict[str, Make] = {
    "nnm >> mean": lambda n, f: chain(NNM(f), byzfl.Average()),
    "bucketing >> mean": lambda n, f: chain(Bucketing(2), byzfl.Average()),
    "arc >> mean": lambda n, f: chain(ARC(f), byzfl.Average()),
}
ATTACKS: dict[str, Make] = {
    "alie": lambda n, f: byzfl.ALittleIsEnough(tau=1.5),
    "ipm": lambda n, f: byzfl.InnerProductManipulation(tau=2.0),
    "sign_flip": lambda n, f: byzfl.SignFlipping(),
    "mimic": lambda n, f: byzfl.Mimic(0),
    "strongest(alie)": lambda n, f: byzfl.Optimal_ALittleIsEnough(byzfl.TrMean(f), [NNM(f)], f=f),
}

if __name__ == "__main__":
    Library(RULES, MIXINGS, ATTACKS).serve()
