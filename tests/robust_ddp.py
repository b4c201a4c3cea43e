"""What the ranks of tests/ddp/test_hook.py do: they train a small model with DDP and, beside it, by the definition."""

from __future__ import annotations

import copy
import os
import time
import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from turncoat.ddp import Handle, make_reducer, make_robust
from turncoat.ddp.hook import RobustHook

TINY = 1e-5  # MB a bucket: one for nearly every parameter


class Net(nn.Module):
    """Two layers, with a branch between them that a step may leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(7, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, branch: bool = True) -> Tensor:
        x = torch.tanh(self.first(x.to(self.first.weight.dtype))).to(self.last.weight.dtype)
        return self.last(x + self.branch(x) if branch else x)


def net(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return Net().to(dtype)


def batch(rank: int, step: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + rank)
    return (torch.randn(5, 7, generator=generator) + 0.3 * rank).to(dtype)


def backward(model: Any, x: Tensor, factor: float, branch: bool = True) -> None:
    (factor * model(x, branch).square().mean()).backward()


def gradients(model: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


def flat(model: nn.Module) -> Tensor:
    return torch.cat([gradient.reshape(-1) for gradient in gradients(model)])


def gathered(part: Tensor) -> Tensor:
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return torch.stack(parts)


def follow(
    rank: int,
    rule: str,
    steps: int = 3,
    factors: dict[int, float] | None = None,
    momentum: float | None = None,
    mode: str = "sharded",
    dtype: torch.dtype = torch.float32,
    mixed: bool = False,
    micro: int = 1,
    autocast: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Train through the hook; each step, compare with robust_all_reduce's reducer on the concatenated gradients.

    `factors` multiply the loss of ranks; with `mixed` the first layer is of bfloat16. Returns the largest difference,
    relative to the gradient's norm, the gradients as bytes, and what the hook says.
    """
    model = net(dtype)
    if mixed:
        model.first.to(torch.bfloat16)
    plain = copy.deepcopy(model)
    ddp = DistributedDataParallel(model, **({"bucket_cap_mb": TINY} | options))
    hook = make_robust(ddp, rule, momentum=momentum, mode=mode)
    assert isinstance(hook, RobustHook)
    reducer = make_reducer(rule, None, mode, 0)
    kept: Tensor | None = None
    factor = (factors or {}).get(rank, 1.0)
    difference, seen, layouts = 0.0, b"", set()
    for step in range(steps):
        for one in (ddp, plain):
            one.zero_grad()
            for part in range(micro):
                with (
                    ddp.no_sync() if one is ddp and part < micro - 1 else nullcontext(),
                    torch.autocast("cpu", torch.bfloat16, enabled=autocast),
                ):
                    backward(one, batch(rank, step * micro + part, dtype), factor)
        sent = flat(plain)
        if momentum is not None and sent.isfinite().all():
            kept = torch.zeros_like(sent, dtype=torch.float32) if kept is None else kept
            kept = momentum * kept + (1 - momentum) * sent.float()
            sent = kept.to(dtype)
        expected, found = reducer(sent).vector, flat(model)
        difference = max(difference, float((found - expected).norm() / expected.norm()))
        seen += found.view(torch.uint8).numpy().tobytes()
        layouts.add(str(hook._layout))
        with torch.no_grad():  # both models go on with the same gradient
            for p, q in zip(model.parameters(), plain.parameters(), strict=True):
                p -= 0.1 * p.grad
                q.copy_(p)
    assert hook.verdict is not None
    return {
        "difference": difference,
        "seen": seen,
        "layouts": len(layouts),
        "verdict": said(hook),
        "suspicion": hook.suspicion.tolist(),
    }


def said(hook: Handle) -> dict[str, Any]:
    verdict = hook.verdict
    weights = None if verdict.weights is None else verdict.weights.tolist()
    named = {"suspects": verdict.suspects, "excluded": verdict.excluded, "absent": verdict.absent}
    return {"step": verdict.step, "weights": weights} | named


def unused(
    rank: int,
    absent: list[int],
    static: bool = False,
    mode: str = "sharded",
    rule: str = "median(f=1)",
    factors: dict[int, float] | None = None,
) -> dict[str, Any]:
    """Two steps in which some ranks leave the branch out: its gradient, all ranks' own ones, the whole gradients."""
    model = net()
    ddp = DistributedDataParallel(model, bucket_cap_mb=TINY, find_unused_parameters=not static, static_graph=static)
    hook = make_robust(ddp, rule, mode=mode)
    own = copy.deepcopy(model)
    for step in range(2):
        for one in (ddp, own):
            one.zero_grad(set_to_none=step == 0)  # the second time they are zeros
            backward(one, batch(rank, step), (factors or {}).get(rank, 1.0), branch=rank not in absent)
    return {
        "found": flat(model).numpy(),
        "rows": gathered(flat(own)).numpy(),
        "branch": slice(*np.cumsum([7 * 6 + 6, 6 * 6 + 6]).tolist()),
        "verdict": said(hook),
    }


def one_bad_entry(rank: int, liars: list[int], parameter: str, rule: str) -> dict[str, Any]:
    """A step in which liars' gradients have a nan in one parameter."""
    model = net()
    ddp = DistributedDataParallel(model, bucket_cap_mb=TINY)
    hook = make_robust(ddp, rule)
    own = copy.deepcopy(model)
    if rank in liars:
        model.get_parameter(parameter).register_hook(lambda g: torch.full_like(g, torch.nan))
    for one in (ddp, own):
        backward(one, batch(rank, 0), 1.0)
    return {"found": flat(model).numpy(), "rows": gathered(flat(own)).numpy(), "verdict": said(hook)}


def suspicion(rank: int, steps: int) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = follow(rank, "nnm(f=1) >> trimmed_mean(f=1)", steps, {2: -10.0})
    return found | {"warnings": [str(one.message) for one in caught if one.category.__name__ == "SuspectWarning"]}


def scaled(rank: int, scale: float, overflowing: list[int]) -> list[Any]:
    """Three steps with a loss scale that overflows on some ranks in the second one."""
    model = net()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    ddp = DistributedDataParallel(model, bucket_cap_mb=TINY)
    hook = make_robust(ddp, "centered_clipping(tau=0.01)", scaler=scaler, momentum=0.5)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for step in range(3):
        optimiser.zero_grad()
        factor = float("inf") if step == 1 and rank in overflowing else 1.0
        scaler.scale(factor * ddp(batch(rank, step)).square().mean()).backward()
        gradient = (flat(model) / scaler.get_scale()).numpy().tobytes()
        before = model.last.weight.clone()
        scaler.step(optimiser)
        scaler.update()
        found.append((gradient, scaler.get_scale(), not torch.equal(before, model.last.weight), hook.verdict.excluded))
    return found


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def normed(rank: int, mode: str = "sharded", **options: Any) -> dict[str, Any]:
    """A model with BatchNorm, whose statistics rank 2 has blown up and rank 3 has lost."""
    torch.manual_seed(0)
    model = Normed()
    ddp = DistributedDataParallel(model, **options)
    hook = make_robust(ddp, "median(f=1)", mode=mode)
    ddp(batch(rank, 0)).sum().backward()
    norm = model.layers[1]
    if rank == 2:
        norm.running_mean += 1e9
    if rank == 3:
        norm.running_var *= torch.nan
    own = gathered(torch.stack([norm.running_mean, norm.running_var]))
    hook.settle_buffers()
    settled = torch.stack([norm.running_mean, norm.running_var])
    return {"own": own.numpy(), "settled": settled.numpy(), "counted": int(norm.num_batches_tracked)}


class Looked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)


def refused(rank: int, what: str) -> None:
    """Ask for what make_robust refuses."""
    options: dict[str, Any] = {}
    model: nn.Module = net()
    if what == "mixed precision":
        from torch.nn.parallel.distributed import _MixedPrecision

        options["mixed_precision"] = _MixedPrecision(param_dtype=torch.bfloat16)
    elif what == "sparse":
        model = Looked()
    elif what == "complex":
        model = nn.Linear(3, 3, dtype=torch.complex64)
    elif what == "delayed":
        options["delay_all_reduce_named_params"] = [("first.weight", model.first.weight)]
        options["param_to_hook_all_reduce"] = model.last.weight
    elif what in ("replicated", "skipped"):
        options["find_unused_parameters"] = True
        options |= {"skip_all_reduce_unused_params": True} if what == "skipped" else {}
    elif what == "optimiser":
        from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward

        _apply_optimizer_in_backward(torch.optim.SGD, model.parameters(), {"lr": 0.1})
    ddp = DistributedDataParallel(model, **options)
    if what == "twice":
        make_robust(ddp, "median")
    if what == "sync":
        ddp.module.norm = nn.SyncBatchNorm(3)  # which DDP itself takes on GPUs only
    make_robust(ddp, "median(f=1)", mode="replicated" if what == "replicated" else "sharded")


def unlike(rank: int, what: str) -> None:
    """Rank 0 differs from the others."""
    odd = rank == 0
    model = net(torch.float64 if odd and what == "dtype" else torch.float32)
    ddp = DistributedDataParallel(model, init_sync=False)
    make_robust(
        ddp, "krum(f=1)" if odd and what == "rule" else "median", momentum=0.9 if odd and what == "momentum" else None
    )


def joined(rank: int) -> None:
    ddp = DistributedDataParallel(net())
    make_robust(ddp, "median")
    with ddp.join():
        backward(ddp, batch(rank, 0), 1.0)


def failing(rank: int, how: str, pause: float = 0.0) -> float:
    """Rank 1 dies or stalls in the backward pass of the second step; how long the others waited."""
    model = net()
    ddp = DistributedDataParallel(model, bucket_cap_mb=TINY)
    make_robust(ddp, "median(f=1)")
    backward(ddp, batch(rank, 0), 1.0)
    if rank == 1:
        ends = {"dies": lambda _: os._exit(3), "stalls": lambda _: time.sleep(pause), "raises": _raise}
        model.first.weight.register_hook(ends[how])
    started = time.monotonic()
    try:
        backward(ddp, batch(rank, 1), 1.0)
    except Exception as error:
        error.args = (*error.args, time.monotonic() - started)
        raise
    return time.monotonic() - started


def _raise(_: Tensor) -> None:
    raise ArithmeticError("a worker's own error")


def sharded(
    rank: int,
    rule: str,
    factors: dict[int, float] | None = None,
    whole: bool = False,
    reduced: torch.dtype | None = None,
    micro: int = 1,
    lost: bool = False,
) -> dict[str, Any]:
    """Two steps of FSDP2 with a rule: its whole gradient, and all ranks' own ones, of the last one.

    `whole`: as one group of parameters; else the layers' are groups of their own. `lost`: rank 3's gradient
    of the first layer is nan.
    """
    model: Any = net()
    own = copy.deepcopy(model)
    policy = MixedPrecisionPolicy(reduce_dtype=reduced)
    for part in [model] if whole else [model.first, model.branch, model]:
        fully_shard(part, mesh=init_device_mesh("cpu", (dist.get_world_size(),)), mp_policy=policy)
    hook = make_robust(model, rule)
    factor = (factors or {}).get(rank, 1.0)
    if lost and rank == 3:
        for one in (model, own):
            one.branch.register_full_backward_hook(lambda _, into, __: tuple(part * torch.nan for part in into))
    for step in range(2):
        for one in (model, own):
            one.zero_grad()
            for part in range(micro):
                if one is model:
                    model.set_requires_gradient_sync(part == micro - 1)
                backward(one, batch(rank, step * micro + part), factor)
    found = torch.cat([p.grad.full_tensor().reshape(-1) for p in model.parameters()])
    return {
        "found": found.numpy(),
        "rows": gathered(flat(own)),
        "verdict": said(hook),
        "suspicion": hook.suspicion.tolist(),
    }


def unlike_shards(rank: int) -> None:
    """Rank 1 leaves the branch out in the second step."""
    model: Any = net()
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    make_robust(model, "median")
    for step in range(2):
        model.zero_grad()
        backward(model, batch(rank, step), 1.0, branch=step == 0 or rank != 1)


def unfit_shards(rank: int, what: str) -> None:
    """Ask for what make_robust refuses of FSDP2."""
    model: Any = net()
    if what == "replicated":
        fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))
    elif what != "plain":
        fully_shard(model.first)
        fully_shard(model)
    hook = make_robust(model, "krum(f=1)" if what == "gram" else "median", momentum=0.9 if what == "momentum" else None)
    if what == "factor":
        model.set_gradient_divide_factor(3.0)
        backward(model, batch(rank, 0), 1.0)
    assert hook.verdict is None
