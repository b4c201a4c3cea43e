"""S3's Table 3: its attacks by formula, by what they know, and by whether they collude, tried on the attacks here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import turncoat as tc

N, F, D = 17, 3, 40
SAYS = {  # the table's formulas, of the attackers' vectors g_b with mean m and deviation s
    "ALIE": "m - z s",
    "IPM": "-epsilon m",
    "SF": "-g_b",
    "MinMax": "g_ref + gamma p",
    "MinSum": "g_ref + gamma p",
    "Mimic": "g_i of one i",
}
ATTACKS = {
    "ALIE": "alie(z=8, population=own)",
    "IPM": "ipm(epsilon=2.5, population=own)",
    "SF": "sign_flip",
    "MinMax": "min_max",
    "MinSum": "min_sum",
    "Mimic": "mimic",
}


@dataclass(frozen=True)
class Taxonomy:
    """What was tried on each attack, f = 3 of n = 17 in 40 dimensions."""

    worst_error: float
    """The largest relative difference to the table's formulas; for those with a gamma, to the nearest such vector."""
    colluding: dict[str, bool]
    """Whether what the first attacker sends changes with what another one computed or an honest worker sent."""
    honest: dict[str, bool]
    """Whether it changes with what an honest worker sent."""
    identical: dict[str, bool]
    """Whether all send the same."""

    @property
    def others(self) -> list[str]:
        return [name for name in self.colluding if name != "SF"]

    @property
    def text(self) -> str:
        return "; ".join(f"{name} {'colludes' if one else 'does not'}" for name, one in self.colluding.items())

    @property
    def head(self) -> list[str]:
        return ["attack", "S3: formula", "collusion", "needs honest vectors", "identical rows"]

    @property
    def rows(self) -> list[list[str]]:
        answers = (self.colluding, self.honest, self.identical)
        return [[name, SAYS[name], *("yes" if answer[name] else "no" for answer in answers)] for name in ATTACKS]


def taxonomy() -> Taxonomy:
    """S3, Table 3: each attack on random vectors, and again after one of them was changed."""
    rng = np.random.default_rng(0)
    honest, own = rng.normal(size=(N - F, D)), rng.normal(size=(F, D))
    mean, deviation = own.mean(0), own.std(0, ddof=1)
    sent = {name: _sent(spelled, honest, own) for name, spelled in ATTACKS.items()}
    formulas = {"ALIE": mean - 8 * deviation, "IPM": -2.5 * mean, "SF": -own}
    formulas["Mimic"] = min(honest, key=lambda row: float(np.linalg.norm(row - sent["Mimic"][0])))
    for name in ("MinMax", "MinSum"):  # g_ref is the honest mean, p minus the honest deviation
        reference, along = honest.mean(0), -honest.std(0, ddof=1)
        gamma = (sent[name][0] - reference) @ along / (along @ along)
        formulas[name] = reference + gamma * along
    errors = [np.linalg.norm(sent[name] - formula) / np.linalg.norm(formula) for name, formula in formulas.items()]

    def changes(name: str, honest: np.ndarray, own: np.ndarray) -> bool:
        return not np.array_equal(_sent(ATTACKS[name], honest, own)[0], sent[name][0])

    other_honest, other_own = honest + np.arange(1, N - F + 1)[:, None], own.copy()
    other_own[-1] += 1
    needs_honest = {name: changes(name, other_honest, own) for name in ATTACKS}
    return Taxonomy(
        worst_error=float(max(errors)),
        colluding={name: needs_honest[name] or changes(name, honest, other_own) for name in ATTACKS},
        honest=needs_honest,
        identical={name: bool((rows == rows[0]).all()) for name, rows in sent.items()},
    )


def _sent(spelled: str, honest: np.ndarray, own: np.ndarray) -> np.ndarray:
    import torch

    made = tc.attack(spelled, f=F)
    generator = torch.Generator().manual_seed(0)
    return np.asarray(made(torch.from_numpy(honest), torch.from_numpy(own), generator))
