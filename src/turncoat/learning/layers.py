"""PyTorch's layers, taught what per-worker gradients need of them.

`adopt` turns the plain layers of a model into the ones here, which compute the same. Those with parameters take the
batches of several workers at once and write each worker's gradient into its row, hidden from autograd, which would
only give the sum. Pooling and dropout are merely faster than PyTorch's on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from turncoat.errors import SpecError
from turncoat.learning.models import Constant

SMALL = 2**16  # numbers; up to here a batched product and a copy beat products into rows that stand apart


class Group:
    """The workers that go through a model together, and the rows that their gradients belong to."""

    def __init__(self) -> None:
        self.anchor = torch.zeros((), requires_grad=True)  # gives autograd a reason to come by
        self.on = False
        self.workers = slice(0, 0)
        self.called: set[WorkerLayer] = set()
        self.written: set[WorkerLayer] = set()
        self.outputs = 0

    @property
    def size(self) -> int:
        return self.workers.stop - self.workers.start

    @contextmanager
    def of(self, workers: slice) -> Iterator[Tensor]:
        """Let layers write into the rows of these workers; yields the tensor to call backward for."""
        self.workers, self.on = workers, True
        self.called.clear()
        self.written.clear()
        try:
            yield self.anchor
        finally:
            self.on = False


class _Hidden(torch.autograd.Function):
    """A layer's output as a function of its input alone; on the way back the layer writes its parameters' gradients."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, x: Tensor, layer: WorkerLayer) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        return layer.compute(x)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[None, Tensor | None, None]:
        (x,) = ctx.saved_tensors
        layer, g = cast(WorkerLayer, ctx.layer), ctx.layer.arrange(outputs[0])
        layer.write(x, g)
        layer.group.written.add(layer)
        return None, layer.pull(x, g) if ctx.needs_input_grad[1] else None, None


class WorkerLayer(nn.Module):
    """Base of the layers with parameters; without a group under way, they are plain layers."""

    group: Group
    rows: dict[str, Tensor]
    """For each trainable parameter, its (n, *shape) part of the matrix of gradients."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        group, x = self.group, self.arrange(input)
        if not group.on:
            out = self.compute(x)
            group.outputs += out.numel()
            return out
        if self in group.called:
            raise SpecError(
                f"method grouped cannot train a model that calls a layer twice ({type(self).__name__}): use sequential"
            )
        group.called.add(self)
        return cast(Tensor, _Hidden.apply(group.anchor, x, self))

    def arrange(self, x: Tensor) -> Tensor:
        """The same numbers in the memory layout that suits the layer."""
        return x

    def compute(self, x: Tensor) -> Tensor:
        """The layer's output."""
        raise NotImplementedError

    def write(self, x: Tensor, g: Tensor) -> None:
        """Write the parameters' gradients of each worker of the group, given the input and the output's gradient."""
        raise NotImplementedError

    def pull(self, x: Tensor, g: Tensor) -> Tensor:
        """The gradient of the input."""
        raise NotImplementedError

    def clear(self) -> None:
        """Write zeros: the loss does not depend on this layer."""
        for rows in self.rows.values():
            rows[self.group.workers].zero_()


class _Linear(WorkerLayer, nn.Linear):
    def compute(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def write(self, x: Tensor, g: Tensor) -> None:
        workers, size = self.group.workers, self.group.size
        g = g.reshape(size, -1, self.out_features)
        if "weight" in self.rows:
            x, rows = x.reshape(size, -1, self.in_features), self.rows["weight"][workers]
            if self.weight.numel() < SMALL:
                rows.copy_(torch.bmm(g.mT, x))
            else:
                torch.bmm(g.mT, x, out=rows)
        if "bias" in self.rows:
            torch.sum(g, 1, out=self.rows["bias"][workers])

    def pull(self, x: Tensor, g: Tensor) -> Tensor:
        return g @ self.weight


class _Conv2d(WorkerLayer, nn.Conv2d):
    layout: torch.memory_format

    def arrange(self, x: Tensor) -> Tensor:
        return x.to(memory_format=self.layout)

    def compute(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def write(self, x: Tensor, g: Tensor) -> None:
        workers, size = self.group.workers, self.group.size
        if "weight" in self.rows:
            for row, x_i, g_i in zip(self.rows["weight"][workers], x.chunk(size), g.chunk(size), strict=True):
                row.copy_(self._backward(x_i, g_i, [False, True, False])[1])
        if "bias" in self.rows:
            torch.sum(g.unflatten(0, (size, -1)), (1, 3, 4), out=self.rows["bias"][workers])

    def pull(self, x: Tensor, g: Tensor) -> Tensor:
        return self._backward(x, g, [True, False, False])[0]

    def _backward(self, x: Tensor, g: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        how = (self.stride, self.padding, self.dilation, False, [0, 0], self.groups)
        return torch.ops.aten.convolution_backward(g, x, self.weight, None, *how, wanted)


class _Constant(WorkerLayer, Constant):
    def compute(self, x: Tensor) -> Tensor:
        return self.theta.expand_as(x)

    def write(self, x: Tensor, g: Tensor) -> None:
        torch.sum(g.unflatten(0, (self.group.size, -1)), 1, out=self.rows["theta"][self.group.workers])

    def pull(self, x: Tensor, g: Tensor) -> Tensor:
        return torch.zeros_like(x)


class _MaxPool2d(nn.MaxPool2d):
    """Max-pooling whose backward gets its gradient channels-last too: on a CPU, several times faster than any other."""

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # noqa: A002
        out = super().forward(input)
        if isinstance(out, Tensor) and out.requires_grad and not out.is_contiguous():
            out.register_hook(lambda g: g.to(memory_format=torch.channels_last))
        return out


class _Dropout(nn.Dropout):
    """Dropout with 16 random bits an element, 6 times faster on a CPU; p is rounded to a multiple of 2^-16."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        dropped = round(self.p * 2**16)
        if not self.training or dropped in (0, 2**16) or input.device.type != "cpu":
            return super().forward(input)
        bits = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        mask = torch.empty_like(input)
        flat = mask.as_strided((input.numel(),), (1,))  # in the input's memory layout
        flat.copy_(bits[: input.numel()] >= dropped - 2**15).mul_(2**16 / (2**16 - dropped))
        return input * mask


WORKER_LAYERS = {nn.Linear: _Linear, nn.Conv2d: _Conv2d, Constant: _Constant}
FAST_LAYERS = {nn.MaxPool2d: _MaxPool2d, nn.Dropout: _Dropout}


def adopt(model: nn.Module, grouped: bool, layout: torch.memory_format) -> tuple[Group, list[WorkerLayer]]:
    """Turn the model's layers into those of this file, in place; those with parameters only where `grouped`."""
    group, layers = Group(), []
    model.to(memory_format=layout)  # type: ignore[call-overload]
    for module in model.modules():
        if grouped and (kind := WORKER_LAYERS.get(type(module))):
            module.__class__ = kind
            module.group, module.layout, module.rows = group, layout, {}  # type: ignore[assignment]
            layers.append(module)
        elif kind := FAST_LAYERS.get(type(module)):
            module.__class__ = kind
    return group, layers


def obstacle(model: nn.Module) -> str | None:
    """Why the parameters of a model are not all in layers that can write per-worker gradients; None if they are."""
    owners: dict[nn.Parameter, str] = {}
    for name, module in model.named_modules():
        where = f"{name or 'the model'} ({type(module).__name__})"
        for parameter in (p for p in module._parameters.values() if p is not None and p.requires_grad):
            if type(module) not in WORKER_LAYERS or not set(module._parameters) <= {"weight", "bias", "theta"}:
                return f"{where} has parameters, and only Linear and Conv2d can write each worker's gradient"
            if isinstance(module, nn.Conv2d) and (isinstance(module.padding, str) or module.padding_mode != "zeros"):
                return f"{where} has another padding than a number of zeros"
            if parameter in owners:
                return f"{where} shares a parameter with {owners[parameter]}"
            owners[parameter] = where
    return None
