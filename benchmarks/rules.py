"""Aggregation rules and attacks beside byzfl's, byzpy's and Flower's, taking turns in one run.

    python benchmarks/rules.py [CASES] [--repeats 7] [--threads 2] [--n 25 --f 5 --d 500000] [--write]
    python benchmarks/rules.py --memory | --large [CASES] [--write]

CASES are rules or attacks as the tables name them; without any, all are measured, also every other registered rule of
turncoat's. Each side is a process of its own with the same float32 rows and measures its own calls. The first columns
are with the C library's allocator as it comes on all sides, the last ones with the same tuned allocator on both.
byzfl also takes NumPy arrays, and is faster at some rules then: that is a column of its own. "x mean" is in times
X.mean(0), of the honest rows for attacks. --threads are torch's; NumPy takes as many as there are cores.

--memory: by how much a fresh process grows at most while a rule of ours runs, at --n, --f, --d.
--large: the same for 8 rows of 10^8 coordinates, 3 GiB of input; --d for other sizes.
--write puts the tables into docs/benchmarks.md and the figures into benchmarks/rules.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from peers import HERE, Worker, peer_python, peer_title
from render import insert


@dataclass(frozen=True)
class Case:
    """A rule or an attack, with its own n, f and d where they are not the run's."""

    name: str
    kind: str = "rules"
    n: int | None = None
    f: int | None = None
    d: int | None = None
    target: float | None = None
    """At most so many times X.mean(0)."""
    byzfl: float | None = None
    """At least so many times faster than byzfl."""


@dataclass(frozen=True)
class Side:
    library: str
    tuned: bool = False
    numpy: bool = False


SIDES = {
    "turncoat": Side("turncoat"),
    "byzfl": Side("byzfl"),
    "byzfl numpy": Side("byzfl", numpy=True),
    "byzpy": Side("byzpy"),
    "flwr": Side("flwr"),
    "turncoat tuned": Side("turncoat", tuned=True),
    "byzfl tuned": Side("byzfl", tuned=True),
}
MEAN = "X.mean(0)"
LIMITS = ("X.sum()", MEAN, "X @ X.T")
D = 500_000
RULES = {
    "median": Case("median", target=9, byzfl=12),
    "trimmed_mean": Case("trimmed_mean", target=9, byzfl=12),
    "krum": Case("krum", target=10, byzfl=8),
    "multi_krum": Case("multi_krum", target=10, byzfl=8),
    "geometric_median": Case("geometric_median", target=10, byzfl=8),
    "caf": Case("caf", target=10, byzfl=8),
    "dnc": Case("dnc", target=10),
    "centered_clipping": Case("centered_clipping", target=5, byzfl=4),
    "monna": Case("monna", target=5, byzfl=3),
    "nnm >> trimmed_mean": Case("nnm >> trimmed_mean", target=20, byzfl=20),
    "bulyan": Case("bulyan", target=25),
    "meamed": Case("meamed", target=25, byzfl=10),
    "mda": Case("mda"),
    "mda, f=11": Case("mda", n=25, f=11, target=300),
    "mda, n=15, f=4": Case("mda", n=15, f=4),
}
SMALL = {"n": 15, "f": 4, "d": 1_200_000}
ATTACKS = {
    "alie": Case("alie", "attacks", **SMALL, target=12),
    "ipm": Case("ipm", "attacks", **SMALL, target=12),
    "min_max": Case("min_max", "attacks", **SMALL, target=12),
    "min_sum": Case("min_sum", "attacks", **SMALL, target=12),
    "strongest(alie)": Case("strongest(alie)", "attacks", **SMALL, byzfl=20),
}
TEN = ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]
TEN += ["centered_clipping", "monna", "caf", "meamed", "nnm >> trimmed_mean"]
OVERALL = 10.0
MEMORY = {"memory": 64, "large": 1024}
"""MiB that a rule may take beyond its input; the large output alone is 381."""
SECONDS, LONGEST = 0.1, 20.0  # for a side's turn; for its first call

Figures = dict[str, dict[str, Any]]


def start(side: Side) -> Worker:
    python = sys.executable if side.library == "turncoat" else peer_python(side.library)
    return Worker(f"peer_rules_{side.library}.py", python, side.tuned)


def our_rules() -> list[str]:
    worker = start(Side("turncoat"))
    names = worker.ask("names")
    worker.close()
    return names


def measure(cases: dict[str, Case], workers: dict[str, Worker], size: dict[str, int], options: Any) -> Figures:
    """Seconds of each side for cases of one size, medians over the turns A B C A B C ...; a text where it failed."""
    for side, worker in workers.items():
        worker.ask("set_up", **size, seed=0, threads=options.threads, numpy=SIDES[side].numpy)
    figures: Figures = {}
    for label, case in cases.items():
        job = {"kind": case.kind, "name": case.name, "seconds": SECONDS, "limit": LONGEST}
        turns: dict[str, list[float]] = {}
        failed: dict[str, str] = {}
        for _ in range(options.repeats):
            for side, worker in workers.items():
                answer = None if side in failed else worker.ask("time", **job)
                if answer and "seconds" in answer:
                    turns.setdefault(side, []).append(answer["seconds"])
                elif answer:
                    failed[side] = answer["failed"]
        figures[label] = {side: statistics.median(seconds) for side, seconds in turns.items()} | failed
        print(f"{label}: {figures[label]}", file=sys.stderr)
        if label == "strongest(alie)":
            sides = [side for side in ("turncoat", "byzfl") if isinstance(figures[label].get(side), float)]
            figures[label]["damage"] = {side: workers[side].ask("damage", name=case.name) for side in sides}
    return figures


def timings(cases: dict[str, Case], options: Any) -> dict[str, Figures]:
    """The figures of all cases, those of one size together and beside the machine's limits."""
    sizes: dict[tuple[str, int, int, int], dict[str, Case]] = {}
    for label, case in cases.items():
        size = (case.kind, case.n or options.n, case.f or options.f, options.d or case.d or D)
        sizes.setdefault(size, {})[label] = case
    workers = {}
    for name, side in SIDES.items():
        try:
            workers[name] = start(side)
        except FileNotFoundError as error:
            print(f"without {name}: {error}", file=sys.stderr)
    figures = {}
    for (kind, n, f, d), group in sizes.items():
        limits = {name: Case(name, "limits") for name in LIMITS} if kind == "rules" else {MEAN: Case(MEAN, "attacks")}
        size = {"n": n, "f": f, "d": d}
        figures[f"{kind}, n = {n}, f = {f}, d = {d:,}"] = measure(limits | group, workers, size, options)
    for worker in workers.values():
        worker.close()
    return figures


def ratio(slow: Any, fast: Any) -> float | None:
    """How many times longer the first took; None where one of them has no time."""
    return slow / fast if isinstance(slow, float) and isinstance(fast, float) else None


def milliseconds(value: Any) -> str:
    if isinstance(value, float):
        return f"{1e3 * value:.0f}" if value >= 0.1 else f"{1e3 * value:.3g}"
    return "" if value is None else value.split(":")[0]


def times(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def bold(text: str) -> str:
    return f"**{text}**" if text else ""


def row(label: str, line: dict[str, Any], mean: dict[str, Any], case: Case) -> list[str]:
    ours, byzfl, tuned = (line.get(side) for side in ("turncoat", "byzfl", "turncoat tuned"))
    cells = [f"`{label}`", milliseconds(ours), times(ratio(ours, mean["turncoat"])), times(case.target)]
    cells += [milliseconds(byzfl), bold(times(ratio(byzfl, ours))), times(case.byzfl)]
    for peer in ("byzfl numpy", "byzpy", "flwr"):
        cells += [milliseconds(line.get(peer)), times(ratio(line.get(peer), ours))]
    cells += [milliseconds(tuned), times(ratio(tuned, mean["turncoat tuned"])), milliseconds(line.get("byzfl tuned"))]
    return [*cells, times(ratio(line.get("byzfl tuned"), tuned))]


def table(figures: dict[str, Figures], cases: dict[str, Case]) -> str:
    """One table a size: ours in times X.mean(0), then each peer's time and how many times ours it is."""
    head = ["turncoat, ms", "x mean", "target", f"{peer_title('byzfl')}", "times", "target", "byzfl on NumPy", "times"]
    head += [peer_title("byzpy"), "times", peer_title("flwr"), "times", "tuned: turncoat", "x mean", "byzfl", "times"]
    parts = []
    for size, lines in figures.items():
        body = [row(label, line, lines[MEAN], cases.get(label, Case(label))) for label, line in lines.items()]
        rows = [[size, *head], ["---"] * (len(head) + 1), *body]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in rows))
    lines = {label: line for group in figures.values() for label, line in group.items()}
    return "\n\n".join([*parts, *conclusions(lines)])


def conclusions(lines: dict[str, dict[str, Any]]) -> list[str]:
    """The geometric mean of the speed-ups, and what the two searches for the strongest attack do."""
    text = []
    for title, ours, theirs in (("as they come", "turncoat", "byzfl"), ("tuned", "turncoat tuned", "byzfl tuned")):
        found = [value for name in TEN if (value := ratio(*(lines.get(name, {}).get(side) for side in (theirs, ours))))]
        if found:
            what = f"Geometric mean over {len(found)} of {', '.join(TEN)}, allocators {title}"
            text.append(f"{what}: **{statistics.geometric_mean(found):.1f}** times byzfl (target {OVERALL:g}).")
    if damage := lines.get("strongest(alie)", {}).get("damage"):
        moved = ", ".join(f"{side} {value:.4g}" for side, value in damage.items())
        text.append(f"How far the strongest ALIE found moves `nnm >> trimmed_mean` from the honest mean: {moved}.")
    return text


def extra_memory(names: list[str], size: dict[str, int], threads: int) -> dict[str, Any]:
    """MiB by which a fresh process grows for each rule, with f = 1 where a rule cannot tolerate more."""
    figures = {}
    for name in names:
        for f in (size["f"], 1):
            worker = start(Side("turncoat"))
            answer = worker.ask("memory", name=name, n=size["n"], f=f, d=size["d"], seed=0, threads=threads)
            worker.close()
            if not answer.get("failed", "").startswith("ToleranceError"):
                break
        figures[name] = answer.get("MiB", answer.get("failed"))
        print(f"{name}: {figures[name]}", file=sys.stderr)
    return figures


def memory_table(figures: dict[str, Any], limit: float) -> str:
    lines = [f"| rule | extra MiB (limit {limit:g}) |", "|---|---|"]
    for name, value in figures.items():
        text = str(value) if isinstance(value, str) else f"{value:.0f}" if value <= limit else f"**{value:.0f}**"
        lines.append(f"| `{name}` | {text} |")
    return "\n".join(lines)


def write(part: str, size: dict[str, int], figures: Any, text: str, threads: int) -> None:
    path = HERE / "rules.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    about = {"platform": platform.platform(), "python": platform.python_version(), "threads": threads} | size
    path.write_text(json.dumps(known | {part: {"about": about, "figures": figures}}, indent=1) + "\n")
    insert(HERE.parent / "docs" / "benchmarks.md", part, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--n", type=int, default=25)
    parser.add_argument("--f", type=int, default=5)
    parser.add_argument("--d", type=int)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    part = "memory" if options.memory else "large" if options.large else "rules"
    others = [name for name in our_rules() if name not in {case.name for case in RULES.values()}]
    if part == "rules":
        known = RULES | {name: Case(name) for name in others} | ATTACKS
        cases = {label: known[label] for label in chosen(options.cases, list(known))}
        figures: Any = timings(cases, options)
        text, size = table(figures, cases), {}
    else:
        names = chosen(options.cases, our_rules())
        size = {"n": options.n, "f": options.f, "d": options.d or D}
        if options.large:
            size = {"n": 8, "f": 2, "d": options.d or 10**8}
        figures = extra_memory(names, size, options.threads)
        text = memory_table(figures, MEMORY[part])
    print(text)
    if options.write:
        write(part, size, figures, text, options.threads)


def chosen(labels: list[str], known: list[str]) -> list[str]:
    if unknown := [label for label in labels if label not in known]:
        sys.exit(f"no {', '.join(unknown)} here: there are {', '.join(known)}")
    return labels or known


if __name__ == "__main__":
    main()
