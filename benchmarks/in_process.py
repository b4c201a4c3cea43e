"""Flower's clients in this process: what a strategy is driven by where no engine is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

FIRST = 1000
"""The node id of the first partition's client."""

Client = Callable[[Message, Context], Message | None]


class InProcess:
    """n clients around one server, called one after another; a `Grid` as far as strategies use it.

    A client is a `ClientApp` or any function of its kind. One that raises replies with an error, as under Flower's
    engines; one that returns None does not reply.
    """

    def __init__(self, client: Client, n: int, **run_config: Any) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.client = client
        self.contexts = {
            FIRST + i: Context(1, FIRST + i, {"partition-id": i, "num-partitions": n}, RecordDict(), dict(run_config))
            for i in range(n)
        }

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return list(self._replies(messages))

    def _replies(self, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            try:
                reply = self.client(message, self.contexts[message.metadata.dst_node_id])
            except Exception as error:
                reply = Message(Error(0, repr(error)), reply_to=message)
            if reply is not None:
                yield reply
