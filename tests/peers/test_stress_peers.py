"""byzfl's, byzpy's and Flower's rules behind turncoat's names, in environments of their own, are what they are."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from peers import Worker, peer_python

SOURCES = Path(__file__).parents[2] / "src"
N, F, D = 15, 3, 40  # as many as Bulyan needs
RULES = {
    "byzfl": {
        "Average": "mean",
        "Median": "median",
        "TrMean": "trimmed_mean",
        "Krum": "krum",
        "MultiKrum": "multi_krum",
        "GeometricMedian": "geometric_median",
        "CenteredClipping(tau=10)": "centered_clipping",
        "MoNNA": "monna",
        "Meamed": "meamed",
        "MDA": "mda",
        "NNM >> TrMean": "nnm >> trimmed_mean",
        "Clipping >> TrMean": "clipping >> trimmed_mean",
        "ARC >> TrMean": "arc >> trimmed_mean",
    },
    "byzpy": {
        "CoordinateWiseMedian": "median",
        "CoordinateWiseTrimmedMean": "trimmed_mean",
        "Krum": "krum",
        "MultiKrum": "multi_krum",
        "GeometricMedian": "geometric_median",
        "CenteredClipping(c_tau=10, M=1, init=zero)": "centered_clipping",
        "MoNNA": "monna",
        "CAF": "caf",
        "MeanOfMedians": "meamed",
        "MinimumDiameterAveraging": "mda",
        "SMEA": "smea",
        "ComparativeGradientElimination": "cge",
        "NearestNeighborMixing >> CoordinateWiseTrimmedMean": "nnm >> trimmed_mean",
        "Clipping >> CoordinateWiseTrimmedMean": "clipping >> trimmed_mean",
        "ARC >> CoordinateWiseTrimmedMean": "arc >> trimmed_mean",
    },
    "flwr": {
        "FedAvg": "mean",
        "FedMedian": "median",
        "FedTrimmedAvg": "trimmed_mean",
        "Krum": "krum (serverapp)",
        f"MultiKrum(num_nodes_to_select={N - F})": "multi_krum (serverapp)",
        "aggregate": "mean",
        "aggregate_median": "median",
        "aggregate_trimmed_avg": "trimmed_mean",
        "aggregate_krum": "krum",
        f"aggregate_krum(to_keep={N - F})": "multi_krum",
        "aggregate_bulyan": "bulyan",
    },
}
"""Turncoat's names, and what the same is called in the script that calls the project directly.

byzfl's CAF and SMEA are left out: they draw numbers, so that no two calls agree.
"""

SCRIPT = """
import json, sys
import numpy as np, torch
from turncoat.stress.adapters import make, names

def once(name, X):
    rule = make(name, len(X), f)
    return rule.step(X, rule.init(X), torch.Generator().manual_seed(0), examined=False)[0].vector.tolist()

path, peer, f, *asked = sys.argv[1:]
X, f = torch.from_numpy(np.load(path)), int(f)
listed = {name: [once(name, X), once(name, X)] for name in names(peer, len(X), f)}
print(json.dumps({"asked": {name: once(f"{peer}:{name}", X) for name in asked}, "listed": listed}))
"""


@pytest.fixture(scope="module", params=RULES)
def vectors(request, tmp_path_factory):
    """A peer's name, the rows, and their aggregates: as turncoat calls it, directly, and of all that is listed."""
    peer = request.param
    try:
        python = peer_python(peer)
        worker = Worker(f"peer_rules_{peer}.py", python)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32) + 0.3
    X[-F:] *= 4
    path = str(tmp_path_factory.mktemp("peer") / "rows.npy")
    np.save(path, X)
    called = RULES[peer].items()
    direct = {name: worker.ask("call", name=theirs, paths=[path], f=F, limit=60.0) for name, theirs in called}
    worker.close()
    command = [python, "-c", SCRIPT, path, peer, str(F), *RULES[peer]]
    found = subprocess.run(command, env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True)
    if "ModuleNotFoundError" in found.stderr:
        pytest.skip(f"turncoat's own dependencies are not there: {found.stderr.splitlines()[-1]}")
    assert found.returncode == 0, found.stderr
    return peer, X, json.loads(found.stdout) | {"direct": direct}


@pytest.mark.peer
def test_an_aggregate_is_the_projects_own(vectors):
    peer, _, found = vectors
    for name, answer in found["direct"].items():
        theirs, ours = np.array(answer["vector"]), np.array(found["asked"][name])
        assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-6), f"{peer}:{name}"


@pytest.mark.peer
def test_all_that_is_listed_aggregates_and_repeats_itself(vectors):
    peer, X, found = vectors
    listed = found["listed"]
    assert len(listed) >= {"byzfl": 16, "byzpy": 16, "flwr": 12}[peer]
    for name, (once, again) in listed.items():
        assert once == again, name
        assert np.isfinite(once).all(), name
        assert np.linalg.norm(np.array(once) - X[:-F].mean(0)) < np.linalg.norm(X[:-F] - X[:-F].mean(0), axis=1).max()
