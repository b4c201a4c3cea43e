"""The process group: everything that ranks send one another, counted, with its failures as one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from turncoat.errors import GroupError, SpecError

DESCRIBED = 256  # bytes of what a rank says about what it is going to send
DIGEST = 16  # bytes
GATHER = dist.all_gather_single if hasattr(dist, "all_gather_single") else dist.all_gather_into_tensor  # by torch 2.13
SHORT = 2**16  # bytes that a rank may send to save a second message


@contextmanager
def reported(doing: str) -> Iterator[None]:
    """What a backend raises as GroupError."""
    try:
        yield
    except RuntimeError as error:  # of which all errors of torch.distributed are
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise GroupError(
            f"the group failed {doing}: a rank has died, stalls past the group's time-out or has raised an error of "
            f"its own; look for the rank whose log ends first. The backend says: {said[0][:300]}"
        ) from error


@dataclass
class Pending:
    """Tensors on their way; `wait` before they are read or written."""

    works: Sequence[Any]
    tensors: tuple[Tensor, ...]
    doing: str

    def wait(self) -> None:
        with reported(self.doing):
            for work in self.works:
                work.wait()
        self.works = ()


class Group:
    """The ranks of a process group (the default one), numbered within it."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise SpecError("there is no process group: call torch.distributed.init_process_group first")
        handle = group if group is not None else dist.group.WORLD
        assert handle is not None
        self.handle = handle
        self.rank, self.n = dist.get_rank(handle), dist.get_world_size(handle)
        if self.rank < 0:
            raise SpecError("this process is not a member of the group")
        on_cpu = "cpu:" in str(dist.get_backend_config(handle))
        self.device = torch.device("cpu") if on_cpu else torch.device("cuda", torch.cuda.current_device())
        """Where numbers that travel have to be; tensors of a GPU go from where they are."""
        self.sent = 0
        """Bytes that this rank has sent to others, in messages straight to them or around a ring."""

    # Between every two ranks: no third one can change what they say to each other.

    def exchange(
        self, out: Tensor, into: Tensor, out_sizes: Sequence[int], into_sizes: Sequence[int], doing: str
    ) -> Pending:
        """Send consecutive pieces of a flat tensor to the ranks in their order; theirs come into another."""
        width = out.element_size()
        self.sent += width * (sum(out_sizes) - out_sizes[self.rank])
        with reported(doing):
            work = dist.all_to_all_single(
                _bytes(into),
                _bytes(out),
                [size * width for size in into_sizes],
                [size * width for size in out_sizes],
                group=self.handle,
                async_op=True,
            )
        return Pending([work], (out, into), doing)

    def deal(self, messages: Tensor, doing: str) -> Tensor:
        """(n, ...) what each rank says to this one, given (n, ...) what this one says to each."""
        out = messages.contiguous().to(self.device)
        into = torch.empty_like(out)
        sizes = [out[0].numel()] * self.n
        self.exchange(out.view(-1), into.view(-1), sizes, sizes, doing).wait()
        return into.to(messages.device)

    def tell(self, message: Tensor, doing: str) -> Tensor:
        """(n, ...) what each rank says to all, each straight to each."""
        return self.deal(message.expand(self.n, *message.shape), doing)

    def collect(self, part: Tensor, at: int, doing: str) -> tuple[Tensor, Pending]:
        """The flat parts of all ranks, (n, c) on rank `at` and (0, c) on the others."""
        here = self.rank == at
        parts = part.new_empty((self.n if here else 0, len(part)))
        self.sent += 0 if here else part.nbytes
        with reported(doing):
            into = [_bytes(one) for one in parts] if here else None
            work = dist.gather(
                _bytes(part), into, dist.get_global_rank(self.handle, at), group=self.handle, async_op=True
            )
        return parts, Pending([work], (part, parts), doing)

    def hand_out(self, whole: Tensor, source: int, doing: str) -> None:
        """Fill a tensor with that of rank `source`, which sends it to each itself."""
        here = self.rank == source
        self.sent += whole.nbytes * (self.n - 1) if here else 0
        with reported(doing):
            into = _bytes(whole)
            copies, into = ([into] * self.n, torch.empty_like(into)) if here else (None, into)
            dist.scatter(into, copies, dist.get_global_rank(self.handle, source), group=self.handle)

    def hand_out_bytes(self, message: bytes, source: int, doing: str) -> bytes:
        """The bytes that rank `source` has to say."""
        length = torch.tensor([len(message)], device=self.device)
        self.hand_out(length, source, doing)
        text = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == source:
            text.copy_(torch.frombuffer(bytearray(message), dtype=torch.uint8))
        self.hand_out(text, source, doing)
        return bytes(text.tolist())

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of all ranks' numbers, bit for bit the same on all of them: added up in the order of the ranks."""
        return self._folded(numbers, torch.add, "adding up over slices")

    def peak(self, numbers: Tensor) -> Tensor:
        """The maximum of all ranks' numbers, nan where one is."""
        return self._folded(numbers, torch.maximum, "comparing over slices")

    def _folded(self, numbers: Tensor, fold: Callable[[Tensor, Tensor], Tensor], doing: str) -> Tensor:
        """In one message to each while these are short; else each rank folds a part and tells the others."""
        if numbers.nbytes * (self.n - 1) <= SHORT:
            return reduce(fold, self.tell(numbers, doing))
        parts = torch.nn.functional.pad(numbers.flatten(), (0, -numbers.numel() % self.n)).view(self.n, -1)
        folded = self.tell(reduce(fold, self.deal(parts, doing)), doing)
        return folded.flatten()[: numbers.numel()].view(numbers.shape)

    # Around rings or along trees: what a rank receives has passed through others.

    def gather(self, part: Tensor, whole: Tensor, sizes: Sequence[int], doing: str) -> Pending:
        """Fill a flat tensor with consecutive pieces of it, of which each rank has one, in their order.

        On CPUs each piece goes along a tree of its own: gloo's ring would copy everything once more.
        """
        self.sent += part.nbytes * (self.n - 1)
        with reported(doing):
            if part.is_cpu or len(set(sizes)) > 1:
                pieces = whole.split(list(sizes))
                pieces[self.rank].copy_(part)
                works = [
                    dist.broadcast(_bytes(piece), dist.get_global_rank(self.handle, i), self.handle, async_op=True)
                    for i, piece in enumerate(pieces)
                    if len(piece)
                ]
            else:
                works = [GATHER(_bytes(whole), _bytes(part), group=self.handle, async_op=True)]
        return Pending(works, (part, whole), doing)

    def agree_on(self, description: dict[str, str], doing: str) -> None:
        """Raise GroupError unless all ranks describe what they are going to send alike; this must come first.

        A backend that is given unlike sizes may hang or end the process.
        """
        text = json.dumps(description).encode()
        message = torch.zeros(DIGEST + DESCRIBED, dtype=torch.uint8)
        head = digest(text) + text[:DESCRIBED]
        message[: len(head)] = torch.frombuffer(bytearray(head), dtype=torch.uint8)
        heard = self.tell(message, f"before {doing}")
        if bool((heard == message).all()):
            return
        said = [bytes(row.tolist()) for row in heard]
        usual = max(said, key=said.count)
        unlike = [i for i in range(self.n) if said[i] != usual]
        if unlike:
            told = "; ".join(f"rank {i} has {_readable(said[i])}" for i in unlike[:4])
            raise GroupError(f"{doing}: the ranks do not fit together: {told}; the others have {_readable(usual)}")


def digest(*parts: bytes | memoryview) -> bytes:
    """A short fingerprint that nobody can find other bytes for."""
    made = blake2b(digest_size=DIGEST)
    for part in parts:
        made.update(part)
    return made.digest()


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of a contiguous tensor, which every backend can send whatever the dtype."""
    assert tensor.is_contiguous()
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8)  # a single number may have any stride


def _readable(said: bytes) -> str:
    text = said[DIGEST:].rstrip(b"\0").decode(errors="replace")
    return text if len(text) < DESCRIBED else f"{text} ..."
