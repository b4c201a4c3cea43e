"""This app on this machine alone: a SuperLink with ten SuperNodes on loopback, or Flower's simulation engine.

    python loopback.py                          # real processes, one SuperNode a client
    python loopback.py --simulation             # the engine
    python loopback.py -c 'rule="" rounds=5'    # with other settings than those of pyproject.toml

Nothing leaves the machine: insecure connections on 127.0.0.1, no telemetry, no search for updates, no installation of
dependencies at run time. Flower's home is a folder of its own; logs are kept in it (`--folder`). What was started is
ended, by its process ids, also when the run fails (on Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
CLIENTS = 10
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
GRACE = 10.0  # seconds for a daemon to end by itself


def run(folder: Path, settings: str = "", simulation: bool = False, limit: float = 600.0) -> dict[str, Any]:
    """Run the app once and return what its server wrote down; raises what says why there is nothing after `limit` s."""
    folder.mkdir(parents=True, exist_ok=True)
    result, home, until = folder / "result.json", folder / "home", time.monotonic() + limit
    result.unlink(missing_ok=True)
    link, *nodes = free_ports(1 + CLIENTS)
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    environment = os.environ | QUIET | {"FLWR_HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    superlink = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(link)]
    superlink += ["--disable-runtime-dependency-installation", *["--simulation"] * simulation]
    with ExitStack() as stack:
        process = stack.enter_context(daemon(superlink, folder / "superlink.log", environment))
        await_port(link, process, until)
        for i in range(0 if simulation else CLIENTS):
            supernode = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}"]
            supernode += ["--port", str(nodes[i]), "--node-config", f"partition-id={i} num-partitions={CLIENTS}"]
            stack.enter_context(daemon(supernode, folder / f"supernode-{i}.log", environment))
        command = [str(BIN / "flwr"), "run", str(HERE), "loopback", "--stream"]
        command += ["-c", f'result="{result}" {settings}'.strip()]
        if simulation:
            command += ["--federation-config", f"num-supernodes={CLIENTS} client-resources-num-cpus=1"]
        with (folder / "run.log").open("w") as log:  # the server's log, until it has ended
            left = max(1.0, until - time.monotonic())
            subprocess.run(command, env=environment, stdout=log, stderr=log, check=False, timeout=left)
    if not result.exists():
        raise RuntimeError(f"the run ended without a result: see the logs in {folder}")
    return json.loads(result.read_text())


@contextmanager
def daemon(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts; with it end all that it started."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        theirs = sessions(process.pid)
        for how in (signal.SIGTERM, signal.SIGKILL):
            for pid in members(theirs):
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
            until = time.monotonic() + GRACE
            while (process.poll() is None or members(theirs)) and time.monotonic() < until:
                time.sleep(0.1)


def processes() -> list[tuple[int, int, int]]:
    """The id, parent and session of each process on this machine that has not ended."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,sess=,stat="], capture_output=True, text=True, check=True)
    lines = (line.split() for line in listed.stdout.splitlines())
    return [(int(pid), int(parent), int(session)) for pid, parent, session, stat in lines if stat[0] != "Z"]


def sessions(leader: int) -> set[int]:
    """The session that a process leads, and those of all that it started: orphans stay in them."""
    family, rows = {leader}, processes()
    while more := {pid for pid, parent, _ in rows if parent in family} - family:
        family |= more
    return {leader, *(session for pid, _, session in rows if pid in family)}


def members(theirs: set[int]) -> set[int]:
    """The ids of the processes in some sessions."""
    return {pid for pid, _, session in processes() if session in theirs}


def await_port(port: int, process: subprocess.Popen[bytes], until: float) -> None:
    """Return when something listens there; raises RuntimeError where the process ended, and TimeoutError."""
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}: see its log")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulation", action="store_true", help="Flower's simulation engine instead of SuperNodes")
    parser.add_argument("-c", "--run-config", default="", help="other settings than those of pyproject.toml")
    parser.add_argument("--folder", type=Path, help="for the logs and the result; a temporary one where left out")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending what was started
    folder = given.folder or Path(mkdtemp(prefix="flower-digits-"))
    print(f"logs: {folder}", file=sys.stderr)
    outcome = run(folder.resolve(), given.run_config, given.simulation)
    print(f"accuracy by round: {' '.join(f'{share:.3f}' for share in outcome['accuracy'])}")
    for name, value in sorted(outcome["last"].items()):
        print(f"{name}: {value:g}")


if __name__ == "__main__":
    main()
