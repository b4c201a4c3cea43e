"""S3, stress-testing defences under data heterogeneity: strengths of ALIE and IPM, runtimes, and two tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from turncoat.papers.evidence import BEST, PASSED, PASSING, Evidence, Extreme, Runs, Sample, every, known, some
from turncoat.papers.figure import Claim, Figure
from turncoat.papers.pictures import Picture, bars, over_strengths, table
from turncoat.papers.s3_names import (
    ALIE,
    ATTACKS,
    BETAS,
    CCLIP,
    DNC,
    HARMLESS,
    IPM,
    JUDGED,
    LARGE,
    LARGEST,
    MEDIUM,
    MIDDLE,
    MILD,
    NAMES,
    NNM,
    PLUS,
    RFA,
    RULES,
    SMALL,
    UNLIKE,
    USUAL,
    of_each,
    under,
    worst,
)
from turncoat.papers.s3_tables import (
    ALIE_24,
    DNC_80,
    DNC_90,
    READINGS,
    beside,
    of_table,
    printed_exceptions,
    printed_maxima,
    readings,
)
from turncoat.papers.s3_theory import taxonomy
from turncoat.results.metric import ACCURACY

# Figure 1 -------------------------------------------------------------------------------------------------------------


def of_every(name: str, says: str, judge: Callable[[Runs], Evidence]) -> Claim:
    """What S3 says of every defence, of all at once."""
    return Claim(name, says, lambda runs: every(judge(runs.at(rule=rule)) for rule in JUDGED))


def on_all(judge: Callable[[Runs], Evidence]) -> Callable[[Runs], Evidence]:
    """On every split."""
    return lambda runs: every(map(judge, runs.each("split").values()))


def cost(runs: Runs, attacks: Sequence[str]) -> Extreme:
    """What the worst strength takes off."""
    return under(runs, attacks[HARMLESS]) - worst(runs, attacks[HARMLESS + 1 :])


def more_where_unlike(attacks: Sequence[str]) -> Callable[[Runs], Evidence]:
    """That the worst attack costs more, the more unlike the data are."""
    return lambda runs: every(
        cost(runs.at(split=more), attacks) >= cost(runs.at(split=less), attacks)
        for more, less in ((UNLIKE, MIDDLE), (MIDDLE, MILD))
    )


def passes_where_unlike(attack: str) -> Callable[[Runs], Evidence]:
    """That more of an attack passes where data are most unlike than where they are least."""
    return lambda runs: runs.at(split=UNLIKE, attack=attack).of(PASSED) >= runs.at(split=MILD, attack=attack).of(PASSED)


def recovery(runs: Runs, split: str) -> Sample:
    """What trMean(NNM) gains where IPM goes too far."""
    met = runs.at(rule=NNM, split=split)
    return under(met, IPM[LARGEST]) - under(met, IPM[MEDIUM])


def sweeps(runs: Runs) -> list[Picture]:
    """Both rows of Figure 1, as far as they were run, and beside each the share of the attack that passes."""
    attacked = runs.without(rule="mean", attack=PLUS)
    met = {run.spec.attack for run in attacked}
    return [
        over_strengths(
            f"{title}: {measure.name} over the strength",
            attacked.at(attack=row),
            measure,
            lambda spec: runs.name(spec.rule),
            lambda spec: runs.name(spec.split),
            metric,
        )
        for title, row in {"ALIE": ALIE, "IPM": IPM}.items()
        for measure, metric in ((BEST, ACCURACY), (PASSED, PASSING))
        if met.issuperset(row)
    ]


WITHSTANDS = of_each(
    "alie-withstands",
    "{} loses at most 10 points to any z, on every split",
    on_all(lambda one: cost(one, ALIE) <= 0.10),
    DNC,
)
SWEEPS = [
    *of_each(
        "alie-drops",
        "ALIE at its worst z takes at least 10 points off {}, on every split",
        on_all(lambda one: cost(one, ALIE) >= 0.10),
    ),
    *of_each(
        "alie-more-with-z",
        "{} reaches less under z = 8 than under z = 0.5, on every split",
        on_all(lambda one: under(one, ALIE[LARGE]) <= under(one, ALIE[SMALL])),
        RFA,
        CCLIP,
    ),
    *WITHSTANDS,
    *of_each(
        "alie-recovers",
        "{} is at least 5 points better under every z from 5 than under z = 2.5, for beta = 0.3 and 0.5",
        lambda runs: every(
            under(one, larger) - under(one, ALIE[MEDIUM]) >= 0.05
            for one in runs.at(split=[MIDDLE, MILD]).each("split").values()
            for larger in ALIE[MEDIUM + 1 :]
        ),
        NNM,
    ),
    *of_each(
        "ipm-drops",
        "IPM at its worst epsilon takes at least 5 points off {}, on every split",
        on_all(lambda one: cost(one, IPM) >= 0.05),
    ),
    of_every(
        "ipm-less-than-alie",
        "the worst z harms every defence more than the worst epsilon, on every split",
        on_all(lambda one: worst(one, ALIE) <= worst(one, IPM)),
    ),
    *of_each(
        "ipm-plateau",
        "beyond epsilon = 2.5, {} changes by at most 5 points",
        on_all(
            lambda one: every(under(one, IPM[MEDIUM]).near(under(one, larger), 0.05) for larger in IPM[MEDIUM + 1 :])
        ),
        RFA,
        CCLIP,
        DNC,
    ),
    *of_each(
        "ipm-recovers",
        "{} is at least 2 points better under epsilon = 10 than under epsilon = 2.5, on every split",
        on_all(lambda one: under(one, IPM[LARGEST]) - under(one, IPM[MEDIUM]) >= 0.02),
        NNM,
    ),
    Claim(
        "ipm-recovers-more",
        "trMean(NNM) gains more from epsilon = 2.5 to 10 for beta = 0.5 than for 0.1",
        lambda runs: recovery(runs, MILD) >= recovery(runs, UNLIKE),
    ),
    Claim(
        "ipm-rfa-stays-low",
        "RFA(buck) reaches at least 2 points less than trMean(NNM) under epsilon = 10, on every split",
        lambda runs: every(
            under(runs.at(rule=NNM, split=split), IPM[LARGEST]) - under(runs.at(rule=RFA, split=split), IPM[LARGEST])
            >= 0.02
            for split in BETAS
        ),
    ),
    *of_each(
        "calibrated-alie",
        "the worst z above 2.5 takes at least 5 points more off {} than the worst of the usual 0.25 to 2.5",
        on_all(lambda one: worst(one, ALIE[USUAL : MEDIUM + 1]) - worst(one, ALIE[MEDIUM + 1 :]) >= 0.05),
    ),
    *of_each(
        "calibrated-ipm",
        "the worst epsilon of 2.5 and more takes at least 5 points more off {} than the usual epsilon = 0.1",
        on_all(lambda one: under(one, IPM[USUAL]) - worst(one, IPM[MEDIUM:]) >= 0.05),
    ),
    of_every(
        "heterogeneity-alie", "the worst z costs every defence more, the smaller beta is", more_where_unlike(ALIE)
    ),
    of_every(
        "heterogeneity-ipm", "the worst epsilon costs every defence more, the smaller beta is", more_where_unlike(IPM)
    ),
    of_every(
        "heterogeneity-passes-alie",
        "of z = 2.5, a larger share passes every defence for beta = 0.1 than for 0.5",
        passes_where_unlike(ALIE[MEDIUM]),
    ),
    of_every(
        "heterogeneity-passes-ipm",
        "of epsilon = 2.5, a larger share passes every defence for beta = 0.1 than for 0.5",
        passes_where_unlike(IPM[MEDIUM]),
    ),
    Claim(
        "alie-sign",
        "whether ALIE subtracts the deviation or adds it matters to some defence: by 10 points at z = 8, on some split",
        lambda runs: some(
            ~under(one, ALIE[LARGE]).near(under(one, PLUS), 0.10)
            for rule in JUDGED
            for one in runs.at(rule=rule).each("split").values()
        ),
    ),
]

# Figure 2 -------------------------------------------------------------------------------------------------------------


def seconds() -> dict[str, Sample]:
    """Seconds an aggregation of 25 rows of 500,000 numbers takes each defence, five times."""
    import torch

    from turncoat.rules import rule

    X = torch.randn((25, 500_000), generator=torch.Generator().manual_seed(0))
    found = {}
    for spelled, label in RULES.items():
        made, spent = rule(spelled, f=5), []
        state = made.init(X)
        for _ in range(6):
            began = time.perf_counter()
            made.step(X, state, torch.Generator().manual_seed(0))
            spent.append(time.perf_counter() - began)
        found[label] = Sample(dict(enumerate(spent[1:])), f"{label}: seconds")
    return found


def runtimes(found: dict[str, Sample]) -> list[Picture]:
    """Ours beside S3's."""
    import torch

    title = f"Seconds an aggregation, {torch.get_num_threads()} threads"
    return [bars(title, {name: one.mean for name, one in found.items()} | SAID, "seconds")]


SAID = {"DnC, S3": 3.0, "RFA(buck), S3": 0.2, "CMLS, S3": 0.2}
RUNTIMES = [
    Claim(
        "dnc-slowest",
        "DnC takes longest",
        lambda found: every(found["DnC"] >= found[RULES[rule]] for rule in JUDGED if rule != DNC),
    ),
    Claim(
        "dnc-far-slower",
        "DnC takes 3 s where RFA(buck) takes 0.2 s: at least 7.5 times as long",
        lambda found: found["DnC"] >= found["RFA(buck)"] * 7.5,
    ),
]


FIGURES = [
    Figure(
        "S3-F1",
        "Five defences as ALIE and IPM grow, on three splits of Fashion-MNIST",
        SWEEPS,
        sweeps,
        "S3-grid",
        [{"task": "fashion_mnist/lenet5"}],
        names=NAMES,
        note="S3 does not state learning rate, batch, momentum and rounds. The attackers use the statistics of their "
        "own vectors, as its Table 3 says.",
    ),
    Figure(
        "S3-F1-mnist",
        "DnC as ALIE grows, on three splits of MNIST: the other reading of S3's text",
        WITHSTANDS,
        sweeps,
        "S3-grid",
        [{"task": "mnist/lenet5"}],
        names=NAMES,
        note="S3's text names MNIST where its figure shows Fashion-MNIST.",
    ),
    Figure(
        "S3-F2",
        "Seconds an aggregation of 25 rows of 500,000 numbers takes",
        RUNTIMES,
        runtimes,
        computes=seconds,
        timed=True,
        note="S3 has seconds a round. DnC looks at 10,000 of the numbers in each iteration, as its authors have it, "
        "and needs the largest eigenvector of an n x n matrix, not the decomposition of a d x d one.",
    ),
    Figure(
        "S3-T1",
        "Five defences against five attacks on SVHN",
        [*of_table(), DNC_80],
        beside("SVHN, AlexNet", "T1", "SVHN"),
        "S3-tables",
        [{"task": "svhn/alexnet", "attack": list(ATTACKS)}],
        names=NAMES,
        note="S3's tables have trMean(NNM) fall to ALIE at z = 8, where its Figure 1 has it recover from z = 5 on.",
    ),
    Figure(
        "S3-T1-fashion",
        "The same table on Fashion-MNIST",
        [*of_table(), DNC_90],
        beside("Fashion-MNIST", "T1", "SVHN"),
        "S3-tables",
        [{"task": "fashion_mnist/lenet5"}],
        names=NAMES,
        note="Not in S3: it stands beside Table 1, whose data set may not be here.",
    ),
    Figure(
        "S3-T2",
        "Five defences against five attacks on CIFAR-10",
        [*of_table([RFA, CCLIP, NNM], [MIDDLE]), *ALIE_24],
        beside("CIFAR-10", "T2", "CIFAR-10"),
        "S3-tables",
        [{"task": "cifar10/alexnet", "split": MIDDLE, "attack": list(ATTACKS)}],
        names=NAMES,
        note="S3 prints no DnC column here, and nothing for beta = 0.5, which is not run.",
    ),
    Figure(
        "S3-T3",
        "The attacks by what they know and whether they collude",
        [
            Claim(
                "formulas",
                "each of the six sends what the table's formula says",
                lambda found: known(found.worst_error < 1e-5, f"largest relative difference {found.worst_error:.1e}"),
            ),
            Claim(
                "collusion",
                "all but SF collude: what one attacker sends depends on the others' vectors; in SF it does not",
                lambda found: known(found.colluding == {"SF": False} | dict.fromkeys(found.others, True), found.text),
            ),
        ],
        lambda found: [table("Attacks", found.head, found.rows)],
        computes=taxonomy,
    ),
    Figure(
        "S3-readings",
        "What S3 leaves open: whose statistics, which radius, which split",
        READINGS,
        readings,
        "S3-readings",
        names=NAMES,
        note="Not in S3: its text does not say which of these it used.",
    ),
    Figure(
        "S3-24",
        "Its sentences on calibrated attacks, and its own tables",
        [
            Claim(
                "calibrated-are-worst-as-printed",
                "in Tables 1 and 2 as they are printed, ALIE or IPM is the worst attack on every defence",
                lambda most: known(
                    not printed_exceptions(), "; ".join(printed_exceptions()) or "no other is worst anywhere"
                ),
            ),
            Claim(
                "no-more-than-24",
                "under ALIE and IPM, no defence but DnC exceeds 24 % in Tables 1 and 2 as they are printed",
                lambda most: known(
                    max(most["T1"], most["T2"]) <= 24,
                    f"printed: up to {most['T1']:.2f} % in Table 1 and {most['T2']:.2f} % in Table 2",
                ),
            ),
            Claim(
                "no-more-than-24-alie-cifar10",
                "under ALIE z = 8 on CIFAR-10 with beta = 0.3, none of the four exceeds 24 % as printed",
                lambda most: known(most["T2, ALIE"] <= 24, f"printed: up to {most['T2, ALIE']:.2f} %"),
            ),
        ],
        computes=printed_maxima,
    ),
]
