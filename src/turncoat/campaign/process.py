"""The life of a worker's process, which ends when its driver does: `python -m turncoat.campaign.process FD`."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from turncoat.campaign.messages import Answer, Check, Job, Stop, decode_order, encode


def main(connection: Connection) -> None:
    """Do what orders say; they come in on a thread of their own, which ends the process when the driver does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the driver's to handle, and then it asks
        signal.signal(number, signal.SIG_IGN)
    jobs: queue.SimpleQueue[Job | Check] = queue.SimpleQueue()
    stopping = threading.Event()
    saying = threading.Lock()

    def listen() -> None:
        while True:
            try:
                order = decode_order(connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(order, Stop):
                stopping.set()
            else:
                jobs.put(order)

    def tell(answer: Answer) -> None:
        with saying, suppress(OSError):
            connection.send_bytes(encode(answer))

    threading.Thread(target=listen, daemon=True).start()
    from turncoat.campaign.worker import check, work
    from turncoat.linalg.allocator import tune_allocator

    tune_allocator()
    while True:
        job = jobs.get()
        tell(check(job, tell) if isinstance(job, Check) else work(job, tell, stopping.is_set))


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
