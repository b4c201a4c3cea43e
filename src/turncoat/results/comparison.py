"""Rules against attacks in each setting, over the seeds that were run.

What counts is a run's final value. A NaN is worse than any number and never dropped. Runs of the same seed differ in
machinery only, and count as one with their mean. A run that failed has no value, but is never taken for one that was
not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from turncoat.results.failure import Failure
from turncoat.results.metric import ACCURACY, LOSSES, SUCCESS, Metric, Spread, metric_of
from turncoat.results.result import Result
from turncoat.results.settings import CLEAN, attack_of, by_numbers, seeds_of, settings
from turncoat.spec import Seeds

CONTROL = "mean"  # the rule that must learn where nobody attacks
LEAST_GAIN = 0.2  # of what the initial accuracy leaves to be gained
WORST = "worst"
RESAMPLES, MOST_DRAWN = 10_000, 10**7
COVERED = 0.95
FEW = 10  # seeds, below which an interval is much too narrow
DOUBTS = {
    True: "",
    False: "plain mean without attack did not learn, so these figures say nothing of the rules",
    None: "no run of plain mean without attack tells whether it can be learnt at all",
}
"""What the control of a setting says against it, by whether it has learnt."""

Where = tuple[str, str]
"""A rule and the attack that it meets."""


def is_control(result: Result) -> bool:
    """Whether a run is plain averaging that nobody attacks, which shows whether its setting can be learnt at all."""
    return result.spec.rule == CONTROL and attack_of(result) == CLEAN


def learnt(result: Result) -> bool | None:
    """Whether a run has learnt anything; None where it cannot be told, for want of two evaluations.

    Its final accuracy must be above the initial one by at least a fifth of what that leaves to 1. In a task without
    accuracy, the final test loss must be finite and at most half of the first.
    """
    accuracies, losses = ACCURACY.values(result), LOSSES[0].values(result)
    if len(accuracies) > 1:
        return accuracies[-1] - accuracies[0] >= LEAST_GAIN * (1 - accuracies[0])
    if len(losses) > 1 and not accuracies:
        return math.isfinite(losses[-1]) and losses[-1] <= losses[0] / 2
    return None


@dataclass(frozen=True)
class Worst:
    """The attacks under which a rule ends worst, several where they tie, and where it ends."""

    attacks: tuple[str, ...]
    value: float

    @property
    def attack(self) -> str:
        """The first of them."""
        return self.attacks[0]

    def __str__(self) -> str:
        others = len(self.attacks) - 1
        return f"{self.attack} and {others} other{'s' * (others > 1)}" if others else self.attack


@dataclass(frozen=True)
class Comparison:
    """Rules against attacks in one setting; every value is the mean of final values over the seeds."""

    title: str
    results: tuple[Result, ...]
    metric: Metric
    failures: tuple[Failure, ...] = ()

    @cached_property
    def runs(self) -> dict[Where, list[Result]]:
        """The runs of each (rule, attack)."""
        found: dict[Where, list[Result]] = {}
        for result in self.results:
            found.setdefault((result.spec.rule, attack_of(result)), []).append(result)
        return found

    @cached_property
    def failed(self) -> dict[Where, int]:
        """How many seeds of each (rule, attack) failed, those left out for which another run has finished."""
        found: dict[Where, set[Seeds]] = {}
        for failure in self.failures:
            where = failure.spec.rule, attack_of(failure)
            if seeds_of(failure) not in map(seeds_of, self.runs.get(where, ())):
                found.setdefault(where, set()).add(seeds_of(failure))
        return {where: len(seeds) for where, seeds in found.items()}

    @cached_property
    def attacks(self) -> list[str]:
        """No attack first, then the others by name."""
        met = {attack for _, attack in (*self.runs, *self.failed)}
        return sorted(met, key=lambda attack: (attack != CLEAN, by_numbers(attack)))

    @cached_property
    def rules(self) -> list[str]:
        """The rule that stands best under its worst attack first, then those that missed one, then the unattacked."""

        def rank(rule: str) -> tuple[bool, bool, float, str]:
            worst = self.worst(rule)
            value = worst.value if worst else self.value(rule, CLEAN)
            badness = math.inf if value is None else self.metric.badness(value)
            return worst is None, bool(self.missing(rule)), badness, rule

        return sorted({rule for rule, _ in (*self.runs, *self.failed)}, key=rank)

    @property
    def best(self) -> str:
        """The rule that stands best, of those that met every attack if any did."""
        return self.rules[0]

    @cached_property
    def learnt(self) -> bool | None:
        """Whether all controls have learnt; None where there is none, or none that tells."""
        told = {learnt(result) for result in self.results if is_control(result)} - {None}
        return all(told) if told else None

    @property
    def doubt(self) -> str:
        """What the control says against all figures of the setting; empty where it has learnt."""
        return DOUBTS[self.learnt]

    @cached_property
    def _finals(self) -> dict[Where, dict[Seeds, float]]:
        found = {}
        for where, runs in self.runs.items():
            of_seed: dict[Seeds, list[float]] = {}
            for run in runs:
                if (final := self.metric.final(run)) is not None:
                    of_seed.setdefault(seeds_of(run), []).append(final)
            found[where] = {seeds: sum(values) / len(values) for seeds, values in of_seed.items()}
        return found

    def finals(self, rule: str, attack: str) -> dict[Seeds, float]:
        """The final value of each seed, of those that were run and measured."""
        return self._finals.get((rule, attack), {})

    @cached_property
    def spreads(self) -> dict[Where, Spread]:
        """The final values over the seeds, wherever something was run and measured."""
        return {
            where: Spread.of(list(finals.values()), self.metric) for where, finals in self._finals.items() if finals
        }

    def spread(self, rule: str, attack: str) -> Spread | None:
        """The final values over the seeds, None where nothing was run or measured."""
        return self.spreads.get((rule, attack))

    def value(self, rule: str, attack: str) -> float | None:
        """The mean final value, None where nothing was run or measured."""
        spread = self.spread(rule, attack)
        return spread.mean if spread else None

    @cached_property
    def _most(self) -> dict[str, int]:
        """The most seeds that each rule was run with under an attack, those counted that failed."""
        most: dict[str, int] = {}
        for rule, attack in (*self.runs, *self.failed):
            here = len(self.finals(rule, attack)) + self.failed.get((rule, attack), 0)
            most[rule] = max(most.get(rule, 0), here)
        return most

    @property
    def several(self) -> bool:
        """Whether there is more than one cell."""
        return len(self.runs.keys() | self.failed.keys()) > 1

    @property
    def seeded(self) -> bool:
        """Whether some value is of several seeds."""
        return any(spread.seeds > 1 for spread in self.spreads.values())

    @property
    def uneven(self) -> bool:
        """Whether some value is of fewer seeds than others of its rule."""
        return any(spread.seeds < self._most[rule] for (rule, _), spread in self.spreads.items())

    def seeds(self, rule: str, attack: str) -> str:
        """How many seeds a value is of: `3`; or `2 of 3`, where the rule was run with more under another attack."""
        here, most = len(self.finals(rule, attack)), self._most[rule]
        return str(here) if here == most else f"{here} of {most}"

    def mean_text(self, rule: str, attack: str) -> str:
        """A cell's mean in words, without one how many runs failed, or a dash."""
        value, failed = self.value(rule, attack), self.failed.get((rule, attack))
        return f"{failed} failed" if value is None and failed else self.metric.text(value)

    def text(self, rule: str, attack: str) -> str:
        """A cell in words: `80.1±2.3 (5)`, mean, standard deviation and seeds; `3 failed`; or a dash."""
        spread = self.spread(rule, attack)
        if spread is None:
            return self.mean_text(rule, attack)
        return f"{spread.text(self.metric)} ({self.seeds(rule, attack)})"

    def beside(self, rule: str, attack: str) -> str:
        """What of that stands beside the mean: `±2.3 (5)`."""
        return self.text(rule, attack).removeprefix(self.mean_text(rule, attack))

    @cached_property
    def _worst(self) -> dict[str, Worst]:
        found: dict[str, dict[str, float]] = {}
        for (rule, attack), spread in self.spreads.items():
            if attack != CLEAN:
                found.setdefault(rule, {})[attack] = spread.mean
        worst = {}
        for rule, means in found.items():
            most = max(means.values(), key=self.metric.badness)
            alike = [attack for attack, mean in means.items() if self.metric.badness(mean) == self.metric.badness(most)]
            worst[rule] = Worst(tuple(sorted(alike, key=by_numbers)), most)
        return worst

    def worst(self, rule: str) -> Worst | None:
        """The worst of the attacks that were run against a rule; None where there was none."""
        return self._worst.get(rule)

    def is_worst(self, rule: str, attack: str) -> bool:
        """Whether that is an attack under which the rule ends worst."""
        worst = self.worst(rule)
        return worst is not None and attack in worst.attacks

    def missing(self, rule: str) -> list[str]:
        """The attacks that others met and this rule did not, or under which all of its runs failed."""
        return [attack for attack in self.attacks if attack != CLEAN and self.value(rule, attack) is None]

    def missing_text(self, rule: str) -> str:
        """Those attacks in words: `alie(z=8), ipm(epsilon=2) (3 failed)`."""
        failed = {attack: self.failed.get((rule, attack)) for attack in self.missing(rule)}
        return ", ".join(f"{attack} ({count} failed)" if count else attack for attack, count in failed.items())

    def lost(self, rule: str) -> float | None:
        """What the worst attack takes: clean minus worst where more is better, else worst minus clean."""
        clean, worst = self.value(rule, CLEAN), self.worst(rule)
        if clean is None or worst is None:
            return None
        return clean - worst.value if self.metric.higher_is_better else worst.value - clean

    @cached_property
    def backdoors(self) -> Comparison | None:
        """The same runs by how often a trigger works, of which accuracy says nothing; None where no run has one."""
        planted = tuple(result for result in self.results if SUCCESS.final(result) is not None)
        return Comparison(self.title, planted, SUCCESS) if planted else None


def compare(results: Iterable[Result], failures: Iterable[Failure] = ()) -> list[Comparison]:
    """The comparisons in some results, one a setting, with the runs of these settings that failed."""
    found = []
    for title, runs in settings([*results, *failures]).items():
        done = tuple(run for run in runs if isinstance(run, Result))
        if done:
            failed = tuple(run for run in runs if isinstance(run, Failure))
            found.append(Comparison(title, done, metric_of(done), failed))
    return found


@dataclass(frozen=True)
class Difference:
    """The final values of rule a minus those of rule b, over the seeds that both were run with.

    Pairing takes out what a seed does to both. Where `attack` is `worst`, each rule stands under its own worst of the
    attacks that both met, `attack_a` and `attack_b`, chosen on the seeds that all of these runs have in common, and
    compared on them. A NaN counts as infinitely bad, and what is infinite on both sides as no difference. `better` is
    the number of seeds for which a ends better; `low` and `high` bound the mean difference, see `interval`, and are
    None where that is.
    """

    attack: str
    attack_a: str
    attack_b: str
    seeds: int
    better: int
    mean: float
    low: float | None
    high: float | None


def differences(one: Comparison, a: str, b: str) -> list[Difference]:
    """Those of two rules under each attack that both met with a common seed, and at last under their worst."""
    met: dict[str, dict[Seeds, tuple[float, float]]] = {}
    for attack in one.attacks:
        left, right = one.finals(a, attack), one.finals(b, attack)
        if pairs := {seeds: (left[seeds], right[seeds]) for seeds in left if seeds in right}:
            met[attack] = pairs
    found = [_difference(attack, attack, attack, list(pairs.values()), one.metric) for attack, pairs in met.items()]
    met.pop(CLEAN, None)
    first = next(iter(met.values()), {})
    common = [seeds for seeds in first if all(seeds in pairs for pairs in met.values())]
    if common:

        def badness(attack: str, side: int) -> float:
            return one.metric.badness(sum(met[attack][seeds][side] for seeds in common) / len(common))

        worst_a, worst_b = (max(met, key=lambda attack: badness(attack, side)) for side in (0, 1))
        pairs = [(met[worst_a][seeds][0], met[worst_b][seeds][1]) for seeds in common]
        found.append(_difference(WORST, worst_a, worst_b, pairs, one.metric))
    return found


def _difference(
    attack: str, attack_a: str, attack_b: str, pairs: Sequence[tuple[float, float]], metric: Metric
) -> Difference:
    worst = -math.inf if metric.higher_is_better else math.inf
    numbers = [tuple(worst if math.isnan(value) else value for value in pair) for pair in pairs]
    apart = [0.0 if a == b else a - b for a, b in numbers]
    better = sum(metric.badness(a) < metric.badness(b) for a, b in pairs)
    low, high = interval(apart) or (None, None)
    return Difference(attack, attack_a, attack_b, len(pairs), better, sum(apart) / len(apart), low, high)


def interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of a mean difference: percentiles of the means of resamples (Efron, 1979), the same at each call.

    None for fewer than two differences and where one is not finite. It is too narrow for few: of normal differences, it
    holds the true mean in about 50 % of cases with 2, 75 % with 3, 84 % with 5, 91 % with 10. Of equal differences it
    has no width, which says that they are few or rounded, not that the next would be the same.
    """
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    import numpy as np

    values = np.asarray(differences)
    resamples = min(RESAMPLES, MOST_DRAWN // len(values))
    drawn = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)
