"""S0, optimal attacks: planning in the plane, on softmax regression and on a CNN, and breaking stability.

S0's Krum sums over n-f neighbours in its text and over n-f-2 in the definition that it cites, and its momentum is
damped in the works that it cites and undamped in the code that it grew from: both readings of both are run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from turncoat.papers.evidence import (
    ERROR,
    FINAL,
    LEAST_ERROR,
    LOSS,
    SECOND_HALF,
    WHOLE_WAY,
    Evidence,
    Measure,
    Run,
    Runs,
    Sample,
    every,
)
from turncoat.papers.figure import Claim, Figure
from turncoat.papers.pictures import Picture, attack_label, in_the_plane, over_rounds
from turncoat.results.metric import LOSSES

CM, TM, KRUM, KRUM_AS_SAID = "median", "trimmed_mean", "krum", 'krum(neighbours="n-f")'
CC = "centered_clipping(iterations=3)"  # and tau = 10
RFA = "geometric_median(nu=0.1, iterations=8, start=origin)"
RULES = {CM: "CM", TM: "TM", KRUM: "Krum", KRUM_AS_SAID: "Krum with n-f neighbours", CC: "CC", RFA: "RFA"}
SIX = ["alie", "sign_flip", "ipm", "mimic", "min_max", "min_sum"]
SEVEN = [*SIX, "label_flip"]
NLP = [f"nlp(objective={objective})" for objective in ("1", "0", "0.9", "1.1", "-1")]
MEANS = [f"nlp(objective={objective})" for objective in ("1", "0.9", "1.1")]
LEAST = "nlp(objective=-1)"
BEAM = "beam(l=2, width=8)"
STAB = "stab(attack_rounds=960, solver=powell)"
RARE = "long_tail(beta=0.5)"
SETUPS = {"iid": "iid", RARE: "rare classes, momentum 0.9"}
MOMENTA = {"damped": ", momentum damped", "undamped": ", momentum undamped"}
HONEST_AGAIN = 640  # rounds after STAB's attack


def ssnlp(*lengths: int, solver: str = "") -> list[str]:
    return [f"ssnlp(l={length}{', solver=' if solver else ''}{solver})" for length in lengths]


NAMES = {
    **dict(zip(SEVEN, ("ALIE", "BF", "IPM", "Mimic", "MinMax", "MinSum", "LF"), strict=True)),
    **{name: f"NLP {name[14:-1]}" for name in NLP},
    **{name: f"SSNLP-{length}" for length in (1, 4, 16, 64) for name in ssnlp(length)},
    **{name: f"SSNLP-{length}" for length in (1, 8, 16) for name in ssnlp(length, solver="powell")},
    **{BEAM: "beam search", STAB: "STAB"},
}
label = attack_label(NAMES)


def readings(rule: str) -> dict[str, str]:
    """The rules that S0's words may mean, and what sets them apart in words."""
    if rule.endswith(KRUM):
        return {rule: " (n-f-2 neighbours)", f'{rule}(neighbours="n-f")': " (n-f neighbours)"}
    return {rule: ""}


def above(runs: Runs, planned: Sequence[str], others: Sequence[str], measure: Measure) -> Evidence:
    """That each of some attacks comes to at least as much as the best of the others."""
    return every(runs.at(attack=one).mean(measure) >= runs.at(attack=list(others)).highest(measure) for one in planned)


def best_above(runs: Runs, measure: Measure) -> Evidence:
    """That the best of the five NLP attacks comes to at least as much as the best of the six references."""
    return runs.at(attack=NLP).highest(measure) >= runs.at(attack=SIX).highest(measure)


def coincide(runs: Runs) -> Evidence:
    """That the NLP attacks' final distances differ by at most a fifth of the largest."""
    return runs.at(attack=NLP).lowest(ERROR) >= runs.at(attack=NLP).highest(ERROR) * 0.8


# Figures 1, 2, 13 to 15, and Algorithm 2 ------------------------------------------------------------------------------

FARTHEST = Claim(
    "nlp-farthest",
    "the best of the five NLP attacks ends farther from the optimum than all six references",
    lambda runs: best_above(runs, ERROR),
)
FAR_THROUGHOUT = Claim(
    "nlp-far-throughout",
    "over all steps, the best of the five NLP attacks keeps the model farther from the optimum than all six references",
    lambda runs: best_above(runs, WHOLE_WAY),
)
COINCIDE = Claim(
    "objectives-coincide",
    "the objectives matter little: the five final distances differ by at most a fifth of the largest",
    coincide,
)
AGAINST_KRUM = [
    FARTHEST,
    Claim(
        "nlp-far-in-the-second-half",
        "in the second half, the best of the five NLP attacks keeps the model farther away than all six references",
        lambda runs: best_above(runs, SECOND_HALF),
    ),
    Claim(
        "means-are-best",
        "of the objectives, a mean of the losses (1, 0.9, 1.1) ends farthest",
        lambda runs: (
            runs.at(attack=MEANS).highest(ERROR) >= runs.at(attack=[n for n in NLP if n not in MEANS]).highest(ERROR)
        ),
    ),
    Claim(
        "least-lags",
        "the smallest loss as the objective (-1) ends nearer to the optimum than all others",
        lambda runs: runs.at(attack=LEAST).mean(ERROR) <= runs.at(attack=[n for n in NLP if n != LEAST]).lowest(ERROR),
    ),
    Claim(
        "objectives-part",
        "against Krum the objectives matter: the five final distances differ by more than a fifth of the largest",
        lambda runs: ~coincide(runs),
    ),
]


def plane(name: str, rule: str, solver: str, claims: Sequence[Claim]) -> Figure:
    title = f"Mean estimation against {RULES[rule]}, planned by {solver}"
    where = {"rule": rule, "attack": [*SIX, *NLP]}
    return Figure(name, title, claims, lambda runs: [in_the_plane(title, runs, label)], "S0-plane", where)


ALGORITHM_2 = Figure(
    "S0-A2",
    "Beam search in the plane, beside NLP and the six attacks that it combines",
    [
        Claim(
            f"beam-{called}",
            f"against {called}, a sequence of known attacks keeps the smallest distance as large as any one of them",
            lambda runs, rule=rule: above(runs.at(rule=rule), [BEAM], SIX, LEAST_ERROR),
        )
        for rule, called in RULES.items()
    ],
    lambda runs: [in_the_plane(f"Beam search against {RULES[rule]}", runs.at(rule=rule), label) for rule in RULES],
    "S0-plane",
    {"attack": [*SIX, LEAST, BEAM]},
    note="S0 shows no experiment of its Algorithm 2. It keeps the beams of the highest value: the text's lowest cost "
    "would keep those that help the learning most.",
)

# Figures 3 to 6 and 16 to 21 ------------------------------------------------------------------------------------------


def curves(title: str, panel: Callable[[Run], str]) -> Callable[[Runs], list[Picture]]:
    """Test accuracy and training loss over the rounds, a line an attack."""

    def drawn(runs: Runs) -> list[Picture]:
        attacked = runs.without(rule="mean")
        return [
            over_rounds(f"{title}: test accuracy", attacked, label, panel),
            over_rounds(f"{title}: training loss", attacked, label, panel, LOSSES[1]),
        ]

    return drawn


def softmax(name: str, rule: str, momentum: float = 0.0) -> Figure:
    rules, forms = readings(rule), MOMENTA if momentum else {"damped": ""}
    lengths = ssnlp(1) if rule == RFA and not momentum else ssnlp(1, 4, 16, 64)
    which = "with l = 1" if len(lengths) == 1 else "at every look-ahead"
    claims = [
        Claim(
            "ssnlp-worst" + f"-{form}" * bool(momentum) + "-as-said" * (reading != rule),
            f"SSNLP {which} ends with a larger loss than all six references{of_rule}{of_form}",
            lambda runs, reading=reading, form=form: above(
                runs.at(rule=reading, momentum_form=form), lengths, SIX, LOSS
            ),
        )
        for (reading, of_rule), (form, of_form) in product(rules.items(), forms.items())
    ]
    title = f"Softmax regression against {RULES[rule]}" + f", momentum {momentum}" * bool(momentum)
    where = {"rule": list(rules), "momentum": momentum, "momentum_form": list(forms)}

    def panel(run: Run) -> str:
        return f"{RULES[run.spec.rule]}{forms[run.spec.momentum_form]}"

    return Figure(name, title, [*claims, *LENGTHS.get(name, [])], curves(title, panel), "S0-softmax", where)


LENGTHS = {
    "S0-F17": [
        Claim(
            "longer-is-weaker",
            "against RFA, SSNLP that looks ahead farther than one round ends below the worst of the six references",
            lambda runs: every(
                runs.at(attack=one).mean(LOSS) <= runs.at(attack=SIX).highest(LOSS) for one in ssnlp(4, 16, 64)
            ),
        )
    ],
    "S0-F16": [
        Claim(
            "longer-is-stronger",
            "against Krum, looking ahead 64 rounds ends with a larger loss than looking ahead one round",
            lambda runs: above(runs.at(rule=KRUM), ssnlp(64), ssnlp(1), LOSS),
        )
    ],
}


# Figures 7 to 10, 22 and 23 -------------------------------------------------------------------------------------------


def cnn(name: str, rule: str, setup: str, longest: int = 8) -> Figure:
    """The CNN in setup 1 (iid) or 2 (rare classes and momentum), where the rule may have mixing before it."""
    rules = readings(rule)
    lengths = ssnlp(*(length for length in (1, 8, 16) if length <= longest), solver="powell")
    claims = [
        Claim(
            "ssnlp-worst" + "-as-said" * (reading != rule),
            f"SSNLP at every look-ahead ends with an accuracy no higher than under all seven references{words}",
            lambda runs, reading=reading: every(
                runs.at(rule=reading, attack=one).mean(FINAL) <= runs.at(rule=reading, attack=SEVEN).lowest(FINAL)
                for one in lengths
            ),
        )
        for reading, words in rules.items()
    ]
    mixed = rule.startswith("nnm")
    if mixed:
        explodes = Claim(
            "explodes",
            "with mixing, SSNLP makes the loss explode: it ends 1000 times as large as under all seven references",
            lambda runs: (
                runs.at(rule=rule, attack=lengths).highest(LOSS)
                >= runs.at(rule=rule, attack=SEVEN).highest(LOSS) * 1000
            ),
        )
        claims.append(explodes)
    title = f"A CNN on MNIST against {RULES[rule.removeprefix('nnm >> ')]}{' with NNM' * mixed}, {SETUPS[setup]}"
    where = {"rule": list(rules), "split": setup}
    return Figure(name, title, claims, curves(title, lambda run: rules[run.spec.rule]), "S0-cnn", where)


# Figures 11 and 12 ----------------------------------------------------------------------------------------------------


def stab(name: str, rule: str) -> Figure:
    """STAB against a rule, with and without momentum, mixing and clipping."""
    mixed = f"nnm >> {rule}"
    combinations = [
        {"rule": one, "momentum": momentum, "clip": clip}
        for one in (rule, mixed)
        for momentum in (0.0, 0.9)
        for clip in (None, 2.0)
    ]

    def lost(runs: Runs, **where: object) -> Sample:
        """What is missing in the end, though nobody attacks any more."""
        found = runs.at(**where)
        return found.at(attack="none").lowest(FINAL) - found.at(attack=STAB).lowest(FINAL)

    claims = [
        Claim(
            "defeats-all",
            f"{HONEST_AGAIN} honest rounds after STAB, every combination is 10 points below the same without attack",
            lambda runs: every(lost(runs, **where) >= 0.10 for where in combinations),
        ),
        Claim(
            "worse-without-momentum",
            "more is lost without momentum than with it",
            lambda runs: every(
                lost(runs, rule=one, momentum=0.0, clip=None) >= lost(runs, rule=one, momentum=0.9, clip=None)
                for one in (rule, mixed)
            ),
        ),
        Claim(
            "worse-with-mixing",
            "more is lost with mixing than without it",
            lambda runs: every(
                lost(runs, rule=mixed, momentum=momentum, clip=None)
                >= lost(runs, rule=rule, momentum=momentum, clip=None)
                for momentum in (0.0, 0.9)
            ),
        ),
        Claim(
            "clipping-is-marginal",
            "clipping changes what is lost by at most 10 points",
            lambda runs: every(
                lost(runs, rule=one, momentum=momentum, clip=None).near(
                    lost(runs, rule=one, momentum=momentum, clip=2.0), 0.10
                )
                for one in (rule, mixed)
                for momentum in (0.0, 0.9)
            ),
        ),
    ]
    title = f"STAB against {RULES[rule]}, softmax regression"

    def defence(run: Run) -> str:
        parts = [
            RULES[rule],
            "NNM" * (run.spec.rule == mixed),
            "momentum" * bool(run.spec.momentum),
            "clipping" * bool(run.spec.clip),
        ]
        return ", ".join(part for part in parts if part)

    def drawn(runs: Runs) -> list[Picture]:
        return [over_rounds(f"{title}: test accuracy", runs.without(rule="mean"), label, defence)]

    return Figure(name, title, claims, drawn, "S0-stab", {"rule": [rule, mixed]})


FIGURES = [
    plane("S0-F1", CM, "Powell's method", [FARTHEST, FAR_THROUGHOUT, COINCIDE]),
    plane("S0-F2", CC, "SLSQP", [FARTHEST, FAR_THROUGHOUT, COINCIDE]),
    softmax("S0-F3", CM),
    softmax("S0-F4", CC),
    softmax("S0-F5", CM, 0.9),
    softmax("S0-F6", CC, 0.9),
    cnn("S0-F7", CM, "iid"),
    cnn("S0-F8", KRUM, "iid"),
    cnn("S0-F9", f"nnm >> {CM}", RARE, longest=16),
    cnn("S0-F10", f"nnm >> {KRUM}", RARE, longest=16),
    stab("S0-F11", CM),
    stab("S0-F12", KRUM),
    plane("S0-F13", KRUM, "Powell's method", AGAINST_KRUM),
    plane("S0-F14", RFA, "L-BFGS-B", [FARTHEST, FAR_THROUGHOUT, COINCIDE]),
    plane("S0-F15", TM, "Powell's method", [FARTHEST, FAR_THROUGHOUT, COINCIDE]),
    softmax("S0-F16", KRUM),
    softmax("S0-F17", RFA),
    softmax("S0-F18", TM),
    softmax("S0-F19", KRUM, 0.9),
    softmax("S0-F20", RFA, 0.9),
    softmax("S0-F21", TM, 0.9),
    cnn("S0-F22", CM, RARE),
    cnn("S0-F23", KRUM, RARE),
    ALGORITHM_2,
]
