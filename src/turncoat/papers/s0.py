"""S0, optimal attacks: planning in the plane, on softmax regression and on a CNN, and breaking stability.

S0's Krum sums over n-f-2 neighbours in the definition that it cites, over n-f in its text and over n-f-1 in code that
others use; its momentum is damped in the works that it cites and undamped in the code that it grew from. Where that can
change an outcome, all are run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from turncoat.papers.evidence import (
    EXPLODED,
    FINAL,
    LOG_LOSS,
    TRAINING,
    UNDER_STAB,
    Evidence,
    Extreme,
    Measure,
    Runs,
    Sample,
    every,
    mostly,
    some,
)
from turncoat.papers.figure import Claim, Figure
from turncoat.papers.pictures import Picture, over_rounds
from turncoat.papers.s0_names import (
    CC,
    CM,
    KRUM,
    MEDIAN,
    NAMES,
    RARE,
    RFA,
    RULES,
    SAID,
    SETUPS,
    SEVEN,
    SIX,
    STAB,
    TM,
    by_reading,
    krums,
    of,
    read_as,
    ssnlp,
)
from turncoat.papers.s0_plane import ALGORITHM_2, CLIPPED_ALL, plane, plane_krum
from turncoat.results.metric import ACCURACY
from turncoat.spec import Spec

# Figures 3 to 6 and 16 to 21 ------------------------------------------------------------------------------------------

LENGTHS = ssnlp(1, 4, 16, 64)
TENTH = math.log10(1.1)
MOMENTA = {"damped": ", momentum damped", "undamped": ", momentum undamped"}


def larger_loss(runs: Runs, planned: Sequence[str], references: Sequence[str]) -> Evidence:
    """That under each planned attack that was run the loss ends at least as high as under each reference."""
    return every(
        of(runs, str(one), LOG_LOSS) >= of(runs, reference, LOG_LOSS)
        for one in runs.at(attack=planned).each("attack")
        for reference in references
    )


def lead(runs: Runs, planned: Sequence[str], references: Sequence[str]) -> Extreme:
    """By how many decades the loss under the worst planned attack ends above that under the worst reference."""
    return runs.at(attack=planned).highest(LOG_LOSS) - runs.at(attack=references).highest(LOG_LOSS)


def length_matters_not(runs: Runs) -> Evidence:
    """That the longest and the shortest look-ahead end with losses that differ by at most a tenth."""
    return of(runs, LENGTHS[0], LOG_LOSS).near(of(runs, LENGTHS[-1], LOG_LOSS), TENTH)


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
    lengths = LENGTHS[:1] if rule == RFA and not momentum else LENGTHS
    which = "SSNLP with l = 1" if len(lengths) == 1 else "SSNLP at every look-ahead"
    claims = [
        Claim(
            "ssnlp-worst" + f"-{form}" * bool(momentum),
            f"under {which}, the loss ends above that under each of the six references{words}",
            lambda runs, form=form: larger_loss(runs.at(momentum_form=form), lengths, SIX),
        )
        for form, words in forms.items()
    ]
    if rule == RFA and not momentum:
        weaker = Claim(
            "longer-is-weaker",
            "against RFA, SSNLP that looks ahead farther than a round ends with a smaller loss than some reference",
            lambda runs: every(
                ~larger_loss(runs, [attack], SIX) for attack in runs.at(attack=LENGTHS[1:]).each("attack")
            ),
        )
        claims.append(weaker)
    if rule == KRUM and not momentum:
        stronger = Claim(
            "longer-is-stronger",
            "against Krum, the longest look-ahead ends with a larger loss than the shortest",
            lambda runs: larger_loss(runs, LENGTHS[-1:], LENGTHS[:1]),
        )
        claims.append(stronger)
    against, with_momentum = "Krum" if rule == KRUM else RULES[rule], f", momentum {momentum}" * bool(momentum)
    title = f"Softmax regression against {against}{with_momentum}"
    where = [{"rule": list(readings), "momentum": momentum, "momentum_form": list(forms)}]

    def panel(spec: Spec) -> str:
        return f"{NAMES[spec.rule]}{forms[spec.momentum_form]}"

    note = MEDIAN * (rule == TM)
    judged = read_as(claims, readings)
    return Figure(name, title, judged, curves(title, panel), "S0-softmax", where, names=NAMES, note=note)


def of_all(form: str, words: str) -> list[Claim]:
    """What S0 says of momentum, under one form of it; each reading of Krum stands alone."""

    def less(rules: Sequence[str]) -> Callable[[Runs], Evidence]:
        return lambda runs: every(
            lead(runs.at(rule=rule, momentum=0.0), LENGTHS, SIX)
            >= lead(runs.at(rule=rule, momentum=0.9, momentum_form=form), LENGTHS, SIX)
            for rule in rules
        )

    def alike(rules: Sequence[str]) -> Callable[[Runs], Evidence]:
        return lambda runs: every(
            length_matters_not(runs.at(rule=rule, momentum=0.9, momentum_form=form)) for rule in rules
        )

    smaller = f"SSNLP's lead over the references is smaller with momentum than without{words}"
    same = (
        "with momentum, the look-ahead has no clear effect: the longest and the shortest end with losses that differ "
        f"by at most a tenth{words}"
    )

    def of_krum(rule: str) -> list[Claim]:
        return [
            Claim(f"less-with-momentum-{form}", f"{smaller}, for Krum", less([rule])),
            Claim(f"no-length-{form}", f"{same}, for Krum", alike([rule])),
        ]

    return [
        Claim(f"less-with-momentum-{form}", f"{smaller}, for CM and CC", less([CM, CC])),
        Claim(f"no-length-{form}", f"{same}, for CM, CC and RFA", alike([CM, CC, RFA])),
        *by_reading(of_krum, krums("", *SAID)),
    ]


SOFTMAX_TEXT = Figure(
    "S0-softmax-text",
    "What S0 says of its figures on softmax regression together",
    [
        Claim(
            "no-length",
            "without momentum, the look-ahead is notable against Krum only: against CM, CC and TM, the longest and the "
            "shortest end with losses that differ by at most a tenth",
            lambda runs: every(length_matters_not(runs.at(rule=rule, momentum=0.0)) for rule in (CM, CC, TM)),
        ),
        *(claim for form, words in MOMENTA.items() for claim in of_all(form, words)),
    ],
    campaign="S0-softmax",
    where=[{"rule": [CM, CC, TM, RFA, *krums("", *SAID)], "attack": [*SIX, *LENGTHS]}],
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
        "under SSNLP at every look-ahead, the loss ends at least as high as under each of the seven references",
        lambda runs: larger_loss(runs, lengths, SEVEN),
    )
    by_far = Claim(
        "by-far",
        "with mixing, the best SSNLP attack's loss ends at ten times that under each reference, or more",
        lambda runs: lead(runs, lengths, SEVEN) >= 1,
    )
    explodes = Claim(
        "explodes",
        "with mixing, the loss explodes under SSNLP: at some look-ahead it ends at a thousand or more in most seeds",
        lambda runs: some(mostly(of(runs, attack, EXPLODED)) for attack in lengths),
    )
    claims = read_as([worst, *[by_far, explodes] * mixed], readings)
    title = f"A CNN on MNIST against {'Krum' if last == KRUM else RULES[last]}{' with NNM' * mixed}, {SETUPS[setup]}"
    where = [{"rule": list(readings), "split": setup}]
    return Figure(name, title, claims, curves(title, lambda spec: NAMES[spec.rule]), "S0-cnn", where, names=NAMES)


AHEAD = ssnlp(1, 8, solver="powell")


def of_both_setups(rule: str) -> list[Claim]:
    def led(runs: Runs, setup: str) -> Extreme:
        return lead(runs.at(rule=rule, split=setup), AHEAD, SEVEN)

    against = RULES[rule].split()[0]
    return [
        Claim(
            f"none-in-setup-1-{against.lower()}",
            f"in setup 1, SSNLP has no lead against {against}: its loss ends at most a tenth above the worst reference",
            lambda runs: led(runs, "iid") <= TENTH,
        ),
        Claim(
            f"more-in-setup-2-{against.lower()}",
            f"against {against}, SSNLP's lead over the references is larger in setup 2 than in setup 1",
            lambda runs: led(runs, RARE) >= led(runs, "iid"),
        ),
    ]


CNN_TEXT = Figure(
    "S0-cnn-text",
    "What S0 says of its figures on the CNN together",
    by_reading(of_both_setups, {CM: "", **krums("", *SAID)}),
    campaign="S0-cnn",
    where=[{"rule": [CM, *krums("", *SAID)], "attack": [*SEVEN, *AHEAD]}],
    names=NAMES,
)

# Figures 11 and 12 ----------------------------------------------------------------------------------------------------


def lost(runs: Runs, rule: str, momentum: float, clip: float | None, measure: Measure = FINAL) -> Sample:
    """What is missing; in the end, though nobody attacks any more, if nothing else is said."""
    found = runs.at(rule=rule, momentum=momentum, clip=clip)
    return of(found, "none", measure) - of(found, STAB, measure)


def of_stab(rule: str) -> list[Claim]:
    """What S0 says of STAB against a rule, with and without momentum, mixing and clipping."""
    mixing = f"nnm >> {rule}"

    def defeats(who: str, momentum: float, clip: float | None) -> list[Claim]:
        used = {"momentum": bool(momentum), "mixing": who == mixing, "clipping": clip is not None}
        those = [name for name, there in used.items() if there]
        name, defence = "-".join(["", *those]), f"{RULES[rule].split()[0]} with {' and '.join(those) or 'nothing else'}"
        return [
            Claim(
                f"defeats{name}",
                f"as STAB ends, the accuracy under {defence} is 10 points below that without attack",
                lambda runs: lost(runs, who, momentum, clip, UNDER_STAB) >= 0.10,
            ),
            Claim(
                f"defeats-for-good{name}",
                f"two thirds as many honest rounds later, {defence} is still 10 points below",
                lambda runs: lost(runs, who, momentum, clip) >= 0.10,
            ),
        ]

    combined = [
        claim
        for who in (rule, mixing)
        for momentum in (0.0, 0.9)
        for clip in (None, 2.0)
        for claim in defeats(who, momentum, clip)
    ]
    return [
        *combined,
        Claim(
            "worse-without-momentum",
            "more is lost without momentum than with it",
            lambda runs: every(lost(runs, who, 0.0, None) >= lost(runs, who, 0.9, None) for who in (rule, mixing)),
        ),
        Claim(
            "worse-with-mixing",
            "more is lost with mixing than without it",
            lambda runs: every(lost(runs, mixing, each, None) >= lost(runs, rule, each, None) for each in (0.0, 0.9)),
        ),
        Claim(
            "clipping-is-marginal",
            "clipping changes what is lost by at most 10 points",
            lambda runs: every(
                lost(runs, who, momentum, None).near(lost(runs, who, momentum, 2.0), 0.10)
                for who in (rule, mixing)
                for momentum in (0.0, 0.9)
            ),
        ),
    ]


def stab(name: str, against: str, readings: Mapping[str, str]) -> Figure:
    title = f"STAB against {against}, softmax regression"

    def defence(spec: Spec) -> str:
        return NAMES[spec.rule] + ", momentum" * bool(spec.momentum) + ", clipping" * bool(spec.clip)

    def drawn(runs: Runs) -> list[Picture]:
        attacked = runs.without(rule="mean")
        return [over_rounds(f"{title}: test accuracy", attacked, lambda spec: runs.name(spec.attack), defence)]

    where = [{"rule": [each for rule in readings for each in (rule, f"nnm >> {rule}")]}]
    return Figure(name, title, by_reading(of_stab, readings), drawn, "S0-stab", where, names=NAMES)


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
    stab("S0-F11", "CM", {CM: ""}),
    stab("S0-F12", "Krum", krums("", *SAID)),
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
