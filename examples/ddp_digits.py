"""Five processes train one model on handwritten digits, and one of them sends -10 times its gradient.

A DistributedDataParallel script as it stands in many places, and the one line that protects it.

python examples/ddp_digits.py            # a table of test accuracies, in less than a minute
python examples/ddp_digits.py --json     # the same as JSON
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from turncoat.data.sources import Dataset, load
from turncoat.ddp import make_robust
from turncoat.progress import progress

RANKS, LIAR = 5, 3
RULES = [None, "median(f=1)", "krum(f=1)", "nnm(f=1) >> trimmed_mean(f=1)"]  # None: the script without the line


def train(rule: str | None, attacked: bool, steps: int, data: Dataset, rank: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    ddp = DistributedDataParallel(model)
    hook = make_robust(ddp, rule) if rule else None  # the line
    optimiser = torch.optim.SGD(ddp.parameters(), lr=0.2)
    x, y = data.x_train[rank::RANKS], data.y_train[rank::RANKS]  # each rank has samples of its own
    shuffle = torch.Generator().manual_seed(rank)
    for _ in range(steps):
        batch = torch.randint(len(x), (32,), generator=shuffle)
        loss = nn.functional.cross_entropy(ddp(x[batch]), y[batch])
        if attacked and rank == LIAR:
            loss = -10 * loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        accuracy = (model(data.x_test).argmax(1) == data.y_test).double().mean().item()
    suspicion = [round(value, 3) for value in hook.suspicion.tolist()] if hook else None
    return {"rule": rule or "mean", "attacked": attacked, "accuracy": accuracy, "suspicion": suspicion}


def work(rank: int, store: str, steps: int, data: Dataset, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    found = []
    with progress(2 * len(RULES), quiet=rank > 0) as bar:
        for rule, attacked in product(RULES, (False, True)):
            bar(len(found), f"{rule or 'mean'}, {'attacked' if attacked else 'not attacked'}")
            found.append(train(rule, attacked, steps, data, rank))
    if rank == 0:
        out.write_text(json.dumps(found))
    dist.destroy_process_group()


def table(found: list[dict[str, Any]]) -> str:
    lines = [f"{'':30}{'not attacked':>14}{'attacked':>10}  suspicion of ranks 0 to {RANKS - 1}, attacked"]
    for clean, attacked in zip(found[::2], found[1::2], strict=True):
        said = "  ".join(f"{value:.2f}" for value in attacked["suspicion"] or [])
        lines.append(f"{clean['rule']:30}{clean['accuracy']:>14.1%}{attacked['accuracy']:>10.1%}  {said}".rstrip())
    return "\n".join(lines)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="of each of the eight trainings")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    print(f"{RANKS} processes start; rank {LIAR} will lie", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        store, out = (Path(folder) / "store").as_uri(), Path(folder) / "found.json"
        given = store, options.steps, load("digits"), out
        start_processes(work, given, nprocs=RANKS, start_method="fork")  # as torchrun would
        found = json.loads(out.read_text())
    print(json.dumps(found, indent=1) if options.json else table(found))


if __name__ == "__main__":
    main()
