"""Maximising a function of one strength that may jump, rise without bound or have several peaks."""

from __future__ import annotations

import math
from bisect import bisect, insort
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

GOLDEN = (math.sqrt(5) - 1) / 2
SPLITS = 320  # of intervals that could hide a higher point, at most
WORTHWHILE = 0.005  # gain
STEEPER = 1.5  # than the slopes that were seen, a score may be between two points
NARROWEST = 1e-4  # interval to be halved, as a share of the range
PEAKS, REFINEMENTS = 4, 14


def logarithmic(largest: float, decades: int, a_decade: int) -> list[float]:
    """Numbers from `largest` down over so many decades, ascending."""
    return [largest * 10 ** (-i / a_decade) for i in range(decades * a_decade, -1, -1)]


def maximise(
    score: Callable[[float], float], grid: Sequence[float], near: float = math.inf
) -> list[tuple[float, float]]:
    """(score, strength) of the highest peaks that are found from a grid around 0, the best one first.

    Scores such as the damage to a rule rise with the strength until the rule drops a row, and jump then. So intervals
    within +-near are halved for as long as the score could climb above the best one in them, at a slope somewhat above
    those seen around; at most SPLITS times. The highest peaks are then refined by golden section on both sides, which
    keeps the best point in the bracket and so comes to a cliff from above. Of equal peaks the weakest comes first.
    """
    seen = {t: score(t) for t in grid}
    _split(score, seen, near)
    points = sorted(seen)
    place = {t: i for i, t in enumerate(points)}
    peaks: list[float] = []
    passed: set[int] = set()
    for t in sorted(points, key=lambda t: (-seen[t], abs(t))):
        if not {place[t] - 1, place[t] + 1} & passed:  # no way up from here: a new peak, not a slope of one
            peaks.append(t)
        passed.add(place[t])
    found = []
    for t in peaks[:PEAKS]:
        low, high = points[max(0, place[t] - 1)], points[min(len(points) - 1, place[t] + 1)]
        found.append(_refine(score, low, t, high, seen[t]))
    return sorted(found, key=lambda peak: (-peak[0], abs(peak[1])))


def _split(score: Callable[[float], float], seen: dict[float, float], near: float) -> None:
    """Halve the intervals that could hide the highest points, and add what was scored to what was seen."""
    points = [t for t in sorted(seen) if abs(t) <= near]

    def hope(low: float, high: float) -> tuple[float, float, float]:
        at = bisect(points, low)
        around = points[max(0, at - 3) : at + 3]
        slope = max(abs(seen[b] - seen[a]) / (b - a) for a, b in pairwise(around))
        return -(max(seen[low], seen[high]) + STEEPER * slope * (high - low) / 2), low, high

    narrowest = (points[-1] - points[0]) * NARROWEST
    wide = [(low, high) for low, high in pairwise(points) if high - low > narrowest]
    waiting = [hope(low, high) for low, high in wide if min(seen[low], seen[high]) > -math.inf]
    heapify(waiting)
    best = max(seen.values())
    for _ in range(SPLITS):
        if not waiting or not -waiting[0][0] > best + WORTHWHILE * abs(best):
            break
        _, low, high = heappop(waiting)
        middle = (low + high) / 2
        seen[middle] = score(middle)
        insort(points, middle)
        best = max(best, seen[middle])
        if high - low > 2 * narrowest:
            heappush(waiting, hope(low, middle))
            heappush(waiting, hope(middle, high))


def _refine(score: Callable[[float], float], low: float, best: float, high: float, value: float) -> tuple[float, float]:
    """The best point in (low, high), which `best` is within."""
    for _ in range(REFINEMENTS):
        right = high - best >= best - low
        t = best + (1 - GOLDEN) * (high - best) if right else best - (1 - GOLDEN) * (best - low)
        if t in (low, best, high):
            break
        at = score(t)
        if at > value:
            low, high = (best, high) if right else (low, best)
            best, value = t, at
        elif right:
            high = t
        else:
            low = t
    return value, best
