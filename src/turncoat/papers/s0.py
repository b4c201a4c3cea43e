"""S0, optimal attacks: planning in the plane, on softmax regression and on a CNN, and breaking stability.

S0's Krum sums over n-f-2 neighbours in the definition that it cites, over n-f in its text and over n-f-1 in code that
others use; its momentum is damped in the works that it cites and undamped in the code that it grew from. Where that can
change an outcome, all are run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product

from turncoat.papers.evidence import (
    ERROR,
    FINAL,
    FIRST_HALF,
    LEAST_ERROR,
    LOG_LOSS,
    SECOND_HALF,
    TRAINING,
    WHOLE_WAY,
    Evidence,
    Measure,
    Runs,
    Sample,
    Undecided,
    every,
)
from turncoat.papers.figure import Claim, Figure, canonical
from turncoat.papers.pictures import Picture, over_rounds, trajectories
from turncoat.results.metric import ACCURACY
from turncoat.results.result import Result
from turncoat.spec import Spec

CM, TM, KRUM = "median", "trimmed_mean", "krum"
CC = "centered_clipping(iterations=3)"  # and tau = 10
RFA = "geometric_median(nu=0.1, iterations=8, start=origin)"
NEIGHBOURS = {"n-f-2": "", "n-f-1": '(neighbours="n-f-1")', "n-f": '(neighbours="n-f")'}
SIX = ["alie", "sign_flip", "ipm", "mimic", "min_max(direction=unit)", "min_sum(direction=unit)"]
SEVEN = [*SIX, "label_flip"]
NLP = [f"nlp(objective={objective})" for objective in ("1", "0", "0.9", "1.1", "-1")]
MEANS = [f"nlp(objective={objective})" for objective in ("1", "0.9", "1.1")]
LEAST = "nlp(objective=-1)"
BEAM = "beam(l=2, width=8)"
STAB = "stab(attack_rounds=960, solver=powell)"
RARE = "long_tail(beta=0.5)"
SETUPS = {"iid": "iid", RARE: "long tail, momentum 0.9"}
FARTHER = 1.05  # times, from which a distance is larger to speak of
BY_FAR = 1.5
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
        **{BEAM: "beam search", STAB: "STAB"},
    },
)


def of(runs: Runs, attack: str, measure: Measure) -> Sample:
    return runs.at(attack=attack).of(measure)


def read_as(claim: Claim, rule: str, reading: str = "", words: str = "") -> Claim:
    """A claim of one rule, which is one reading of S0's."""
    return Claim(claim.name + reading, claim.says + words, lambda runs: claim.judge(runs.at(rule=rule)))


# Figures 1, 2, 13 to 15, and Algorithm 2 ------------------------------------------------------------------------------


def best_above(runs: Runs, measure: Measure, times: float = FARTHER) -> Evidence:
    """That the NLP attack of the largest mean comes to so many times as much as each of the six references."""
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


OF_EVERY_RULE = [
    Claim(
        "nlp-farthest",
        "the best of the five NLP attacks ends 5 % farther off than each of the six references",
        lambda runs: best_above(runs, ERROR),
    ),
    Claim(
        "nlp-by-far",
        "it ends half as far again as each of the six references",
        lambda runs: best_above(runs, ERROR, BY_FAR),
    ),
    Claim(
        "each-nlp-farthest",
        "each of the five NLP attacks ends at least as far as each of the six references",
        lambda runs: every(of(runs, one, ERROR) >= of(runs, reference, ERROR) for one in NLP for reference in SIX),
    ),
]
THROUGHOUT = Claim(
    "nlp-far-throughout",
    "over all steps, the best of the five keeps the model 5 % farther away on average than each of the six references",
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
        "in the second half, the best of the five keeps the model 5 % farther off than each reference",
        lambda runs: best_above(runs, SECOND_HALF),
    ),
    Claim(
        "not-in-the-first-half",
        "in the first half, it does not",
        lambda runs: ~best_above(runs, FIRST_HALF),
    ),
    Claim(
        "means-are-best",
        "of the objectives, a mean of the losses (1, 0.9, 1.1) ends farthest",
        lambda runs: every(
            runs.at(attack=MEANS).highest(ERROR) >= of(runs, other, ERROR) for other in NLP if other not in MEANS
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


def plane(name: str, rule: str, solver: str, claims: Sequence[Claim] = (THROUGHOUT, COINCIDE)) -> Figure:
    title = f"Mean estimation against {RULES[rule]}, planned by {solver}"
    where = [{"rule": rule, "attack": [*SIX, *NLP], "clip_at": "worker"}]
    return Figure(
        name,
        title,
        [*(read_as(claim, rule) for claim in OF_EVERY_RULE), *claims],
        lambda runs: [in_the_plane(title, runs)],
        "S0-plane",
        where,
        names=NAMES,
    )


def plane_krum(name: str) -> Figure:
    readings = krums("", *NEIGHBOURS)
    claims = [
        read_as(claim, rule, f"-{count}", f", {RULES[rule]}")
        for rule, count in readings.items()
        for claim in OF_EVERY_RULE + OF_KRUM * (count in SAID)
    ]
    return Figure(
        name,
        "Mean estimation against Krum, planned by Powell's method",
        claims,
        lambda runs: [in_the_plane(f"Mean estimation against {RULES[rule]}", runs.at(rule=rule)) for rule in readings],
        "S0-plane",
        [{"rule": list(readings), "attack": [*SIX, *NLP], "clip_at": "worker"}],
        names=NAMES,
    )


CLIPPED = [CM, KRUM]
CLIPPED_ALL = Figure(
    "S0-clipping",
    "Mean estimation where the server clips all that arrives, not the honest workers their own",
    [
        Claim(
            f"nlp-farthest-{RULES[rule].split()[0].lower()}",
            f"against {RULES[rule]}, too, the best of the five NLP attacks ends 5 % farther off than each reference",
            lambda runs, rule=rule: best_above(runs.at(rule=rule), ERROR),
        )
        for rule in CLIPPED
    ],
    lambda runs: [in_the_plane(f"Against {RULES[rule]}", runs.at(rule=rule)) for rule in CLIPPED],
    "S0-plane",
    [{"attack": [*SIX, *NLP], "clip_at": "server_inputs"}],
    names=NAMES,
    note="S0 does not say who clips to norm 2. Where the server does, what an attacker sends is bounded, too.",
)
ALGORITHM_2 = Figure(
    "S0-A2",
    "Beam search in the plane, beside NLP and the six attacks that it combines",
    [
        Claim(
            f"beam-{RULES[rule]}",
            f"against {RULES[rule]}, a sequence of the six attacks keeps the smallest distance 5 % above that of each",
            lambda runs, rule=rule: every(
                of(runs.at(rule=rule), BEAM, LEAST_ERROR) >= of(runs.at(rule=rule), one, LEAST_ERROR) * FARTHER
                for one in SIX
            ),
        )
        for rule in (CM, TM, KRUM, CC, RFA)
    ],
    lambda runs: [
        in_the_plane(f"Beam search against {RULES[rule]}", runs.at(rule=rule)) for rule in (CM, TM, KRUM, CC, RFA)
    ],
    "S0-plane",
    [{"rule": [CM, TM, KRUM, CC, RFA], "attack": [*SIX, LEAST, BEAM], "clip_at": "worker"}],
    names=NAMES,
    note="S0 shows no experiment of its Algorithm 2: these claims are ours. It keeps the beams of the highest value; "
    "the text's lowest cost would keep those that help the learning most.",
)

# Figures 3 to 6 and 16 to 21 ------------------------------------------------------------------------------------------

MOMENTA = {"damped": ", momentum damped", "undamped": ", momentum undamped"}


def larger_loss(runs: Runs, planned: Sequence[str], references: Sequence[str], decades: float = 0.0) -> Evidence:
    """That under each planned attack the loss ends so many decades above that under each reference."""
    return every(
        of(runs, one, LOG_LOSS) >= of(runs, reference, LOG_LOSS) + decades
        for one in planned
        for reference in references
    )


def curves(title: str, panel: Callable[[Spec], str]) -> Callable[[Runs], list[Picture]]:
    """Test accuracy and training loss over the rounds, a line an attack."""

    def drawn(runs: Runs) -> list[Picture]:
        attacked = runs.without(rule="mean")
        return [
            over_rounds(f"{title}: {what}", attacked, lambda spec: runs.name(spec.attack), panel, metric)
            for what, metric in {"test accuracy": ACCURACY, "training loss": TRAINING}.items()
        ]

    return drawn


def softmax(name: str, rule: str, momentum: float = 0.0) -> Figure:
    readings = krums("", *SAID) if rule == KRUM else {rule: ""}
    forms = MOMENTA if momentum else {"damped": ""}
    lengths = ssnlp(1) if rule == RFA and not momentum else ssnlp(1, 4, 16, 64)
    which = "SSNLP with l = 1" if len(lengths) == 1 else "SSNLP at every look-ahead"
    claims = [
        Claim(
            "ssnlp-worst" + f"-{form}" * bool(momentum) + f"-{count}" * bool(count),
            f"under {which}, the loss ends above that under each of the six references"
            + f", {count} neighbours" * bool(count)
            + words,
            lambda runs, reading=reading, form=form: larger_loss(
                runs.at(rule=reading, momentum_form=form), lengths, SIX
            ),
        )
        for (reading, count), (form, words) in product(readings.items(), forms.items())
    ]
    if rule == RFA and not momentum:
        weaker = Claim(
            "longer-is-weaker",
            "against RFA, SSNLP that looks ahead farther than a round ends with a smaller loss than some reference",
            lambda runs: every(~larger_loss(runs, [one], SIX) for one in ssnlp(4, 16, 64)),
        )
        claims.append(weaker)
    if rule == KRUM and not momentum:
        claims += [
            Claim(
                f"longer-is-stronger-{count}",
                f"against Krum, looking ahead 64 rounds ends with a larger loss than one round, {count} neighbours",
                lambda runs, reading=reading: larger_loss(runs.at(rule=reading), ssnlp(64), ssnlp(1)),
            )
            for reading, count in readings.items()
        ]
    against, with_momentum = "Krum" if rule == KRUM else RULES[rule], f", momentum {momentum}" * bool(momentum)
    title = f"Softmax regression against {against}{with_momentum}"
    where = [{"rule": list(readings), "momentum": momentum, "momentum_form": list(forms)}]

    def panel(spec: Spec) -> str:
        return f"{NAMES[spec.rule]}{forms[spec.momentum_form]}"

    return Figure(name, title, claims, curves(title, panel), "S0-softmax", where, names=NAMES)


def advantage(runs: Runs, rule: str, **where: object) -> Sample:
    """By how many decades the best SSNLP attack ends above the best reference."""
    met = runs.at(rule=rule, **where)
    return met.at(attack=ssnlp(1, 4, 16, 64)).highest(LOG_LOSS) - met.at(attack=SIX).highest(LOG_LOSS)


SOFTMAX_TEXT = Figure(
    "S0-softmax-text",
    "What S0 says of its figures on softmax regression together",
    [
        Claim(
            "less-with-momentum",
            "SSNLP's advantage over the references is smaller with momentum than without, for CM, TM, CC and Krum",
            lambda runs: every(
                advantage(runs, rule, momentum=0.0) >= advantage(runs, rule, momentum=0.9, momentum_form="damped")
                for rule in (CM, TM, CC, KRUM)
            ),
        ),
        Claim(
            "no-length-with-momentum",
            "with momentum, the look-ahead has no clear effect: from l = 1 to 64 the loss changes by at most a tenth",
            lambda runs: every(
                of(met, ssnlp(1)[0], LOG_LOSS).near(of(met, ssnlp(64)[0], LOG_LOSS), math.log10(1.1))
                for rule in (CM, TM, CC, KRUM, RFA)
                for met in [runs.at(rule=rule, momentum=0.9, momentum_form="damped")]
            ),
        ),
    ],
    lambda runs: [],
    "S0-softmax",
    [{"rule": [CM, TM, CC, KRUM, RFA], "attack": [*SIX, *ssnlp(1, 4, 16, 64)], "momentum_form": "damped"}],
    names=NAMES,
)

# Figures 7 to 10, 22 and 23 -------------------------------------------------------------------------------------------


def cnn(name: str, rule: str, setup: str) -> Figure:
    """The CNN in setup 1 (iid) or 2 (long tail and momentum), where the rule may have mixing before it."""
    before, _, last = rule.rpartition(" >> ")
    mixed = bool(before)
    readings = krums("nnm >> " * mixed, *SAID) if last == KRUM else {rule: ""}
    lengths = ssnlp(1, 8, *[16] * mixed, solver="powell")
    worst = Claim(
        "ssnlp-worst",
        "SSNLP at every look-ahead ends with an accuracy no higher than each of the seven references",
        lambda runs: every(
            of(runs, one, FINAL) <= of(runs, reference, FINAL) for one in lengths for reference in SEVEN
        ),
    )
    by_far = Claim(
        "by-far",
        "with mixing, the best SSNLP attack leaves less than half of the accuracy under each reference",
        lambda runs: every(
            runs.at(attack=lengths).lowest(FINAL) <= of(runs, reference, FINAL) * 0.5 for reference in SEVEN
        ),
    )
    explodes = Claim(
        "explodes",
        "with mixing, SSNLP makes the loss explode: 1000 times as large as under each reference",
        lambda runs: every(
            runs.at(attack=lengths).highest(LOG_LOSS) >= of(runs, reference, LOG_LOSS) + 3 for reference in SEVEN
        ),
    )
    claims = [
        read_as(claim, reading, f"-{count}" * bool(count), f", {count} neighbours" * bool(count))
        for reading, count in readings.items()
        for claim in [worst, *[by_far, explodes] * mixed]
    ]
    title = f"A CNN on MNIST against {'Krum' if last == KRUM else RULES[last]}{' with NNM' * mixed}, {SETUPS[setup]}"
    where = [{"rule": list(readings), "split": setup}]
    return Figure(name, title, claims, curves(title, lambda spec: NAMES[spec.rule]), "S0-cnn", where, names=NAMES)


def lead(runs: Runs, rule: str, split: str) -> Sample:
    """By how many points the best of SSNLP's look-aheads 1 and 8 ends below the best reference."""
    met = runs.at(rule=rule, split=split)
    return met.at(attack=SEVEN).lowest(FINAL) - met.at(attack=ssnlp(1, 8, solver="powell")).lowest(FINAL)


CNN_TEXT = Figure(
    "S0-cnn-text",
    "What S0 says of its figures on the CNN together",
    [
        Claim(
            "more-in-setup-2",
            "SSNLP's advantage over the references is larger in setup 2 than in setup 1, for CM and Krum",
            lambda runs: every(lead(runs, rule, RARE) >= lead(runs, rule, "iid") for rule in (CM, KRUM)),
        )
    ],
    lambda runs: [],
    "S0-cnn",
    [{"rule": [CM, KRUM], "attack": [*SEVEN, *ssnlp(1, 8, solver="powell")]}],
    names=NAMES,
)

# Figures 11 and 12 ----------------------------------------------------------------------------------------------------


def stab(name: str, *rules: str) -> Figure:
    """STAB against a rule, of Krum under both readings, with and without momentum, mixing and clipping."""
    every_rule = [rule for one in rules for rule in (one, f"nnm >> {one}")]

    def lost(runs: Runs, rule: str, momentum: float, clip: float | None) -> Sample:
        """What is missing in the end, though nobody attacks any more."""
        found = runs.at(rule=rule, momentum=momentum, clip=clip)
        return of(found, "none", FINAL) - of(found, STAB, FINAL)

    claims = [
        Claim(
            "defeats-all",
            "640 honest rounds after STAB, every combination is 10 points below the same without attack",
            lambda runs: every(
                lost(runs, rule, momentum, clip) >= 0.10
                for rule in every_rule
                for momentum in (0.0, 0.9)
                for clip in (None, 2.0)
            ),
        ),
        Claim(
            "worse-without-momentum",
            "more is lost without momentum than with it",
            lambda runs: every(lost(runs, rule, 0.0, None) >= lost(runs, rule, 0.9, None) for rule in every_rule),
        ),
        Claim(
            "worse-with-mixing",
            "more is lost with mixing than without it",
            lambda runs: every(
                lost(runs, f"nnm >> {rule}", momentum, None) >= lost(runs, rule, momentum, None)
                for rule in rules
                for momentum in (0.0, 0.9)
            ),
        ),
        Claim(
            "clipping-is-marginal",
            "clipping changes what is lost by at most 10 points",
            lambda runs: every(
                lost(runs, rule, momentum, None).near(lost(runs, rule, momentum, 2.0), 0.10)
                for rule in every_rule
                for momentum in (0.0, 0.9)
            ),
        ),
    ]
    title = f"STAB against {RULES[rules[0]].split()[0]}, softmax regression"

    def defence(spec: Spec) -> str:
        return NAMES[spec.rule] + ", momentum" * bool(spec.momentum) + ", clipping" * bool(spec.clip)

    def drawn(runs: Runs) -> list[Picture]:
        attacked = runs.without(rule="mean")
        return [over_rounds(f"{title}: test accuracy", attacked, lambda spec: runs.name(spec.attack), defence)]

    return Figure(name, title, claims, drawn, "S0-stab", [{"rule": every_rule}], names=NAMES)


FIGURES = [
    plane("S0-F1", CM, "Powell's method"),
    plane("S0-F2", CC, "SLSQP"),
    softmax("S0-F3", CM),
    softmax("S0-F4", CC),
    softmax("S0-F5", CM, 0.9),
    softmax("S0-F6", CC, 0.9),
    cnn("S0-F7", CM, "iid"),
    cnn("S0-F8", KRUM, "iid"),
    cnn("S0-F9", f"nnm >> {CM}", RARE),
    cnn("S0-F10", f"nnm >> {KRUM}", RARE),
    stab("S0-F11", CM),
    stab("S0-F12", *krums("", *SAID)),
    plane_krum("S0-F13"),
    plane("S0-F14", RFA, "L-BFGS-B"),
    plane("S0-F15", TM, "Powell's method"),
    softmax("S0-F16", KRUM),
    softmax("S0-F17", RFA),
    softmax("S0-F18", TM),
    softmax("S0-F19", KRUM, 0.9),
    softmax("S0-F20", RFA, 0.9),
    softmax("S0-F21", TM, 0.9),
    cnn("S0-F22", CM, RARE),
    cnn("S0-F23", KRUM, RARE),
    ALGORITHM_2,
    CLIPPED_ALL,
    SOFTMAX_TEXT,
    CNN_TEXT,
]
