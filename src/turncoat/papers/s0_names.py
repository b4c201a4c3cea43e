"""S0's rules, readings of them and attacks, and how its pages call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from turncoat.attacks.planning.base import OF_S0
from turncoat.papers.evidence import Measure, Runs, Sample
from turncoat.papers.figure import Claim, canonical

CM, TM, KRUM = "median", "trimmed_mean", "krum"
CC = "centered_clipping(iterations=3)"  # and tau = 10
RFA = "geometric_median(nu=0.1, iterations=8, start=origin)"
NEIGHBOURS = {"n-f-2": "", "n-f-1": '(neighbours="n-f-1")', "n-f": '(neighbours="n-f")'}
SIX = list(OF_S0)
PLUS = 'alie(sign="+")'  # the other reading
SEVEN = [*SIX, "label_flip"]
NLP = [f"nlp(objective={objective})" for objective in ("1", "0", "0.9", "1.1", "-1")]
BEAM = "beam(l=2, width=8)"
STAB = "stab(attack_rounds=960, solver=powell)"
RARE = "long_tail(beta=0.5)"
SETUPS = {"iid": "iid", RARE: "long tail, momentum 0.9"}
MEDIAN = "With n = 2f + 2, the trimmed mean keeps the two middle values: it is the median, and so is this figure."
SAID = ("n-f-2", "n-f")  # neighbours of Krum, as S0 cites it and as it says


def ssnlp(*lengths: int, solver: str = "") -> list[str]:
    return [f"ssnlp(l={length}{', solver=' if solver else ''}{solver})" for length in lengths]


def krums(before: str = "", *neighbours: str) -> dict[str, str]:
    """Krum by how many neighbours it sums over."""
    return {f"{before}krum{NEIGHBOURS[each]}": each for each in neighbours}


RULES = {CM: "CM", TM: "TM", CC: "CC", RFA: "RFA"}
RULES |= {rule: f"Krum ({count} neighbours)" for rule, count in krums("", *NEIGHBOURS).items()}
NAMES = canonical(
    rule=RULES | {f"nnm >> {rule}": f"{name} with NNM" for rule, name in RULES.items()},
    attack={
        **dict(zip(SEVEN, ("ALIE", "BF", "IPM", "Mimic", "MinMax", "MinSum", "LF"), strict=True)),
        **{name: f"NLP {name[14:-1]}" for name in NLP},
        **{name: f"SSNLP-{length}" for length in (1, 4, 16, 64) for name in ssnlp(length)},
        **{name: f"SSNLP-{length}" for length in (1, 8, 16) for name in ssnlp(length, solver="powell")},
        **{BEAM: "beam search", STAB: "STAB", PLUS: "ALIE, mean plus deviation"},
    },
)


def of(runs: Runs, attack: str, measure: Measure) -> Sample:
    return runs.at(attack=attack).of(measure)


def by_reading(of_rule: Callable[[str], Iterable[Claim]], readings: Mapping[str, str]) -> list[Claim]:
    """Claims of a rule under each reading of it: under names of their own for Krum, which has several."""
    return [
        replace(one, name=f"{one.name}-{count}", says=f"{one.says}, {count} neighbours") if count else one
        for rule, count in readings.items()
        for one in of_rule(rule)
    ]


def read_as(claims: Sequence[Claim], readings: Mapping[str, str]) -> list[Claim]:
    """The same claims under each reading of a rule, over that rule's runs."""

    def of_rule(rule: str) -> list[Claim]:
        return [replace(one, judge=lambda runs, judge=one.judge: judge(runs.at(rule=rule))) for one in claims]

    return by_reading(of_rule, readings)
