"""SignGuard: rows of a usual length whose signs agree with those of the majority."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from turncoat.errors import SpecError
from turncoat.rules.base import Decision, WeightRule
from turncoat.rules.look import Look

ROUNDING = 1e-9  # shares of signs that differ do so by more


@dataclass(frozen=True)
class SignGuard(WeightRule):
    """Average the rows of a usual length whose shares of signs cluster together, none longer than the median norm.

    Xu et al. 2022. With M the median norm, rows of norm below `low` M or above `high` M are dropped. So are all outside
    the largest cluster (mean shift) of the shares of positive, zero and negative entries in a random tenth of the
    coordinates. Rows longer than M enter at length M.
    """

    name = "sign_guard"
    source = "Xu et al. 2022"
    uses_f = False
    draws = True
    translates = False
    low: float = 0.1
    high: float = 3.0
    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < 1 < self.high:
            raise SpecError(f"low and high are factors of the median norm around 1, got {self.low} and {self.high}")
        if not 0 < self.share <= 1:
            raise SpecError(f"share is that of the coordinates looked at, above 0 and at most 1, got {self.share}")

    def decide(self, look: Look, state: None) -> Decision:
        norms = look.squared_distances_to(None).sqrt()
        usual = norms.median()
        kept = (norms >= self.low * usual) & (norms <= self.high * usual)
        signs = look.sample(max(1, round(self.share * look.d))).dense().sign()
        shares = torch.stack([(signs == value).double().mean(1) for value in (1, 0, -1)], dim=1).cpu()
        agreeing = kept & _largest_cluster(shares)
        kept = agreeing if agreeing.any() else kept
        factors = torch.where(norms > usual, usual / norms, 1.0)
        return Decision(torch.where(kept, factors, 0.0) / int(kept.sum()), scores=norms * look.unit)


def _largest_cluster(features: Tensor) -> Tensor:
    """(n,) whether a row of the (n, 3) features lies in the largest cluster that mean shift finds."""
    from sklearn.cluster import MeanShift, estimate_bandwidth  # slow to import

    points = features.numpy()
    bandwidth = estimate_bandwidth(points, quantile=0.5)
    if bandwidth < ROUNDING:  # half of the rows or more have the same shares
        labels = np.unique(points, axis=0, return_inverse=True)[1].reshape(-1)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Binning data failed")  # every row is then a seed
            labels = MeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=False).fit(points).labels_
    sizes = np.bincount(labels[labels >= 0])
    return torch.from_numpy(labels == sizes.argmax())
