"""What a model that trains on a rule's aggregate tells its user."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _NormBase

from turncoat.ddp.reduce import Reducer
from turncoat.ddp.verdict import Verdict, Watch
from turncoat.rules.base import Rule


class Handle:
    """What `make_robust` returns: the verdict of each step, the suspicion of each rank."""

    def __init__(self, model: nn.Module, rule: Rule, median: Reducer) -> None:
        self.rule = rule
        """The rule."""
        self.verdict: Verdict | None = None
        """Of the last step, the same on every rank; None before the first step."""
        self._model = weakref.ref(model)
        self._median = median
        self._watch = Watch(median.group.n)

    @property
    def suspicion(self) -> Tensor:
        """(n,) how suspect each rank has been of late: 1 after many steps as a suspect, 0 after many without."""
        return self._watch.suspicion.clone()

    def settle_buffers(self) -> None:
        """Give all ranks the coordinate-wise median of their running statistics of batch normalisation.

        Each rank has statistics of its own where none are broadcast. Every rank calls it, before the model is evaluated
        or saved.
        """
        model = self._model()
        layers = [layer for layer in model.modules() if isinstance(layer, _NormBase)] if model is not None else []
        statistics = [s for layer in layers for s in (layer.running_mean, layer.running_var) if s is not None]
        if statistics:
            whole = self._median(torch.cat([one.reshape(-1) for one in statistics])).vector
            for one, settled in zip(statistics, whole.split([one.numel() for one in statistics]), strict=True):
                one.copy_(settled.view(one.shape))

    @property
    def _step(self) -> int:
        """The number of the step that is under way."""
        return 0 if self.verdict is None else self.verdict.step + 1

    def _see(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self._watch.see(verdict)


def layers_passing_by(model: nn.Module) -> Iterator[str]:
    """What a model's layers would do beside the rule, and what to do about it."""
    if any(isinstance(layer, SyncBatchNorm) for layer in model.modules()):
        yield (
            "SyncBatchNorm adds up all ranks' activations in the forward pass, where one rank is enough to spoil them: "
            "use BatchNorm with broadcast_buffers=False and hook.settle_buffers(), or GroupNorm"
        )
    if any(getattr(layer, "sparse", False) for layer in model.modules()):
        yield "sparse gradients cannot be aggregated: build the embedding with sparse=False"
    if any(p.requires_grad and not p.dtype.is_floating_point for p in model.parameters()):
        yield "complex parameters cannot be aggregated: hold them as torch.view_as_real does"
