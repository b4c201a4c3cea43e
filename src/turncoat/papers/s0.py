"""S0, optimal attacks: planning in the plane, on softmax regression and on a CNN, and breaking stability.

S0's Krum sums over n-f-2 neighbours in the definition that it cites, over n-f in its text and over n-f-1 in code that
others use; its momentum is damped in the works that it cites and undamped in the code that it grew from. Where that can
change an outcome, all are run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

from turncoat.papers.evidence import EXPLODED, FINAL, LOG_LOSS, TRAINING, Evidence, Runs, Sample, every
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
MOMENTA = {"damped": ", momentum damped", "undamped": ", momentum undamped"}


def larger_loss(runs: Runs, planned: Sequence[str], references: Sequence[str]) -> Evidence:
    """That under each planned attack that was run the loss ends at least as high as under each reference."""
    return every(
        of(runs, str(one), LOG_LOSS) >= of(runs, reference, LOG_LOSS)
        for one in runs.at(attack=planned).each("attack")
        for reference in references
    )


def lead(runs: Runs, planned: Sequence[str], references: Sequence[str]) -> Sample:
    """By how many decades the loss under the best planned attack ends above that under the worst reference."""
    return runs.at(attack=planned).highest(LOG_LOSS) - runs.at(attack=references).highest(LOG_LOSS)


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
            lambda runs: every(
                ~larger_loss(runs, [attack], SIX) for attack in runs.at(attack=LENGTHS[1:]).each("attack")
            ),
        )
        claims.append(weaker)
    if rule == KRUM and not momentum:
        claims += [
            Claim(
                f"longer-is-stronger-{count}",
                f"against Krum, the longest look-ahead ends with a larger loss than the shortest, {count} neighbours",
                lambda runs, reading=reading: larger_loss(runs.at(rule=reading), LENGTHS[-1:], LENGTHS[:1]),
            )
            for reading, count in readings.items()
        ]
    against, with_momentum = "Krum" if rule == KRUM else RULES[rule], f", momentum {momentum}" * bool(momentum)
    title = f"Softmax regression against {against}{with_momentum}"
    where = [{"rule": list(readings), "momentum": momentum, "momentum_form": list(forms)}]

    def panel(spec: Spec) -> str:
        return f"{NAMES[spec.rule]}{forms[spec.momentum_form]}"

    note = MEDIAN * (rule == TM)
    return Figure(name, title, claims, curves(title, panel), "S0-softmax", where, names=NAMES, note=note)


SOFTMAX_TEXT = Figure(
    "S0-softmax-text",
    "What S0 says of its figures on softmax regression together",
    [
        claim
        for form, words in MOMENTA.items()
        for claim in (
            Claim(
                f"less-with-momentum-{form}",
                f"SSNLP's lead over the references is smaller with momentum than without, for CM, CC and Krum{words}",
                lambda runs, form=form: every(
                    lead(runs.at(rule=rule, momentum=0.0), LENGTHS, SIX)
                    >= lead(runs.at(rule=rule, momentum=0.9, momentum_form=form), LENGTHS, SIX)
                    for rule in (CM, CC, *krums("", *SAID))
                ),
            ),
            Claim(
                f"no-length-{form}",
                "with momentum, the look-ahead has no clear effect: the longest and the shortest end with losses that "
                f"differ by at most a tenth{words}",
                lambda runs, form=form: every(
                    of(met, LENGTHS[0], LOG_LOSS).near(of(met, LENGTHS[-1], LOG_LOSS), math.log10(1.1))
                    for rule in (CM, CC, RFA, *krums("", *SAID))
                    for met in [runs.at(rule=rule, momentum=0.9, momentum_form=form)]
                ),
            ),
        )
    ],
    lambda runs: [],
    "S0-softmax",
    [{"rule": [CM, CC, RFA, *krums("", *SAID)], "attack": [*SIX, *LENGTHS]}],
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
        "with mixing, the loss explodes under SSNLP: at some look-ahead it ends at a thousand or more",
        lambda runs: runs.at(attack=lengths).highest(EXPLODED) >= 0.5,
    )
    claims = [
        read_as(claim, reading, f"-{count}" * bool(count), f", {count} neighbours" * bool(count))
        for reading, count in readings.items()
        for claim in [worst, *[by_far, explodes] * mixed]
    ]
    title = f"A CNN on MNIST against {'Krum' if last == KRUM else RULES[last]}{' with NNM' * mixed}, {SETUPS[setup]}"
    where = [{"rule": list(readings), "split": setup}]
    return Figure(name, title, claims, curves(title, lambda spec: NAMES[spec.rule]), "S0-cnn", where, names=NAMES)


AHEAD = ssnlp(1, 8, solver="powell")
CNN_TEXT = Figure(
    "S0-cnn-text",
    "What S0 says of its figures on the CNN together",
    [
        Claim(
            "none-in-setup-1",
            "in setup 1, SSNLP has no lead: its loss ends at most a tenth above the worst reference, for CM and Krum",
            lambda runs: every(
                lead(runs.at(rule=rule, split="iid"), AHEAD, SEVEN) <= math.log10(1.1)
                for rule in (CM, *krums("", *SAID))
            ),
        ),
        Claim(
            "more-in-setup-2",
            "SSNLP's lead over the references is larger in setup 2 than in setup 1, for CM and Krum",
            lambda runs: every(
                lead(runs.at(rule=rule, split=RARE), AHEAD, SEVEN)
                >= lead(runs.at(rule=rule, split="iid"), AHEAD, SEVEN)
                for rule in (CM, *krums("", *SAID))
            ),
        ),
    ],
    lambda runs: [],
    "S0-cnn",
    [{"rule": [CM, *krums("", *SAID)], "attack": [*SEVEN, *AHEAD]}],
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
            "defeats" + "-mixing" * mixed + "-clipping" * bool(clip),
            "two thirds as many honest rounds after STAB, the accuracy is 10 points below that without attack, "
            f"{'with' if mixed else 'without'} mixing and {'with' if clip else 'without'} clipping",
            lambda runs, mixed=mixed, clip=clip: every(
                lost(runs, rule, momentum, clip) >= 0.10 for rule in every_rule[mixed::2] for momentum in (0.0, 0.9)
            ),
        )
        for mixed in (False, True)
        for clip in (None, 2.0)
    ]
    claims += [
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
