"""S3's defences, attacks and splits, how its pages call them, and what claims take of their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from turncoat.papers.evidence import BEST, Evidence, Extreme, Runs, Sample
from turncoat.papers.figure import Claim, canonical

RFA = "bucketing(s=2) >> geometric_median(nu=0.1, iterations=8, start=origin)"
CCLIP, NNM, DNC = "centered_clipping(tau=10)", "nnm >> trimmed_mean", "dnc"
CMLS = "ls_reconstruction"  # not the published rule: drawn and tabled, and in no claim
RULES = {RFA: "RFA(buck)", CMLS: "CMLS (reconstruction)", CCLIP: "CCLIP", NNM: "trMean(NNM)", DNC: "DnC"}
JUDGED = {RFA: "rfa", CCLIP: "cclip", NNM: "nnm", DNC: "dnc"}
"""The defences of which claims are judged, and how their names say so."""
BETAS = {f"dirichlet(beta={beta})": f"\u03b2 = {beta}" for beta in (0.1, 0.3, 0.5)}
UNLIKE, MIDDLE, MILD = BETAS
ALIE = [f"alie(z={z}, population=own)" for z in (0, 0.25, 0.5, 2.5, 5, 8, 10)]
IPM = [f"ipm(epsilon={epsilon}, population=own)" for epsilon in (0, 0.1, 0.5, 2.5, 5, 8, 10)]
PLUS = 'alie(z=8, population=own, sign="+")'
HARMLESS, USUAL, SMALL, MEDIUM, LARGE, LARGEST = 0, 1, 2, 3, 5, 6  # places in both
ATTACKS = {
    ALIE[LARGE]: "ALIE z=8",
    IPM[MEDIUM]: "IPM ε=2.5",
    "min_max": "MinMax",
    "min_sum": "MinSum",
    "sign_flip": "SF",
}
BESIDE = {
    PLUS: "ALIE z=8, mean plus deviation",
    "min_max(direction=unit)": "MinMax along the mean",
    "min_sum(direction=unit)": "MinSum along the mean",
}
OTHERS = [attack for attack in ATTACKS if attack not in (ALIE[LARGE], IPM[MEDIUM])]
NAMES = canonical(rule=RULES, split=BETAS, attack=ATTACKS | BESIDE)


def under(runs: Runs, attack: str) -> Sample:
    return runs.at(attack=attack).of(BEST)


def worst(runs: Runs, attacks: Sequence[str]) -> Extreme:
    return runs.at(attack=list(attacks)).lowest(BEST)


def of_each(name: str, says: str, judge: Callable[[Runs], Evidence], *rules: str) -> list[Claim]:
    """What S3 says of every defence, or of some, of one after the other; {} stands for its name."""
    return [
        Claim(f"{name}-{JUDGED[rule]}", says.format(RULES[rule]), lambda runs, rule=rule: judge(runs.at(rule=rule)))
        for rule in rules or JUDGED
    ]
