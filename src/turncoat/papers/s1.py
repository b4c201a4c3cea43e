"""S1, Fall of Empires: inner-product manipulation against the median and Krum, its toys and its theorems."""

from __future__ import annotations

import math

from turncoat.papers.evidence import BEST, FINAL, TRAINING, UNDER_ATTACK, Evidence, Runs, Sample, every, known
from turncoat.papers.figure import Claim, Figure, canonical
from turncoat.papers.pictures import Picture, over_rounds, table
from turncoat.papers.s1_theory import (
    PRINTED,
    TOY_BYZANTINE,
    TOY_HONEST,
    KrumToy,
    MedianTheorem,
    theorem_1_gaussian,
    theorem_1_two_points,
    theorem_2,
    theorem_2_in_space,
    toy_krum_conventions,
    toy_median,
)
from turncoat.spec import Spec

MEDIAN, KRUM = "median", "krum"
EPOCH = 40  # rounds, after which the attacks of Figures 4 and 5 begin
SUDDEN = 4000  # the round in which the attack of Figure 1 begins
NAMES = canonical(attack={f"ipm(epsilon={epsilon})": f"\u03b5 = {epsilon}" for epsilon in (10, 1, 0.5, 0.1, 0, -10)})


def clean(runs: Runs, rule: str) -> Sample:
    return runs.at(rule=rule, attack="none").of(FINAL)


def ends(runs: Runs, rule: str, epsilon: float) -> Sample:
    return runs.at(rule=rule, attack=f"ipm(epsilon={epsilon})").of(FINAL)


def fails(runs: Runs, rule: str, *epsilons: float) -> Evidence:
    """That under each epsilon less than half is left of what the rule reaches without attack."""
    return every(ends(runs, rule, epsilon) <= clean(runs, rule) * 0.5 for epsilon in epsilons)


def defends(runs: Runs, rule: str, epsilon: float) -> Evidence:
    """That it ends within 5 points of the same rule without attack."""
    return clean(runs, rule) - ends(runs, rule, epsilon) <= 0.05


def collapses(runs: Runs, rule: str) -> Evidence:
    """That less than half is left of what was reached before the attack began."""
    attacked = runs.at(rule=rule, attack_start=SUDDEN)
    return attacked.of(FINAL) <= attacked.of(BEST) * 0.5


def curves(runs: Runs) -> list[Picture]:
    names = {MEDIAN: "Median", KRUM: "Krum", "mean": "Mean"}

    def line(spec: Spec) -> str:
        return f"{names[spec.rule]}, {runs.name(spec.attack)}"

    return [over_rounds("Test accuracy", runs, line), over_rounds("Training loss", runs, line, metric=TRAINING)]


CAMPAIGN = [
    Figure(
        "S1-F1",
        "Median and Krum before and after an attack begins",
        [
            Claim(
                "median-collapses",
                "under epsilon = 10, the median loses more than half of what it had reached",
                lambda runs: collapses(runs, MEDIAN),
            ),
            Claim(
                "krum-collapses",
                "under epsilon = 0.1, Krum loses more than half of what it had reached",
                lambda runs: collapses(runs, KRUM),
            ),
        ],
        lambda runs: curves(runs.without(rule="mean")),
        "S1",
        [{"attack_start": SUDDEN}, {"attack": "none"}],
        names=NAMES,
        note="S1 does not say which epsilon its Figure 1 has: 10 is run against the median, 0.1 against Krum.",
    ),
    Figure(
        "S1-F4",
        "The median under inner-product manipulation, 12 Byzantine workers of 25",
        [
            Claim(
                "fails-above-0",
                "epsilon = 0.1 and 10 leave less than half of the accuracy without attack",
                lambda runs: fails(runs, MEDIAN, 0.1, 10),
            ),
            Claim(
                "stuck-at-0",
                "epsilon = 0, zero vectors, allows no progress: under attack, at most 5 points are gained",
                lambda runs: runs.at(rule=MEDIAN, attack="ipm(epsilon=0)").of(UNDER_ATTACK) <= 0.05,
            ),
            Claim("defends-below-0", "epsilon = -10 costs at most 5 points", lambda runs: defends(runs, MEDIAN, -10)),
        ],
        curves,
        "S1",
        [{"rule": MEDIAN, "attack_start": [0, EPOCH]}],
        names=NAMES,
    ),
    Figure(
        "S1-F5",
        "Krum under inner-product manipulation, 11 Byzantine workers of 25",
        [
            Claim(
                "fails-small",
                "epsilon = 0.1, 0.5 and 1 leave less than half of the accuracy without attack",
                lambda runs: fails(runs, KRUM, 0.1, 0.5, 1),
            ),
            Claim("defends-large", "epsilon = 10 costs at most 5 points", lambda runs: defends(runs, KRUM, 10)),
        ],
        curves,
        "S1",
        [{"rule": KRUM, "attack_start": [0, EPOCH]}],
        names=NAMES,
    ),
]


def toy_2(toys: tuple[KrumToy, ...]) -> list[Picture]:
    head = ["Krum", *(f"{row:g}" for row in (*TOY_BYZANTINE, *TOY_HONEST)), "returns"]
    rows = [
        [toy.rule, *(f"{score:.4f}" for score in toy.scores), " or ".join(f"{row:g}" for row in toy.lowest)]
        for toy in toys
    ]
    return [
        table(
            "Scores of the nine values, under each convention in use",
            head,
            [["S1", *(f"{score:.4f}" for score in PRINTED), "-0.1"], *rows],
        )
    ]


def _median_bound(law: MedianTheorem) -> str:
    return f"{law.law}, m = {law.m}, g = {law.g:g}: E[median] = {law.expected:.3g}, claimed at most {law.claimed:.3g}"


THEORY = [
    Figure(
        "S1-toy1",
        "The median turned round by two of five values",
        [
            Claim(
                "turned",
                "honest -0.1, 0.1, 0.3 beside -4 and -2: the median is -0.1, the honest mean 0.1",
                lambda toy: known(
                    math.isclose(toy.output, -0.1, rel_tol=1e-6) and math.isclose(toy.mean, 0.1),
                    f"median {toy.output:.4g}, honest mean {toy.mean:.4g}, below s / sqrt(N - 1) = {toy.reach:.4g}",
                ),
            )
        ],
        computes=toy_median,
    ),
    Figure(
        "S1-toy2",
        "Krum turned round by three of nine values",
        [
            Claim(
                "scores",
                "with n-f-2 neighbours and squared distances, all nine scores are as printed, and Krum returns -0.1",
                lambda toys: known(toys[0].as_printed and toys[0].output == -0.1, f"returns {toys[0].output:g}"),
            ),
            Claim(
                "only-this-convention",
                "no other convention in use has the printed scores",
                lambda toys: known(
                    not any(toy.as_printed for toy in toys[1:]),
                    "; ".join(
                        f"{toy.rule} returns {' or '.join(f'{row:g}' for row in toy.lowest)}" for toy in toys[1:]
                    ),
                ),
            ),
        ],
        toy_2,
        computes=toy_krum_conventions,
    ),
    Figure(
        "S1-Thm1",
        "Theorem 1: when the median can be turned round",
        [
            Claim(
                "as-stated",
                "wherever g < sigma / sqrt(N - 1), some attack turns the expected median round",
                lambda laws: known(
                    all(law.conclusion for law in laws if law.condition),
                    "; ".join(_median_bound(law) for law in laws if law.condition),
                ),
            ),
            Claim(
                "corrected",
                "with the expected deviation of the sample in place of sigma, the bound holds for each of these laws",
                lambda laws: known(
                    all(law.expected <= law.corrected + 1e-9 for law in laws),
                    "; ".join(f"{law.law}, m = {law.m}: {law.expected:.4g} <= {law.corrected:.4g}" for law in laws),
                ),
            ),
            Claim(
                "gaussian-13",
                "for 13 Gaussian values of 25 the theorem is right: the expected median is far below its bound",
                lambda laws: known(
                    laws[-1].expected <= laws[-1].claimed, f"{laws[-1].expected:.4g} against {laws[-1].claimed:.4g}"
                ),
            ),
        ],
        computes=lambda: [theorem_1_gaussian(1, 0.8), theorem_1_two_points(), theorem_1_gaussian(12, 0.2)],
    ),
    Figure(
        "S1-Thm2",
        "Theorem 2: when Krum returns -eps times the honest mean",
        [
            Claim(
                "instance",
                "on the 21 corners of a simplex all hypotheses hold for eps = 1, and Krum returns a Byzantine row",
                lambda found: known(
                    found[0].hypotheses and found[0].selected,
                    f"scores {found[0].honest_score:.4g} honest, {found[0].byzantine_score:.4g} Byzantine",
                ),
            ),
            Claim(
                "not-empty",
                "in three dimensions there are rows that meet all hypotheses",
                lambda found: known(
                    found[1].hypotheses and found[1].selected, f"{found[1].m - found[1].q} rows of a lattice"
                ),
            ),
        ],
        computes=lambda: [theorem_2(), theorem_2_in_space()],
        note="In one and two dimensions the theorem is about nothing: too few points fit into the ball. The toy on "
        "Krum is therefore no case of it.",
    ),
]
FIGURES = [*CAMPAIGN, *THEORY]
