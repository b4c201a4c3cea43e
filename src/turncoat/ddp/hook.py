"""A robust rule in the place of DistributedDataParallel's all-reduce: one line in an existing script."""
# Annotations are not postponed here: torch compares those of a hook with its classes.

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future
from torch.nn.modules.batchnorm import SyncBatchNorm, _NormBase
from torch.nn.parallel import DistributedDataParallel

from turncoat.ddp.group import digest
from turncoat.ddp.reduce import Gap, Parcel, make_reducer
from turncoat.ddp.verdict import Verdict, Watch
from turncoat.errors import NonFiniteError, SpecError
from turncoat.rules.base import Rule
from turncoat.rules.median import Median


@dataclass(frozen=True)
class Layout:
    """Where the gradients of the parameters lie in the buckets; DDP changes it once, after the first step."""

    numels: tuple[int, ...]
    """Of each bucket."""
    places: tuple[tuple[int, int, slice], ...]
    """The number of each parameter, the bucket and the columns in it."""

    def moved(self, wholes: Sequence[Tensor], to: "Layout") -> list[Tensor]:
        """Buckets in another layout from those in this one."""
        pieces = {parameter: wholes[bucket][columns] for parameter, bucket, columns in self.places}
        out = [wholes[0].new_zeros(numel) for numel in to.numels]
        for parameter, bucket, columns in to.places:
            out[bucket][columns] = pieces[parameter]
        return out

    def gaps(self, unused: Tensor) -> list[Gap]:
        """From (n, parameters) whether a rank had no use for a parameter, the columns on which it has no say."""
        absent = unused.ne(0).T.tolist()
        rows = [[rank for rank, yes in enumerate(ranks) if yes] for ranks in absent]
        return [Gap(bucket, columns, rows[parameter]) for parameter, bucket, columns in self.places if rows[parameter]]


class RobustHook:
    """What `make_robust` put into a DDP model: the verdict of each step, the suspicion of each rank.

    All buckets of a step are aggregated together, as one vector, when the last one is there.
    """

    def __init__(
        self,
        ddp_model: DistributedDataParallel,
        rule: str | Rule | Callable[..., Any],
        momentum: float | None,
        mode: str,
        server: int,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        self._reducer = make_reducer(rule, ddp_model.process_group, mode, server)
        self._median = make_reducer(Median(f=self.rule.f), ddp_model.process_group, mode, server)
        self._model = weakref.ref(ddp_model)
        self._parameters = [p for p in ddp_model._module_parameters if p.requires_grad]
        self._number = {parameter: number for number, parameter in enumerate(self._parameters)}
        self._partial = ddp_model.find_unused_parameters or ddp_model.static_graph
        self._momentum, self._momenta = momentum, dict[int, Tensor]()
        self._scaler, self._scale = scaler, 1.0
        self._used = torch.zeros(len(self._parameters), dtype=torch.bool)
        self._layout: Layout | None = None
        self._places: list[tuple[int, int, slice]] = []
        self._buckets: list[tuple[Tensor, Parcel, Future]] = []
        self._watch = Watch(self._reducer.group.n)
        self.verdict: Verdict | None = None
        """Of the last step; None before the first one."""

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self._reducer.rule

    @property
    def suspicion(self) -> Tensor:
        """(n,) how suspect each rank has been of late: 1 after many steps as a suspect, 0 after many without."""
        return self._watch.suspicion.clone()

    def settle_buffers(self) -> None:
        """Give all ranks the coordinate-wise median of their running statistics of batch normalisation.

        For models that are built with `broadcast_buffers=False`: every rank calls it, before the model is evaluated or
        saved.
        """
        model = self._model()
        layers = [layer for layer in model.modules() if isinstance(layer, _NormBase)] if model else []
        statistics = [s for layer in layers for s in (layer.running_mean, layer.running_var) if s is not None]
        if statistics:
            whole = self._median(torch.cat([one.reshape(-1) for one in statistics])).vector
            for one, settled in zip(statistics, whole.split([one.numel() for one in statistics]), strict=True):
                one.copy_(settled)

    def _attach(self, ddp_model: DistributedDataParallel) -> None:
        shapes = repr([(tuple(p.shape), p.dtype) for p in self._parameters])
        described = {"rule": str(self.rule), "f": str(self.rule.f), "mode": type(self._reducer).__name__.lower()}
        options = {"momentum": str(self._momentum), "scaler": str(self._scaler is not None)}
        kinds = {"partial": str(self._partial), "parameters": digest(shapes.encode()).hex()}
        self._reducer.group.agree_on(described | options | kinds, "make_robust")
        ddp_model.register_comm_hook(None, self._take)
        if self._partial:
            for number, parameter in enumerate(self._parameters):
                parameter.register_post_accumulate_grad_hook(lambda _, number=number: self._use(number))

    def _use(self, number: int) -> None:
        self._used[number] = True

    def _take(self, _: object, bucket: dist.GradBucket) -> Future[Tensor]:
        """Send a bucket on its way; the last one completes the step."""
        model = self._model()
        if model is not None and model._join_config.enable:
            raise SpecError(
                "join() lets ranks that have run out of data vote for a gradient of zero: give all ranks the same "
                "number of batches (DistributedSampler(..., drop_last=True)) and leave join() out"
            )
        if bucket.index() == 0:
            self._buckets, self._places = [], []
            self._scale = self._scaler.get_scale() if self._scaler is not None else 1.0
        buffer = bucket.buffer()
        numbers = [self._number[parameter] for parameter in bucket.parameters()]
        for number, gradient in zip(numbers, bucket.gradients(), strict=True):
            start = gradient.storage_offset() - buffer.storage_offset()
            self._places.append((number, bucket.index(), slice(start, start + gradient.numel())))
        if self._scale != 1.0:
            buffer.div_(self._scale)
        if self._momentum is not None and buffer.isfinite().all():
            self._add_momentum(numbers, bucket.gradients())
        future = Future(devices=[buffer.device] if buffer.is_cuda else None)
        self._buckets.append((buffer, self._reducer.send(buffer), future))
        if bucket.is_last():
            self._complete()
        return future

    def _add_momentum(self, numbers: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """m <- momentum m + (1 - momentum) g, which is sent in the place of g; unused parameters' stay as they are."""
        assert self._momentum is not None
        for number, gradient in zip(numbers, gradients, strict=True):
            if self._partial and not self._used[number]:
                continue
            if number not in self._momenta:
                wide = torch.promote_types(gradient.dtype, torch.float32)
                self._momenta[number] = torch.zeros_like(gradient, dtype=wide)
            kept = self._momenta[number]
            gradient.copy_(kept.lerp_(gradient.to(kept.dtype), 1 - self._momentum))

    def _complete(self) -> None:
        buckets, self._buckets = self._buckets, []
        layout = Layout(tuple(len(buffer) for buffer, _, _ in buckets), tuple(self._places))
        before, self._layout = self._layout, layout
        if before is not None and before != layout:
            self._reducer.rearrange(before.numels, lambda wholes: before.moved(wholes, layout))
        note = (~self._used).to(torch.uint8) if self._partial else None
        self._used.zero_()
        step = 0 if self.verdict is None else self.verdict.step + 1
        try:
            finished = self._reducer.finish([parcel for _, parcel, _ in buckets], note, layout.gaps)
        except NonFiniteError as error:
            if self._scaler is None:
                raise
            self.verdict = Verdict(step, excluded=error.rows)  # too large a loss scale; the scaler skips the step
            for buffer, _, _ in buckets:
                buffer.fill_(torch.nan)
        else:
            self.verdict = Verdict.of(step, finished.found, finished.absent)
            for (buffer, _, _), whole in zip(buckets, finished.wholes, strict=True):
                buffer.copy_(whole).mul_(self._scale)
        for buffer, _, future in buckets:
            future.set_result(buffer)
        self._watch.see(self.verdict)


def make_robust(
    ddp_model: DistributedDataParallel,
    rule: str | Rule | Callable[..., Any],
    *,
    momentum: float | None = None,
    mode: str = "sharded",
    server: int = 0,
    scaler: torch.amp.GradScaler | None = None,
) -> RobustHook:
    """Let a DDP model train on what a rule makes of the ranks' gradients, not on their mean; every rank has to call it.

    Call it once, before the first backward pass. The rule sees whole gradients: the buckets of DDP are on their way
    while the backward pass computes, and are aggregated together when the last one is there. A parameter that a rank
    did not use (`find_unused_parameters`) is no vote for zero: that rank abstains on it. `momentum` is each worker's
    own, m <- momentum m + (1 - momentum) g, sent in the place of its gradient. `mode` and `server` as in
    `robust_all_reduce`. With `scaler` the rule sees gradients without the loss scale, and a step in which more ranks
    than f overflow is one that the scaler skips; otherwise it is an error.

    The model's `verdict` and `suspicion` are in what is returned; a rank that stays suspect is worth a SuspectWarning.

    Raises SpecError for a model of which something would pass by the rule, and ToleranceError for an f too large. A
    backward pass raises GroupError where a rank dies or stalls past the group's time-out, NonFiniteError where more
    ranks than f send what is not finite.
    """
    if not isinstance(ddp_model, DistributedDataParallel):
        raise SpecError(f"make_robust takes a DistributedDataParallel model, got {type(ddp_model).__name__}")
    if momentum is not None and not 0 <= momentum < 1:
        raise SpecError(f"momentum is at least 0 and below 1, got {momentum}")
    for reason in _passing_by(ddp_model, mode, server):
        raise SpecError(reason)
    hook = RobustHook(ddp_model, rule, momentum, mode, server, scaler)
    hook._attach(ddp_model)
    return hook


def _passing_by(model: DistributedDataParallel, mode: str, server: int) -> Iterator[str]:
    """What of a model would not go through the rule, and what to do about it."""
    if model.mixed_precision is not None:
        yield "mixed_precision=... brings an all-reduce of its own: use torch.autocast instead"
    if model._comm_hooks:
        yield f"the model has a communication hook already ({model._comm_hooks[0][0].__qualname__}): leave it out"
    if any(hasattr(parameter, "_in_backward_optimizers") for parameter in model._module_parameters):
        yield "an optimiser that runs in the backward pass brings a hook of its own: step it after backward()"
    if model._use_python_reducer:
        yield 'torch._dynamo.config.optimize_ddp = "python_reducer" has no buckets: leave it at its default'
    if model._delay_all_reduce_params:
        yield "delay_all_reduce_named_params are averaged without the hook: leave the option out"
    if getattr(model, "skip_all_reduce_unused_params", False):
        yield "skip_all_reduce_unused_params leaves buckets out on the word of each rank: leave the option out"
    if any(isinstance(layer, SyncBatchNorm) for layer in model.modules()):
        yield (
            "SyncBatchNorm adds up all ranks' activations in the forward pass, where one rank is enough to spoil them: "
            "use BatchNorm with broadcast_buffers=False and hook.settle_buffers(), or GroupNorm"
        )
    if model.broadcast_buffers and model.modules_buffers and (mode, server) != ("server", 0):
        yield (
            "the model's buffers, such as BatchNorm's running statistics, come from rank 0 in every forward pass, and "
            "rank 0 may be the one that lies: build DistributedDataParallel(..., broadcast_buffers=False), and call "
            "hook.settle_buffers() on every rank before you evaluate or save"
        )
    if any(getattr(layer, "sparse", False) for layer in model.modules()):
        yield "sparse gradients cannot be aggregated: build the embedding with sparse=False"
    if any(not p.dtype.is_floating_point for p in model._module_parameters if p.requires_grad):
        yield "complex parameters cannot be aggregated: hold them as torch.view_as_real does"
    if mode == "replicated" and model.find_unused_parameters and not model.static_graph:
        yield (
            "find_unused_parameters adds up around a ring who used what, where one rank can lie to each differently: "
            'mode="replicated" takes static_graph=True'
        )
