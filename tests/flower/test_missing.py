"""What happens where Flower is not installed."""

import subprocess
import sys


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_it_says_what_to_install():
    found = python("import sys; sys.modules['flwr'] = None; import turncoat as tc; tc.flower")
    assert found.returncode == 1
    assert "SpecError" in found.stderr
    assert "pip install 'turncoat[flower]'" in found.stderr


def test_turncoat_itself_waits_for_neither_torch_nor_flower():
    found = python("import sys, turncoat; print({'torch', 'flwr'} & set(sys.modules))")
    assert found.stdout.strip() == "set()"
