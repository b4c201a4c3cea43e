"""S2's proposition and theorems, as claims."""

from __future__ import annotations

from collections.abc import Sequence

from turncoat.papers.evidence import Evidence, Undecided, every, known, measured
from turncoat.papers.figure import Claim, Figure
from turncoat.papers.s2_theory import ONE_CLASS, WITH_MEANS, KrumBias, Pool, proposition_1, theorem_1, theorem_3


def _krum_bias(one: KrumBias) -> str:
    bias = f"{one.bias:.2f} sigma^2 (less 3 standard errors of a simulation: {one.low:.2f})"
    return f"n = {one.n}, f = {one.f}: {bias}, bound {one.theorem_1:.2f}"


def _pool(pool: Pool) -> str:
    return (
        f"{pool.attack}: M/q = {pool.M / pool.q:.3g}, needed {pool.needed:.3g}; "
        f"<E U, g> = {pool.along:.3g}\u00b1{pool.along_error:.1g}, bound {pool.bound:.3g}"
    )


def condition_suffices(pools: Sequence[Pool]) -> Evidence:
    """That the expected update is at least as far along the gradient as the proof says, which is above 0."""
    met = [pool for pool in pools if pool.condition]
    if not met:
        raise Undecided("no pool meets the condition")
    return every(measured(pool.along - pool.bound, pool.along_error, _pool(pool)) for pool in met)


THEORY = [
    Figure(
        "S2-Prop1",
        "Proposition 1: a random rule keeps the direction where few of its pool are compromised",
        [
            Claim(
                "condition-suffices",
                "where M/q > 1 + lambda L / beta, <E U, g> is at least the proof's bound, which is positive",
                condition_suffices,
            ),
        ],
        computes=lambda: [
            proposition_1(pool=ONE_CLASS),
            proposition_1(),
            proposition_1("ipm(epsilon=1)"),
            proposition_1("ipm(epsilon=100)", WITH_MEANS, 3.0),
        ],
        note="Against the paper's own pool the attack on Krum also takes the four Bulyans that end with Krum: q = "
        "20 of 64, and M/q = 3.2 where one class of four would be 4. The condition is sufficient and not "
        "necessary: under epsilon = 1 it fails, and the expected update still points downhill.",
    ),
    Figure(
        "S2-Thm1",
        "Theorem 1: how far Krum's expectation is from the gradient, iid rows",
        [
            Claim(
                "as-stated",
                "||E U - gradient||^2 <= 2 sigma^2 (1 + Lambda)",
                lambda found: known(
                    not any(one.refutes for one in found),
                    "; ".join(_krum_bias(one) for one in found),
                ),
            ),
            Claim(
                "corrected",
                "with the proven kappa of Krum, ||E U - gradient||^2 <= kappa (1 - 1/h) sigma^2",
                lambda found: known(
                    all(one.bias <= one.corrected.bias and one.error <= one.corrected.error for one in found),
                    "; ".join(f"n = {one.n}: {one.bias:.2f} of {one.corrected.bias:.2f}" for one in found),
                ),
            ),
        ],
        computes=lambda: [theorem_1(), theorem_1(3000, 1035, 0.49)],
        note="The paper's Remark 3, that this bound is tighter than others, falls with it.",
    ),
    Figure(
        "S2-Thm2",
        "Theorem 2: the same for clients that differ",
        [
            Claim(
                "not-violated",
                "the construction that refutes theorem 1 stays within theorem 2's larger constants",
                lambda found: known(
                    found.bias <= found.theorem_2, f"{found.bias:.2f} sigma^2, bound {found.theorem_2:.2f}"
                ),
            ),
            Claim(
                "recovers-theorem-1",
                "for clients that are alike, its constant is only slightly larger than theorem 1's: at most 1.25 times",
                lambda found: known(
                    found.theorem_2 <= 1.25 * found.theorem_1, f"{found.theorem_2 / found.theorem_1:.3g} times"
                ),
            ),
        ],
        computes=theorem_1,
    ),
    Figure(
        "S2-Thm3",
        "Theorem 3: almost sure convergence",
        [
            Claim(
                "as-stated",
                "under its hypotheses the gradient tends to 0",
                lambda found: known(
                    all(abs(one.limit) <= 4 * one.spread for one in found[:2]),
                    "; ".join(
                        f"n = {one.n}, f = {one.f}: the gradient ends at {one.limit:.3f}±{one.spread:.3f}"
                        for one in found[:2]
                    ),
                ),
            ),
            Claim(
                "corrected",
                "where the update is aligned with the gradient at every w, it does tend to 0",
                lambda found: known(
                    found[2].aligned and abs(found[2].limit) <= 4 * found[2].spread,
                    f"the gradient ends at {found[2].limit:.3f}±{found[2].spread:.3f}",
                ),
            ),
        ],
        computes=lambda: [theorem_3("copies"), theorem_3("skewed"), theorem_3("symmetric")],
    ),
]
