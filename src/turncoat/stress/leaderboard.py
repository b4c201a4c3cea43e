"""Many rules under the same stress: a card for each in a folder, and one page of all the cards that lie there.

Every entry is computed in a process of its own, `python -m turncoat.stress.leaderboard RULE N F SUITE FILE`, so that
one that crashes takes no other with it.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch

from turncoat.campaign.live import in_words
from turncoat.campaign.local import threads
from turncoat.campaign.run import workers_of
from turncoat.errors import ResultError, SpecError, TurncoatError
from turncoat.registry import suggest
from turncoat.results.files import source_hash, write_atomically
from turncoat.rules import Rule
from turncoat.stress.adapters import files, make, names, peer_of
from turncoat.stress.card import Card
from turncoat.stress.run import CALLS, tier_1
from turncoat.stress.suite import JUDGING, load_suite
from turncoat.stress.trainings import tier_2
from turncoat.testing.calls import Calls
from turncoat.testing.report import Failed

SIZES = ((25, 5), (12, 2))
KNOWN = (
    *("mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median", "centered_clipping", "bulyan"),
    *("dnc", "nnm >> trimmed_mean"),
)
"""The best known, which are trained whatever their rank."""
CLASSICAL = ("median", "trimmed_mean", "meamed", "krum", "multi_krum", "geometric_median", "centered_clipping")
ENTRIES = (
    *("mean", "sign_majority", "median", "trimmed_mean", "meamed", "phocas"),
    *("krum", "multi_krum", "bulyan", "medoid", "geometric_median", "centered_clipping", "cge", "monna", "aksel"),
    *("mda", "smea", "dnc", "caf", "sign_guard", "zeno", "ls_reconstruction", "mixtailor"),
    *(f"nnm >> {rule}" for rule in (*CLASSICAL, "phocas", "bulyan")),
    *(f"bucketing(s=2) >> {rule}" for rule in CLASSICAL),
    *("arc >> trimmed_mean", "resampling >> trimmed_mean", "similarity_filter >> trimmed_mean"),
)
"""What is stressed unless other rules are named: every rule of the registry, and mixings before the classical ones."""

FAILED, PAGE, RUNS = "failed", "index.html", "runs"  # in the folder, beside the cards
WIDE = 4096  # coordinates of the rows on which an entry is tried first, as many as those of the suite's largest clouds
SLOWEST = 0.5  # seconds that this may take: a stress test makes thousands of aggregations
LONGEST = 2 * 3600.0  # seconds that an entry may take

Told = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A rule by its name, and for how many of how many workers."""

    rule: str
    n: int
    f: int

    def __str__(self) -> str:
        return f"{self.rule}, n = {self.n}, f = {self.f}"

    @property
    def slug(self) -> str:
        """What its files are called: `nnm-trimmed_mean-n25-f5`."""
        return f"{re.sub(r'[^a-zA-Z0-9_.]+', '-', self.rule).strip('-')}-n{self.n}-f{self.f}"


@dataclass
class Board:
    """What a leaderboard came to: the folder's cards by rank, and why some entries have none, by what they are."""

    cards: list[Card]
    page: Path
    left_out: dict[str, str] = field(default_factory=dict)
    """Those that do not admit n and f, or need what is not there."""
    failed: dict[str, str] = field(default_factory=dict)
    """Those that could not be stressed, or not trained."""


def leaderboard(
    folder: Path | str = "leaderboard",
    sizes: Sequence[tuple[int, int]] = SIZES,
    rules: Sequence[str] | None = None,
    peers: Sequence[str] = (),
    level: str = CALLS,
    *,
    suite: str = "standard-1",
    jobs: int | None = None,
    told: Told = lambda line: None,
) -> Board:
    """Stress rules for each (n, f) of `sizes`, `jobs` at a time; write a card for each and one page of all cards.

    Without `rules` and `peers` these are `ENTRIES`; `peers` adds all that is known of another project, in whose
    environment this must run. Cards that are there already are not computed again, unless the suite, the code or the
    user's own files have changed since. A level other than `calls` also trains, all that has a name of turncoat's or
    the user's own. `told` gets a line for each entry that is done, with the time left.

    Raises `SpecError` for what does not exist, and `ResultError` for a file in the folder that is no card.
    """
    folder, frozen = Path(folder).expanduser(), load_suite(suite)
    if level not in (CALLS, *frozen.training):
        raise SpecError(f"unknown level {level!r}: {suggest(level, [CALLS, *frozen.training])}")
    cards_in(folder)  # a file that is no card is found before hours have passed
    entries, left_out = _entries(sizes, rules, peers)
    stale = [entry for entry in entries if not _is_current(folder, entry, suite)]
    failed = _stress_all(folder, stale, suite, jobs, told)
    if level != CALLS:
        done = [entry for entry in entries if str(entry) not in failed]
        failed |= _train_all(folder, done, level, suite, jobs, told)
    return _board(folder, left_out, failed)


def train(
    folder: Path | str,
    best: int,
    level: str = "quick",
    *,
    suite: str = "standard-1",
    jobs: int | None = None,
    told: Told = lambda line: None,
) -> Board:
    """Train with the best so many rules of a folder's cards, and with the best known ones: for each n and f there is.

    Their cards get what the trainings came to; those that have it are not trained again. What belongs to another
    project is passed over. Raises `ResultError` for a file in the folder that is no card.
    """
    folder, cards = Path(folder).expanduser(), rank(cards_in(folder))
    sizes = dict.fromkeys((card.n, card.f) for card in cards)
    chosen = [one for size in sizes for one in best_and_known((c for c in cards if (c.n, c.f) == size), best)]
    entries = [Entry(card.rule, card.n, card.f) for card in chosen]
    here = [entry for entry in entries if _card(folder, entry) is not None]
    return _board(folder, {}, _train_all(folder, here, level, suite, jobs, told))


def best_and_known(ranked: Iterable[Card], best: int) -> list[Card]:
    """The first so many that belong to no other project, and the best known ones after them."""
    known = {str(make(rule, 25, 5)) for rule in KNOWN}
    able = [card for card in ranked if peer_of(card.rule) is None]
    return able[:best] + [card for card in able[best:] if card.rule in known]


def rank(cards: Iterable[Card]) -> list[Card]:
    """By the worst kappa, then by the worst descent, then by name; what is unbounded comes last."""

    def place(card: Card) -> tuple[float, float, str]:
        kappa, descent = (math.inf if math.isnan(value) else value for value in (card.kappa.value, card.descent.value))
        return kappa, descent, card.rule

    return sorted(cards, key=place)


def cards_in(folder: Path | str) -> list[Card]:
    """All cards of a folder, whoever made them; raises `ResultError` for a JSON file that is none."""
    return [Card.load(path) for path in sorted(Path(folder).glob("*.json")) if not path.name.startswith(".")]


def _entries(
    sizes: Sequence[tuple[int, int]], rules: Sequence[str] | None, peers: Sequence[str]
) -> tuple[list[Entry], dict[str, str]]:
    """What is to be stressed, each once by its full name, and why the others cannot be."""
    entries: dict[Entry, None] = {}
    left_out = {}
    for n, f in sizes:
        if not 0 < f < n / 2:
            raise SpecError(f"the traitors are a minority of at least one: 0 < f < n/2 must hold, got {n},{f}")
        named = [*(ENTRIES if rules is None and not peers else rules or ())]
        for rule in [*named, *(name for peer in peers for name in names(peer, n, f))]:
            try:
                entries[Entry(_admitted(rule, n, f), n, f)] = None
            except TurncoatError as error:
                left_out[str(Entry(rule, n, f))] = str(error)
    return list(entries), left_out


def _admitted(rule: str, n: int, f: int) -> str:
    """A rule's full name; raises what making and checking it raises."""
    made = make(rule, n, f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a rule that has no guarantee there, the card says what became of it
        made.check(n)
    return str(made)


def _card(folder: Path, entry: Entry) -> Card | None:
    """The card that was written for an entry."""
    path = folder / f"{entry.slug}.json"
    card = Card.load(path) if path.exists() else None
    return card if card and (card.rule, card.n, card.f) == (entry.rule, entry.n, entry.f) else None


def _is_current(folder: Path, entry: Entry, suite: str) -> bool:
    """Whether there is a card, and the suite, the code and the files that it comes from are as they were."""
    card = _card(folder, entry)
    now = (load_suite(suite).checksum, source_hash(*JUDGING), files(entry.rule))
    return card is not None and (card.suite_checksum, card.source_hash, card.files) == now


def _stress_all(folder: Path, entries: Sequence[Entry], suite: str, jobs: int | None, told: Told) -> dict[str, str]:
    """Compute the cards of entries; why some have none."""
    failed = {}
    for entry, why, left in _computed(folder, entries, suite, jobs):
        record = folder / FAILED / f"{entry.slug}.txt"
        if why:
            failed[str(entry)] = _last(why)
            write_atomically(record, why.encode())
        else:
            record.unlink(missing_ok=True)
        card = None if why else _card(folder, entry)
        said = f"kappa {card.kappa.value:.4g}" if card else f"failed, {failed.get(str(entry), 'no card was written')}"
        told(f"{entry}: {said}; {left}")
    return failed


def _computed(folder: Path, entries: Sequence[Entry], suite: str, jobs: int | None) -> Iterator[tuple[Entry, str, str]]:
    """Each entry when its process has ended, with what it said if it failed, and how much is left."""
    if not entries:
        return
    started = time.monotonic()
    pool = ThreadPoolExecutor(workers_of((), jobs, len(entries)))
    try:
        waiting = {pool.submit(_in_a_process, folder, entry, suite): entry for entry in entries}
        for done, future in enumerate(as_completed(waiting), 1):
            left = (time.monotonic() - started) / done * (len(entries) - done)
            yield waiting[future], future.result(), f"{done} of {len(entries)}, about {in_words(left)} left"
    finally:
        pool.shutdown(cancel_futures=True)


def _in_a_process(folder: Path, entry: Entry, suite: str) -> str:
    """Have an entry's card computed and written; what the process said if it did not."""
    path = folder / f"{entry.slug}.json"
    what = [entry.rule, str(entry.n), str(entry.f), suite, str(path.absolute())]
    environment = {"PYTHONHASHSEED": "0"} | os.environ | threads()
    environment["PYTHONPATH"] = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    command = [sys.executable, "-P", "-m", "turncoat.stress.leaderboard", *what]
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, **quiet, env=environment, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"it took more than {in_words(LONGEST)}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"its process ended with {done.returncode}"


def _last(text: str) -> str:
    """The line of a traceback that says what happened."""
    return text.strip().splitlines()[-1]


def _train_all(
    folder: Path, entries: Sequence[Entry], level: str, suite: str, jobs: int | None, told: Told
) -> dict[str, str]:
    """Give cards what trainings came to; why some have none. The runs are a campaign of their own in the folder."""
    failed = {}
    found = [(entry, _card(folder, entry)) for entry in entries if not peer_of(entry.rule)]
    todo = [(entry, card) for entry, card in found if card and not (card.training and card.training.level == level)]
    for place, (entry, card) in enumerate(todo, 1):
        told(f"{entry}: trained now, {place} of {len(todo)}")
        frozen, runs = load_suite(suite), folder / RUNS
        try:
            trained = tier_2(entry.rule, entry.n, entry.f, frozen, level, runs, jobs=jobs, progress=False)
        except TurncoatError as error:
            failed[str(entry)] = str(error)
            told(f"{entry}: not trained, {error}")
            continue
        flags = list(dict.fromkeys([*card.flags, *trained.doubts]))
        msgspec.structs.replace(card, training=trained, flags=flags).save(folder / f"{entry.slug}.json")
        told(f"{entry}: worst accuracy {trained.worst:.3f} under {trained.attack}")
    return failed


def _board(folder: Path, left_out: dict[str, str], failed: dict[str, str]) -> Board:
    """Write the page of all cards that lie in a folder."""
    from turncoat.stress.page import write_leaderboard

    cards = rank(cards_in(folder))
    if not cards:
        why = "; ".join(f"{entry}: {why}" for entry, why in (left_out | failed).items())
        raise ResultError(f"there is no card in {folder}" + (f": {why}" if why else ""))
    write_leaderboard(cards, folder / PAGE)
    return Board(cards, folder / PAGE, left_out, failed)


def _stress(rule: str, n: int, f: int, suite: str, path: Path) -> None:
    """Compute one card in this process."""
    _try(make(rule, n, f), n, load_suite(suite).patience)
    card, _ = tier_1(rule, n, f, suite, progress=False)
    card.save(path)


def _try(made: Rule, n: int, patience: float) -> None:
    """Raise `SpecError` for a rule that cannot aggregate normal rows, or takes too long for thousands of times."""
    X, calls, taken = torch.randn((n, WIDE), generator=torch.Generator().manual_seed(0)), Calls(patience), []
    rule = made.trusting(lambda update: 0.0)
    for _ in range(2):
        started = time.perf_counter()
        try:
            calls(rule.step, X, rule.init(X), torch.Generator().manual_seed(0), examined=False)
        except Failed as seen:
            raise SpecError(f"an aggregation of {n} normal rows {seen}") from seen
        taken.append(time.perf_counter() - started)
    if min(taken) > SLOWEST:
        raise SpecError(f"an aggregation takes {min(taken):.2g} s: thousands of them would take hours")


if __name__ == "__main__":
    try:
        _stress(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
    except TurncoatError as error:
        sys.exit(str(error))
