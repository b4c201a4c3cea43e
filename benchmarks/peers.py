"""Workers of a benchmark: processes that take turns, spoken to in JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE.parent / ".peers"
TUNED = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "67108864"}
PACKAGES = {
    "byzfl": ["byzfl==0.0.11 --no-deps", "numpy scipy matplotlib seaborn"],  # its torchvision has no CPU wheel
    "byzpy": ["byzpy==0.1.4 --no-deps", "numpy cloudpickle"],  # likewise, and it asks for torch < 2.6
    "flwr": ["flwr==1.41.0"],
    "mlflow": ["mlflow-skinny==3.17.2", "-e ."],
}
"""What pip is given after torch, command by command."""


class Worker:
    """A script in a process of its own; `ask` sends a job and waits for the answer."""

    def __init__(self, script: str, python: str | Path, tuned: bool = False) -> None:
        environment = os.environ | (TUNED if tuned else {})
        self.process = subprocess.Popen(
            [str(python), str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, do: str, **job: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **job}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def peer_python(name: str) -> Path:
    """The interpreter of a peer's environment; FileNotFoundError says how to install it."""
    venv = PEERS / name
    python = venv / "bin" / "python"
    if not python.exists():
        installs = "\n".join(
            f"    {venv}/bin/pip install -c constraints.txt {what}" for what in ["torch", *PACKAGES[name]]
        )
        hint = "To install this peer into a virtual environment of its own"
        raise FileNotFoundError(f"{python} is not there. {hint}:\n    python3.11 -m venv {venv}\n{installs}")
    return python


def peer_title(name: str) -> str:
    """`byzfl 0.0.11`."""
    return PACKAGES[name][0].split()[0].replace("==", " ")
