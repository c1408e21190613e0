"""Processes as threads of this process: the algebra of many, without MPI.

A message stays where it is until it is received, as large ones do with MPI: so whoever writes too early to an array
that is being sent is found out.
"""

from __future__ import annotations

import threading
from collections import deque

from neon_optim.distributed.communicator import Communicator


class Threads(Communicator):
    """One of several threads; :func:`together` makes them."""

    def __init__(self, rank, wires):
        super().__init__(timeout=20.0)
        self.rank, self.size, self._wires = rank, len(wires), wires
        self._failures = wires[0].setdefault("failures", [])
        self._heard = 0

    def _start_sending(self, data, process):
        message = {"data": data, "done": False}
        self._wires[process].setdefault(self.rank, deque()).append(message)
        return message

    def _start_receiving(self, into, process):
        message = {"into": into, "from": process, "done": False}
        self._waiting().setdefault(process, deque()).append(message)
        return message

    def _waiting(self):
        return self._wires[self.rank].setdefault("waiting", {})

    def _are_done(self, requests):
        for process, waiting in self._waiting().items():
            sent = self._wires[self.rank].get(process)
            while waiting and sent:
                arrived, message = waiting.popleft(), sent.popleft()
                assert arrived["into"].size == message["data"].size, "a message of another size"
                arrived["into"][:] = message["data"]
                message["done"] = arrived["done"] = True
        return all(request["done"] for request in requests)

    def _send_words(self, words):
        self._failures.append((self.rank, words))

    def _words_of_failure(self):
        return self._failures[0] if self._failures else None


def together(count, work):
    """What ``work(communicator)`` returns in each of so many threads; raises what the first that fails raises."""
    wires = [{} for _ in range(count)]
    for wire in wires:
        wire.update({k: deque() for k in range(count)}, waiting={})
    results, errors = [None] * count, [None] * count

    def run(rank):
        try:
            results[rank] = work(Threads(rank, wires))
        except BaseException as error:
            errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together.errors = errors
    for error in errors:
        if error is not None:
            raise error
    return results
