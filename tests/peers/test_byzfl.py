"""byzfl 0.0.11, in an environment of its own, trains the same models to the same accuracies."""

import statistics

import numpy as np
import pytest
import torch
from peers import Worker, peer_python

import turncoat as tc
from turncoat.learning.training import Parts
from turncoat.spelling import parse

LAYERS = [["Flatten"], ["Linear", 64, 32], ["ReLU"], ["Linear", 32, 10]]
N, F, ROUNDS, EVERY, SEEDS = 10, 2, 200, 20, 4
RULES = {
    "median": ("median", {"name": "Median", "parameters": {}}, "ipm(epsilon=2.5)"),
    "trimmed mean": ("trimmed_mean", {"name": "TrMean", "parameters": {"f": F}}, "ipm(epsilon=2.5)"),
    "Krum": ('krum(neighbours="n-f-1")', {"name": "Krum", "parameters": {"f": F}}, "ipm(epsilon=2.5)"),
    "Krum, fooled": ('krum(neighbours="n-f-1")', {"name": "Krum", "parameters": {"f": F}}, "ipm(epsilon=0.1)"),
}


@pytest.fixture(scope="module")
def peer():
    try:
        worker = Worker("peer_byzfl.py", peer_python("byzfl"))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield worker
    worker.close()


@pytest.mark.peer
@pytest.mark.parametrize("case", RULES)
def test_accuracy_curves_agree_within_noise(case, peer, tmp_path):
    rule, theirs, attack = RULES[case]
    curves: dict[str, list[list[float]]] = {"turncoat": [], "byzfl": []}
    for seed in range(SEEDS):
        spec = tc.Spec(
            task="digits/mlp(hidden=32)",
            n=N,
            f=F,
            rule=rule,
            attack=attack,
            rounds=ROUNDS,
            evaluate_every=EVERY,
            lr=0.2,
            momentum=0.9,
            share="honest",
            seed=seed,
        )
        run = tc.Training(spec, Parts())
        data = run.dataset
        path = tmp_path / "data.npz"
        np.savez(path, x=data.x_train, y=data.y_train, x_test=data.x_test, y_test=data.y_test)
        peer.ask(
            "set up",
            data=str(path),
            layers=LAYERS,
            workers=[held.tolist() for held in run.federation.batches.workers[: N - F]],
            rule=theirs,
            mixings=[],
            attack={
                "name": "InnerProductManipulation",
                "f": F,
                "parameters": {"tau": parse(attack).kwargs["epsilon"]},
            },
            batch=spec.batch,
            lr=spec.lr,
            momentum=spec.momentum,
            seed=seed,
            threads=torch.get_num_threads(),
            initial=run.state.parameters.tolist(),
        )
        curves["turncoat"].append([record.test_accuracy for record in run.finish().records])
        curve = [peer.ask("accuracy")]
        for _ in range(ROUNDS // EVERY):
            peer.ask("advance", rounds=EVERY)
            curve.append(peer.ask("accuracy"))
        curves["byzfl"].append(curve)
    ours, others = np.array(curves["turncoat"]), np.array(curves["byzfl"])
    assert np.allclose(ours[:, 0], others[:, 0], atol=1e-6)  # the same model on the same test set before round 1
    gap = ours.mean(1) - others.mean(1)  # of the curves' averages, seed by seed
    print(f"{case}: turncoat {ours[:, -1].mean():.3f}, byzfl {others[:, -1].mean():.3f}, gaps {np.round(gap, 4)}")
    assert abs(gap.mean()) < 3 * statistics.stdev(gap) / SEEDS**0.5 + 0.01
