"""Hostile input, and which rules of turncoat, byzfl, byzpy and Flower fail on it.

    python benchmarks/hostile.py [--write]

11 rows (the fewest for which every rule is defined), f = 2, d = 1000, float32, unless an input says otherwise. Honest
rows are normal about 0.1 with standard deviation 1. A rule fails by

- NaN, Inf: such an entry in its aggregate;
- wrong: an aggregate farther from the honest mean than twice the farthest honest row; under an offset also Krum
  returning another row, or Multi-Krum averaging other rows, than those that float64 arithmetic chooses by the
  library's own count of neighbours;
- breaks: an exception, or None instead of a vector, where a traitor must not stop the server;
- hangs: no answer within ten seconds;
- accepts: an answer where no rule can promise one; another dtype than came; the caller's rows overwritten; two
  answers to the same rows from rules that draw no random numbers by their definition.

Rules that by their definition promise nothing for an input are left out of it. --write puts the table into
docs/numerics.md and the findings into benchmarks/hostile.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers import HERE, PACKAGES, Worker, peer_python, peer_title
from render import insert

N, F, D = 11, 2, 1000
DRAWS = 5
LONGEST = 10.0
NEIGHBOURS = {"turncoat": 2, "byzfl": 1, "byzpy": 1, "flwr": 2}
"""Krum's neighbours in each library: n - f less so many."""
# Rules and mixings that promise nothing for an input:
RANDOM = frozenset({"bucketing", "resampling", "dnc", "mixtailor", "sign_guard"})  # draw by their definition
SIGNS = frozenset({"sign_majority"})  # a vector of signs is near no mean
UNPROMISED = SIGNS | {"mean"}  # which is no defence
FROM_ORIGIN = frozenset({"centered_clipping", "clipping"})  # steps, or rows, of bounded length stay near it
BY_NORM = frozenset({"cge"})  # and the traitors' norms are honest
SUBSETS = frozenset({"mda", "smea"})  # as defined they try 142,506 subsets, which takes long on any input
NO_F = frozenset({"mean", "median", "geometric_median", "centered_clipping", "bucketing", "clipping"})

Rows = np.ndarray


@dataclass(frozen=True)
class Input:
    """Rows that a rule is given, and what is wrong with its answers, if anything."""

    title: str
    make: Callable[[np.random.Generator], list[Rows]]
    """The rows of each round; the answer to the last round's counts."""
    judge: Callable[[Case], str]
    bad: int = 0
    """How many of the last rows are Byzantine."""
    f: int = F
    exempt: frozenset[str] = frozenset()
    links: int = 2
    """How many links of a chain may exempt it."""
    calls: int = 1


@dataclass(frozen=True)
class Case:
    """One rule's answers to one draw of an input, each from a new instance."""

    library: str
    rule: str
    input: Input
    X: Rows
    answers: list[dict[str, Any]]

    @property
    def vector(self) -> Rows:
        return np.array(self.answers[0]["vector"], dtype=np.float64)


def near(case: Case) -> str:
    honest = case.X[: len(case.X) - case.input.bad].astype(np.float64)
    if np.isnan(case.vector).any():
        return "NaN"
    if np.isinf(case.vector).any():
        return "Inf"
    mean = honest.mean(0)
    widest = np.linalg.norm(honest - mean, axis=1).max()
    return "wrong" if np.linalg.norm(case.vector - mean) > 2 * widest else ""


def right_rows(case: Case) -> str:
    """As `near`; and Krum and Multi-Krum take the rows that float64 arithmetic chooses."""
    rule, n, f = case.rule.split(" (")[0], len(case.X), case.input.f
    if rule not in ("krum", "multi_krum") or not np.isfinite(case.vector).all():
        return near(case)
    X = case.X.astype(np.float64)
    squared = np.array([((X - row) ** 2).sum(1) for row in X])
    scores = np.sort(squared, axis=1)[:, 1 : 1 + n - f - NEIGHBOURS[case.library]].sum(1)
    count = 1 if rule == "krum" else n - f
    weights = np.linalg.lstsq((X - X.mean(0)).T, case.vector - X.mean(0), rcond=1e-9)[0] + 1 / n
    return "" if set(np.flatnonzero(weights > 0.5 / count)) == set(scores.argsort()[:count]) else "wrong"


def refused(case: Case) -> str:
    return "" if "raised" in case.answers[0] else "accepts"


def same_dtype(case: Case) -> str:
    return "" if case.answers[0]["dtype"] == case.X.dtype.name else case.answers[0]["dtype"]


def unchanged(case: Case) -> str:
    return "" if case.answers[0]["unchanged"] else "overwrites"


def repeated(case: Case) -> str:
    first, second = (answer["vector"] for answer in case.answers)
    return "" if first == second else "differs"


def ordinary(rng: np.random.Generator) -> Rows:
    return (0.1 + rng.standard_normal((N, D))).astype(np.float32)


def far(rng: np.random.Generator, n: int = N, traitors: int = 0) -> Rows:
    """Rows that share a large offset; the traitors have the honest rows' median norm and point the other way."""
    X = (1e4 + 1e-2 * rng.standard_normal((n, D))).astype(np.float32)
    if traitors:
        norms = np.linalg.norm(X.astype(np.float64), axis=1)
        X[-traitors:] *= (-np.median(norms) / norms[-traitors:, None]).astype(np.float32)
    return X


def noisy(rng: np.random.Generator) -> Rows:
    """Ordinary rows, the last two 1e5 times as long."""
    X = ordinary(rng)
    X[-2:] *= 1e5
    return X


def spoilt(rng: np.random.Generator, *values: float, columns: int = D) -> Rows:
    """Ordinary rows, the last ones filled with these values."""
    X = ordinary(rng)
    for row, value in zip(X[-len(values) :], values, strict=True):
        row[:columns] = value
    return X


AWAY = UNPROMISED | FROM_ORIGIN
MANY = AWAY | SUBSETS
INPUTS = [
    Input("one row of NaN", lambda rng: [spoilt(rng, np.nan)], near, bad=1, exempt=SIGNS),
    Input("one NaN coordinate", lambda rng: [spoilt(rng, np.nan, columns=1)], near, bad=1, exempt=SIGNS),
    Input("one row of +Inf", lambda rng: [spoilt(rng, np.inf)], near, bad=1, exempt=SIGNS),
    Input("the round after it", lambda rng: [spoilt(rng, np.inf), ordinary(rng)], near, exempt=SIGNS),
    Input("one row of 1e38", lambda rng: [spoilt(rng, 1e38)], near, bad=1, exempt=UNPROMISED),
    Input("two rows, of 1e3 and 1e4", lambda rng: [spoilt(rng, 1e3, 1e4)], near, bad=2, exempt=UNPROMISED),
    Input("two rows of noise of 1e5", lambda rng: [noisy(rng)], near, bad=2, exempt=UNPROMISED),
    Input("offset 1e4, spread 1e-2", lambda rng: [far(rng)], right_rows, exempt=AWAY),
    Input("the same, 30 rows, f = 5", lambda rng: [far(rng, 30)], right_rows, f=5, exempt=MANY),
    Input("the same, 5 traitors opposite", lambda rng: [far(rng, 30, 5)], right_rows, 5, 5, MANY | BY_NORM),
    Input("f = 6 of 11", lambda rng: [ordinary(rng)], refused, f=6, exempt=NO_F, links=1),
    Input("float64", lambda rng: [ordinary(rng).astype(np.float64)], same_dtype),
    Input("the caller's rows", lambda rng: [ordinary(rng)], unchanged),
    Input("the same rows twice", lambda rng: [ordinary(rng)], repeated, exempt=RANDOM, calls=2),
]  # fmt: skip


def examine(library: str, worker: Worker, folder: Path) -> dict[str, dict[str, str]]:
    """What is wrong with each rule, by input: the first verdict over the draws, and in how many of them."""
    findings: dict[str, dict[str, str]] = {}
    for given in INPUTS:
        rules = worker.ask("names", mixings=True)
        tried = [rule for rule in rules if not given.exempt & set(rule.split(" >> ")[: given.links])]
        verdicts = {rule: verdict(library, worker, rule, given, folder) for rule in tried}
        findings[given.title] = {rule: text for rule, text in verdicts.items() if text}
        print(f"{library}, {given.title}: {findings[given.title] or 'none'} of {len(tried)}", file=sys.stderr)
    return findings


def verdict(library: str, worker: Worker, rule: str, given: Input, folder: Path) -> str:
    found = []
    for seed in range(DRAWS):
        rounds = given.make(np.random.default_rng(seed))
        paths = [str(folder / f"{number}.npy") for number in range(len(rounds))]
        for path, X in zip(paths, rounds, strict=True):
            np.save(path, X)
        job = {"name": rule, "paths": paths, "f": given.f, "limit": LONGEST}
        answers = [worker.ask("call", **job) for _ in range(given.calls)]
        if any("hangs" in answer for answer in answers):
            return "hangs"
        if given.judge is not refused and any("raised" in answer for answer in answers):
            print(f"{library} {rule}: {answers[0]}", file=sys.stderr)
            found.append("breaks")
        elif text := given.judge(Case(library, rule, given, rounds[-1], answers)):
            found.append(text)
    if not found:
        return ""
    return found[0] if len(found) == DRAWS else f"{found[0]} in {len(found)} of {DRAWS}"


def cell(found: dict[str, str]) -> str:
    """`NaN: krum, median; wrong: caf`, "none" where nothing is wrong."""
    kinds = {kind: [f"`{rule}`" for rule, text in found.items() if text == kind] for kind in found.values()}
    return "; ".join(f"{kind}: {', '.join(rules)}" for kind, rules in kinds.items()) or "none"


def table(findings: dict[str, dict[str, dict[str, str]]]) -> str:
    heads = [library if library == "turncoat" else peer_title(library) for library in findings]
    lines = [["input", *heads], ["---"] * (len(heads) + 1)]
    lines += [[given.title, *(cell(found[given.title]) for found in findings.values())] for given in INPUTS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", default=["turncoat", *PACKAGES])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    findings = {}
    with tempfile.TemporaryDirectory() as folder:
        for library in options.libraries:
            try:
                python = sys.executable if library == "turncoat" else peer_python(library)
            except FileNotFoundError as error:
                sys.exit(str(error))
            worker = Worker(f"peer_rules_{library}.py", python)
            findings[library] = examine(library, worker, Path(folder))
            worker.close()
    text = table(findings)
    print(text)
    if options.write:
        (HERE / "hostile.json").write_text(json.dumps(findings, indent=1) + "\n")
        insert(HERE.parent / "docs" / "numerics.md", "hostile", text)


if __name__ == "__main__":
    main()
