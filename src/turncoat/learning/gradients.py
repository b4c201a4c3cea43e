"""Per-worker gradients: n batches through one model, a row of the gradients' matrix for each.

Three methods write the same rows, up to rounding. `sequential` goes from worker to worker and trains any module.
`grouped` takes several workers' batches through the network together and lets each layer write its parameters'
gradients worker by worker. `vmap` leaves the loop over workers to `torch.func`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import takewhile
from typing import cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from turncoat.errors import SpecError
from turncoat.learning.layers import WorkerLayer, adopt, obstacle
from turncoat.learning.models import Constant, seeded
from turncoat.spec import Method

METHODS: tuple[Method, ...] = get_args(Method)
FASTEST = {"cpu": "grouped", "cuda": "vmap"}  # cpu: benchmarks/gradients.py; cuda: expected, not measured
TOGETHER = 1024  # samples whose loss is taken at once
CACHE = 2**22  # numbers that the layers' outputs of one group of workers may take together

PLAIN_LAYERS = (nn.Linear, nn.Conv2d, Constant, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)
PLAIN_LAYERS += (nn.Dropout, nn.Dropout2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Identity, nn.ZeroPad2d)
PLAIN_LAYERS += (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus)


def _cross_entropy(out: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(out, y, reduction="none")


def _half_squared_error(out: Tensor, y: Tensor) -> Tensor:
    if out.shape != y.shape:
        raise SpecError(f"half_squared_error takes targets of the output's shape {tuple(out.shape)}: {tuple(y.shape)}")
    return (out - y).square().flatten(1).sum(1).mul(0.5)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "half_squared_error": _half_squared_error,
}


def available(model: nn.Module) -> tuple[str, ...]:
    """The methods that can train a model, as far as its layers tell; `sequential` is always among them."""
    return tuple(method for method in METHODS if _obstacle(model, method) is None)


def default_method(model: nn.Module, device: torch.device) -> str:
    """The fastest method for a plain chain of layers, `sequential` where it is impossible or the model no such chain.

    A fixed table, measured by benchmarks/gradients.py: a choice timed at run time would change the last bits of a
    result from run to run. A model with a `forward` of its own may do what only `sequential` gets right.
    """
    method = FASTEST.get(device.type, "sequential")
    return method if _is_chain(model) and _obstacle(model, method) is None else "sequential"


def _obstacle(model: nn.Module, method: str) -> str | None:
    if method == "sequential":
        return None
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            where = f"{name or 'the model'} ({type(module).__name__})"
            return f"{where} takes statistics over a batch, which workers must not share"
    return obstacle(model) if method == "grouped" else None


def _is_chain(model: nn.Module) -> bool:
    """Whether a model is one chain of plain layers, each used once, that keep a batch's samples apart."""
    leaves = list(_leaves(model))
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return not hooked and len(set(leaves)) == len(leaves) and all(_is_plain(leaf) for leaf in leaves)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for child in module:
            yield from _leaves(child)
    else:
        yield module


def _overwrites(model: nn.Module) -> bool:
    """Whether a model may write to its input: its code could do anything, and so do layers in place at the front."""
    if not _is_chain(model):
        return True
    front = takewhile(lambda layer: not isinstance(layer, nn.Linear | nn.Conv2d), _leaves(model))
    return any(getattr(layer, "inplace", False) for layer in front)


def _copied(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a model that writes to its input gets in place of it, which is the data set itself."""
    return tuple(x.clone() for x in inputs)


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) in PLAIN_LAYERS and not (isinstance(layer, nn.Flatten) and layer.start_dim != 1)


def _checked(model: nn.Module, method: str) -> str:
    if method not in METHODS:
        raise SpecError(f"unknown method {method!r} of gradients: there are {', '.join(METHODS)}")
    if reason := _obstacle(model, method):
        raise SpecError(f"method {method} cannot train this model: {reason}; use {' or '.join(available(model))}")
    return method


def _place(model: nn.Module, path: str) -> tuple[WorkerLayer, str]:
    """The layer that a parameter belongs to, and its name there."""
    layer, _, name = path.rpartition(".")
    return cast(WorkerLayer, model.get_submodule(layer)), name


class Learner:
    """A model and a loss, as a function from parameters and the workers' batches to the workers' gradients.

    loss: "cross_entropy", or "half_squared_error", 0.5 * ||output - target||^2; a worker's loss is the mean over its
    batch. method: None for `default_method`. The module is copied; frozen parameters are no part of the vectors.
    Raises SpecError for a method that cannot train the model, with the reason.

    Running statistics (batch normalisation) live in one set of buffers that each worker updates in turn; they are
    never aggregated. Methods that take `buffers` use and update those given in place of the learner's own.
    """

    d: int
    """The number of trainable parameters."""
    method: str
    """What computes the gradients, one of METHODS."""

    def __init__(self, model: nn.Module, loss: str = "cross_entropy", method: str | None = None) -> None:
        if loss not in LOSSES:
            raise SpecError(f"unknown loss {loss!r}: there are {', '.join(LOSSES)}")
        trainable = [p for p in model.parameters() if p.requires_grad]
        if len({(p.dtype, p.device) for p in trainable}) != 1:
            raise SpecError("a model needs trainable parameters, all of one dtype and on one device")
        self.dtype, self.device = trainable[0].dtype, trainable[0].device
        self.method = _checked(model, method or default_method(model, self.device))
        self.loss = LOSSES[loss]
        self.classifies = loss == "cross_entropy"
        self._given = model
        self._model = copy.deepcopy(model).train()
        self._parameters = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        self._sizes = [p.numel() for p in self._parameters.values()]
        self.d = sum(self._sizes)
        self._initial = torch.cat([p.detach().flatten() for p in self._parameters.values()])
        self._slots = [(m, name) for m in self._model.modules() for name, _ in m.named_buffers(recurse=False)]
        self._trusted, self._overwrites = _is_chain(model), _overwrites(model)
        self._group_sizes: dict[tuple[int, ...], int] = {}
        self._loaded: tuple[Tensor | None, int] = None, 0
        self._layers: list[WorkerLayer] = []
        self._seen: tuple[tuple[int, ...], list[Tensor]] = (), []
        if self.method != "vmap":
            grouped = self.method == "grouped"
            layout = torch.channels_last if self._trusted else torch.contiguous_format
            self._group, self._layers = adopt(self._model, grouped, layout)
            if grouped:
                self._places = [_place(self._model, path) for path in self._parameters]
                for parameter in self._parameters.values():
                    parameter.requires_grad_(False)
        self._short = self.short_chain(self._model) if self.method == "grouped" else []
        if self._overwrites:
            self._model.register_forward_pre_hook(_copied)

    def initial(self) -> Tensor:
        """(d,) the parameters that the model came with."""
        return self._initial.clone()

    @cached_property
    def plain(self) -> nn.Module:
        """The model as it came, for whoever differentiates otherwise."""
        model = copy.deepcopy(self._given).eval()
        if self._overwrites:
            model.register_forward_pre_hook(_copied)
        return model

    @property
    def buffers(self) -> list[Tensor]:
        """The learner's own buffers, such as running statistics; empty for most models."""
        return [module.get_buffer(name) for module, name in self._slots]

    @torch.enable_grad()
    def gradients(
        self,
        theta: Tensor,
        x: Tensor,
        y: Tensor,
        out: Tensor,
        seed: int = 0,
        buffers: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Write each worker's gradient at theta (d,) into its row of out (n, d); returns the losses (n,).

        x (n, b, ...) and y (n, b, ...) hold a batch of b samples for each worker. Dropout draws from the seed, for
        each worker apart; the same arguments give the same bits. Raises SpecError for shapes that do not fit.
        """
        self._check(theta, x, y, out)
        if self._short:  # neither draws nor keeps statistics
            return self._compute(theta, x, y, out)
        with seeded(seed), self._holding(buffers):
            return self._compute(theta, x, y, out)

    @torch.enable_grad()
    def local_updates(
        self,
        theta: Tensor,
        x: Tensor,
        y: Tensor,
        lr: float,
        out: Tensor,
        seed: int = 0,
        buffers: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Let each worker take local SGD steps from theta; row i of out is how far worker i moved, theta - theta_i.

        This is FedAvg's pseudo-gradient (McMahan et al. 2017). x (n, steps, b, ...) and y hold a batch for each
        worker and step. Returns each worker's loss (n,), the mean over its steps.
        """
        self._check(theta, x[:, 0], y[:, 0], out)
        workers, steps = x.shape[:2]
        losses = torch.zeros(workers, dtype=self.dtype, device=self.device)
        theta, local, step = theta.detach(), torch.empty_like(theta), torch.empty_like(out[:1])
        out.zero_()
        with seeded(seed), self._holding(buffers):
            for i in range(workers):
                for t in range(steps):
                    torch.sub(theta, out[i], out=local)
                    losses[i] += self._compute(local, x[i : i + 1, t], y[i : i + 1, t], step)[0]
                    out[i].add_(step[0], alpha=lr)
        return losses / steps

    @torch.no_grad()
    def evaluate(
        self, theta: Tensor, x: Tensor, y: Tensor, buffers: Sequence[Tensor] | None = None, batch: int = 128
    ) -> tuple[float, float | None]:
        """The mean loss and, for classes, the accuracy (0 to 1) on samples x (m, ...), y (m, ...), without dropout."""
        self._load(theta)
        total, right = 0.0, 0
        with self._evaluating(), self._holding(buffers):
            for x_part, y_part in zip(x.split(batch), y.split(batch), strict=True):
                out = self._model(x_part)
                total += float(self.loss(out, y_part).double().sum())
                right += int((out.argmax(1) == y_part).sum()) if self.classifies else 0
        return total / len(x), right / len(x) if self.classifies else None

    def mean_loss(self, theta: Tensor, x: Tensor, y: Tensor, buffers: Sequence[Tensor] | None = None) -> float:
        """The mean loss on samples x (m, ...), y (m, ...), without dropout; up to 1,024 of them together."""
        if len(x) > TOGETHER:
            return self.evaluate(theta, x, y, buffers)[0]
        return float(self.loss(self.outputs(theta, x, buffers), y).mean())

    @torch.no_grad()
    def outputs(self, theta: Tensor, x: Tensor, buffers: Sequence[Tensor] | None = None) -> Tensor:
        """What the model makes of samples x (m, ...), without dropout."""
        self._load(theta)
        with self._evaluating(), self._holding(buffers):
            return self._model(x)

    def _check(self, theta: Tensor, x: Tensor, y: Tensor, out: Tensor) -> None:
        if theta.shape != (self.d,) or out.shape != (len(x), self.d) or out.stride(1) != 1:
            raise SpecError(
                f"a model of {self.d} parameters and {len(x)} workers take theta ({self.d},) and out ({len(x)}, "
                f"{self.d}) with rows in one piece, not {tuple(theta.shape)} and {tuple(out.shape)}"
            )
        if x.shape[:2] != y.shape[:2] or 0 in x.shape[:2]:
            raise SpecError(f"x {tuple(x.shape)} and y {tuple(y.shape)} must agree on workers and samples, 1 or more")
        if theta.dtype != self.dtype or out.dtype != self.dtype:
            raise SpecError(f"the model is of {self.dtype}, but theta of {theta.dtype} and out of {out.dtype}")

    def _compute(self, theta: Tensor, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
        rows = self._views(out)
        if self.method == "vmap":
            return self._vmap(theta, x, y, rows)
        self._load(theta)
        return self._grouped(x, y, rows) if self.method == "grouped" else self._sequential(x, y, rows)

    def _sequential(self, x: Tensor, y: Tensor, rows: list[Tensor]) -> Tensor:
        parameters = list(self._parameters.values())
        losses = x.new_empty(len(x), dtype=self.dtype)
        for x_i, y_i, loss_i, *row in zip(x, y, losses, *rows, strict=True):
            loss = self.loss(self._model(x_i), y_i).mean()
            for place, g in zip(row, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                place.zero_() if g is None else place.copy_(g)
            loss_i.copy_(loss.detach())
        return losses

    def _vmap(self, theta: Tensor, x: Tensor, y: Tensor, rows: list[Tensor]) -> Tensor:
        parts = zip(self._parameters.items(), theta.detach().split(self._sizes), strict=True)
        parameters = {name: part.view(p.shape) for (name, p), part in parts}
        every = torch.func.vmap(torch.func.grad_and_value(self._loss_at), (None, 0, 0), randomness="different")
        try:
            gradients, losses = every(parameters, x, y)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise SpecError(f"method vmap cannot train this model: {reason}; use sequential") from error
        for row, name in zip(rows, parameters, strict=True):
            row.copy_(gradients[name])
        return losses

    def _loss_at(self, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return self.loss(torch.func.functional_call(self._model, parameters, (x,)), y).mean()

    def _grouped(self, x: Tensor, y: Tensor, rows: list[Tensor]) -> Tensor:
        if not self._trusted:
            self._verify(x, y)
        self._aim(rows)
        size = self._group_size(x)
        one_group = self._by_hand if self._short else self._one_group
        groups = [slice(first, min(first + size, len(x))) for first in range(0, len(x), size)]
        losses = [one_group(x[workers], y[workers], workers) for workers in groups]
        return torch.cat(losses) if len(losses) > 1 else losses[0]

    def _one_group(self, x: Tensor, y: Tensor, workers: slice) -> Tensor:
        with self._group.of(workers) as anchor:
            losses = self.loss(self._model(x.flatten(0, 1)), y.flatten(0, 1))
            if losses.requires_grad:
                share = torch.full_like(losses, len(x) / losses.numel())
                torch.autograd.grad(losses, anchor, share, allow_unused=True)
            for layer in self._layers:
                if layer not in self._group.written:
                    layer.clear()
        return losses.detach().view(len(x), -1).mean(1)

    def short_chain(self, model: nn.Module) -> list[nn.Module]:
        """The layers of a form of the model, where it is a classifier of linear layers and ReLU alone; else none."""
        layers = list(_leaves(model)) if self._trusted else []
        kinds = (nn.Linear, nn.ReLU, nn.Flatten)
        known = self.classifies and not self._overwrites and all(isinstance(layer, kinds) for layer in layers)
        return layers if known else []

    @torch.no_grad()
    def _by_hand(self, x: Tensor, y: Tensor, workers: slice) -> Tensor:
        """What `_one_group` does, for models so small that autograd's bookkeeping costs more than their arithmetic."""
        self._group.workers = workers
        values = [x.flatten(0, 1)]
        for layer in self._short:
            values.append(layer(values[-1]))
        labels = y.reshape(-1, 1)
        log_shares = values.pop().log_softmax(1)
        losses = log_shares.gather(1, labels).view(len(x), -1).mean(1).neg_()
        g = log_shares.exp().scatter_add_(1, labels, log_shares.new_full((), -1.0).expand(labels.shape))
        g.mul_(len(x) / len(labels))
        lowest = next(i for i, layer in enumerate(self._short) if layer in self._layers)
        for i in range(len(self._short) - 1, lowest - 1, -1):
            layer, value = self._short[i], values[i]
            if isinstance(layer, WorkerLayer):
                layer.write(value, g)
                g = layer.pull(value, g) if i > lowest else g
            elif isinstance(layer, nn.ReLU):
                g = g.mul_(value > 0)
            else:
                g = g.view(value.shape)
        return losses

    def _aim(self, rows: list[Tensor]) -> None:
        """Tell each layer where its parameters' gradients belong."""
        for row, (layer, name) in zip(rows, self._places, strict=True):
            layer.rows[name] = row

    def _group_size(self, x: Tensor) -> int:
        """How many workers go together; it depends on shapes alone, for the last bits of the sums depend on it."""
        shape = x.shape[1:]
        if shape not in self._group_sizes:
            self._group.outputs = 0
            with self._evaluating(), torch.no_grad(), seeded(0):
                self._model(x[0, :1])
            self._group_sizes[shape] = max(1, CACHE // max(1, self._group.outputs * len(x[0])))
        return self._group_sizes[shape]

    def _verify(self, x: Tensor, y: Tensor) -> None:
        """Compare with plain autograd on two samples, once, where the model's code could do anything."""
        telling = x.shape[0] * x.shape[1] > 1
        x, y = (data.flatten(0, 1)[[0, -1]].unsqueeze(1) for data in (x, y))
        grouped, plain = (torch.empty((2, self.d), dtype=self.dtype, device=self.device) for _ in range(2))
        with self._evaluating(), seeded(0):
            self._aim(self._views(grouped))
            self._one_group(x, y, slice(0, 2))
            for parameter in self._parameters.values():
                parameter.requires_grad_(True)
            self._sequential(x, y, self._views(plain))
            for parameter in self._parameters.values():
                parameter.requires_grad_(False)
        if (grouped - plain).norm() > 1e-2 * plain.norm():
            raise SpecError(
                "method grouped computes wrong gradients for this model, which mixes the samples of a batch or uses a "
                "layer's weight outside the layer: use sequential"
            )
        self._trusted = telling

    def _views(self, out: Tensor) -> list[Tensor]:
        """The columns of each parameter, as (n, *shape)."""
        shape = (out.data_ptr(), *out.shape, *out.stride())
        if shape != self._seen[0]:
            columns = out.detach().split(self._sizes, dim=1)
            parameters = self._parameters.values()
            self._seen = shape, [part.unflatten(1, p.shape) for part, p in zip(columns, parameters, strict=True)]
        return self._seen[1]

    @torch.no_grad()
    def _load(self, theta: Tensor) -> None:
        if theta is self._loaded[0] and theta._version == self._loaded[1]:
            return
        self._loaded = theta, theta._version
        for parameter, part in zip(self._parameters.values(), theta.split(self._sizes), strict=True):
            parameter.copy_(part.view(parameter.shape))

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        if self._short:  # the same in training
            yield
            return
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()

    @contextmanager
    def _holding(self, buffers: Sequence[Tensor] | None) -> Iterator[None]:
        """Let the model use and update these buffers."""
        if buffers is None:
            yield
            return
        own = self.buffers
        for (module, name), buffer in zip(self._slots, buffers, strict=True):
            module._buffers[name] = buffer
        try:
            yield
        finally:
            for (module, name), buffer, mine in zip(self._slots, buffers, own, strict=True):
                if (now := module.get_buffer(name)) is not buffer:
                    buffer.copy_(now)
                module._buffers[name] = mine
