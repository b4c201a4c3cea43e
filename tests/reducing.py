"""What ranks do in the tests of robust all-reduces; the rank comes first, the number of ranks where it is needed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from hashlib import blake2b
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import turncoat as tc
from turncoat.ddp import make_reducer, reduce, robust_all_reduce
from turncoat.ddp.group import Group, Pending
from turncoat.ddp.replicas import Replicated
from turncoat.errors import ToleranceError
from turncoat.rules import Aggregation, Rule


def cloud(n: int, d: int, dtype: torch.dtype = torch.float32, f: int = 1) -> Tensor:
    """Rows around 1, the last f of them far out."""
    X = torch.randn(n, d, generator=torch.Generator().manual_seed(n + d)) + 1
    X[n - f :] *= -5
    return X.to(dtype)


def made(spelling: str, f: int, **options: Any) -> Rule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tc.rule(spelling, f=f, **options)


def tolerances(rule: str, n: int) -> list[int]:
    """The largest f that n rows allow, and one below it."""
    for f in range((n - 1) // 2, -1, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tc.rule(rule, f=f).check(n)
        except ToleranceError:
            continue
        return sorted({f, max(0, f - 1)})
    return []


def outcome(do: Callable[[], Any]) -> Any:
    """What it returns, or what it raises, as a value."""
    try:
        return do()
    except Exception as error:
        return error


# Exactness


def differences(
    rank: int, n: int, rules: Sequence[str], sizes: Sequence[int], dtypes: Sequence[torch.dtype], mode: str = "sharded"
) -> tuple[int, list[str]]:
    """How many cases were tried, and where an all-reduce differs from the rule in one process or between ranks."""
    warnings.simplefilter("ignore")
    wrong, tried = [], 0
    for d in sizes:
        for dtype in dtypes:
            for spelling in rules:
                for f in tolerances(spelling, n):
                    if mode == "replicated" and n <= 3 * f:
                        continue
                    X, rule = cloud(n, d, dtype, f), tc.rule(spelling, f=f)
                    before = X[rank].clone()
                    found = robust_all_reduce(X[rank], rule, mode=mode)
                    tried += 1
                    case = f"{spelling}, n={n}, f={f}, d={d}, {dtype}, {mode}"
                    if not torch.equal(X[rank], before):
                        wrong.append(f"{case}: the input was written to")
                    if not same_everywhere(found):
                        wrong.append(f"{case}: the ranks differ")
                    if rank == 0:
                        wrong += [f"{case}: {what}" for what in unlike(found, rule, X)]
    return tried, wrong


def same_everywhere(found: Aggregation) -> bool:
    """Whether all ranks have the same, bit for bit."""
    numbers = [found.weights, found.scores]
    text = repr((found.suspects, found.excluded, found.diagnostics, [x if x is None else x.tolist() for x in numbers]))
    bits = found.vector.reshape(-1).view(torch.uint8).numpy().tobytes()
    own = torch.frombuffer(bytearray(blake2b(bits + text.encode()).digest()), dtype=torch.uint8)
    said = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(said, own)
    return all(torch.equal(one, own) for one in said)


def unlike(found: Aggregation, rule: Rule, X: Tensor) -> list[str]:
    """What is not as in one process: bit for bit where a row is selected, one unit in the last place for averages.

    That of the largest entry that went into a coordinate: rows cancel out, rounding does not. Weights and factors that
    are found in float32 on inner products or norms make a difference of at most 1e-6 of the vector.
    """
    single, wrong = rule.explain(X), []
    a, b = found.vector, single.vector
    if (found.suspects, found.excluded) != (single.suspects, single.excluded):
        wrong.append(f"suspects {found.suspects}, not {single.suspects}")
    if a.dtype != X.dtype or a.shape != X.shape[1:]:
        return [*wrong, f"{a.dtype} {tuple(a.shape)}"]
    weights = single.weights
    if weights is not None and not torch.allclose(found.weights, weights, rtol=1e-5, atol=1e-6):
        wrong.append(f"weights {found.weights.tolist()}, not {weights.tolist()}")
    if weights is not None and float(weights.max()) == 1.0 and int((weights != 0).sum()) == 1:
        return wrong if torch.equal(a, b) else [*wrong, "the selected row is not bit for bit the same"]
    away = (a.double() - b.double()).abs()
    place = torch.finfo(X.dtype).eps * torch.exp2(X.double().abs().amax(0).log2().floor())
    share, places = float(away.norm() / b.double().norm()), float((away / place).max())
    averages = weights is None or len(weights[weights != 0].unique()) == 1
    shortened = any(part.name in ("arc", "clipping") for part in rule.parts())
    if not (places <= 1 if (averages and not shortened) or X.dtype != torch.float32 else share <= 1e-6):
        wrong.append(f"off by {share:.1e} of the vector, {places:.1f} units in the last place")
    return wrong


def bits(rank: int, n: int, spelling: str, d: int, dtype: torch.dtype, f: int, mode: str) -> bool:
    """Whether the aggregate is bit for bit that of one process."""
    X, rule = cloud(n, d, dtype, f), made(spelling, f)
    return torch.equal(robust_all_reduce(X[rank], rule, mode=mode).vector, rule(X))


def strided(rank: int, n: int, d: int, mode: str) -> bool:
    """Whether a rank may have its tensor with gaps in memory, and the others not."""
    X = cloud(n, d)
    own = X.T.contiguous()[:, rank] if rank % 2 else X[rank]
    return torch.equal(robust_all_reduce(own, made("median", 1), mode=mode).vector, tc.rule("median")(X))


def rewritten(rank: int, n: int, mode: str) -> float:
    """How far the second round of a rule with memory is off where the first one's vector is written to."""
    rule, X = made("centered_clipping(tau=1)", 1), cloud(n, 20)
    reducer, state, away = make_reducer(rule, None, mode, 0), rule.init(X), 0.0
    for _ in range(2):
        found = reducer(X[rank]).vector
        single, state = rule.step(X, state)
        away = float((found - single.vector).abs().max())
        found.mul_(100)
    return away


def drawn(rank: int, n: int, spelling: str, d: int, f: int) -> tuple[list[float], list[float]]:
    """A randomised rule's aggregate, and what it is in one process from the seed that the ranks agreed on."""
    agreed: list[bytes] = []
    agree = reduce.Sharded._seed

    def seed(self: reduce.Sharded) -> bytes:
        agreed.append(agree(self))
        return agreed[-1]

    reduce.Sharded._seed = seed
    try:
        X, rule = cloud(n, d, f=f), made(spelling, f)
        found = robust_all_reduce(X[rank], rule)
    finally:
        reduce.Sharded._seed = agree
    generator = torch.Generator().manual_seed(int.from_bytes(agreed[0]))
    return found.vector.tolist(), rule.step(X, rule.init(X), generator)[0].vector.tolist()


def remembered(rank: int, n: int, spelling: str, shapes: Sequence[int], mode: str) -> list[Any]:
    """Rounds of a rule with memory, then with the tensors in another order; and the same in one process."""
    rule, d = made(spelling, 1), sum(shapes)
    reducer = make_reducer(rule, None, mode, 0)
    X = cloud(n, d)
    state, found = rule.init(X), []
    for turn in range(3):
        rows = X * (turn + 1)
        pieces = rows[rank].clone().split(list(shapes))
        reducer.finish([reducer.send(piece, piece) for piece in pieces])
        single, state = rule.step(rows, state)
        found.append(float((torch.cat(pieces) - single.vector).abs().max()))
    reducer.rearrange(list(shapes), lambda pieces: [torch.cat(pieces[::-1])])
    turned = torch.cat(X.split(list(shapes), dim=1)[::-1], dim=1)
    state = torch.cat(state.split(list(shapes))[::-1])
    out = torch.empty(d, dtype=X.dtype)
    reducer.finish([reducer.send(turned[rank].clone(), out)])
    found.append(float((out - rule.step(turned, state)[0].vector).abs().max()))
    return found


# What goes over the wire


def sent(rank: int, n: int, spelling: str, d: int, mode: str) -> int:
    """Bytes that this rank sends in one call."""
    reducer = make_reducer(made(spelling, 1), None, mode, 0)
    reducer(cloud(n, d)[rank])
    return reducer.group.sent


# What goes wrong


def reduced(rank: int, tensors: Sequence[Tensor], rules: Sequence[str | Rule], modes: Sequence[str]) -> Any:
    """Each rank with a tensor, a rule and a mode of its own."""
    warnings.simplefilter("ignore")
    of = len(rules), len(modes)
    return outcome(lambda: robust_all_reduce(tensors[rank], rules[rank % of[0]], mode=modes[rank % of[1]]))


def in_place(rank: int, n: int, spelling: str, mode: str) -> Any:
    """Rounds of one reducer in which the tensor itself becomes the aggregate, and what it should be."""
    reducer, found = make_reducer(made(spelling, 1), None, mode, 0), []
    for turn, d in enumerate((1001, 1001, 3, 1001)):
        X = cloud(n, d) * (turn + 1)
        row = X[rank].clone()
        found.append((reducer(row, row).vector, row, made(spelling, 1)(X)))
    return found


def broken(rank: int, spelling: str, mode: str) -> Any:
    """A server whose rule raises something of its own."""

    def own(X: Tensor) -> Tensor:
        raise ZeroDivisionError("of my own")

    rule = tc.rule(own, f=1) if spelling == "own" else made(spelling, 1)
    return outcome(lambda: robust_all_reduce(torch.ones(5), rule, mode=mode))


def raising(flat: Tensor, into: Tensor) -> Any:
    raise InterruptedError


def stalled(rank: int, who: int, mode: str, midway: bool, timeout: float) -> tuple[Any, float]:
    """One rank takes no part, or no more once all have agreed on what is sent; and how long the others wait."""
    group = dist.new_group(timeout=timedelta(seconds=timeout))
    assert isinstance(group, dist.ProcessGroup)
    reducer = make_reducer(made("krum", 1), group, mode, who)
    dist.barrier()
    begin, tensor = monotonic(), torch.ones(1000)
    if rank == who:
        if midway:
            reducer.send = raising
            outcome(lambda: reducer(tensor))
        return None, 0.0
    return outcome(lambda: reducer(tensor)), monotonic() - begin


def dying(rank: int, who: int, mode: str, midway: bool) -> tuple[Any, float]:
    """One rank's process ends, at once or when all have agreed on what is sent."""
    reducer = make_reducer(made("median", 0), None, mode, who)
    begin, tensor = monotonic(), torch.ones(1000)
    if rank == who:
        reducer.send = lambda flat, into: os._exit(1)
        if not midway:
            os._exit(1)
    return outcome(lambda: reducer(tensor)), monotonic() - begin


# Who lies


class Liar(Group):
    """A rank that follows the protocol but for what it says."""

    slices = 1

    def noise(self, tensor: Tensor) -> Tensor:
        """Other values for each receiver."""
        if tensor.dtype.is_floating_point:
            return tensor + torch.randn(tensor.shape, generator=self.random).to(tensor.dtype) * 100
        return torch.randint(0, 256, tensor.shape, generator=self.random).to(tensor.dtype)

    @property
    def random(self) -> torch.Generator:
        if "_random" not in vars(self):
            self._random = torch.Generator().manual_seed(self.rank)
        return self._random

    def flags(self, messages: Tensor) -> bool:
        """Whether these say who sends what to whom: with a lie in them the ranks would wait for each other."""
        return tuple(messages.shape[1:]) in {(2, self.n), (self.slices,)}


class Unlike(Liar):
    """Sends another gradient to every rank."""

    def exchange(self, out: Tensor, into: Tensor, out_sizes: Any, into_sizes: Any, doing: str) -> Pending:
        first = "_sent" not in vars(self)
        self._sent = True
        return super().exchange(self.noise(out) if first and out.numel() else out, into, out_sizes, into_sizes, doing)


class UnlikeOnce(Liar):
    """Sends another gradient to rank 0 than to the others."""

    def exchange(self, out: Tensor, into: Tensor, out_sizes: Any, into_sizes: Any, doing: str) -> Pending:
        if "_sent" not in vars(self) and out.is_floating_point():
            self._sent = True
            out = out.clone()
            out[: out_sizes[0]] = self.noise(out[: out_sizes[0]])
        return super().exchange(out, into, out_sizes, into_sizes, doing)


class Totals(Liar):
    """Lies about norms and inner products, to each rank in another way."""

    def deal(self, messages: Tensor, doing: str) -> Tensor:
        return super().deal(self.noise(messages) if messages.is_floating_point() else messages, doing)


class Slices(Liar):
    """Hands out other slices of the aggregate than it should, and says that they are right."""

    def exchange(self, out: Tensor, into: Tensor, out_sizes: Any, into_sizes: Any, doing: str) -> Pending:
        first = "_sent" not in vars(self)
        self._sent = True
        return super().exchange(
            out if first or not out.numel() else self.noise(out), into, out_sizes, into_sizes, doing
        )


class Garbled(Totals, Unlike):
    """Says nothing that is right."""

    def deal(self, messages: Tensor, doing: str) -> Tensor:
        return super().deal(messages if self.flags(messages) else self.noise(messages), doing)


LIARS = {kind.__name__: kind for kind in (Unlike, UnlikeOnce, Totals, Slices, Garbled)}


def lied_to(rank: int, n: int, spelling: str, d: int, f: int, liars: Sequence[int], kind: str) -> Any:
    """What a replicated all-reduce returns where some ranks lie."""
    group = LIARS[kind]() if rank in liars else Group()
    reducer = Replicated(made(spelling, f), group)
    if isinstance(group, Liar):
        group.slices = reducer.slices
    row = cloud(n, d, f=f)[rank].clone()
    found = outcome(lambda: reducer.finish([reducer.send(row, row)]))
    dist.barrier()
    return found if isinstance(found, Exception) else (row, found.found.excluded)


def lied_to_sharded(rank: int, n: int, d: int) -> Any:
    """The same without replicas, where rank 0 hands out another slice than it should."""
    reducer = make_reducer("median", None, "sharded", 0)
    if rank == 0:
        collect = reducer.collect
        reducer.collect = lambda part, wholes: collect(part + 1, wholes)
    return reducer(cloud(n, d)[rank]).vector, ()
