"""The breakdown curve as a drawing: where each line, point and label of its SVG stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turncoat.stress.card import Card
from turncoat.stress.words import kappa_text

WIDTH, HEIGHT = 400, 190
LEFT, RIGHT, TOP, BOTTOM = 36, 12, 32, 34  # margins; what is unbounded stands in the one above
UNBOUNDED = 14  # pixels from the top
LEAST = -2  # the decade at which the axis begins: what is less stands on it
LABELS = 8, 5  # at most, about, along the axes


@dataclass(frozen=True)
class Dot:
    """A number of attackers and the kappa that they reached."""

    x: float
    y: float
    text: str
    unbounded: bool


@dataclass(frozen=True)
class Tick:
    """A place on an axis with its label."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """Kappa, logarithmic, over the number of attackers; `least` is what no rule can promise to be below."""

    dots: list[Dot]
    lines: list[str]
    """Points of the polylines between neighbouring dots that are bounded."""
    least: str
    f: float
    """Where the number stands that the rule is told of."""
    across: list[Tick]
    up: list[Tick]
    unbounded: float | None
    """The height of what is unbounded, where anything is."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @classmethod
    def of(cls, card: Card) -> Curve:
        """That of a card."""
        values, n = card.breakdown, card.n
        last = max(len(values) - 1, 1)
        decades = [math.log10(value) for value in values if math.isfinite(value) and value > 0]
        highest = max(1, math.ceil(max(decades, default=0.0)))

        def x(attackers: float) -> float:
            return round(LEFT + (WIDTH - LEFT - RIGHT) * attackers / last, 1)

        def y(value: float) -> float:
            place = (max(math.log10(value), LEAST) if value > 0 else LEAST) - LEAST
            return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(place / (highest - LEAST), 1), 1)

        dots = [
            Dot(
                x(b),
                UNBOUNDED if math.isinf(value) else y(value),
                f"{b} attackers: {kappa_text(value)}",
                math.isinf(value),
            )
            for b, value in enumerate(values)
        ]
        least = [(b, b / (n - 2 * b)) for b in range(len(values)) if 2 * b < n]
        return cls(
            dots=dots,
            lines=_lines(dots),
            least=" ".join(f"{x(b)},{y(value)}" for b, value in least),
            f=x(card.f),
            across=[Tick(x(b), str(b)) for b in _thinned(0, last, LABELS[0])],
            up=[Tick(y(10.0**decade), f"{10.0**decade:g}") for decade in _thinned(LEAST, highest, LABELS[1])],
            unbounded=UNBOUNDED if any(map(math.isinf, values)) else None,
        )


def _lines(dots: Sequence[Dot]) -> list[str]:
    """The points of each stretch without a gap."""
    stretches: list[list[str]] = [[]]
    for dot in dots:
        if dot.unbounded:
            stretches.append([])
        else:
            stretches[-1].append(f"{dot.x},{dot.y}")
    return [" ".join(points) for points in stretches if len(points) > 1]


def _thinned(first: int, last: int, most: int) -> range:
    """Whole numbers, evenly apart, not many more than may be labelled."""
    return range(first, last + 1, max(1, math.ceil((last - first) / most)))
