"""A robust rule in the place of DistributedDataParallel's all-reduce: one line in an existing script."""
# Annotations are not postponed here: torch compares those of a hook with its classes.

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.fsdp import FSDPModule
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from turncoat.ddp.group import digest
from turncoat.ddp.handle import Handle, layers_passing_by
from turncoat.ddp.reduce import Gap, Parcel, make_reducer
from turncoat.ddp.verdict import Verdict
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


class RobustHook(Handle):
    """In a DDP model: all buckets of a step are aggregated together, as one vector, when the last one is there."""

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
        rule = self._reducer.rule
        super().__init__(ddp_model, rule, make_reducer(Median(f=rule.f), ddp_model.process_group, mode, server))
        self._parameters = [p for p in ddp_model._module_parameters if p.requires_grad]
        self._number = {parameter: number for number, parameter in enumerate(self._parameters)}
        self._partial = ddp_model.find_unused_parameters or ddp_model.static_graph
        self._momentum, self._momenta = momentum, dict[int, Tensor]()
        self._scaler, self._scale = scaler, 1.0
        self._used = torch.zeros(len(self._parameters), dtype=torch.bool)
        self._layout: Layout | None = None
        self._places: list[tuple[int, int, slice]] = []
        self._buckets: list[tuple[Tensor, Parcel, Future]] = []

    def _attach(self, ddp_model: DistributedDataParallel) -> None:
        shapes = repr([(tuple(p.shape), p.dtype) for p in self._parameters])
        described = {"momentum": str(self._momentum), "scaler": str(self._scaler is not None)}
        described |= {"partial": str(self._partial), "parameters": digest(shapes.encode()).hex()}
        self._reducer.group.agree_on(self._reducer.described() | described, "make_robust")
        ddp_model.register_comm_hook(None, self._take)
        if self._partial:
            for number, parameter in enumerate(self._parameters):
                parameter.register_post_accumulate_grad_hook(lambda _, number=number: self._use(number))

    def _use(self, number: int) -> None:
        self._used[number] = True

    def _take(self, _: object, bucket: GradBucket) -> Future[Tensor]:
        """Send a bucket on its way; the last one completes the step."""
        model = self._model()
        if isinstance(model, DistributedDataParallel) and model._join_config.enable:
            raise SpecError(
                "join() lets ranks that have run out of data vote for a gradient of zero: give all ranks the same "
                "number of batches (DistributedSampler(..., drop_last=True)) and leave join() out"
            )
        if bucket.index() == 0:
            self._buckets, self._places = [], []
            self._scale = self._scaler.get_scale() if self._scaler is not None else 1.0
        return self._sent(bucket, bucket.buffer())

    @torch.no_grad()
    def _sent(self, bucket: GradBucket, buffer: Tensor) -> Future[Tensor]:
        numbers = [self._number[parameter] for parameter in bucket.parameters()]
        for number, gradient in zip(numbers, bucket.gradients(), strict=True):
            start = gradient.storage_offset() - buffer.storage_offset()
            self._places.append((number, bucket.index(), slice(start, start + gradient.numel())))
        if self._scale != 1.0:
            buffer.div_(self._scale)
        if self._momentum is not None and buffer.isfinite().all():
            self._add_momentum(numbers, bucket.gradients())
        future = Future(devices=[buffer.device] if buffer.is_cuda else None)
        self._buckets.append((buffer, self._reducer.send(buffer, buffer), future))
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
        try:
            finished = self._reducer.finish([parcel for _, parcel, _ in buckets], note, layout.gaps)
        except NonFiniteError as error:
            if self._scaler is None:
                raise
            verdict = Verdict(self._step, excluded=error.rows)  # too large a loss scale; the scaler skips the step
            for buffer, _, _ in buckets:
                buffer.fill_(torch.nan)
        else:
            verdict = Verdict.of(self._step, finished.found, finished.absent)
            if self._scale != 1.0:
                for buffer, _, _ in buckets:
                    buffer.mul_(self._scale)
        for buffer, _, future in buckets:
            future.set_result(buffer)
        self._see(verdict)


def make_robust(
    model: nn.Module,
    rule: str | Rule | Callable[..., Any],
    *,
    momentum: float | None = None,
    mode: str = "sharded",
    server: int = 0,
    scaler: torch.amp.GradScaler | None = None,
) -> Handle:
    """Let a DDP or FSDP2 model train on what a rule makes of the ranks' gradients, not on their mean.

    Every rank calls it, once, before the first backward pass. The handle that it returns has each step's `verdict` and
    the ranks' `suspicion`; a rank that stays suspect is worth a SuspectWarning.

    In a DistributedDataParallel model the rule sees whole gradients: the buckets are on their way while the backward
    pass computes, and are aggregated together when the last one is there. A parameter that a rank did not use
    (`find_unused_parameters`) is no vote for zero: that rank abstains on it. `momentum` is each worker's own, m <-
    momentum m + (1 - momentum) g, sent in the place of its gradient. `mode` and `server` as in `robust_all_reduce`.
    With `scaler` the rule sees gradients without the loss scale, and a step in which more ranks than f overflow is one
    that the scaler skips; otherwise it is an error.

    FSDP2 (`fully_shard`) reduces its groups of parameters one by one and keeps none of them whole: coordinate-wise
    rules run in it, other ones only where the whole model is one group, and none of the options.

    Raises SpecError for a model of which something would pass by the rule, ToleranceError for an f too large and
    GroupError where the ranks do not fit together. A backward pass raises GroupError where a rank dies or stalls past
    the group's time-out, NonFiniteError where more ranks than f send what is not finite.
    """
    if momentum is not None and not 0 <= momentum < 1:
        raise SpecError(f"momentum is at least 0 and below 1, got {momentum}")
    if isinstance(model, DistributedDataParallel):
        for reason in _passing_by(model, mode, server):
            raise SpecError(reason)
        hook = RobustHook(model, rule, momentum, mode, server, scaler)
        hook._attach(model)
        return hook
    if not isinstance(model, FSDPModule):
        raise SpecError(f"make_robust takes a DistributedDataParallel or fully_shard model, got {type(model).__name__}")
    if momentum is not None or mode != "sharded" or scaler is not None:
        raise SpecError(
            "momentum, mode and scaler need whole gradients, of which an FSDP2 model keeps shards: leave them out, or "
            "use DistributedDataParallel"
        )
    if not hasattr(model, "set_custom_reduce_scatter"):
        raise SpecError(f"the FSDP2 of torch {torch.__version__} takes no other reduce-scatter: use a newer torch")
    from turncoat.ddp.fsdp import RobustReduceScatter  # which older ones cannot import

    return RobustReduceScatter(model, rule)


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
    if model.broadcast_buffers and model.modules_buffers and (mode, server) != ("server", 0):
        yield (
            "the model's buffers, such as BatchNorm's running statistics, come from rank 0 in every forward pass, and "
            "rank 0 may be the one that lies: build DistributedDataParallel(..., broadcast_buffers=False), and call "
            "hook.settle_buffers() on every rank before you evaluate or save"
        )
    yield from layers_passing_by(model)
    if mode == "replicated" and model.find_unused_parameters and not model.static_graph:
        yield (
            "find_unused_parameters adds up around a ring who used what, where one rank can lie to each differently: "
            'mode="replicated" takes static_graph=True'
        )
