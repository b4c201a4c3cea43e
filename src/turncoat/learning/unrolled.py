"""The rounds ahead for many candidates at once, as one differentiable function of what the traitors send.

This is what planners search in: the same formulas as the round's, in batches and without its care for hostile input, so
equal to it up to rounding. Dropout is left out. What a plan is worth is always told by the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from turncoat.attacks.planning.objective import EXPLODED
from turncoat.attacks.planning.rollout import DERIVED, Ahead
from turncoat.learning.models import Constant
from turncoat.learning.state import State
from turncoat.learning.streams import torch_stream
from turncoat.rules.batched import BatchedRule, batched

if TYPE_CHECKING:
    from turncoat.learning.gradients import Learner
    from turncoat.learning.round import Federation

HEAVY = 2**25  # numbers of all rows of all rounds, from which on they are computed twice rather than kept

Spend = Callable[[int], None]
"""Called with the number of rounds that are about to be simulated."""


class Unrolled:
    """C imagined runs side by side from one state on."""

    def __init__(self, federation: Federation, state: State, rule: BatchedRule, measure: str, spend: Spend) -> None:
        self.federation, self.state, self.rule, self.measure = federation, state, rule, measure
        self._spend = spend
        self.learner = Stacked(federation.learner, state.buffers)
        self._batch = lru_cache(maxsize=256)(federation.honest_batch)

    @staticmethod
    def of(federation: Federation, state: State, measure: str, spend: Spend) -> Unrolled | None:
        """None where rounds are more than these formulas say."""
        spec, rule = federation.spec, batched(federation.rule, federation.n)
        plain = spec.local_steps == 1 and (spec.byzantine == "last" or state.momenta is None)
        return Unrolled(federation, state, rule, measure, spend) if rule is not None and plain else None

    def __call__(
        self,
        send: Callable[[Ahead], Tensor],
        count: int,
        rounds: int,
        last_only: bool = False,
        pushes: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """See `turncoat.attacks.planning.rollout.Unrolled`."""
        state, derived = self.state, torch.is_grad_enabled()
        h = self.federation.n - self.federation.f
        carry = {"theta": state.parameters, **_named(state.rule)}
        carry |= {} if state.momenta is None else {"momenta": state.momenta[:h]}
        carry |= {} if state.server_momentum is None else {"server": state.server_momentum}
        carry = {name: value.expand(count, *value.shape) for name, value in carry.items()}
        heavy = derived and count * rounds * self.federation.n * self.learner.d > HEAVY
        losses = []
        for t in range(rounds):
            self._spend(count * (DERIVED if derived else 1))
            step = partial(self._round, t, send, None if pushes is None else pushes[t])
            carry = _recomputed(step, carry) if heavy else step(carry)
            if t + 1 == rounds or not last_only:
                losses.append(self.loss(carry["theta"], state.round + t))
        return torch.stack(losses, dim=1)

    def _round(
        self, t: int, send: Callable[[Ahead], Tensor], push: Tensor | None, carry: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """What is carried on from round t ahead: models, momenta, the server's, what the rules remember."""
        spec, round, theta, memory = self.federation.spec, self.state.round + t, carry["theta"], _memory(carry)
        honest = self.gradients(theta, round)
        if spec.clip is not None and spec.clip_at == "worker":
            honest = _clip(honest, spec.clip)
        if "momenta" in carry:
            share = 1 - spec.momentum if spec.momentum_form == "damped" else 1.0
            honest = spec.momentum * carry["momenta"] + share * honest
        stream = partial(self._stream, round)
        rows = send(Ahead(t, round, theta, honest, memory, stream)).expand(-1, self.federation.f, -1)
        received = torch.cat([honest, rows], dim=1)
        if spec.clip is not None and spec.clip_at == "server_inputs":
            received = _clip(received, spec.clip)
        update, memory = self.rule(received, memory, stream())
        if push is not None:
            update = update + push
        if spec.clip is not None and spec.clip_at == "aggregate":
            update = _clip(update, spec.clip)
        if spec.weight_decay:
            update = update + spec.weight_decay * theta
        if "server" in carry:
            update = update + spec.server_momentum * carry["server"]
        following = {"theta": theta - self.federation.schedule(round) * update, **_named(memory)}
        new = following | {"momenta": honest, "server": update}
        return {name: new[name] for name in carry}

    def slope(self, parameters: Tensor, round: int) -> Tensor:
        """(C, d) how the loss after that round grows with the model."""
        self._spend(len(parameters) * DERIVED)
        with torch.enable_grad():
            theta = parameters.detach().requires_grad_(True)
            return torch.autograd.grad(self.loss(theta, round).sum(), theta)[0]

    def _stream(self, round: int) -> torch.Generator | None:
        rule, seeds = self.federation.rule, self.federation.seeds
        return torch_stream(seeds.server, "rule", round) if rule.draws else None

    def gradients(self, theta: Tensor, round: int) -> Tensor:
        """(C, h, d) what the honest workers compute in a round at models theta (C, d)."""
        x, y = self._batch(round)
        h = self.federation.n - self.federation.f
        return self.learner.gradients(theta, x.unflatten(0, (h, -1)), y.unflatten(0, (h, -1)))

    def loss(self, theta: Tensor, round: int) -> Tensor:
        """(C,) the loss after that round."""
        if self.measure == "error":
            assert self.federation.optimum is not None
            found = (theta - self.federation.optimum).norm(dim=1)
        else:
            x, y = self.federation.sample if self.measure == "sample" else self._batch(round)
            found = self.learner.spread(theta, x) if self.measure == "logits" else self.learner.losses(theta, x, y)
        return found.nan_to_num(nan=EXPLODED, posinf=EXPLODED).clamp(max=EXPLODED)


class Stacked:
    """A learner's model and loss at many parameters at once, differentiable, without dropout."""

    def __init__(self, learner: Learner, buffers: tuple[Tensor, ...]) -> None:
        self._model, self._loss = learner.plain, learner.loss
        self._shapes = {name: p.shape for name, p in self._model.named_parameters() if p.requires_grad}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.d = sum(self._sizes)
        names = [name for name, _ in self._model.named_buffers()]
        self._buffers = dict(zip(names, buffers, strict=True))
        self._constant = isinstance(self._model, Constant) and not learner.classifies
        self._chain = learner.short_chain(self._model)

    def gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(C, h, d) gradients at theta (C, d) of each of h workers' batches x (h, b, ...), y (h, b, ...)."""
        if self._constant:  # of half the squared distance to the targets
            return theta[:, None] - y.mean(1)
        if self._chain:
            return self._by_hand(theta, x, y)
        every = vmap(vmap(grad(self._at), (None, 0, 0)), (0, None, None))
        return every(theta, x, y)

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(C,) mean losses on samples x (m, ...), y (m, ...)."""
        if self._chain:
            log_shares = self._through(self._layers(theta), x)[-1].log_softmax(-1)
            return -log_shares.gather(2, y.expand(len(theta), -1)[..., None]).mean((1, 2))
        return vmap(self._at, (0, None, None))(theta, x, y)

    def spread(self, theta: Tensor, x: Tensor) -> Tensor:
        """(C,) the largest of all logits less the smallest."""
        out = (
            self._through(self._layers(theta), x)[-1] if self._chain else vmap(self._out, (0, None))(theta, x)
        ).flatten(1)
        return out.amax(1) - out.amin(1)

    def _at(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self._loss(self._out(theta, x), y).mean()

    def _out(self, theta: Tensor, x: Tensor) -> Tensor:
        parts = zip(self._shapes.items(), theta.split(self._sizes), strict=True)
        given = {name: part.view(shape) for (name, shape), part in parts}
        return functional_call(self._model, {**self._buffers, **given}, (x,))

    def _layers(self, theta: Tensor) -> list[tuple[nn.Module, list[Tensor]]]:
        """A chain's layers, each linear one with its weight (C, out, in) and, if it has one, its bias (C, out)."""
        parts, shapes = iter(theta.split(self._sizes, dim=1)), iter(self._shapes.values())
        return [(layer, [next(parts).unflatten(1, next(shapes)) for _ in layer.parameters()]) for layer in self._chain]

    @staticmethod
    def _through(layers: list[tuple[nn.Module, list[Tensor]]], x: Tensor) -> list[Tensor]:
        """What goes into each layer, and what comes out last: (m, .) up to the first weight, then (C, m, .)."""
        values = [x]
        for layer, weights in layers:
            value = values[-1]
            if isinstance(layer, nn.Flatten):
                value = value.flatten(1)
            elif isinstance(layer, nn.ReLU):
                value = value.relu()
            else:
                weight = weights[0]
                if value.dim() == 2:  # still the same for all candidates: one product for all of them
                    value = (value @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2]).transpose(0, 1)
                else:
                    value = value @ weight.transpose(1, 2)
                value = value + weights[1][:, None] if len(weights) > 1 else value
            values.append(value)
        return values

    def _by_hand(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The gradients of a chain, whose bookkeeping would cost more than its arithmetic."""
        h, b = y.shape
        layers = self._layers(theta)
        *values, out = self._through(layers, x.flatten(0, 1))
        g = (out.softmax(-1) - functional.one_hot(y.flatten(), out.shape[-1]).to(out)) / b
        found: list[Tensor] = []
        for (layer, weights), value in zip(layers[::-1], values[::-1], strict=True):
            if isinstance(layer, nn.ReLU):
                g = g * (value > 0)
            elif isinstance(layer, nn.Linear):
                shared, each = value.dim() == 2, g.unflatten(1, (h, b))
                into = value.unflatten(-2, (h, b))
                by_weight = torch.einsum("chbo,hbi->choi" if shared else "chbo,chbi->choi", each, into)
                found[:0] = [by_weight.flatten(2), each.sum(2)][: len(weights)]
                g = g if shared else g @ weights[0]
        return torch.cat(found, dim=2)


def _named(memory: Any) -> dict[str, Tensor]:
    """What a rule remembers, as tensors by name."""
    if isinstance(memory, dict):
        return {f"memory.{key}": value for key, value in memory.items()}
    return {} if memory is None else {"memory": memory}


def _memory(carry: dict[str, Tensor]) -> Any:
    """The inverse of `_named`."""
    parts = {name.removeprefix("memory."): value for name, value in carry.items() if name.startswith("memory.")}
    return carry.get("memory", parts or None)


def _recomputed(step: Callable[[dict[str, Tensor]], dict[str, Tensor]], carry: dict[str, Tensor]) -> dict[str, Tensor]:
    """A step whose inside is computed again for its derivatives, where keeping it would fill the memory.

    The older form of checkpoints: the newer one cannot hold what `torch.func` does inside.
    """

    def flat(_: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(step(dict(zip(carry, values, strict=True))).values())

    anchor = torch.zeros((), requires_grad=True)  # gives autograd a reason to come by
    values = checkpoint(flat, anchor, *carry.values(), use_reentrant=True, preserve_rng_state=False)
    return dict(zip(carry, values, strict=True))  # type: ignore[arg-type]


def _clip(rows: Tensor, largest: float) -> Tensor:
    """Rows shortened to at most that norm."""
    norms = (rows.square().sum(-1, keepdim=True) + torch.finfo(rows.dtype).tiny).sqrt()
    return rows * (largest / norms.clamp(min=largest))
