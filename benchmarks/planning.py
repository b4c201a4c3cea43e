"""What adversaries that look ahead add: every attack of S0's comparisons, tuned ones, S0's planners and this project's.

    python benchmarks/planning.py plane [--seeds 20] [--jobs 2]
    python benchmarks/planning.py mnist [--seeds 3] [--jobs 2]
    python benchmarks/planning.py speed
    python benchmarks/planning.py write

`plane` is S0's mean estimation (n=12, f=5, 8 rounds), beside the optimum of benchmarks/optimum.json. `mnist` is
softmax regression on MNIST (n=8, f=3, batches of 32, lr 0.01, 128 of S0's 640 rounds), with and without momentum: the
final loss over all training examples and the test accuracy. Tuned attacks are searched on the same budget of simulated
rounds that `best` has. `speed` compares simulated rounds a second with those of plain training and takes a machine of
its own. Finished cells are kept in benchmarks/planning.json; one thread a cell. `write` puts the tables into
docs/planning.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from time import perf_counter
from typing import Any

import torch
from peers import HERE
from render import ROOT, insert

from turncoat.attacks.planning.moves import Use
from turncoat.attacks.planning.objective import Objective
from turncoat.learning.simulator import Simulator
from turncoat.learning.training import Training
from turncoat.linalg.allocator import tune_allocator
from turncoat.progress import progress
from turncoat.results.files import write_atomically
from turncoat.spec import Spec

OUTPUT = HERE / "planning.json"
RFA = "geometric_median(nu=0.1, iterations=8, start=origin)"
CC = "centered_clipping(iterations=3)"
RULES = {"CM": "median", "TM": "trimmed_mean", "Krum": "krum", "RFA": RFA, "CC": CC}
CLASSICAL = ("alie", "sign_flip", "ipm", "mimic", "min_max", "min_sum")
OBJECTIVES = ("1", "0", "0.9", "1.1", "-1")

PLANE_BUDGET = 20_000
PLANE = {"task": "mean_estimation", "n": 12, "f": 5, "lr": 0.5, "clip": 2.0, "batch": 1, "rounds": 8}
PLANE_RULES = RULES | {"Krum, n-f": 'krum(neighbours="n-f")', "RFA, exact": "geometric_median"}
TUNED = f"lookahead(planner=tuned, attacks=[{{}}], budget={PLANE_BUDGET // 10})"
PLANE_ATTACKS = {
    "none": "none",
    **{name: name for name in CLASSICAL},
    **{f"{name}, tuned": TUNED.format(name) for name in CLASSICAL},
    **{f"NLP {each}": f"nlp(objective={each}, budget={PLANE_BUDGET})" for each in OBJECTIVES},
    "beam": "beam",
    "gradient": f"lookahead(planner=gradient, budget={PLANE_BUDGET})",
    "search": f"lookahead(planner=search, budget={PLANE_BUDGET})",
    "best": f"lookahead(budget={PLANE_BUDGET})",
    "best, min": f"lookahead(budget={PLANE_BUDGET}, objective=min)",
    "best, f rows": f"lookahead(budget={PLANE_BUDGET}, identical=False)",
}

MNIST_BUDGET = 25_600
MNIST = {"task": "mnist/softmax", "n": 8, "f": 3, "lr": 0.01, "batch": 32, "rounds": 128}
MNIST_ATTACKS = {
    "none": "none",
    **{name: name for name in CLASSICAL},
    "tuned": f"lookahead(planner=tuned, budget={MNIST_BUDGET}, measure=sample)",
    **{
        f"SSNLP-{length}": f"ssnlp(l={length}, budget={MNIST_BUDGET * length // MNIST['rounds']})"
        for length in (1, 4, 16)
    },
    "best": f"lookahead(budget={MNIST_BUDGET}, measure=sample)",
}
MOMENTA = {"": 0.0, " m": 0.9}


def plane_cells(seeds: int) -> dict[str, dict[str, Any]]:
    return {
        f"plane | {name} | {attack} | {seed}": {**PLANE, "rule": rule, "attack": spelled, "seed": seed}
        for seed in range(seeds)
        for name, rule in PLANE_RULES.items()
        for attack, spelled in PLANE_ATTACKS.items()
    }


def mnist_cells(seeds: int) -> dict[str, dict[str, Any]]:
    return {
        f"mnist | {name}{mark} | {attack} | {seed}": {
            **MNIST, "rule": rule, "attack": spelled, "seed": seed, "momentum": momentum,
        }
        for seed in range(seeds)
        for attack, spelled in MNIST_ATTACKS.items()
        for mark, momentum in MOMENTA.items()
        for name, rule in RULES.items()
    }  # fmt: skip


def run(fields: dict[str, Any]) -> dict[str, Any]:
    """One cell: a whole run, and what it came to."""
    warnings.simplefilter("ignore")
    tune_allocator()
    began = perf_counter()
    training = Training(Spec(threads=1, evaluate_every=1 if "clip" in fields else fields["rounds"], **fields))
    result = training.finish()
    found: dict[str, Any] = {"seconds": round(perf_counter() - began, 2)}
    if result.plans:
        found["simulated"] = sum(plan.simulated_rounds for plan in result.plans)
        found["planning"] = round(result.timings["attack"], 2)
    if len(result.plans) == 1:
        found |= {"winner": result.plans[0].winner, "tried": result.plans[0].tried}
    if "clip" in fields:
        losses = [record.extra["error"] for record in result.records[1:]]
        return found | {"final": losses[-1], "mean": statistics.mean(losses), "min": min(losses)}
    federation, last = training.federation, result.records[-1]
    loss, _ = federation.learner.evaluate(training.state.parameters, federation.x, federation.y)
    return found | {"loss": loss, "accuracy": last.test_accuracy}


def load() -> dict[str, Any]:
    return json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {"cells": {}, "speed": {}}


def save(content: dict[str, Any]) -> None:
    write_atomically(OUTPUT, (json.dumps(content, indent=0, sort_keys=True) + "\n").encode())


def fill(cells: dict[str, dict[str, Any]], jobs: int) -> None:
    """Run the cells that are not done yet."""
    content = load()
    todo = {key: fields for key, fields in cells.items() if key not in content["cells"]}
    context = get_context("spawn")
    with progress(len(todo)) as show, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {pool.submit(run, fields): key for key, fields in todo.items()}
        for done, future in enumerate(as_completed(waiting), start=1):
            key = waiting[future]
            content["cells"][key] = future.result()
            if done % 20 == 0 or content["cells"][key]["seconds"] > 5 or done == len(todo):
                save(content)
            show(done, key)
            print(key, {k: v for k, v in content["cells"][key].items() if k != "tried"}, file=sys.stderr, flush=True)


def speed() -> None:
    """Rounds a second: plain training, one plan after the other, and whole planners."""
    warnings.simplefilter("ignore")
    tune_allocator()
    content = load()
    for name, rule in RULES.items():
        fields = {**MNIST, "rule": rule, "threads": 1, "evaluate_every": 128}
        ways: dict[str, Callable[[], float]] = {
            "training": lambda: _training_rate(Spec(attack="ipm(epsilon=2)", **fields)),  # noqa: B023
            "rollout": lambda: _rollout_rate(Spec(attack="ipm(epsilon=2)", **fields)),  # noqa: B023
            "ssnlp(l=16)": lambda: _planning_rate(Spec(attack="ssnlp(l=16, budget=400)", **fields)),  # noqa: B023
            "best": lambda: _planning_rate(Spec(attack="lookahead(budget=6000)", **fields)),  # noqa: B023
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(3):  # taking turns
            for way, rate in ways.items():
                rates[way].append(rate())
        content["speed"][name] = {way: statistics.median(found) for way, found in rates.items()}
        print(name, content["speed"][name], file=sys.stderr, flush=True)
        save(content)


def _training_rate(spec: Spec) -> float:
    training = Training(spec)
    training.finish()
    seconds = training.clock.seconds
    return 128 / sum(seconds[phase] for phase in ("gradients", "attack", "rule", "update"))


def _rollout_rate(spec: Spec) -> float:
    training = Training(spec)
    ahead = Simulator(training.federation, training.state, training.federation.prepare(training.state))
    moves, began = [Use(training.federation.attack)] * 128, perf_counter()
    ahead(moves, Objective("mean", "batch"))
    return 128 / (perf_counter() - began)


def _planning_rate(spec: Spec) -> float:
    result = Training(spec).finish()
    return sum(plan.simulated_rounds for plan in result.plans) / result.timings["attack"]


def median_of(cells: dict[str, Any], key: str, what: str, seeds: Iterable[int]) -> float | None:
    """The median over the seeds that are done."""
    found = [cells[f"{key} | {seed}"][what] for seed in seeds if f"{key} | {seed}" in cells]
    return statistics.median(found) if found else None


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def optima() -> dict[str, dict[str, Any]]:
    """What dynamic programming found, by rule and seed."""
    path = HERE / "optimum.json"
    return json.loads(path.read_text())["problems"] if path.exists() else {}


def plane_table(cells: dict[str, Any], seeds: int) -> str:
    """Final distance / smallest loss of each attack, medians over seeds; the share of the optimal final distance."""
    best = optima()
    rows = [["attack", *PLANE_RULES]]
    for attack in PLANE_ATTACKS:
        row = [f"`{attack}`"]
        for name, rule in PLANE_RULES.items():
            key, shares = f"plane | {name} | {attack}", []
            final, least = (median_of(cells, key, what, range(seeds)) for what in ("final", "min"))
            for seed in range(seeds):
                known = best.get(rule, {}).get(str(seed))
                if known and f"{key} | {seed}" in cells:
                    shares.append(cells[f"{key} | {seed}"]["final"] / max(known["reached"]["final"], 1e-12))
            share = f" ({statistics.median(shares):.0%})" if shares else ""
            row.append("" if final is None else f"{final:.3g} / {least:.3g}{share}")
        rows.append(row)
    for what in ("final", "min"):
        row = [f"optimum, {what}"]
        for rule in PLANE_RULES.values():
            found = [known["reached"][what] for seed in range(seeds) if (known := best.get(rule, {}).get(str(seed)))]
            row.append(f"{statistics.median(found):.3g}" if found else "")
        rows.append(row)
    return markdown(rows)


def mnist_table(cells: dict[str, Any], seeds: int) -> str:
    """Final training loss and test accuracy, medians over seeds."""
    columns = [f"{name}{mark}" for mark in MOMENTA for name in RULES]
    rows = [["attack", *columns]]
    for attack in MNIST_ATTACKS:
        row = [f"`{attack}`"]
        for column in columns:
            key = f"mnist | {column} | {attack}"
            loss, accuracy = (median_of(cells, key, what, range(seeds)) for what in ("loss", "accuracy"))
            row.append("" if loss is None or accuracy is None else f"{loss:.3g} / {accuracy:.0%}")
        rows.append(row)
    margins = ["margin of `best`"]
    for column in columns:
        pairs = [
            (cells[ours]["loss"], cells[theirs]["loss"])
            for seed in range(seeds)
            if (ours := f"mnist | {column} | best | {seed}") in cells
            and (theirs := f"mnist | {column} | tuned | {seed}") in cells
        ]
        spread = max((max(side) - min(side) for side in zip(*pairs, strict=True)), default=0.0)
        gain = statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None
        margins.append("" if gain is None else f"{gain:+.3g} (spread {spread:.2g})")
    return markdown([*rows, margins])


def speed_table(rates: dict[str, dict[str, float]]) -> str:
    rows = [["rule", "training, rounds/s", "rollout", "`ssnlp(l=16)`", "`lookahead`"]]
    for name, found in rates.items():
        base = found["training"]
        shares = [f"{found[way] / base:.2f}" for way in ("rollout", "ssnlp(l=16)", "best")]
        rows.append([name, f"{base:,.0f}", *shares])
    return markdown(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("plane", "mnist", "speed", "write"))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="a part of the names of the cells to run")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.part == "speed":
        speed()
    elif asked.part == "write":
        content, page = load(), ROOT / "docs" / "planning.md"
        insert(page, "plane table", plane_table(content["cells"], asked.seeds or 20))
        insert(page, "mnist table", mnist_table(content["cells"], asked.seeds or 3))
        insert(page, "speed table", speed_table(content["speed"]))
    else:
        cells = plane_cells(asked.seeds or 20) if asked.part == "plane" else mnist_cells(asked.seeds or 3)
        fill({key: fields for key, fields in cells.items() if asked.only in key}, asked.jobs)


if __name__ == "__main__":
    main()
