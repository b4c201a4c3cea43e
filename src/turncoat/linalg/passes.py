"""The passes: each reads the rows once, in blocks, and returns n or n x n numbers (on the CPU, float64) or a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from turncoat.linalg.rows import WIDE, WIDTH, Rows

SLICE = 4096  # columns of one product of a Gram
PART = 2**20  # coordinates looked at together: a check makes copies


def gram(rows: Rows, about: Tensor | None = None) -> Tensor:
    """(n, n) inner products of the rows, of their differences to the vector `about` (d,) where one is given."""
    total = torch.zeros((rows.n, rows.n), dtype=torch.float64, device=rows.device)
    for block in _differences(rows, about, WIDE if about is None else WIDTH):
        whole = block.shape[1] // SLICE * SLICE
        slices = block[:, :whole].view(rows.n, -1, SLICE).transpose(0, 1)  # a batch uses all cores, a flat product not
        total += torch.bmm(slices, slices.transpose(1, 2)).sum(0, dtype=torch.float64)
        total += block[:, whole:] @ block[:, whole:].T
    return rows.total(total.cpu())


def squared_norms(rows: Rows, about: Tensor | None = None) -> Tensor:
    """(n,) squared norms of the rows, or of their differences to the vector `about` (d,)."""
    total = torch.zeros(rows.n, dtype=torch.float64, device=rows.device)
    for block in _differences(rows, about, 2 * WIDTH):
        total += torch.linalg.vector_norm(block, dim=1).double().square_()
    return rows.total(total.cpu())


def _differences(rows: Rows, about: Tensor | None, width: int) -> Iterator[Tensor]:
    """Blocks of the rows less `about`."""
    buffer: Tensor | None = None
    for where, block in rows.blocks(width):
        if about is not None:
            if buffer is None:
                buffer = torch.empty(block.shape, dtype=rows.work, device=rows.device)
            piece = about[where].to(rows.work) / rows.unit
            block = torch.sub(block, piece, out=buffer.resize_(block.shape))
        yield block


def squared_distances(rows: Rows, G: Tensor) -> Tensor:
    """(n, n) squared distances; right to about 1e-3 of each, exactly 0 between identical rows and symmetric.

    They come from the rows' Gram G; a pair that stands too close for it (its distance could be rounding error) is
    measured again from a Gram around one of the two, unless all rows close to one are copies of it. Each such step
    settles at least all pairs of its pivot, so n are enough, whatever the rows.
    """
    distances, open_ = _from_gram(G, rows.work)
    while open_.any():
        pivot = int(open_.sum(1).argmax())
        cluster = [pivot, *open_[pivot].nonzero().flatten().tolist()]
        near, at = rows.select(cluster), torch.tensor(cluster)
        where = at[:, None], at[None, :]
        if near.alike():
            open_[where] = False
            continue
        around = _gram_about_first(near)
        found, unsure = _from_gram(around, rows.work)
        found[0] = found[:, 0] = around.diagonal()
        unsure[0] = unsure[:, 0] = False
        settled = open_[where] & ~unsure
        distances[where] = torch.where(settled, found, distances[where])
        open_[where] &= ~settled
    return distances


def _from_gram(G: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(n, n) squared distances as far as a Gram is precise enough for them, else 0, and where it is not."""
    norms = G.diagonal()
    sums = norms[:, None] + norms[None, :]
    found = (sums - 2 * G).clamp_(min=0)
    found = (found + found.T) / 2
    unsure = (found < 1e4 * torch.finfo(dtype).eps * sums).fill_diagonal_(False)
    return found.masked_fill_(unsure, 0).fill_diagonal_(0), unsure


def _gram_about_first(rows: Rows) -> Tensor:
    total = torch.zeros((rows.n, rows.n), dtype=torch.float64, device=rows.device)
    for _, block in rows.blocks():
        # Differences of near rows can be as small as the dtype resolves; float64 keeps their squares from vanishing.
        difference = (block - block[0]).double()
        total += difference @ difference.T
    return rows.total(total.cpu())


def combine(rows: Rows, weights: Tensor) -> Tensor:
    """(d,) weighted sum of the rows; a single row of weight 1 comes back bit for bit, a row of weight 0 has no part."""
    out = torch.empty(rows.d, dtype=rows.dtype, device=rows.device)
    used = weights.nonzero().flatten()
    if len(used) == 1 and weights[used[0]] == 1.0:
        rows, weights = rows.select(used.tolist()), weights[used]
    on_device = weights.to(device=rows.device, dtype=rows.work)
    for where, block in rows.blocks(WIDE):
        _write(out, where, block[0] if rows.n == 1 and weights[0] == 1.0 else on_device @ block, rows)
    if len(used) < rows.n and not out.sum().isfinite():  # 0 times infinity
        return combine(rows.select(used.tolist()), weights[used])
    return out


def mean_and_deviation(rows: Rows, ddof: int) -> tuple[Tensor, Tensor]:
    """(d,) mean and standard deviation of every coordinate; of a single row with ddof=1, deviation 0."""
    mean, deviation = (torch.empty(rows.d, dtype=rows.dtype, device=rows.device) for _ in range(2))
    n = rows.n
    share = torch.full((n,), 1 / n, dtype=rows.work, device=rows.device)
    free = torch.full((n,), 1 / max(1, n - ddof), dtype=rows.work, device=rows.device)
    for where, block in rows.blocks(WIDE):
        difference = block - block[0]  # a shared offset must not drown the spread
        average = share @ difference
        _write(mean, where, average + block[0], rows)
        _write(deviation, where, (free @ difference.sub_(average).square_()).sqrt_(), rows)
    return mean, deviation


def products(rows: Rows, vector: Tensor) -> Tensor:
    """(n,) inner products of the rows with a (d,) vector, in units of the rows' unit."""
    total = torch.zeros(rows.n, dtype=torch.float64, device=rows.device)
    for where, block in rows.blocks(WIDE):
        total += (block @ vector[where].to(rows.work)).double()
    return rows.total(total.cpu())


def sign_counts(rows: Rows) -> Tensor:
    """(n, 3) how many entries of each row are positive, zero and negative."""
    counts = torch.zeros((rows.n, 3), dtype=torch.float64, device=rows.device)
    for _, block in rows.blocks():
        counts += torch.stack([(block > 0).sum(1), (block == 0).sum(1), (block < 0).sum(1)], dim=1)
    return rows.total(counts.cpu())


def finite(rows: Rows, vector: Tensor) -> bool:
    """Whether all entries of a (d,) vector are finite."""
    unfit = not all(bool(part.isfinite().all()) for part in vector.split(PART))
    return not rows.peak(torch.tensor(float(unfit)))


def row(rows: Rows, i: int) -> Tensor:
    """(d,) one of the rows, bit for bit."""
    return combine(rows.select([i]), torch.ones(1, dtype=torch.float64))


def reduce(rows: Rows, reduction: Callable[[Tensor], Tensor]) -> Tensor:
    """(d,) a coordinate-wise reduction (n, c) -> (c,) of the rows."""
    out = torch.empty(rows.d, dtype=rows.dtype, device=rows.device)
    for where, block in rows.blocks(WIDE):
        _write(out, where, reduction(block), rows)
    return out


def distances(rows: Rows, p: float) -> Tensor:
    """(n, n) l_p distances, p >= 1, exactly 0 between identical rows.

    Powers are taken of differences divided by the pair's largest one, so that p = 16 neither overflows nor vanishes.
    """
    n = rows.n
    first, second = torch.triu_indices(n, n, 1)
    widest, total = (torch.zeros(len(first), dtype=torch.float64, device=rows.device) for _ in range(2))
    for _, block in rows.blocks():
        peaks, sums = [], []
        for i in range(n - 1):
            difference = (block[i + 1 :] - block[i]).abs_()
            peak = difference.amax(1)
            scaled = difference.div_(torch.where(peak > 0, peak, 1.0)[:, None])
            sums.append(scaled.sum(1) if p == 1 else scaled.pow_(p).sum(1))
            peaks.append(peak)
        if peaks:
            widest, total = add_scaled(widest, total, torch.cat(peaks).double(), torch.cat(sums).double(), p)
    widest, total = total_scaled(rows, widest, total, p)
    D = torch.zeros((n, n), dtype=torch.float64)
    D[first, second] = D[second, first] = (widest * total ** (1 / p)).cpu()
    return D


def add_scaled(peak: Tensor, total: Tensor, peak2: Tensor, total2: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Two sums of p-th powers as one: each is a peak and the total of the powers of entries over it."""
    widest = torch.maximum(peak, peak2)
    over = torch.where(widest > 0, widest, 1.0)
    return widest, total * (peak / over) ** p + total2 * (peak2 / over) ** p


def total_scaled(rows: Rows, peak: Tensor, total: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Such a sum over all columns of the vectors, given that over the rows' own."""
    widest = rows.peak(peak)
    over = torch.where(widest > 0, widest, 1.0)
    return widest, rows.total(total * (peak / over) ** p)


def _write(out: Tensor, where: slice, values: Tensor, rows: Rows) -> None:
    out[..., where] = values if rows.unit == 1.0 else values * rows.unit
