"""The user's own parts: files and modules that stand in for names."""

import os
import subprocess
import sys

import pytest

from turncoat import registry
from turncoat.errors import SpecError
from turncoat.registry import load_own


@pytest.fixture(autouse=True)
def _as_before(tmp_path, monkeypatch):
    """Whatever these tests import is forgotten, and the path is put back."""
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry.Beside, "folders", [])
    monkeypatch.chdir(tmp_path)
    yield
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)


def write(tmp_path, **files):
    """Files by their paths, `/` spelled `__`, without the `.py`."""
    for name, text in files.items():
        path = tmp_path / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_of_the_same_content_import_what_lies_beside_each(tmp_path):
    own = "import helper\ndef rule():\n    return helper.WHO\ndef late():\n    import later\n    return later.WHO\n"
    for folder in "ab":
        texts = {"own": own, "helper": f"WHO = '{folder}'\n", "later": f"WHO = '{folder}'\n"}
        write(tmp_path, **{f"{folder}__{name}": text for name, text in texts.items()})
    for folder in "abab":
        assert load_own(f"{folder}/own.py:rule")() == folder
        assert load_own(f"{folder}/own.py:late")() == folder
    assert load_own("a/own.py:rule") is load_own(f"{tmp_path}/a/../a/own.py:rule")


def test_what_lies_beside_wins_over_the_working_folder_and_what_is_imported_already(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, helper="WHO = 'cwd'\n", shared="WHO = 'cwd'\n", sub__helper="WHO = 'sub'\n")
    write(tmp_path, sub__own="import helper, shared\ndef rule():\n    return helper.WHO, shared.WHO\n")
    assert __import__("helper").WHO == "cwd"
    assert load_own("sub/own.py:rule")() == ("sub", "cwd")


def test_what_lies_beside_one_file_is_not_there_for_another(tmp_path):
    write(tmp_path, a__own="import helper\nrule = 1\n", a__helper="", b__own="import helper\nrule = 1\n")
    assert load_own("a/own.py:rule") == 1
    with pytest.raises(SpecError, match=r"cannot import b/own\.py: ModuleNotFoundError: No module named 'helper'"):
        load_own("b/own.py:rule")


def test_a_module_finds_its_own_neighbours_and_not_those_of_a_file_before(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, module="import helper\nrule = helper.WHO\n", helper="WHO = 'module'\n")
    write(tmp_path, lone="import only\nrule = 1\n")
    write(tmp_path, a__own="import helper, only\nrule = helper.WHO\n", a__helper="WHO = 'a'\n", a__only="")
    assert load_own("a/own.py:rule") == "a"
    assert load_own("module:rule") == "module"
    with pytest.raises(SpecError, match="No module named 'only'"):
        load_own("lone:rule")


def test_functions_may_import_when_they_are_called(tmp_path):
    write(tmp_path, a__own="def rule():\n    import late\n    return late.WHO\n", a__late="WHO = 'a'\n")
    write(tmp_path, b__own="import helper\ndef rule():\n    return helper.WHO\n", b__helper="WHO = 'b'\n")
    first, second = load_own("a/own.py:rule"), load_own("b/own.py:rule")
    assert (first(), second(), first()) == ("a", "b", "a")
    late = sys.modules["late"]
    load_own("b/own.py:rule")
    assert sys.modules["late"] is late  # with all that it remembers


def test_files_and_modules_of_one_folder_share_what_they_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, own="import shared\nrule = shared\n", module="import shared\nrule = shared\n", shared="")
    assert load_own("own.py:rule") is load_own("module:rule") is load_own("own.py:rule")


def test_what_was_there_before_stays(tmp_path):
    write(tmp_path, a__own="import random\nrule = random.WHO if hasattr(random, 'WHO') else 1\n", b__own="rule = 2\n")
    write(tmp_path, a__random="WHO = 'a'\n", a____main__="", a__turncoat="")
    kept = sys.modules["__main__"], sys.modules["turncoat"], sys.modules.get("random")
    path = list(sys.path)
    assert load_own("a/own.py:rule") == 1
    assert load_own("b/own.py:rule") == 2
    assert kept == (sys.modules["__main__"], sys.modules["turncoat"], sys.modules.get("random"))
    assert sys.path == path


def test_the_program_itself_is_kept_where_it_lies_beside(tmp_path):
    write(tmp_path, a__own="rule = 1\n", b__own="rule = 2\n")
    program = (
        "import sys, turncoat.registry as registry\n"
        f"for folder in 'aba': registry.load_own(f'{tmp_path}/{{folder}}/own.py:rule')\n"
        "assert '__main__' in sys.modules\n"
    )
    write(tmp_path, a__program=program)
    subprocess.run([sys.executable, str(tmp_path / "a/program.py")], check=True)


def test_a_file_may_import_itself(tmp_path):
    write(tmp_path, own="import own\nrule = own.__name__\n")
    assert load_own("own.py:rule") == "own"


def test_an_edited_file_is_another_module_whatever_its_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    kept = []
    for i in range(3):
        write(tmp_path, own=f"import near\nrule = {i}\n", near="")
        os.utime("own.py", (1e9, 1e9))
        kept.append(load_own("own.py:rule"))
    assert kept == [0, 1, 2]
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_own("near:__name__") == "near"
    assert not (tmp_path / "__pycache__").exists()
    assert not sys.dont_write_bytecode


def test_own_files_are_compiled_on_their_own_terms(tmp_path):
    write(tmp_path, own="def rule(x: int): ...\nkind = rule.__annotations__['x']\n")
    assert load_own("own.py:kind") is int  # not a string, as this package's own `from __future__` would make it


@pytest.mark.parametrize(
    ("target", "message"),
    {
        "gone.py:rule": r"gone\.py:rule: there is no file gone\.py",
        "broken.py:rule": r"cannot import broken\.py: SyntaxError",
        "raising.py:rule": r"cannot import raising\.py: ValueError: too bad",
        "fine.py:rul": r"fine\.py has no 'rul': did you mean rule",
        "no_such_module:rule": "cannot import no_such_module: ModuleNotFoundError",
    }.items(),
)
def test_what_cannot_be_imported_is_one_clear_line(target, message, tmp_path):
    write(tmp_path, broken="def rule(:\n", raising="raise ValueError('too bad')\n", fine="rule = 1\n")
    for _ in range(2):  # what failed once is not there the second time
        with pytest.raises(SpecError, match=message):
            load_own(target)


def test_the_command_line_finds_modules_of_the_working_folder(tmp_path):
    write(tmp_path, mine="def rule(X): return X.mean(0)\n", package__part="import mine\nrule = mine.rule\n")
    write(tmp_path, random="raise ValueError", queue="raise ValueError")  # which are Python's own all the same
    run = "import sys; from turncoat.cli import main; sys.argv = ['turncoat', *sys.argv[1:]]; main()"
    command = [sys.executable, "-P", "-c", run, "plan", "-n", "8", "-f", "2", "--rounds", "5"]
    for rule, code, told in (("mine:rule", 0, ""), ("package.part:rule", 0, ""), ("gone:rule", 2, "no module gone")):
        found = subprocess.run([*command, "--rule", rule], capture_output=True, text=True)
        assert found.returncode == code, found.stderr
        assert told in found.stderr


def test_a_file_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path, home__own="rule = 3\n")
    assert load_own("~/own.py:rule") == 3
