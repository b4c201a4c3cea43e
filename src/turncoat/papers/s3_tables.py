"""S3's Tables 1 and 2 beside ours, what it leaves open, and what its sentences say of its tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

from turncoat.papers.evidence import BEST, Evidence, Runs, Sample, Undecided, every
from turncoat.papers.figure import Claim
from turncoat.papers.pictures import Picture, table
from turncoat.papers.s3_names import (
    ALIE,
    ATTACKS,
    BESIDE,
    BETAS,
    CCLIP,
    DNC,
    IPM,
    JUDGED,
    LARGE,
    MEDIUM,
    MIDDLE,
    MILD,
    NNM,
    OTHERS,
    RFA,
    RULES,
    of_each,
    under,
    worst,
)

PRINTED = {  # per cent, mean and standard deviation: the papers' tables, by beta, attack and rule
    "T1": {
        0.5: [
            "26.34±12.22 25.66±8.58 29.97±9.11 20.09±0.71 87.55±0.33",
            "62.43±28.73 84.32±0.63 83.81±1.45 83.41±0.80 86.93±0.36",
            "81.80±1.61 81.56±2.71 63.54±16.57 81.82±0.90 86.38±1.21",
            "84.50±2.15 83.55±0.76 85.54±0.54 84.23±0.40 86.78±0.71",
            "86.33±0.32 78.48±8.00 87.25±0.35 82.78±0.61 85.60±0.97",
        ],
        0.3: [
            "26.15±9.20 20.34±1.06 27.30±8.07 19.59±0.00 87.82±0.59",
            "78.58±1.26 80.29±0.06 80.38±2.19 16.29±4.66 84.26±0.91",
            "82.62±0.52 79.19±0.26 50.76±29.41 79.59±1.16 82.46±1.47",
            "83.78±0.46 79.60±0.66 86.49±0.47 82.26±0.75 83.81±1.60",
            "84.06±1.20 80.15±0.66 86.28±0.09 39.43±14.59 84.49±0.30",
        ],
    },
    "T2": {
        0.3: [
            "23.26±1.39 21.71±2.81 17.89±5.64 21.93±1.49",
            "39.30±0.35 44.20±1.16 50.95±1.53 52.29±0.22",
            "37.99±1.34 42.96±0.68 37.81±0.95 49.60±0.87",
            "46.00±0.50 43.36±0.89 53.33±0.41 52.67±0.50",
            "52.76±1.03 44.12±0.43 63.58±0.47 51.58±2.03",
        ],
    },
}


def beside(title: str, printed: str, data: str) -> Callable[[Runs], list[Picture]]:
    """A table in the paper's layout, best accuracies in per cent, each row with the paper's below it."""

    def drawn(runs: Runs) -> list[Picture]:
        rows = []
        for (split, beta), (attack, label) in product(reversed(BETAS.items()), (ATTACKS | BESIDE).items()):
            ours = [_cell(runs, rule=rule, split=split, attack=attack) for rule in RULES]
            if any(ours):
                rows.append([f"{beta}: {label}", *ours])
            theirs = PRINTED[printed].get(float(beta.split()[-1])) if attack in ATTACKS else None
            if theirs:
                said = theirs[list(ATTACKS).index(attack)].split()
                rows.append([f"{beta}: {label}, S3, {data}", *said, *[""] * (len(RULES) - len(said))])
        return [table(title, ["best accuracy, %", *RULES.values()], rows)]

    return drawn


def _cell(runs: Runs, **where: str) -> str:
    try:
        values = list(runs.at(**where).of(BEST).of.values())
    except Undecided:
        return ""
    deviation = f"\u00b1{100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.2f}{deviation}"


def clean(runs: Runs, split: object) -> Sample:
    return runs.at(rule="mean", attack="none", split=split).of(BEST)


def of_table(rules: Iterable[str] = JUDGED, splits: Sequence[str] = (MILD, MIDDLE)) -> list[Claim]:
    """What S3 says of its tables, judged where the table has numbers."""
    rules = list(rules)

    def at(runs: Runs, *rules: str) -> list[Runs]:
        return [runs.at(rule=rule, split=split) for rule in rules for split in splits]

    def alie(rule: str, bound: Callable[[Runs, str], Sample | float]) -> Callable[[Runs], Evidence]:
        return lambda runs: every(
            under(runs.at(rule=rule, split=split), ALIE[LARGE]) <= bound(runs, split) for split in splits
        )

    found = [
        Claim(
            "calibrated-are-worst",
            "the worst attack for every defence is ALIE z = 8 or IPM epsilon = 2.5",
            lambda runs: every(
                worst(one, [ALIE[LARGE], IPM[MEDIUM]]) <= worst(one, OTHERS) for one in at(runs, *rules)
            ),
        ),
        Claim(
            "ipm-worse-than-others",
            "IPM epsilon = 2.5 harms every defence more than MinMax, MinSum and SF",
            lambda runs: every(under(one, IPM[MEDIUM]) <= worst(one, OTHERS) for one in at(runs, *rules)),
        ),
    ]
    for rule in rules:
        if rule == DNC:
            continue
        found += [
            Claim(
                f"alie-below-35-{JUDGED[rule]}",
                f"ALIE z = 8 leaves {RULES[rule]} less than 35 %",
                alie(rule, lambda runs, split: 0.35),
            ),
            Claim(
                f"alie-collapses-{JUDGED[rule]}",
                f"ALIE z = 8 leaves {RULES[rule]} less than half of what averaging reaches without attack",
                alie(rule, lambda runs, split: clean(runs, split) * 0.5),
            ),
        ]
    return found


DNC_80 = Claim(
    "dnc-above-80",
    "DnC stays above 80 % under every attack",
    lambda runs: every(worst(one, list(ATTACKS)) >= 0.80 for one in runs.at(rule=DNC).each("split").values()),
)
DNC_90 = Claim(
    "dnc-withstands",
    "DnC keeps 90 % of what averaging reaches without attack, under every attack",
    lambda runs: every(
        worst(runs.at(rule=DNC, split=split), list(ATTACKS)) >= clean(runs, split) * 0.9
        for split in runs.at(rule=DNC).each("split")
    ),
)
ALIE_24 = of_each(
    "alie-24",
    "under ALIE z = 8 with beta = 0.3, {} stays below 24 %",
    lambda runs: under(runs.at(split=MIDDLE), ALIE[LARGE]) <= 0.24,
    RFA,
    CCLIP,
    NNM,
)


# What S3 leaves open --------------------------------------------------------------------------------------------------

BY_CLIENT, HARDER = "dirichlet(beta=0.3, by=client)", "centered_clipping(tau=1)"
SHARED = {attack: attack.replace(", population=own", "") for attack in (ALIE[LARGE], IPM[MEDIUM])}
"""The two attacks with the attackers' own statistics, and with all honest vectors'."""
Change = Mapping[str, Mapping[str, str]]
POPULATION: Change = {"attack": SHARED}
RADIUS: Change = {"rule": {CCLIP: HARDER}}
SPLIT: Change = {"split": {MIDDLE: BY_CLIENT}}


def usual(rule: str, attack: str) -> dict[str, str]:
    """As in the other figures."""
    return {"rule": rule, "split": MIDDLE, "attack": attack}


def read(change: Change, place: Mapping[str, str]) -> dict[str, str]:
    """The same under another reading."""
    return {key: change.get(key, {}).get(value, value) for key, value in place.items()}


def differs(change: Change) -> Callable[[Runs], Evidence]:
    """That another reading is 10 points apart somewhere."""
    places = [usual(rule, attack) for attack, rule in product(SHARED, JUDGED)]
    return lambda runs: (
        ~every(
            runs.at(**place).of(BEST).near(runs.at(**read(change, place)).of(BEST), 0.10)
            for place in places
            if read(change, place) != place
        )
    )


READINGS = [
    Claim(
        "population",
        "whether the attackers use their own statistics or those of all honest vectors matters: by 10 points somewhere",
        differs(POPULATION),
    ),
    Claim(
        "radius",
        "whether centred clipping has a radius of 10 or of 1 matters: by 10 points under ALIE or IPM",
        differs(RADIUS),
    ),
    Claim(
        "split",
        "whether Dirichlet shares out each class or each worker's mixture matters: by 10 points somewhere",
        differs(SPLIT),
    ),
]


def readings(runs: Runs) -> list[Picture]:
    """Best accuracies, a row a reading."""
    changes: dict[str, Change] = {
        "as in the other figures": {},
        "statistics of all honest vectors": POPULATION,
        "radius 1": RADIUS,
        "a mixture for each worker": SPLIT,
    }
    rows = []
    for attack, (words, change) in product(SHARED, changes.items()):
        places = [(place, read(change, place)) for place in (usual(rule, attack) for rule in JUDGED)]
        told = ["" if change and other == place else _cell(runs, **other) for place, other in places]
        rows.append([f"{ATTACKS[attack]}, {words}", *told])
    return [table("Fashion-MNIST, \u03b2 = 0.3", ["best accuracy, %", *(RULES[rule] for rule in JUDGED)], rows)]


# Its sentences and its tables -----------------------------------------------------------------------------------------


def _mean(cell: str) -> float:
    return float(cell.partition("\u00b1")[0])


def printed_exceptions() -> list[str]:
    """Where, in the tables as printed, a defence is hurt most by an attack other than ALIE and IPM."""
    found = []
    for name, blocks in PRINTED.items():
        for beta, rows in blocks.items():
            columns = zip(*([_mean(cell) for cell in row.split()] for row in rows), strict=True)
            for rule, column in zip(RULES.values(), columns, strict=False):
                strongest = min(zip(column, ATTACKS.values(), strict=True))[1]
                if strongest not in (ATTACKS[ALIE[LARGE]], ATTACKS[IPM[MEDIUM]]):
                    found.append(f"{name}, \u03b2 = {beta}: {strongest} against {rule}")
    return found


def printed_maxima() -> dict[str, float]:
    """The largest means under ALIE and IPM, DnC aside, in each printed table, and in Table 2 under ALIE; per cent."""

    def largest(rows: Sequence[str]) -> float:
        return max(_mean(cell) for row in rows for cell in row.split()[:4])

    calibrated = {
        name: largest([row for block in blocks.values() for row in block[:2]]) for name, blocks in PRINTED.items()
    }
    return calibrated | {"T2, ALIE": largest(PRINTED["T2"][0.3][:1])}
