"""Keys: whatever decides a run's figures changes its key, and nothing else does."""

import subprocess
import sys

import grimp
import msgspec
import pytest

from turncoat.campaign.keys import keys_of
from turncoat.errors import SpecError
from turncoat.results.files import COMPUTING
from turncoat.spec import Seeds, Spec

BASE = Spec(n=10, f=2, rule="trimmed_mean", attack="ipm(epsilon=0.5)", rounds=100)
OTHER = {
    "task": ["digits/mlp", "digits/mlp(hidden=7)", "mean_estimation", "mean_estimation(std=2)"],
    "n": [11],
    "f": [1],
    "f_actual": [3],
    "rule": ["median", "krum", "krum(neighbours='n-f')", "nnm >> trimmed_mean"],
    "attack": ["ipm(epsilon=0.6)", "alie", "none"],
    "split": ["dirichlet(0.3)", "dirichlet(0.31)"],
    "rounds": [101],
    "batch": [33],
    "lr": [0.2],
    "schedule": ["cosine", "step(every=10, factor=0.5)", "step(every=10, factor=0.4)"],
    "momentum": [0.9],
    "momentum_form": ["undamped"],
    "server_momentum": [0.9],
    "weight_decay": [1e-4],
    "clip": [2.0],
    "clip_at": ["aggregate"],
    "local_steps": [2],
    "local_lr": [0.3],
    "share": ["honest"],
    "byzantine": ["random"],
    "attack_start": [5],
    "attack_stop": [50],
    "knowledge": ["own", "partial(3)", "partial(4)"],
    "nonfinite": ["raise"],
    "evaluate_every": [7],
    "gradients": ["sequential"],
    "device": ["cuda"],
    "threads": [2],
    "dtype": ["float64"],
    "seed": [1, Seeds(data=1, model=2, server=3, adversary=4)],
}


def digest(spec: Spec) -> str:
    return keys_of([spec])[0].digest


@pytest.mark.parametrize("field", Spec.__struct_fields__)
def test_every_field_of_the_spec_changes_the_key(field):
    changes = [{field: value} for value in OTHER[field]]
    if field == "local_steps":
        changes = [{"local_steps": 2, "local_lr": 0.1}]
    digests = {digest(BASE), *(digest(msgspec.structs.replace(BASE, **change)) for change in changes)}
    assert len(digests) == len(changes) + 1


def test_each_stream_changes_the_key():
    seeds = Seeds(data=1, model=2, server=3, adversary=4)
    streams = [msgspec.structs.replace(seeds, **{stream: 9}) for stream in Seeds.__struct_fields__]
    assert len({digest(msgspec.structs.replace(BASE, seed=each)) for each in (seeds, *streams)}) == 5


def test_what_means_the_same_has_the_same_key():
    same = [
        {"attack": "ipm( 0.50 )"},
        {"rule": "  trimmed_mean "},
        {"f_actual": 2},
        {"task": "digits/softmax"},
        {"seed": Seeds.derive(0)},
        {"threads": 1},
        {"evaluate_every": 5},
    ]
    assert {digest(msgspec.structs.replace(BASE, **change)) for change in same} == {digest(BASE)}


def test_code_and_data_change_the_key(monkeypatch):
    digests = {digest(BASE)}
    monkeypatch.setattr("turncoat.campaign.keys.source_hash", lambda: "0" * 64)
    digests.add(digest(BASE))
    monkeypatch.setattr("turncoat.campaign.keys.files_checksum", lambda name: "0" * 64)
    digests.add(digest(BASE))
    assert len(digests) == 3


def test_everything_that_computes_is_in_the_hash_of_the_code():
    """What training imports lies in the rooms that are hashed, or says, shows or stores what others computed."""
    graph = grimp.build_graph("turncoat", exclude_type_checking_imports=True)
    needed = graph.find_upstream_modules("turncoat.learning.training")
    needed |= {each for rule in ("rules", "attacks", "data") for each in graph.find_descendants(f"turncoat.{rule}")}
    rooms = {room.removesuffix(".py").split("/")[0] for room in COMPUTING}
    others = {module.split(".")[1] for module in needed if "." in module} - rooms
    assert others <= {"errors", "progress", "results"}


def test_the_users_own_files_and_what_they_import_change_the_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        "own.py": "import numpy, near\nfrom package.inner import thing\ndef rule(X): return X.mean(0)\n",
        "near.py": "from far import *\nimport own\n",
        "far.py": "",
        "package/__init__.py": "",
        "package/inner.py": "from . import beside\nfrom .beside import x\nthing = 1\n",
        "package/beside.py": "x = 1\n",
        "stranger.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    spec = msgspec.structs.replace(BASE, rule="own.py:rule")
    (key,) = keys_of([spec])
    assert set(key.files) == set(files) - {"stranger.py"}
    for name in files:
        before = digest(spec)
        (tmp_path / name).write_text(files[name] + "# edited\n")
        assert (digest(spec) != before) == (name != "stranger.py"), name
    (tmp_path / "own.py").write_text("def rule(:\n")
    assert set(keys_of([spec])[0].files) == {"own.py"}
    (tmp_path / "own.py").unlink()
    with pytest.raises(SpecError, match=r"own\.py:rule: cannot read own\.py: No such file"):
        keys_of([spec])


@pytest.mark.parametrize("rule", ["gone.py:rule", "no_such_package.module:rule"])
def test_the_key_of_a_missing_own_part_is_an_error(rule):
    with pytest.raises(SpecError, match=rule):
        digest(msgspec.structs.replace(BASE, rule=rule))


def test_a_plan_that_is_replayed_is_part_of_the_key(tmp_path):
    plan = tmp_path / "plan.safetensors"
    spec = msgspec.structs.replace(BASE, attack=f"replay('{plan}')")
    plan.write_bytes(b"1")
    first = digest(spec)
    plan.write_bytes(b"2")
    assert digest(spec) != first


def test_planning_imports_nothing_heavy(tmp_path):
    (tmp_path / "grid.toml").write_text("n = 10\nf = 2\nseed = [0, 1]\n")
    code = (
        "import sys; from turncoat.campaign.run import plan\n"
        f"assert len(plan({str(tmp_path / 'grid.toml')!r}, {str(tmp_path)!r}).cells) == 2\n"
        "heavy = {'torch', 'polars', 'altair', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
