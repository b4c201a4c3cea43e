"""Robust all-reduces beside a plain one: processes of one gloo group on this machine, all taking turns in one run.

    python benchmarks/ddp.py [--n 4 --f 1 --d 1000000] [--repeats 31] [--write]

Every rank has float32 rows of its own and one thread. A call begins when all ranks are ready and takes as long as the
slowest rank; times are medians over the turns A B C A B C ..., in times a plain all-reduce's. Bytes are those that the
busiest rank sends in one call. --write puts the table into docs/benchmarks.md and the figures into benchmarks/ddp.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from render import insert
from torch import Tensor
from torch.multiprocessing.spawn import spawn

import turncoat as tc
from turncoat.ddp import make_reducer

HERE = Path(__file__).parent
WARM = 3  # calls that are not counted


@dataclass(frozen=True)
class Case:
    """A rule in a mode; without a rule, a plain all-reduce."""

    rule: str | None = None
    mode: str = "sharded"
    target: float | None = None
    """At most so many times a plain all-reduce."""

    def __str__(self) -> str:
        return "all_reduce" if self.rule is None else f"{self.rule}, {self.mode}"


PLAIN = Case()
CASES = [
    PLAIN,
    Case("mean"),
    Case("krum", target=1.3),
    Case("geometric_median", target=2.0),
    Case("median", target=2.5),
    Case("trimmed_mean", target=2.5),
    Case("nnm >> trimmed_mean"),
    *(Case(rule, mode) for mode in ("server", "replicated") for rule in ("krum", "trimmed_mean")),
]


def prepared(case: Case, options: Any) -> tuple[Callable[[Tensor], Any], Callable[[], int]]:
    """What a rank calls with its row, and how to ask for the bytes that it has sent since."""
    if case.rule is None:
        n, calls = dist.get_world_size(), [0]

        def plain(row: Tensor) -> None:
            calls[0] += 1
            dist.all_reduce(row)

        return plain, lambda: calls[0] * 2 * (n - 1) * row_bytes(options) // n  # around a ring

    reducer = make_reducer(tc.rule(case.rule, f=options.f), None, case.mode, 0)
    return lambda row: reducer(row, row), lambda: reducer.group.sent  # in place, like the plain one


def row_bytes(options: Any) -> int:
    return 4 * options.d


def measure(rank: int, folder: str, options: Any) -> None:
    """One rank's part in all calls; rank 0 writes what came of it."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "krum has no guarantee")  # at n = 4; its cost is the same
    init = (Path(folder) / "group").as_uri()
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=options.n)
    row = torch.randn(options.d, generator=torch.Generator().manual_seed(rank))
    calls = [prepared(case, options) for case in CASES]
    taken: list[list[Tensor]] = [[] for _ in CASES]
    for _ in range(WARM + options.repeats):
        for turns, (call, _) in zip(taken, calls, strict=True):
            own = row.clone()
            dist.barrier()
            begin = perf_counter()
            call(own)
            turns.append(torch.tensor(perf_counter() - begin, dtype=torch.float64))
    seconds = torch.stack([torch.stack(turns[WARM:]) for turns in taken])
    sent = torch.tensor([bytes_sent() // (WARM + options.repeats) for _, bytes_sent in calls])
    for numbers in (seconds, sent):
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
    if rank == 0:
        figures = {
            str(case): {"seconds": statistics.median(turns), "bytes": count}
            for case, turns, count in zip(CASES, seconds.tolist(), sent.tolist(), strict=True)
        }
        (Path(folder) / "figures.json").write_text(json.dumps(figures))
    dist.barrier()
    dist.destroy_process_group()


def table(figures: dict[str, dict[str, float]], options: Any) -> str:
    plain = figures[str(PLAIN)]
    size = f"n = {options.n}, f = {options.f}, d = {options.d:,}"
    lines = [[size, "ms", "x all-reduce", "target", "bytes sent, x all-reduce", "bytes beyond"]]
    lines.append(["---"] * len(lines[0]))
    for case in CASES:
        line = figures[str(case)]
        name = f"`{case.rule}`, {case.mode}" if case.rule else "`all_reduce`"
        times, bytes_ = line["seconds"] / plain["seconds"], line["bytes"] / plain["bytes"]
        target = "" if case.target is None else f"{case.target:g}"
        beyond = f"{line['bytes'] - plain['bytes']:+,.0f}" if case.rule else ""
        lines.append([name, f"{1e3 * line['seconds']:.3g}", f"{times:.2f}", target, f"{bytes_:.2f}", beyond])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("n", 4), ("f", 1), ("d", 1_000_000), ("repeats", 31)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spawn(measure, (folder, options), nprocs=options.n)
        figures = json.loads((Path(folder) / "figures.json").read_text())
    text = table(figures, options)
    print(text)
    missed = [
        str(case)
        for case in CASES
        if case.target and figures[str(case)]["seconds"] > case.target * figures[str(PLAIN)]["seconds"]
    ]
    print(f"missed: {', '.join(missed)}" if missed else "all targets met", file=sys.stderr)
    if options.write:
        insert(HERE.parent / "docs" / "benchmarks.md", "ddp", text)
        about = {"platform": platform.platform(), "python": platform.python_version(), "torch": str(torch.__version__)}
        size = {"n": options.n, "f": options.f, "d": options.d, "repeats": options.repeats}
        (HERE / "ddp.json").write_text(json.dumps({"about": about | size, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
