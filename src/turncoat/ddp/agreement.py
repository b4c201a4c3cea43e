"""How honest ranks come to hold the same values although f of the n may tell each of them something else; n > 3f."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from turncoat.ddp.group import Group

AGREEING = "while agreeing on what was sent"
NEITHER = 2  # of 0 and 1


def agree(group: Group, values: Sequence[bytes | None], length: int, f: int) -> list[bytes | None]:
    """For each of some values, one that all honest ranks return: theirs, where all of them have the same.

    Turpin and Coan 1984. What is returned at least f+1 honest ranks had; else it is None. Values are of one length.
    """
    n = group.n
    heard = _tell(group, values, length)
    kept = [_if(Counter(row[i] for row in heard), n - f) for i in range(len(values))]
    heard = _tell(group, kept, length)
    counts = [Counter(row[i] for row in heard if row[i] is not None) for i in range(len(values))]
    sure = king(group, torch.tensor([_if(count, n - f) is not None for count in counts]), f)
    return [count.most_common(1)[0][0] if yes and count else None for count, yes in zip(counts, sure, strict=True)]


def king(group: Group, votes: Tensor, f: int) -> list[bool]:
    """For each of some questions, an answer that all honest ranks return: theirs, where all of them say the same.

    Berman, Garay and Perry 1989: f+1 phases of three messages, one of whose kings is honest.
    """
    n, answers = group.n, votes.to(torch.uint8)
    for ruler in range(f + 1):
        heard = group.tell(answers, AGREEING)
        answers = torch.full_like(answers, NEITHER)
        for answer in (0, 1):
            answers[(heard == answer).sum(0) >= n - f] = answer
        heard = group.tell(answers, AGREEING)
        counts = torch.stack([(heard == answer).sum(0) for answer in (0, 1, NEITHER)])
        for answer in (NEITHER, 1, 0):
            answers[counts[answer] > f] = answer
        ruled = group.tell(answers, AGREEING)[ruler].clamp(max=1)
        sure = (answers != NEITHER) & (counts.gather(0, answers[None].long())[0] >= n - f)
        answers = torch.where(sure, answers, ruled)
    return (answers == 1).tolist()


def supported(said: Sequence[bytes], f: int) -> bytes | None:
    """What more than f say, of whom one is honest; None where there is no such thing."""
    return _if(Counter(said), f + 1)


def as_bytes(tensor: Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).cpu().numpy().tobytes()


def _if(count: Counter[bytes | None] | Counter[bytes], least: int) -> bytes | None:
    value, times = max(count.items(), key=lambda item: item[1], default=(None, 0))
    return value if times >= least else None


def _tell(group: Group, values: Sequence[bytes | None], length: int) -> list[list[bytes | None]]:
    """What each rank says the values are; a first byte says whether there is one."""
    own = torch.zeros((len(values), 1 + length), dtype=torch.uint8)
    for row, value in zip(own, values, strict=True):
        if value is not None:
            row[0] = 1
            row[1:] = torch.frombuffer(bytearray(value), dtype=torch.uint8)
    return [[bytes(row[1:].tolist()) if row[0] == 1 else None for row in said] for said in group.tell(own, AGREEING)]
