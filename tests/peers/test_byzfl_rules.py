"""byzfl 0.0.11, in an environment of its own, makes the same vectors as our rules and attacks under its preset."""

import numpy as np
import pytest
import torch
from peers import Worker, peer_python

import turncoat as tc

RULES = {  # relative tolerance; None where byzfl itself is random
    "mean": 1e-6,
    "median": 1e-6,
    "trimmed_mean": 1e-6,
    "krum": 1e-6,
    "multi_krum": 1e-6,
    "geometric_median": 1e-3,
    "monna": 1e-6,
    "meamed": 1e-5,
    "mda": 1e-6,
    "nnm >> trimmed_mean": 1e-5,
    "clipping(bound=2) >> trimmed_mean": 1e-5,
    "arc >> trimmed_mean": 1e-5,
    "centered_clipping(tau=10)": 1e-5,
}
THEIRS = {
    "clipping(bound=2) >> trimmed_mean": "clipping >> trimmed_mean",
    "centered_clipping(tau=10)": "centered_clipping",
}
ATTACKS = ["alie", "ipm", "sign_flip", "mimic"]


@pytest.fixture(scope="module")
def peer():
    try:
        worker = Worker("peer_rules_byzfl.py", peer_python("byzfl"))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield worker
    worker.close()


def cloud(seed, n, d):
    X = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32) + 0.3
    X[-2:] *= 4
    return X


@pytest.mark.peer
@pytest.mark.parametrize("name", RULES)
def test_rules_agree(name, peer, tmp_path):
    for seed, (n, f, d) in enumerate([(11, 2, 50), (12, 3, 7), (15, 4, 1000)]):
        X = cloud(seed, n, d)
        np.save(tmp_path / "rows.npy", X)
        answer = peer.ask("call", name=THEIRS.get(name, name), paths=[str(tmp_path / "rows.npy")], f=f, limit=60.0)
        ours = tc.rule(name, f=f, preset="byzfl")(torch.from_numpy(X)).numpy()
        theirs = np.array(answer["vector"], dtype=np.float64)
        assert np.linalg.norm(ours - theirs) <= RULES[name] * np.linalg.norm(theirs)


@pytest.mark.peer
def test_the_papers_krum_is_another_one(peer, tmp_path):
    """The preset matters: on S1's example byzfl's Krum picks an honest row, the paper's a crafted one."""
    X = np.array([[-0.1]] * 3 + [[0.0], [0.02], [0.14], [0.26], [0.38], [0.5]], dtype=np.float32)
    np.save(tmp_path / "rows.npy", X)
    (theirs,) = peer.ask("call", name="krum", paths=[str(tmp_path / "rows.npy")], f=3, limit=60.0)["vector"]
    assert theirs == tc.rule("krum", f=3, preset="byzfl")(X).item() == 0.0
    assert tc.rule("krum", f=3)(X).item() == pytest.approx(-0.1)


@pytest.mark.peer
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_agree(name, peer, tmp_path):
    honest = cloud(5, 9, 300)
    np.save(tmp_path / "rows.npy", honest)
    theirs = np.array(peer.ask("craft", name=name, path=str(tmp_path / "rows.npy"), f=3))
    ours = tc.attack(name, f=3, preset="byzfl")(torch.from_numpy(honest))[0].numpy()
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.peer
def test_our_strongest_attack_is_never_weaker_than_their_optimal_one(peer, tmp_path):
    rule = tc.rule("nnm >> trimmed_mean", f=3)
    for seed in range(10):
        honest = cloud(seed, 12, 200)[:-2].copy()
        np.save(tmp_path / "rows.npy", honest)
        theirs = np.array(peer.ask("craft", name="strongest(alie)", path=str(tmp_path / "rows.npy"), f=3))
        rows = torch.from_numpy(theirs.astype(np.float32)).reshape(-1, 200).expand(3, -1)
        X = torch.from_numpy(honest)
        damage = float((rule(torch.cat([X, rows])) - X.mean(0)).norm())
        assert tc.strongest("alie", X, rule, 3).damage >= damage * (1 - 1e-6)
