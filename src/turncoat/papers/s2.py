"""S2, MixTailor: randomised aggregation against tailored attacks, its proposition and its theorems.

S2's text scales the mean of the honest vectors by epsilon, its released code their sum over f, (n-f)/f times as much:
both are run. The mean of the honest workers alone is its omniscient server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from turncoat.papers.evidence import (
    EARLY,
    FINAL,
    RULE_SECONDS,
    SWING,
    Evidence,
    Measure,
    Runs,
    Sample,
    Undecided,
    every,
    some,
)
from turncoat.papers.figure import Claim, Figure, canonical
from turncoat.papers.pictures import Picture, over_rounds
from turncoat.papers.s2_theorems import THEORY
from turncoat.spec import Spec

COMED, KRUM, GEOMED, BULYAN, MIXTAILOR = "median", "krum", "geometric_median", "bulyan", "mixtailor"
DETERMINISTIC = [COMED, KRUM, GEOMED, BULYAN]
WITHOUT = {name: f"mixtailor(without={name})" for name in DETERMINISTIC}
SHORT = {COMED: "comed", KRUM: "Krum", GEOMED: "geomed", BULYAN: "Bulyan", MIXTAILOR: "MixTailor"}
N = 12
READINGS = {"text": "epsilon as in the text", "code": "epsilon as in the code"}
RANDOM = {"text": "random_ipm(epsilons=[0.1, 10])", "code": "random_ipm(epsilons=[0.5, 50])"}
LASTING, SHORT_LIVED = 0, 25_000  # rounds in which attacks begin
COLLAPSED = 0.5  # of what the omniscient server reaches


def tailored(epsilon: float, reading: str) -> str:
    scale = ', scale="sum/f"' if reading == "code" else ""
    return f"ipm(epsilon={epsilon:g}{scale})"


def both(epsilon: float) -> list[str]:
    return [tailored(epsilon, reading) for reading in READINGS]


def resampled(rule: str) -> list[str]:
    return [f"resampling(s={s}, tolerate=f) >> {rule}" for s in (2, 3)]


NAMES = canonical(
    rule=SHORT
    | {rule: f"MixTailor w/o {SHORT[name]}" for name, rule in WITHOUT.items()}
    | {each: f"{SHORT[rule]}, s = {s}" for rule in SHORT for s, each in zip((2, 3), resampled(rule), strict=True)},
    attack={tailored(e, r): f"\u03b5 = {e:g}, {r}" for e in (0.1, 0.2, 10) for r in READINGS}
    | {RANDOM[reading]: f"random \u03b5, {reading}" for reading in READINGS},
)


def ends(runs: Runs, rule: str, attack: str) -> Sample:
    return runs.at(rule=rule, attack=attack).of(FINAL)


def omniscient(runs: Runs, measure: Measure = FINAL) -> Sample:
    """The server that knows who is honest: the mean of the others alone."""
    return replace(runs.at(f=0, rule="mean", n=[10, 8]).of(measure), what=f"omniscient server: {measure.name}")


def fails(runs: Runs, rule: str, attack: str) -> Evidence:
    """That less than half is left of what the omniscient server reaches."""
    return ends(runs, rule, attack) <= omniscient(runs) * COLLAPSED


def defends(runs: Runs, rule: str, attack: str, points: float = 0.05) -> Evidence:
    """That it ends within some points of the omniscient server."""
    return omniscient(runs) - ends(runs, rule, attack) <= points


def costs(runs: Runs, rule: str, attack: str, start: int) -> Sample:
    """What an attack that begins in this round takes off the omniscient server's accuracy."""
    return omniscient(runs) - ends(runs.at(attack_start=start), rule, attack)


def beats_worst(runs: Runs, mixed: str, attack: str, others: Sequence[str]) -> Evidence:
    """That MixTailor ends above the worst of some rules."""
    return ends(runs, mixed, attack) >= runs.at(rule=list(others), attack=attack).lowest(FINAL)


def gains(runs: Runs, left_out: str, epsilon: float, reading: str) -> Sample:
    """By how much MixTailor ends better without a class of its pool."""
    attack = tailored(epsilon, reading)
    return ends(runs, WITHOUT[left_out], attack) - ends(runs, MIXTAILOR, attack)


def steadier(runs: Runs, reading: str) -> Evidence:
    """That MixTailor swings less than comed and Krum where these have not collapsed."""
    found = []
    for rule in (COMED, KRUM):
        for epsilon in (0.1, 10):
            attacked = runs.at(attack=tailored(epsilon, reading))
            if attacked.at(rule=rule).of(FINAL).mean > COLLAPSED * omniscient(runs).mean:
                found.append(attacked.at(rule=MIXTAILOR).of(SWING) <= attacked.at(rule=rule).of(SWING))
    if not found:
        raise Undecided("comed and Krum collapsed under all of these attacks, and no longer swing")
    return every(found)


def in_both_readings(name: str, says: str, judge: Callable[[Runs, str], Evidence]) -> list[Claim]:
    """A claim under both readings of epsilon."""
    return [
        Claim(f"{name}-{reading}", f"{says}, {words}", lambda runs, reading=reading: judge(runs, reading))
        for reading, words in READINGS.items()
    ]


def rule_fails(epsilon: float, rule: str) -> list[Claim]:
    return in_both_readings(
        f"{SHORT[rule].lower()}-fails",
        f"epsilon = {epsilon:g} leaves {SHORT[rule]} less than half of the omniscient server's accuracy",
        lambda runs, reading: fails(runs, rule, tailored(epsilon, reading)),
    )


def rule_defends(epsilon: float, rule: str) -> list[Claim]:
    return in_both_readings(
        f"{SHORT[rule].lower()}-defends",
        f"epsilon = {epsilon:g} costs {SHORT[rule]} at most 5 points",
        lambda runs, reading: defends(runs, rule, tailored(epsilon, reading)),
    )


def mixtailor_within(epsilon: float) -> list[Claim]:
    return [
        claim
        for points in (1, 2)
        for claim in in_both_readings(
            f"mixtailor-within-{points}",
            f"under epsilon = {epsilon:g}, MixTailor ends within {points} % of the omniscient server",
            lambda runs, reading, points=points: defends(runs, MIXTAILOR, tailored(epsilon, reading), points / 100),
        )
    ]


def mixtailor_beats_worst(attack: Callable[[str], str], mixed: str, others: Sequence[str]) -> list[Claim]:
    return in_both_readings(
        "mixtailor-beats-worst",
        f"MixTailor ends above the worst of {', '.join(SHORT[other] for other in others)}",
        lambda runs, reading: beats_worst(runs, mixed, attack(reading), others),
    )


def curves(runs: Runs) -> list[Picture]:
    """Test accuracy under each attack, a line a rule, with the omniscient server; and rules that nobody attacks."""
    server = [run for run in runs if run.spec.f == 0 and run.spec.rule == "mean" and run.spec.n < N]
    attacked = runs.without(attack="none")
    alone = [run for run in runs if run.spec.attack == "none" and run.spec.rule != "mean"]

    def line(spec: Spec) -> str:
        return "omniscient" if spec.rule == "mean" else runs.name(spec.rule)

    panels = {runs.name(attack): list(under) for attack, under in attacked.each("attack").items()}
    panels |= {f"no attack, learning rate {run.spec.lr:g}": alone for run in alone[:1]}
    return [
        over_rounds(f"Test accuracy, {name}", Runs([*under, *server], runs.names), line)
        for name, under in panels.items()
    ]


def mnist(
    name: str,
    title: str,
    claims: Sequence[Claim],
    rules: Sequence[str],
    attacks: Sequence[str],
    note: str = "",
    **where: Any,
) -> Figure:
    """A figure of some rules under some attacks, and the omniscient server."""
    setting = {"server_momentum": 0.9, "batch": 50, "split": "iid"} | where
    attacked: dict[str, Any] = (
        {"f": 2, "attack_start": LASTING} | setting | {"rule": list(rules), "attack": list(attacks)}
    )
    server = {key: value for key, value in setting.items() if key != "attack_start"} | {"n": N - attacked["f"], "f": 0}
    return Figure(name, title, claims, curves, "S2-mnist", [attacked, server], names=NAMES, note=note)


def cifar10(name: str, epsilon: float, claims: Sequence[Claim]) -> Figure:
    where = [{"attack": both(epsilon)}, {"f": 0}]
    shared = mixtailor_beats_worst(lambda reading: tailored(epsilon, reading), MIXTAILOR, [COMED, KRUM])
    return Figure(
        name,
        f"CIFAR-10, epsilon = {epsilon:g}",
        [*rule_fails(epsilon, COMED), *claims, *shared],
        curves,
        "S2-cifar10",
        where,
        names=NAMES,
    )


CAMPAIGN = [
    mnist(
        "S2-F1a",
        "MNIST, epsilon = 0.1",
        [*rule_fails(0.1, KRUM), *rule_defends(0.1, COMED), *mixtailor_within(0.1)],
        [COMED, KRUM, MIXTAILOR],
        both(0.1),
    ),
    mnist(
        "S2-F1b",
        "MNIST, epsilon = 10",
        [*rule_fails(10, COMED), *rule_defends(10, KRUM), *mixtailor_within(10)],
        [COMED, KRUM, MIXTAILOR],
        both(10),
    ),
    cifar10(
        "S2-F1c",
        0.1,
        in_both_readings(
            "krum-corrupted-early",
            "in the first quarter, Krum gains less than half of what the omniscient server gains on guessing",
            lambda runs, reading: (
                runs.at(rule=KRUM, attack=tailored(0.1, reading)).of(EARLY) <= omniscient(runs, EARLY) * COLLAPSED
            ),
        ),
    ),
    cifar10(
        "S2-F1d",
        10,
        [
            Claim(
                "comed-large-lr",
                "at a learning rate of 0.1, comed does not converge even without attack: less than half",
                lambda runs: runs.at(rule=COMED, lr=0.1).of(FINAL) <= omniscient(runs) * COLLAPSED,
            )
        ],
    ),
    mnist(
        "S2-F2",
        "MNIST, epsilon = 0.2, batches of 128",
        [*rule_fails(0.2, KRUM), *mixtailor_within(0.2)],
        [COMED, KRUM, MIXTAILOR],
        both(0.2),
        batch=128,
    ),
    mnist(
        "S2-F3",
        "MNIST, one digit a worker, resampling before every rule",
        in_both_readings(
            "mixtailor-robust",
            "MixTailor ends within 10 points of the omniscient server, with s = 2 and with s = 3",
            lambda runs, reading: every(
                defends(runs, rule, tailored(0.1, reading), 0.10) for rule in resampled(MIXTAILOR)
            ),
        ),
        [each for rule in (COMED, KRUM, MIXTAILOR) for each in resampled(rule)],
        both(0.1),
        note="S2 does not say which s; its code has 2 and 3.",
        split="sort_by_label",
    ),
    mnist(
        "S2-F4a",
        "MNIST, epsilon drawn anew in each round",
        [
            *in_both_readings(
                "weaker-than-tailored",
                "every deterministic rule ends better under the random attack than under the worse of its two epsilons",
                lambda runs, reading: every(
                    ends(runs, rule, RANDOM[reading])
                    >= runs.at(rule=rule, attack=[tailored(e, reading) for e in (0.1, 10)]).lowest(FINAL)
                    for rule in DETERMINISTIC
                ),
            ),
            *mixtailor_beats_worst(lambda reading: RANDOM[reading], MIXTAILOR, DETERMINISTIC),
            *in_both_readings(
                "mixtailor-steadier",
                "over the last quarter, MixTailor's accuracy swings less than that of comed and of Krum, under both "
                "epsilons, where these have not collapsed",
                steadier,
            ),
            *in_both_readings(
                "a-member-is-better",
                "under each epsilon, some deterministic rule of the pool ends at least as well as MixTailor",
                lambda runs, reading: every(
                    some(
                        ends(runs, rule, tailored(epsilon, reading))
                        >= ends(runs, MIXTAILOR, tailored(epsilon, reading))
                        for rule in DETERMINISTIC
                    )
                    for epsilon in (0.1, 10)
                ),
            ),
            Claim(
                "costs-no-more",
                "MixTailor's aggregation takes no longer than that of the slowest deterministic rule of its pool",
                lambda runs: (
                    runs.at(rule=MIXTAILOR, attack=tailored(10, "text")).of(RULE_SECONDS)
                    <= runs.at(rule=DETERMINISTIC, attack=tailored(10, "text")).highest(RULE_SECONDS)
                ),
            ),
            Claim(
                "alie-with-momentum",
                "with momentum, ALIE z = 1.5 costs comed and Krum at most 5 points",
                lambda runs: every(defends(runs, rule, "alie(z=1.5)") for rule in (COMED, KRUM)),
            ),
        ],
        [*DETERMINISTIC, MIXTAILOR],
        [*RANDOM.values(), *both(0.1), *both(10), "alie(z=1.5)"],
        note="S2 names no set of epsilons: 0.1 and 10 are drawn. What S2 says of all attacks together stands here.",
    ),
    mnist(
        "S2-F4b",
        "MNIST, 4 Byzantine workers, epsilon = 10, no Bulyan in the pool",
        [
            *in_both_readings(
                "geomed-vulnerable",
                "epsilon = 10 costs geomed more than 5 points",
                lambda runs, reading: ~defends(runs, GEOMED, tailored(10, reading)),
            ),
            *mixtailor_beats_worst(lambda reading: tailored(10, reading), WITHOUT[BULYAN], [COMED, KRUM, GEOMED]),
        ],
        [COMED, KRUM, GEOMED, WITHOUT[BULYAN]],
        both(10),
        f=4,
    ),
    mnist(
        "S2-F5",
        "MNIST, MixTailor with a class of rules left out",
        [
            *in_both_readings(
                "without-bulyan",
                "without Bulyan, MixTailor ends at least 1 point better under both epsilons; S2 has about 2",
                lambda runs, reading: every(gains(runs, BULYAN, epsilon, reading) >= 0.01 for epsilon in (0.1, 10)),
            ),
            *in_both_readings(
                "without-geomed",
                "without geomed, MixTailor ends worse under both epsilons",
                lambda runs, reading: every(gains(runs, GEOMED, epsilon, reading) <= 0 for epsilon in (0.1, 10)),
            ),
            *in_both_readings(
                "without-others",
                "without comed or Krum, MixTailor ends within 2 points of the whole pool",
                lambda runs, reading: every(
                    ends(runs, WITHOUT[name], tailored(epsilon, reading)).near(
                        ends(runs, MIXTAILOR, tailored(epsilon, reading)), 0.02
                    )
                    for name in (COMED, KRUM)
                    for epsilon in (0.1, 10)
                ),
            ),
        ],
        [MIXTAILOR, *WITHOUT.values()],
        [*both(0.1), *both(10)],
    ),
    mnist(
        "S2-F6",
        "MNIST without momentum: ALIE, and the tailored attacks",
        [
            *(
                Claim(
                    name,
                    f"ALIE {words} costs no rule more than 5 points",
                    lambda runs, attack=attack: every(
                        defends(runs, rule, attack) for rule in [*DETERMINISTIC, MIXTAILOR]
                    ),
                )
                for name, attack, words in (
                    ("alie-harmless", "alie(z=1.5)", "with z = 1.5"),
                    ("alie-plus-harmless", 'alie(z=1.5, sign="+")', "with z = 1.5, mean plus deviation,"),
                    ("alie-formula-harmless", "alie", "with its own formula, which is z = 0 here,"),
                )
            ),
            *in_both_readings(
                "tailored-without-momentum",
                "without momentum, too, epsilon = 0.1 leaves Krum, and 10 comed, less than half",
                lambda runs, reading: (
                    fails(runs, KRUM, tailored(0.1, reading)) & fails(runs, COMED, tailored(10, reading))
                ),
            ),
        ],
        [*DETERMINISTIC, MIXTAILOR],
        ["alie", "alie(z=1.5)", 'alie(z=1.5, sign="+")', *both(0.1), *both(10)],
        server_momentum=0.0,
    ),
    mnist(
        "S2-persist",
        "MNIST, an attack that lasts for a hundredth of the run",
        [
            Claim(
                "has-to-persist",
                "epsilon = 0.1 for so short a time costs Krum, and 10 comed, at most 5 points; for the whole run, more",
                lambda runs: every(
                    (costs(runs, rule, attack, SHORT_LIVED) <= 0.05) & (costs(runs, rule, attack, LASTING) >= 0.05)
                    for rule, attack in ((KRUM, tailored(0.1, "text")), (COMED, tailored(10, "text")))
                ),
            )
        ],
        [COMED, KRUM],
        [tailored(0.1, "text"), tailored(10, "text")],
        note="A sentence of S2, without a figure of its own.",
        attack_start=[LASTING, SHORT_LIVED],
    ),
]

FIGURES = [*CAMPAIGN, *THEORY]
