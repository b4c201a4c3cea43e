"""A score card in words, as the terminal and the pages say them."""

from __future__ import annotations

import math

from turncoat.report.summary import counted
from turncoat.stress.card import Card, Trained

NOTHING = 1e-9  # a kappa below it is rounding


def kappa_text(value: float | None) -> str:
    """`0.705`, or `unbounded`; a dash where there is none.

    Examples:
        >>> [kappa_text(value) for value in (0.70485, 2e-15, math.inf, None)]
        ['0.705', '0', 'unbounded', '–']
    """
    if value is None or math.isnan(value):
        return "–"
    return "unbounded" if math.isinf(value) else f"{value:.3g}" if value > NOTHING else "0"


def share_text(value: float) -> str:
    """What is left of the descent, of a card's figure, which grows with the damage.

    Examples:
        >>> [share_text(value) for value in (-0.43, 1.54, math.inf)]
        ['43.0 %', '-154 %', 'unbounded']
    """
    if not math.isfinite(value):
        return kappa_text(value)
    share = 0.0 - 100 * value
    return f"{share:{'.1f' if abs(share) < 100 else '.0f' if abs(share) < 1e5 else '.3g'}} %"


def descent_text(value: float) -> str:
    """The same, with a word on updates that climb.

    Examples:
        >>> [descent_text(value) for value in (-0.43, 1.54, math.inf)]
        ['43.0 %', '-154 %, uphill', 'unbounded, uphill']
    """
    return f"{share_text(value)}, uphill" if value > 0 else share_text(value)


def percent(value: float | None) -> str:
    """A fraction in percent; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of fractions in points; a dash where there is none."""
    return percent(value).removesuffix(" %")


def headline(card: Card) -> str:
    """The worst cases in a sentence."""
    least = f"no rule can promise less than {kappa_text(card.lower_bound)}"
    proven = "" if card.bound is None else f", and {kappa_text(card.bound)} is proven for this one"
    far = "without bound" if math.isinf(card.kappa.value) else f"to kappa = {kappa_text(card.kappa.value)}"
    moved = f"{counted(card.f, 'hostile row')} among {card.n} moved {card.rule} {far}; {least}{proven}"
    return f"{moved}. The worst update {_update_text(card.descent.value)}."


def _update_text(descent: float) -> str:
    if math.isinf(descent):
        return "points uphill without bound"
    text = share_text(descent)
    return f"points uphill: {text} of the descent" if descent > 0 else f"keeps {text} of the descent"


def breaks_at(card: Card) -> int | None:
    """The smallest number of attackers that moves the aggregate without bound; None where none did."""
    return next((attackers for attackers, kappa in enumerate(card.breakdown) if math.isinf(kappa)), None)


def breakdown_text(card: Card) -> str:
    """Where the breakdown curve breaks."""
    if (first := breaks_at(card)) is None:
        return f"up to {counted(len(card.breakdown) - 1, 'attacker')}, none moved it without bound"
    return f"{counted(first, 'attacker')} moved it without bound, the fewest that did"


def price(trained: Trained) -> float:
    """The accuracy that the defence costs where nobody attacks."""
    return trained.plain - trained.clean


def training_texts(trained: Trained) -> list[str]:
    """The worst accuracy under attack, then what the defence costs where nobody attacks."""
    met = f"under {trained.attack} on {trained.split}"
    between = trained.low is not None and trained.high is not None
    interval = f" (95 % interval {percent(trained.low)} to {percent(trained.high)})" if between else ""
    lost = f"{points(price(trained))} points"
    return [
        f"worst test accuracy {percent(trained.worst)}{interval}, {met}",
        f"without attack {percent(trained.clean)}, the plain mean {percent(trained.plain)}: the defence costs {lost}",
    ]


def training_title(trained: Trained) -> str:
    """Which trainings, and how many."""
    failed = f", {trained.failed} more failed" if trained.failed else ""
    return f"{trained.task}, level {trained.level}: {counted(trained.runs, 'run')}{failed}"


def cost_text(card: Card) -> str:
    """What the test took, and what an aggregation takes."""
    tested = f"{card.calls:,} calls in {card.seconds:.0f} s"
    return f"{tested}; {card.milliseconds:.3g} ms for an aggregation of {card.n} float32 rows of 100,000 numbers"
