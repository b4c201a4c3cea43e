"""The example of five processes, one of which lies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "ddp_digits.py"


@pytest.mark.slow
def test_one_line_protects_a_script_from_a_rank_that_sends_minus_ten_times_its_gradient() -> None:
    command = [sys.executable, str(EXAMPLE), "--steps", "30", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True)
    by = {(one["rule"], one["attacked"]): one for one in json.loads(found.stdout)}
    assert len(by) == 8
    for (rule, attacked), one in by.items():
        assert (one["accuracy"] < 0.3) if (rule, attacked) == ("mean", True) else (one["accuracy"] > 0.8)
        if rule == "mean":
            assert one["suspicion"] is None
        elif attacked:
            assert one["suspicion"].index(max(one["suspicion"])) == 3
            assert one["suspicion"][3] > 0.9
        else:
            assert max(one["suspicion"]) < 0.5
    assert "SuspectWarning: rank 3 stays suspect" in found.stderr
