"""n vectors, wherever they live, read in blocks of columns.

Everything that touches all n x d numbers goes through `Rows.blocks`, so a rule never sees whether they are one tensor,
n separate vectors or per-layer pieces, of which precision they are, or which of them were excluded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

WIDTH = 16384  # columns a block for products: with tens of rows it stays in the cache
WIDE = 65536  # columns a block for elementwise work, which torch spreads over threads only above 32,768 numbers
HUGE, TINY = 1e12, 1e-12  # beyond these, float32 squares come near overflow or underflow: work in float64 instead
CAP = 1e120  # largest entry in units of the median row, which float64 can still square: more counts as this


@dataclass(frozen=True)
class Rows:
    """n rows as segments of columns, each an (n, c) tensor or n tensors of c numbers.

    `keep` lists the rows that count (None: all), each matrix (m, n) of `mixings` in turn makes weighted sums of them,
    which are then the rows; `work` is the dtype that blocks come in, `unit` what one unit of a block stands for.
    """

    segments: tuple[Tensor | tuple[Tensor, ...], ...]
    dtype: torch.dtype
    keep: Tensor | None = None
    mixings: tuple[Tensor, ...] = ()
    work: torch.dtype = torch.float32
    unit: float = 1.0

    @staticmethod
    def of(*segments: Tensor | Sequence[Tensor]) -> Rows:
        """Rows over (n, c) tensors or sequences of n vectors; segments stand side by side, nothing is copied."""
        kept = tuple(s if isinstance(s, Tensor) else tuple(s) for s in segments)
        vectors = [part for s in kept for part in ([s] if isinstance(s, Tensor) else s)]
        dtype = reduce(torch.promote_types, {vector.dtype for vector in vectors})
        return Rows(kept, dtype, work=torch.promote_types(dtype, torch.float32))

    @property
    def n(self) -> int:
        return len(self.mixings[-1]) if self.mixings else self._held

    @property
    def _held(self) -> int:
        """Rows before any mixing."""
        if self.keep is not None:
            return self.keep.shape[0]
        first = self.segments[0]
        return first.shape[0] if isinstance(first, Tensor) else len(first)

    @property
    def d(self) -> int:
        return sum(_first(segment).shape[-1] for segment in self.segments)

    @property
    def device(self) -> torch.device:
        return _first(self.segments[0]).device

    @property
    def whole(self) -> int:
        """How many columns the vectors have: more than `d` where these are a shard of them."""
        return self.d

    def total(self, numbers: Tensor) -> Tensor:
        """Sums over all columns of the vectors, given those over these."""
        return numbers

    def peak(self, numbers: Tensor) -> Tensor:
        """Maxima over all columns of the vectors, given those over these."""
        return numbers

    def select(self, indices: Sequence[int]) -> Rows:
        """These rows only; still no copy."""
        if self.mixings:
            last = self.mixings[-1][torch.as_tensor(indices, dtype=torch.long)]
            return replace(self, mixings=(*self.mixings[:-1], last))
        chosen = torch.as_tensor(indices, dtype=torch.long, device=self.device)
        return replace(self, keep=chosen if self.keep is None else self.keep[chosen])

    def alike(self) -> bool:
        """Whether all rows are the same, number for number; mixtures are not compared and count as unlike."""
        first, *others = range(self._held) if self.keep is None else self.keep.tolist()
        unlike = bool(self.mixings) or not all(
            torch.equal(segment[i], segment[first]) for segment in self.segments for i in others
        )
        return not self.peak(torch.tensor(float(unlike)))

    def mixed(self, matrix: Tensor) -> Rows:
        """Weighted sums of these rows, one for each row of the (m, n) matrix, made block by block when read."""
        return replace(self, mixings=(*self.mixings, matrix))

    def columns(self, indices: Tensor) -> Rows:
        """These columns only, given in ascending order; they are copied."""
        segments, start = [], 0
        for segment in self.segments:
            stop = start + _first(segment).shape[-1]
            inside = indices[(indices >= start) & (indices < stop)].to(self.device) - start
            if isinstance(segment, Tensor):
                segments.append(segment.index_select(1, inside))
            else:
                segments.append(tuple(part.index_select(0, inside) for part in segment))
            start = stop
        return replace(self, segments=tuple(segments))

    def blocks(self, width: int = WIDTH) -> Iterator[tuple[slice, Tensor]]:
        """Blocks (n, at most width) of all columns in order; read-only, and valid until the next one is asked for."""
        mixings = [mixing.to(device=self.device, dtype=self.work) for mixing in self.mixings]
        widest = min(width, self.d)
        buffers = [torch.empty(len(mixing) * widest, dtype=self.work, device=self.device) for mixing in mixings]
        for where, block in self._held_blocks(width):
            for mixing, buffer in zip(mixings, buffers, strict=True):
                shape = len(mixing), block.shape[1]
                block = torch.mm(mixing, block, out=buffer[: shape[0] * shape[1]].view(shape))
            yield where, block

    def _held_blocks(self, width: int) -> Iterator[tuple[slice, Tensor]]:
        kept = slice(None) if self.keep is None else self.keep
        if isinstance(kept, Tensor) and len(kept) == 1:
            kept = slice(int(kept), int(kept) + 1)  # which copies nothing
        direct = isinstance(kept, slice) and self.unit == 1.0
        buffer: Tensor | None = None
        offset = 0
        for segment in self.segments:
            columns = _first(segment).shape[-1]
            for start in range(0, columns, width):
                stop = min(start + width, columns)
                where = slice(offset + start, offset + stop)
                if direct and isinstance(segment, Tensor) and segment.dtype == self.work:
                    yield where, segment[kept, start:stop]
                    continue
                if buffer is None:
                    buffer = torch.empty((self._held, min(width, self.d)), dtype=self.work, device=self.device)
                block = buffer[:, : stop - start]
                if isinstance(segment, Tensor):
                    part = segment[:, start:stop]
                    block.copy_(part[kept])
                else:
                    chosen = range(len(segment)) if self.keep is None else self.keep.tolist()
                    for row, i in zip(block, chosen, strict=True):
                        row.copy_(segment[i][start:stop])
                if self.unit != 1.0:
                    block.mul_(1.0 / self.unit).clamp_(-CAP, CAP)
                yield where, block
            offset += columns

    def dense(self) -> Tensor:
        """All rows as one (n, d) tensor of the rows' own dtype; a copy only where they are not one already."""
        whole = self.keep is None and not self.mixings and len(self.segments) == 1
        if whole and isinstance(self.segments[0], Tensor):
            return self.segments[0]
        out = torch.empty((self.n, self.d), dtype=self.dtype, device=self.device)
        for where, block in self.blocks():
            out[:, where] = block if self.unit == 1.0 else block * self.unit
        return out


def examine(rows: Rows, norms: Sequence[float] | None = None) -> tuple[Rows, list[int]]:
    """Choose the precision and unit of the passes, and name the rows with an entry that is not finite.

    One cheap read, none where the norms are known. Rows of ordinary size keep their dtype (float32 at least); where
    squares could overflow or vanish, blocks come in float64 and in units of the median row, which exponents up to
    1e308 cannot upset.
    """
    if all(TINY < norm < HUGE for norm in (_row_norms(rows) if norms is None else norms)):
        return rows, []
    peaks = _row_peaks(rows)
    finite = torch.isfinite(peaks)
    bad = (~finite).nonzero().flatten().tolist()
    peaks = peaks[finite & (peaks > 0)]
    if len(peaks) == 0 or (peaks.min() > TINY and peaks.max() < HUGE):
        return rows, bad
    power = round(math.log2(float(peaks.median()))) or 1  # a unit of 1 would leave entries as they are, none capped
    unit = 2.0 ** max(-1000, min(1000, power))  # 1/unit has to be a number, too
    return replace(rows, work=torch.float64, unit=unit), bad


def _first(segment: Tensor | tuple[Tensor, ...]) -> Tensor:
    return segment if isinstance(segment, Tensor) else segment[0]


def _row_norms(rows: Rows) -> list[float]:
    """Norms in the work dtype: not finite wherever an entry is not, or its square overflows."""
    parts = []
    for segment in rows.segments:
        if isinstance(segment, Tensor) and rows.keep is None:
            parts.append(torch.linalg.vector_norm(segment, dim=1, dtype=rows.work).tolist())
        else:
            chosen = range(len(segment)) if rows.keep is None else rows.keep.tolist()
            parts.append([float(torch.linalg.vector_norm(segment[i], dtype=rows.work)) for i in chosen])
    norms = parts[0] if len(parts) == 1 else [math.hypot(*norms) for norms in zip(*parts, strict=True)]
    return rows.total(torch.tensor(norms, dtype=torch.float64).square_()).sqrt_().tolist()


def _row_peaks(rows: Rows) -> Tensor:
    """Largest absolute entry of each row, not finite where one of its entries is not."""
    peaks = torch.zeros(rows.n, dtype=torch.float64)
    for _, block in rows.blocks():
        high, low = block.amax(1).cpu().double(), block.amin(1).cpu().double()
        peaks = torch.maximum(peaks, torch.maximum(high, -low))
    return rows.peak(peaks)
