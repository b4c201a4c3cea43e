"""Keys: whatever decides a run's figures changes its key, and nothing else does."""

import subprocess
import sys
import sysconfig

import grimp
import msgspec
import pytest

from turncoat import registry
from turncoat.attacks.build import OwnAttack
from turncoat.attacks.planning.moves import Use
from turncoat.attacks.planning.plan import Plan
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


def test_what_an_own_part_imports_from_elsewhere_changes_the_key(tmp_path, monkeypatch):
    """Packages without `__init__.py`, modules of the working folder, and whatever else is on Python's path."""
    here, lib = tmp_path / "here", tmp_path / "lib"
    files = {
        here / "exp/own.py": "import mylib, numpy, torch.nn, json, turncoat\n",
        here / "mylib.py": "from space.deep.inner import x\n",
        here / "exp/inner.py": "",
        lib / "space/deep/inner.py": "def f():\n    import installed\n",
        lib / "space/near.py": "",
        lib / "site-packages/installed/__init__.py": "from installed import part\n",
        lib / "site-packages/installed/part.py": "import mylib, another\n",
        lib / "site-packages/another.py": "",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", str(lib), str(lib / "site-packages"), *sys.path])
    inner = str(lib / "space/deep/inner.py")
    expected = {
        "exp/own.py": {"exp/own.py", "mylib.py", inner},
        str(here / "exp/own.py"): {str(here / "exp/own.py"), "mylib.py", inner},
        "mylib": {"mylib.py", inner},
        "space.deep.inner": {"space/deep/inner.py"},
        "installed.part": {"installed/__init__.py", "installed/part.py", "mylib.py", inner},
    }
    for where, names in expected.items():
        (key,) = keys_of([msgspec.structs.replace(BASE, rule=f"{where}:rule")])
        assert set(key.files) == names
    before = digest(spec := msgspec.structs.replace(BASE, rule="exp/own.py:rule"))
    (lib / "space/deep/inner.py").write_text("x = 2\n")
    assert digest(spec) != before
    assert not {"mylib", "space", "installed"} & sys.modules.keys()


def test_loading_own_parts_leaves_their_keys_as_they_were(tmp_path, monkeypatch):
    """What lies beside one file is nothing that another one imports, neither in a run nor in its key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry.Beside, "folders", [])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text("import common\nrule = attack = common.WHO\n")
    (tmp_path / "common.py").write_text("WHO = 'all'\n")
    (tmp_path / "b/common.py").write_text("WHO = 'b'\n")
    (tmp_path / "module.py").write_text("import common\nsplit = common.WHO\n")
    names = {"rule": "a/own.py:rule", "attack": "b/own.py:attack", "split": "module:split"}
    spec = msgspec.structs.replace(BASE, **names)
    before = keys_of([spec])[0]
    assert set(before.files) == {"a/own.py", "b/own.py", "b/common.py", "common.py", "module.py"}
    modules = set(sys.modules)
    assert [registry.load_own(name) for name in names.values()] == ["all", "b", "all"]
    assert keys_of([spec])[0] == before
    for name in sys.modules.keys() - modules:
        del sys.modules[name]


def test_a_linked_file_imports_what_lies_beside_the_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "shared.py").write_text("from .beside import x\nimport installed\n")
    (tmp_path / "own.py").write_text("import package.shared\n")
    (tmp_path / "package/beside.py").write_text("x = 1\n")
    for link in ("package/shared.py", "site-packages/installed.py"):  # as some installers do it
        (tmp_path / link).symlink_to(tmp_path / "shared.py")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    (key,) = keys_of([msgspec.structs.replace(BASE, rule="own.py:rule")])
    assert set(key.files) == {"own.py", "package/shared.py", "package/beside.py"}


def test_pythons_own_files_are_left_out_where_python_is_a_link(tmp_path):
    """As it is with Homebrew, or where uv has installed it."""
    (tmp_path / "own.py").write_text("import json, wave, turncoat.rules\n")
    (tmp_path / "lib").symlink_to(sysconfig.get_path("stdlib"))
    (tmp_path / "turncoat").symlink_to(registry.PACKAGE)
    code = (
        "import sys, sysconfig; where = sysconfig.get_path('stdlib')\n"
        f"sysconfig.get_path = lambda name: {str(tmp_path / 'lib')!r}\n"
        f"sys.path = [{str(tmp_path)!r}] + [{str(tmp_path / 'lib')!r} if p == where else p for p in sys.path]\n"
        "from turncoat.campaign.imports import files_of\n"
        "assert set(files_of('own.py:rule')) == {'own.py'}, files_of('own.py:rule')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("where", ["own.py", "sub/own.py", "sub.own"])
def test_keys_of_a_working_folder_that_is_a_package(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    (tmp_path / "sub").mkdir()
    for name in ("__init__.py", "sub/__init__.py", "own.py", "sub/own.py"):
        (tmp_path / name).write_text("from . import near\nimport math\n")
    (key,) = keys_of([msgspec.structs.replace(BASE, rule=f"{where}:rule")])
    assert where.replace(".own", "/own.py") in key.files


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


INSIDE = {
    "mixtailor": {"rule": 'mixtailor(pool=[median, "own.py:rule"])'},
    "bulyan": {"rule": 'nnm >> bulyan(selection="own.py:rule")'},
    "a rule of rules": {"rule": """mixtailor(pool=['bulyan(selection="own.py:rule")'])"""},
    "a chain in a rule": {"rule": 'mixtailor(pool=["nnm >> own.py:rule"])'},
    "ls_reconstruction": {"rule": 'ls_reconstruction(base="own.py:rule")'},
    "an attack's pool": {"attack": 'pool(pool=["own.py:rule"])'},
    "a planner's attacks": {"attack": 'beam(attacks=[alie, "own.py:rule"])'},
    "a planner's replay": {"attack": "beam(attacks=['replay(file=\"plan.safetensors\")'])"},
    "a plan's attack": {"attack": "replay('plan.safetensors')", "plan": "own.py:rule"},
    "a plan's attack of rules": {"attack": "replay('plan.safetensors')", "plan": 'pool(pool=["own.py:rule"])'},
    "a data set": {"task": "own.py:data/mlp"},
    "a model": {"task": "digits/own.py:model"},
    "a split": {"split": "own.py:split"},
}


@pytest.mark.parametrize("where", INSIDE)
def test_own_parts_are_found_wherever_they_are_named(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = dict(INSIDE[where])
    (tmp_path / "own.py").write_text("rule = 1\n")
    Plan((Use(OwnAttack(target=given.pop("plan", "alie"))),)).save("plan.safetensors")
    spec = msgspec.structs.replace(BASE, **given)
    before = digest(spec)
    (tmp_path / ("plan.safetensors" if where == "a planner's replay" else "own.py")).write_text("rule = 2\n")
    assert digest(spec) != before


def test_a_plan_that_replays_itself_has_a_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Plan((Use(OwnAttack(target='replay(file="plan.safetensors")')),)).save("plan.safetensors")
    (key,) = keys_of([msgspec.structs.replace(BASE, attack="replay('plan.safetensors')")])
    assert set(key.files) == {"plan.safetensors"}


def test_planning_imports_nothing_heavy(tmp_path):
    (tmp_path / "grid.toml").write_text(
        f"n = 10\nf = 2\nseed = [0, 1]\nattack = \"replay('{tmp_path / 'plan.safetensors'}')\"\ncontrol = false\n"
    )
    Plan((Use(OwnAttack(target="alie")),)).save(tmp_path / "plan.safetensors")
    code = (
        "import sys; from turncoat.campaign.run import plan\n"
        f"assert len(plan({str(tmp_path / 'grid.toml')!r}, {str(tmp_path)!r}).cells) == 2\n"
        "heavy = {'torch', 'polars', 'altair', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
