"""One call: what f traitors can do to a rule, as a score card and the witnesses of its worst cases."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from itertools import combinations, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import torch

from turncoat.errors import SpecError
from turncoat.learning.machine import threads
from turncoat.progress import progress as bar
from turncoat.registry import suggest
from turncoat.results.files import source_hash
from turncoat.results.result import Environment, now
from turncoat.rules import Rule
from turncoat.stress.adapters import files, make
from turncoat.stress.breakdown import breakdown
from turncoat.stress.card import Card, CheckLine, OnCloud, Worst
from turncoat.stress.clouds import clouds
from turncoat.stress.flags import doubts
from turncoat.stress.siege import SCORES, Score, Siege
from turncoat.stress.suite import JUDGING, Suite, load_suite
from turncoat.stress.target import Target
from turncoat.stress.trainings import tier_2
from turncoat.stress.witness import About, Witness
from turncoat.stress.worst import besiege, unbounded, worst_value
from turncoat.testing import Report, check_rule

CALLS = "calls"  # the level without trainings
CARD, WITNESS = "card.json", ".witness"  # files of an output folder
SETS = 60_000  # sets of n - f rows that the worst case is judged against: all of them, for n = 25 and f = 5
DIMENSION = 100_000  # coordinates of the rows whose aggregation is timed
TIMED = 15  # calls whose median is the cost


def stress(
    rule: str | Rule | Callable[..., Any],
    n: int = 25,
    f: int = 5,
    suite: str = "standard-1",
    level: str = "quick",
    *,
    output: Path | str | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> Card:
    """How strong a rule really is against f traitors among n workers: the worst that a frozen suite finds, as a card.

    `rule` is a name, `path.py:name`, `byzfl:name` and the like (see `adapters`), a rule, or any callable from (n, d) to
    (d,). The level `calls` judges single aggregations; `quick` also trains on the embedded digits, `full` on
    Fashion-MNIST, for which the rule has to have a name. With a folder as `output`, `card.json`, the witnesses of the
    worst cases and the runs are left there, and runs that are there already are used again.

    Raises what making the rule raises, `SpecError` for a suite or level that does not exist, and `ToleranceError` where
    the rule does not allow f of n.
    """
    frozen = load_suite(suite)
    if level not in (CALLS, *frozen.training):
        raise SpecError(f"unknown level {level!r}: {suggest(level, [CALLS, *frozen.training])}")
    if level != CALLS and not isinstance(rule, str):
        raise SpecError(f'trainings need a rule with a name, such as own.py:rule; level="{CALLS}" takes any callable')
    card, witnesses = tier_1(rule, n, f, suite, progress=progress)
    with TemporaryDirectory() if output is None else nullcontext(output) as place:
        folder = Path(place).expanduser()
        if output is not None:
            for score, witness in witnesses.items():
                witness.save(folder / f"{score}{WITNESS}")
            card.save(folder / CARD)
        if level != CALLS:
            assert isinstance(rule, str)
            trained = tier_2(rule, n, f, frozen, level, folder / "runs", jobs=jobs, progress=progress)
            card = msgspec.structs.replace(card, training=trained, flags=[*card.flags, *trained.doubts])
        if output is not None:
            card.save(folder / CARD)
    return card


@threads(1)
def tier_1(
    rule: str | Rule | Callable[..., Any], n: int, f: int, suite: str = "standard-1", *, progress: bool = True
) -> tuple[Card, dict[Score, Witness]]:
    """The worst that f hostile rows among n do to a rule in one round: its card, and a witness for each score.

    Raises what making the rule, or checking n and f, raises.
    """
    frozen, made = load_suite(suite), make(rule, n, f)
    if not 0 < f < n / 2:
        raise SpecError(f"the traitors are a minority of at least one: 0 < f < n/2 must hold, got n = {n}, f = {f}")
    made.check(n)
    started = time.monotonic()
    target, growing = Target.of(made, n, frozen), Target.of(made, n, frozen)
    checks, sieges, curve = _try(target, growing, f, frozen, progress)
    worst: dict[Score, Siege] = {score: _worst(sieges, score) for score in SCORES}
    witnesses: dict[Score, Witness] = {
        score: _witness(siege, score, str(made), made.f or f, frozen) for score, siege in worst.items()
    }
    card = Card(
        suite=frozen.name,
        suite_checksum=frozen.checksum,
        rule=str(made),
        n=n,
        f=f,
        kappa=_of("kappa", witnesses["kappa"]),
        descent=_of("descent", witnesses["descent"]),
        lower_bound=f / (n - 2 * f),
        bound=made.kappa(n, f),
        any_set=_any_set(worst["kappa"], witnesses["kappa"].rows),
        breakdown=curve,
        clouds=[_on_cloud(siege) for siege in sieges.values()],
        checks=[CheckLine(name=check.name, status=check.status, detail=check.detail) for check in checks.checks],
        flags=list(doubts(made, target, sieges)),
        calls=target.calls.count + growing.calls.count,
        seconds=time.monotonic() - started,
        milliseconds=_cost(target.rule, n),
        files=files(rule),
        source_hash=source_hash(*JUDGING),
        environment=Environment.here("cpu", torch.get_num_threads()),
        finished=now(),
    )
    return card, witnesses


def _try(
    target: Target, growing: Target, f: int, suite: Suite, progress: bool
) -> tuple[Report, dict[str, Siege], list[float]]:
    """The conformance checks, the sieges of all clouds, and the breakdown curve, which calls are counted apart."""
    n = target.n
    on = {cloud.name: cloud for cloud in clouds(suite, n - f)}
    steps = len(on) + sum(suite.search.clouds.values()) + n // 2 + 2
    with bar(steps, quiet=not progress) as show, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hostile rows make honest code warn
        told = _counting(show)
        told("conformance checks")
        checks = check_rule(target.rule, n, f, seconds=suite.patience)
        return checks, besiege(target, on, f, suite, told), list(breakdown(growing, suite, told))


def _counting(show: Callable[[int, str], None]) -> Callable[[str], None]:
    done = -1

    def told(what: str) -> None:
        nonlocal done
        done += 1
        show(done, what)

    return told


def _worst(sieges: Mapping[str, Siege], score: Score) -> Siege:
    return max(sieges.values(), key=lambda siege: worst_value(siege, score))


def _witness(siege: Siege, score: Score, rule: str, rule_f: int, suite: Suite) -> Witness:
    case = siege.worst[score]
    about = About(
        rule=rule,
        rule_f=rule_f,
        n=siege.target.n,
        f=siege.f,
        suite=suite.name,
        cloud=siege.cloud.name,
        how=case.how,
        unbounded=unbounded(siege, score),
        seen=siege.see(case.rows, suite.draws),
    )
    return Witness(about, siege.cloud.honest, case.rows.contiguous())


def _of(score: Score, witness: Witness) -> Worst:
    """The worst of a score, as its witness shows it."""
    about = witness.about
    mean, worst = about.seen.of(score)
    return Worst(
        value=math.inf if about.unbounded else mean,
        worst_draw=math.inf if about.unbounded else worst,
        cloud=about.cloud,
        how=about.how,
    )


def _on_cloud(siege: Siege) -> OnCloud:
    kappa, descent = siege.worst["kappa"], siege.worst["descent"]
    return OnCloud(
        cloud=siege.cloud.name,
        kappa=worst_value(siege, "kappa"),
        kappa_by=kappa.how,
        descent=worst_value(siege, "descent"),
        descent_by=descent.how,
    )


def _any_set(siege: Siege, rows: torch.Tensor) -> float:
    """The largest ratio of the case over sets of n - f of its rows, whichever they are; infinite where one is a point.

    With x_i from the honest mean: the sums over a set are those over all rows less those over the f that it leaves out.
    """
    X = siege.received(rows)
    vectors = siege.target(X, "the worst case")
    if vectors is None:
        return math.inf
    X, F = X.double() - siege.mean, vectors.mean(0) - siege.mean
    G, n, f = X @ X.T, len(X), len(rows)
    out = torch.tensor(list(islice(combinations(range(n), f), SETS)))
    rest = n - f
    total = G.sum() - 2 * G.sum(1)[out].sum(1) + G[out[:, :, None], out[:, None, :]].sum((1, 2))
    squares = (G.diagonal().sum() - G.diagonal()[out].sum(1)) / rest
    along = ((X @ F).sum() - (X @ F)[out].sum(1)) / rest
    means = total / rest**2
    ratios = (F @ F - 2 * along + means).clamp(min=0) / (squares - means).clamp(min=torch.finfo(torch.float64).tiny)
    return float(ratios.max())


def _cost(made: Rule, n: int) -> float:
    """The median milliseconds of an aggregation of n float32 rows of as many coordinates as the cost is stated for."""
    X = torch.randn((n, DIMENSION), generator=torch.Generator().manual_seed(0))
    state, seconds = made.init(X), []
    for _ in range(TIMED):
        started = time.perf_counter()
        made.step(X, state, torch.Generator().manual_seed(0), examined=False)
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)
