"""Tables and pictures of the README and the docs, from result files.

python benchmarks/render.py demo/               # the demo's table and picture, into README.md
python benchmarks/render.py RESULTS docs/benchmarks.md fashion-mnist   # a table between that page's marks
python benchmarks/render.py presets             # other projects' conventions, into docs/conventions.md
python benchmarks/render.py board               # the first rows of docs/board, into docs/leaderboard.md
python benchmarks/render.py reproduction        # the verdicts of docs/reproduction, into docs/reproduction.md
python benchmarks/render.py flower              # accuracies and times of benchmarks/flower.json, into docs/flower.md
python benchmarks/render.py ddp                 # costs from benchmarks/ddp.json, into docs/ddp.md
python benchmarks/render.py planning            # attacks on Krum in the plane, the picture of docs/planning.md
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import vl_convert

from turncoat.learning.training import train
from turncoat.linalg.allocator import tune_allocator
from turncoat.papers.figure import Judgement
from turncoat.papers.page import STATES, TITLES
from turncoat.papers.run import CLAIMS
from turncoat.presets import NOT_OFFERED, PRESETS
from turncoat.report.export import VEGA_LITE, sheets
from turncoat.report.sections import Report
from turncoat.results import read_all
from turncoat.results.settings import attack_text
from turncoat.results.statistics import Comparison
from turncoat.stress.leaderboard import SIZES, best_and_known, cards_in, rank
from turncoat.stress.words import kappa_text, percent, share_text

ROOT = Path(__file__).parent.parent


def table(comparison: Comparison) -> str:
    """Attacks in rows, rules in columns; each rule's worst attack is starred."""
    rules, metric = comparison.rules, comparison.metric
    lines = [["attack", *(f"`{rule}`" for rule in rules)], ["---"] * (len(rules) + 1)]
    for attack in comparison.attacks:
        cells = [
            metric.text(comparison.value(rule, attack)) + r"\*" * comparison.is_worst(rule, attack) for rule in rules
        ]
        lines.append([f"`{attack}`" if attack != "none" else attack_text(attack), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def insert(page: Path, mark: str, text: str) -> None:
    """Put text between the two marks of a page."""
    mark = f"<!-- {mark} -->"
    head, _, rest = page.read_text().partition(mark)
    page.write_text(f"{head}{mark}\n{text}\n{mark}{rest.partition(mark)[2]}")


def presets() -> dict[str, str]:
    """The tables of docs/conventions.md, by their marks."""
    lines = ["| name | preset | is |", "|---|---|---|"]
    spelled = sorted((name, preset, call) for preset, calls in PRESETS.items() for name, call in calls.items())
    lines += [f"| `{name}` | {preset} | `{call}` |" for name, preset, call in spelled]
    missing = [f"- `{name}` of {preset}: {why}." for (preset, name), why in sorted(NOT_OFFERED.items())]
    return {"presets": "\n".join(lines), "not offered": "\n".join(missing)}


def board() -> dict[str, str]:
    """By mark of docs/leaderboard.md: the ten best of turncoat's for each n and f, and where the best known stand."""
    cards = cards_in(ROOT / "docs" / "board")
    tables = {}
    for n, f in SIZES:
        lines = ["| | rule | kappa | descent left | attacked | not attacked |", "|---:|---|---:|---:|---:|---:|"]
        entries = rank(card for card in cards if (card.n, card.f) == (n, f))
        for card in best_and_known(entries, 10):
            place, trained = entries.index(card) + 1, card.training
            learnt = [percent(trained and trained.worst), percent(trained and trained.clean)]
            scores = [kappa_text(card.kappa.value), share_text(card.descent.value)]
            lines.append(f"| {' | '.join([str(place), f'`{card.rule}`', *scores, *learnt])} |")
        tables[f"board {n} {f}"] = "\n".join([f"Of {len(entries)} entries at n = {n}, f = {f}:", "", *lines])
    return tables


def published(scale: str = "quick") -> list[Judgement]:
    """The verdicts that the docs carry."""
    return msgspec.json.decode((ROOT / "docs" / "reproduction" / scale / CLAIMS).read_bytes(), type=list[Judgement])


def reproduction() -> dict[str, str]:
    """By mark of docs/reproduction.md: how many claims hold, fail and are open, and each paper's with its numbers."""
    papers = {paper: [each for each in published() if each.figure.startswith(f"{paper}-")] for paper in TITLES}
    rows = {TITLES[paper]: judged for paper, judged in papers.items()} | {"all": published()}
    lines = [
        "| paper | measured: holds | fails | undecided | unavailable | computed: holds | fails |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, judged in rows.items():
        counts = Counter((each.computed, each.state) for each in judged)
        columns = [*((False, state) for state in STATES), (True, "holds"), (True, "fails")]
        lines.append(f"| {' | '.join([name, *(str(counts[column]) for column in columns)])} |")
    tables = {paper: _verdicts(judged) for paper, judged in papers.items()}
    return {"counts": "\n".join(lines), **tables, "scale paper": _verdicts(published("paper"))}


def _verdicts(judged: Sequence[Judgement]) -> str:
    """A table of claims, and below it why those fail that do."""
    lines = ["| figure | claim | verdict | measured |", "|---|---|---|---|"]
    for each in judged:
        others = each.comparisons - 1
        measured = each.numbers[0] + f" (and {others} more)" * bool(others)  # what decides stands first
        columns = (text.replace("|", "\\|") for text in (each.figure, each.says, each.state, measured))
        lines.append(f"| {' | '.join(columns)} |")
    whys: dict[str, list[str]] = {}  # one paragraph may explain several
    for each in judged:
        if each.verdict == "fails":
            whys.setdefault(each.why, []).append(f"**{each.figure}: {each.says}.**")
    return "\n\n".join(["\n".join(lines), *("\n".join([*claims, why]) for why, claims in whys.items())])


def flower() -> dict[str, str]:
    """The tables of docs/flower.md, by their marks: strategies in rows."""
    figures = msgspec.json.decode((ROOT / "benchmarks" / "flower.json").read_bytes())
    cases = figures["accuracy"]
    lines = [["", *cases], ["---", *["---:"] * len(cases)]]
    lines += [[f"`{name}`", *(_reached(found[name]) for found in cases.values())] for name in cases["no attack"]]
    tables = {"accuracy": "\n".join(f"| {' | '.join(line)} |" for line in lines)}
    if "time" in figures:
        about, times = figures["time"]["about"], figures["time"]["milliseconds"]
        lines = [f"| aggregating {about['n']} replies of {about['d']:,} float32 parameters | ms |", "| --- | ---: |"]
        tables["time"] = "\n".join([*lines, *(f"| `{name}` | {taken:.0f} |" for name, taken in times.items())])
    return tables


def _reached(runs: list[float | str]) -> str:
    """The mean accuracy in per cent, or how the runs ended."""
    ended = [run for run in runs if isinstance(run, str)]
    return ended[0].replace(" in round", ", round") if ended else f"{100 * sum(map(float, runs)) / len(runs):.1f}"


def ddp() -> dict[str, str]:
    """The table of docs/ddp.md: what a robust all-reduce takes beside a plain one."""
    made = msgspec.json.decode((ROOT / "benchmarks" / "ddp.json").read_bytes())
    about, figures = made["about"], made["figures"]
    plain = figures.pop("all_reduce")
    lines = ["| rule | mode | times the all-reduce | bytes sent, times its |", "|---|---|---:|---:|"]
    for case, line in figures.items():
        rule, _, mode = case.rpartition(", ")
        times, sent = line["seconds"] / plain["seconds"], line["bytes"] / plain["bytes"]
        lines.append(f"| `{rule}` | {mode} | {times:.2f} | {sent:.2f} |")
    size = f"{about['n']} processes on one machine, f = {about['f']}, {about['d']:,} float32 coordinates, gloo:"
    return {"ddp": "\n".join([size, "", *lines])}


def planning() -> None:
    """S0's setting of mean estimation, seed 0: Krum under classical attacks, NLP and lookahead."""
    tune_allocator()
    setting = {"n": 12, "f": 5, "lr": 0.5, "clip": 2.0, "batch": 1, "rounds": 8, "evaluate_every": 1, "threads": 1}
    attacks = [
        "lookahead(budget=8000)",
        "nlp(objective=1, budget=8000)",
        "alie",
        "sign_flip",
        "ipm",
        "mimic",
        "min_max",
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*has no guarantee")
        first, *others = (train("mean_estimation", rule="krum", attack=attack, **setting) for attack in attacks)
    first.plot(*others).save(ROOT / "docs" / "images" / "planning.png", ppi=110)


def main() -> None:
    if sys.argv[1:] == ["planning"]:
        planning()
        return
    made = {
        "presets": ("conventions.md", presets),
        "board": ("leaderboard.md", board),
        "ddp": ("ddp.md", ddp),
        "flower": ("flower.md", flower),
        "reproduction": ("reproduction.md", reproduction),
    }
    if len(sys.argv) == 2 and sys.argv[1] in made:
        page, tables = made[sys.argv[1]]
        for mark, text in tables().items():
            insert(ROOT / "docs" / page, mark, text)
        return
    folder, page, mark = (*sys.argv[1:], "README.md", "demo table")[:3] if len(sys.argv) < 4 else sys.argv[1:4]
    report = Report(read_all(folder))
    (comparison,) = report.comparisons
    insert(ROOT / page, mark, table(comparison))
    if mark == "demo table":
        svg = vl_convert.vegalite_to_svg(sheets(report)["setting0-curves"], vl_version=VEGA_LITE)
        (ROOT / "docs" / "images" / "demo.png").write_bytes(vl_convert.svg_to_png(svg, scale=1.5))


if __name__ == "__main__":
    main()
