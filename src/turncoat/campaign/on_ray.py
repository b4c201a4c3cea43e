"""Workers on a Ray cluster: the processes that there are on one machine, too, and beside each an actor to reach it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from turncoat.campaign.local import LocalEngine, threads
from turncoat.campaign.messages import Answer, Lost, Order, decode_answer, decode_order, encode
from turncoat.errors import ResultError, SpecError
from turncoat.spec import Spec

try:
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError
except ImportError:
    raise SpecError("the engine ray needs Ray: pip install 'turncoat[ray]'") from None

TOKEN = ".shared"  # a file in the results folder, by which the nodes know that it is the driver's
PATIENCE = 30.0  # seconds that workers may wait for a place before it is said
REACHED = 10.0  # seconds within which a cluster that is there answers
TRIES = 5  # times in a row that a worker may die before it has begun


@dataclass(frozen=True, kw_only=True)
class Home:
    """What a worker has to find on its node as the driver does on its own."""

    folder: str
    token: str
    cwd: str
    path: list[str]
    environment: dict[str, str]

    @classmethod
    def here(cls, folder: Path | str) -> Home:
        """The driver's, with a new token in the folder."""
        token = secrets.token_hex()
        (Path(folder) / TOKEN).write_text(token)  # in place: a new file may stay unseen for a while on a network
        environment = threads() | {name: os.environ[name] for name in ("TURNCOAT_DATA",) if name in os.environ}
        where, cwd = str(Path(folder).absolute()), str(Path.cwd())
        return cls(folder=where, token=token, cwd=cwd, path=sys.path, environment=environment)

    def enter(self) -> None:
        """Make this process feel at home; raises `ResultError` where the folders are not the driver's."""
        try:
            os.chdir(self.cwd)
            same = (Path(self.folder) / TOKEN).read_text() == self.token
        except OSError:
            same = False
        if not same:
            raise ResultError(
                f"the node {_address()} does not see {self.cwd} and {self.folder} as the driver does: the results, and "
                "the folder in which a campaign is started, have to be on a file system that all nodes share"
            )
        os.environ.update(self.environment)
        sys.path += [place for place in self.path if place not in sys.path]


class Relay:
    """An actor that has a worker on its node and passes on what is said; the worker ends when it does."""

    def begin(self, home: Home) -> str:
        """Start the worker; returns the node's address. Raises `ResultError` where it could not work."""
        home.enter()
        self._engine = LocalEngine(1)
        return _address()

    def send(self, order: bytes) -> None:
        self._engine.send(0, decode_order(order))

    @ray.method(concurrency_group="hearing")
    def hear(self) -> list[bytes]:
        """Wait until the worker says something."""
        return [encode(answer) for _, answer in self._engine.receive(None)]


@dataclass
class Hand:
    """A worker as the driver knows it."""

    actor: Any
    call: Any
    """What is waited for: `begin`, and once that has returned `hear`."""
    asked: float
    node: str | None = None
    """Where it is, once it has begun."""
    orders: list[Order] = field(default_factory=list)
    """What it is to do as soon as it has."""


class RayEngine:
    """Workers on the nodes of a Ray cluster, replaced as soon as they, or their nodes, are gone.

    Each takes as many CPUs as the run with most threads, and a GPU if any run is on one. Those for which the cluster
    has no place now are not `ready`, and hold up nobody. Without an address, Ray is started on this machine for so many
    workers, and ends with the campaign; with one, `workers` None stands for as many as the cluster has room for. A
    cluster that this process is connected to already is used as it is.

    Raises `SpecError` where there is no such cluster.
    """

    def __init__(self, workers: int | None, address: str | None, specs: Sequence[Spec], folder: Path | str) -> None:
        self._needs: dict[str, float] = {"CPU": max(spec.threads or 1 for spec in specs)}
        if any(spec.device != "cpu" for spec in specs):
            self._needs["GPU"] = 1
        groups: Any = {"concurrency_groups": {"hearing": 1}}  # unknown to the annotations of `remote`
        self._relay = ray.remote(**groups)(Relay).options(
            num_cpus=self._needs["CPU"], num_gpus=self._needs.get("GPU", 0), max_restarts=0
        )
        self._patient, self._tries = True, 0
        with ExitStack() as exits:
            if not ray.is_initialized():
                exits.enter_context(redirect_stdout(sys.stderr))  # Ray prints news of the cluster, results stand here
                exits.callback(ray.shutdown)
                _connect(address, int(self._needs["CPU"]) * (workers or 1))
            room = self._room()
            self.workers = workers or max(1, min(room, len(specs)))
            if room < self.workers:
                each = " and ".join(f"{need:g} {name}" for name, need in self._needs.items())
                if not (room or address):
                    raise SpecError(f"there is no room here for a worker with {each}")
                warnings.warn(f"the cluster has room for {room} of {self.workers} workers with {each}", stacklevel=2)
            self._home = Home.here(folder)
            self._hands = {worker: self._hire() for worker in range(self.workers)}
            self._exits = exits.pop_all()

    def _room(self) -> int:
        """How many workers the nodes could hold, were nobody else there."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(int(min(node.get(name, 0) // need for name, need in self._needs.items())) for node in nodes)

    def _hire(self) -> Hand:
        actor: Any = self._relay.remote()
        return Hand(actor, actor.begin.remote(self._home), monotonic())

    @property
    def places(self) -> dict[int, str]:
        """The nodes of the workers that have begun."""
        return {worker: hand.node for worker, hand in self._hands.items() if hand.node}

    def ready(self) -> Iterable[int]:
        """The workers that have a place."""
        return list(self.places)

    def send(self, worker: int, order: Order) -> None:
        """Give a worker something to do, as soon as it has a place."""
        hand = self._hands[worker]
        if hand.node:
            hand.actor.send.remote(encode(order))
        else:
            hand.orders.append(order)

    def receive(self, timeout: float | None) -> list[tuple[int, Answer]]:
        """What workers have to say, after at most so many seconds.

        Raises `ResultError` where a node does not share the folders, or no worker can be started.
        """
        calls = {hand.call: worker for worker, hand in self._hands.items()}
        if not ray.wait(list(calls), timeout=timeout)[0]:
            self._mind_who_waits()
            return []
        returned, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return [(calls[call], answer) for call in returned for answer in self._hear(calls[call])]

    def _hear(self, worker: int) -> list[Answer]:
        hand = self._hands[worker]
        try:
            said: Any = ray.get(hand.call)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            return self._gone(worker, error)
        hand.call = hand.actor.hear.remote()
        if hand.node is None:
            hand.node, self._tries = said, 0
            for order in hand.orders:
                self.send(worker, order)
            return []
        answers = [decode_answer(content) for content in said]
        for k, answer in enumerate(answers):
            if isinstance(answer, Lost):
                answers[k] = Lost(why=f"{answer.why} on the node {hand.node}", killed=answer.killed)
                self.kill(worker)
        return answers

    def _gone(self, worker: int, error: RayError) -> list[Answer]:
        """An actor died: its worker is lost, or if that has not begun yet, its orders are another's."""
        hand = self._hands[worker]
        self.kill(worker)
        if hand.node:
            return [Lost(why=f"the node {hand.node} or Ray's process there is gone", killed=True)]
        self._tries += 1
        if self._tries > TRIES or (isinstance(error, RayActorError) and error.actor_init_failed):
            raise ResultError(f"no worker can be started on the cluster: {str(error).strip().splitlines()[-1]}")
        self._hands[worker].orders = hand.orders
        return []

    def _mind_who_waits(self) -> None:
        """Say, once, that there are workers without a place."""
        late = sum(not hand.node and monotonic() - hand.asked > PATIENCE for hand in self._hands.values())
        if late and self._patient:
            self._patient = False
            warnings.warn(f"{late} of {self.workers} workers wait for a place on the cluster", stacklevel=4)

    def kill(self, worker: int) -> None:
        """End a worker at once, and ask for another."""
        with suppress(RayError):
            ray.kill(self._hands[worker].actor)
        self._hands[worker] = self._hire()

    def close(self) -> None:
        """End all, and the Ray that was started for them."""
        for hand in self._hands.values():
            with suppress(RayError):
                ray.kill(hand.actor)
        self._hands.clear()
        (Path(self._home.folder) / TOKEN).unlink(missing_ok=True)
        self._exits.close()


def _address() -> str:
    return ray.util.get_node_ip_address()


def _connect(address: str | None, cpus: int) -> None:
    """Find the cluster, or make one of this machine; raises `SpecError`."""
    own: dict[str, Any] = {} if address else {"num_cpus": cpus, "include_dashboard": False}
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would knock for minutes
            socket.create_connection((host.strip("[]"), int(port)), REACHED).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise SpecError(f"no Ray cluster at {address or 'this machine'}: {error}") from None
