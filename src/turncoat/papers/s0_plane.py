"""S0's figures 1, 2 and 13 to 15, and its Algorithm 2: mean estimation in the plane."""

from __future__ import annotations

import math
from itertools import combinations

from turncoat.papers.evidence import (
    ERROR,
    FIRST_HALF,
    LEAST_ERROR,
    SECOND_HALF,
    WHOLE_WAY,
    Evidence,
    Measure,
    Runs,
    Sample,
    Undecided,
    every,
)
from turncoat.papers.figure import Claim, Figure
from turncoat.papers.pictures import Picture, trajectories
from turncoat.papers.s0_names import (
    BEAM,
    CC,
    CM,
    KRUM,
    MEDIAN,
    NAMES,
    NEIGHBOURS,
    NLP,
    PLUS,
    RFA,
    RULES,
    SAID,
    SIX,
    TM,
    krums,
    of,
    read_as,
)
from turncoat.results.result import Result

SHOWN = [*SIX, PLUS, *NLP]
OURS = (
    "Our NLP and beam search also play each of the six attacks alone and keep what is best by their objective: they "
    "cannot end below the best of the six by that measure, and what is judged is whether they end above."
)
MEANS = [f"nlp(objective={objective})" for objective in ("1", "0.9", "1.1")]
LEAST = "nlp(objective=-1)"
BY_FAR = 1.5


def best_above(runs: Runs, measure: Measure, times: float = 1.0) -> Evidence:
    """That some NLP attack comes to so many times as much as each of the six references."""
    best = runs.at(attack=NLP).highest(measure)
    return every(best >= of(runs, reference, measure) * times for reference in SIX)


def apart(runs: Runs) -> Sample:
    """The largest distance between two models that NLP attacks lead, over the largest to the optimum, by seed."""
    ways: dict[int, list[Result]] = {}
    for spec, result in runs.at(attack=NLP):
        if result is None:
            raise Undecided("a run of NLP failed or is missing")
        ways.setdefault(spec.seed.data, []).append(result)  # type: ignore[union-attr]

    def at(result: Result) -> list[tuple[float, float]]:
        return [(record.extra["theta_1"], record.extra["theta_2"]) for record in result.records]

    found = {}
    for seed, results in ways.items():
        gaps = [
            math.dist(a, b) for one, other in combinations(map(at, results), 2) for a, b in zip(one, other, strict=True)
        ]
        found[seed] = max(gaps) / max(record.extra["error"] for result in results for record in result.records[1:])
    return Sample(found, "the largest distance between two NLP models, over the largest to the optimum")


NLP_FARTHEST = Claim(
    "nlp-farthest",
    "the best of the five NLP attacks ends farther off than each of the six references",
    lambda runs: best_above(runs, ERROR),
)
BY_FAR_ABOVE = Claim(
    "nlp-by-far",
    "the best of the five NLP attacks ends half as far again as each of the six references",
    lambda runs: best_above(runs, ERROR, BY_FAR),
)
THROUGHOUT = Claim(
    "nlp-far-throughout",
    "over all steps, the best of the five keeps the model farther away on average than each of the six references",
    lambda runs: best_above(runs, WHOLE_WAY),
)
COINCIDE = Claim(
    "objectives-coincide",
    "the objectives matter little: no two of the five models are ever apart by a fifth of the largest distance",
    lambda runs: apart(runs) <= 0.2,
)
OF_KRUM = [
    Claim(
        "nlp-far-in-the-second-half",
        "in the second half, the best of the five keeps the model farther off than each reference",
        lambda runs: best_above(runs, SECOND_HALF),
    ),
    Claim(
        "not-in-the-first-half",
        "in the first half, the best of the five does not keep the model farther off than each reference",
        lambda runs: ~best_above(runs, FIRST_HALF),
    ),
    Claim(
        "means-are-best",
        "of the objectives, a mean of the losses (1, 0.9, 1.1) keeps the model farthest off in the second half",
        lambda runs: every(
            runs.at(attack=MEANS).highest(SECOND_HALF) >= of(runs, other, SECOND_HALF)
            for other in NLP
            if other not in MEANS
        ),
    ),
    Claim(
        "least-lags",
        "the smallest loss as the objective (-1) ends nearer to the optimum than each of the others",
        lambda runs: every(of(runs, LEAST, ERROR) <= of(runs, other, ERROR) for other in NLP if other != LEAST),
    ),
    Claim(
        "objectives-part",
        "the objectives matter: some two of the five models are apart by a fifth of the largest distance",
        lambda runs: ~(apart(runs) <= 0.2),
    ),
]


def in_the_plane(title: str, runs: Runs) -> Picture:
    return trajectories(title, runs, lambda spec: runs.name(spec.attack))


def plane(name: str, rule: str, solver: str) -> Figure:
    title = f"Mean estimation against {RULES[rule]}, planned by {solver}"
    where = [{"rule": rule, "attack": SHOWN, "clip_at": "worker"}]
    claims = [NLP_FARTHEST, *[BY_FAR_ABOVE] * (rule in (CC, RFA)), THROUGHOUT, COINCIDE]
    note = OURS + f" {MEDIAN}" * (rule == TM)
    return Figure(
        name, title, claims, lambda runs: [in_the_plane(title, runs)], "S0-plane", where, names=NAMES, note=note
    )


def plane_krum(name: str) -> Figure:
    readings = krums("", *NEIGHBOURS)
    claims = read_as([NLP_FARTHEST, BY_FAR_ABOVE], readings) + read_as(OF_KRUM, krums("", *SAID))
    return Figure(
        name,
        "Mean estimation against Krum, planned by Powell's method",
        claims,
        lambda runs: [in_the_plane(f"Mean estimation against {RULES[rule]}", runs.at(rule=rule)) for rule in readings],
        "S0-plane",
        [{"rule": list(readings), "attack": SHOWN, "clip_at": "worker"}],
        names=NAMES,
        note=OURS,
    )


CLIPPED = [CM, KRUM]
CLIPPED_ALL = Figure(
    "S0-clipping",
    "Mean estimation where the server clips all that arrives, not the honest workers their own",
    [
        Claim(
            f"nlp-farthest-{RULES[rule].split()[0].lower()}",
            f"against {RULES[rule]}, too, the best of the five NLP attacks ends farther off than each reference",
            lambda runs, rule=rule: best_above(runs.at(rule=rule), ERROR),
        )
        for rule in CLIPPED
    ],
    lambda runs: [in_the_plane(f"Against {RULES[rule]}", runs.at(rule=rule)) for rule in CLIPPED],
    "S0-plane",
    [{"attack": SHOWN, "clip_at": "server_inputs"}],
    names=NAMES,
    note="S0 does not say who clips to norm 2. Where the server does, what an attacker sends is bounded, too. " + OURS,
)
ALGORITHM_2 = Figure(
    "S0-A2",
    "Beam search in the plane, beside NLP and the six attacks that it combines",
    [
        Claim(
            f"{name}-{RULES[rule]}",
            f"against {RULES[rule]}, {words}",
            lambda runs, rule=rule, better=better, others=others: every(
                of(runs.at(rule=rule), better, LEAST_ERROR) >= of(runs.at(rule=rule), other, LEAST_ERROR)
                for other in others
            ),
        )
        for rule in (CM, KRUM, CC, RFA)
        for name, words, better, others in (
            ("beam", "a sequence of the six attacks keeps the smallest distance at least as large as each", BEAM, SIX),
            (
                "nlp",
                "NLP -1, which plans vectors, keeps the smallest distance above that of the beam",
                LEAST,
                [BEAM],
            ),
        )
    ],
    lambda runs: [
        in_the_plane(f"Beam search against {RULES[rule]}", runs.at(rule=rule)) for rule in (CM, KRUM, CC, RFA)
    ],
    "S0-plane",
    [{"rule": [CM, KRUM, CC, RFA], "attack": [*SIX, LEAST, BEAM], "clip_at": "worker"}],
    names=NAMES,
    note="S0 shows no experiment of its Algorithm 2: these claims are ours. It keeps the beams of the highest value; "
    f"the text's lowest cost would keep those that help the learning most. {OURS}",
)
