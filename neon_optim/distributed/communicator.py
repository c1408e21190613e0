"""What processes that train together ask of one another: a small interface, which MPI stands behind."""

from __future__ import annotations

import json
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from neon_optim.errors import DistributedError, NonFiniteError

__all__ = ["Alone", "Communicator", "Pending"]

_AT_ONCE = 2000
"""Looks at what is pending before a process lets others have the processor for longer."""


class Pending(NamedTuple):
    """A message under way.

    Attributes:
        process: whom it is to or from.
        request: what tells whether it has arrived; of the communicator's own kind.
    """

    process: int
    request: Any


class Communicator(ABC):
    """Processes numbered from 0, which send each other bytes.

    Messages from one process to another arrive in the order in which they were sent. Whoever waits for longer than
    ``timeout``, or learns that another process has failed, raises a DistributedError that names it.

    Attributes:
        rank: the number of this process.
        size: how many there are.
        timeout: seconds to wait for another process.
        bytes_sent, messages_sent: by this process so far, in :meth:`send`.
    """

    rank: int
    size: int

    def __init__(self, timeout: float = 300.0) -> None:
        self.timeout = timeout
        self.bytes_sent = self.messages_sent = 0
        self._hosts: list[str] | None = None
        self._told = False

    # --- what a kind of communicator defines ---

    @abstractmethod
    def _start_sending(self, data: np.ndarray, process: int) -> Any:
        """Begin to send an array of bytes, which does not change before it has arrived."""

    @abstractmethod
    def _start_receiving(self, into: np.ndarray, process: int) -> Any:
        """Begin to receive as many bytes as an array has."""

    @abstractmethod
    def _are_done(self, requests: Sequence[Any]) -> bool:
        """Whether all of them have arrived; helps those under way along."""

    @abstractmethod
    def _send_words(self, words: str) -> None:
        """Tell every other process that this one has failed, without waiting for them."""

    @abstractmethod
    def _words_of_failure(self) -> tuple[int, str] | None:
        """A process that has failed and what it said, where one has told so."""

    # --- messages ---

    def send(self, array: np.ndarray, process: int) -> Pending:
        """Begin to send a contiguous array, which must not change before it has arrived."""
        data = _bytes_of(array)
        self.bytes_sent += data.size
        self.messages_sent += 1
        return Pending(process, self._start_sending(data, process))

    def receive(self, into: np.ndarray, process: int) -> Pending:
        """Begin to receive into a contiguous array."""
        return Pending(process, self._start_receiving(_bytes_of(into), process))

    def wait(self, pending: Sequence[Pending]) -> None:
        """Wait until all messages have arrived.

        Raises:
            DistributedError: another process has failed, or does not answer.
        """
        requests = [message.request for message in pending]
        begin, looks = 0.0, 0
        while not self._are_done(requests):
            looks += 1
            if looks % 16 == 0:
                os.sched_yield()
            if looks < _AT_ONCE or looks % 64:
                continue
            now = time.monotonic()
            begin = begin or now
            failure = self._words_of_failure()
            if failure is not None:
                process, words = failure
                self._told = True  # everybody has been
                raise DistributedError(f"{self.name_of(process)}: {words}")
            if now - begin > self.timeout:
                late = sorted({p.process for p in pending if not self._are_done([p.request])})
                names = ", ".join(map(self.name_of, late))
                raise DistributedError(f"no answer for {self.timeout:g} seconds from {names}")
            if now - begin > 1.0:
                time.sleep(0.001)

    def name_of(self, process: int) -> str:
        """A process in words."""
        host = f" on {self._hosts[process]}" if self._hosts else ""
        return f"rank {process} of {self.size}{host}"

    @property
    def on_one_host(self) -> bool:
        """Whether all processes are on one host, as far as that is known."""
        return self._hosts is None or len(set(self._hosts)) == 1

    def introduce(self) -> None:
        """Learn on which host each process is, for messages."""
        self._hosts = self.gather(socket.gethostname())

    # --- together ---

    def gather_arrays(self, own: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
        """The arrays of one type of all processes, in their order.

        Arguments:
            sizes: how many elements each has.
        """
        own = np.ascontiguousarray(own).reshape(-1)
        arrays = [own if k == self.rank else np.empty(n, own.dtype) for k, n in enumerate(sizes)]
        others = [k for k in range(self.size) if k != self.rank]
        pending = [self.receive(arrays[k], k) for k in others if sizes[k]]
        if own.size:
            pending += [self.send(own, k) for k in others]
        self.wait(pending)
        return arrays

    def gather_numbers(self, numbers: Sequence[float] | np.ndarray) -> np.ndarray:
        """As many float64 numbers from each process: an array (processes, numbers)."""
        own = np.asarray(numbers, np.float64)
        return np.stack(self.gather_arrays(own, [own.size] * self.size))

    def gather(self, value: Any) -> list[Any]:
        """A JSON value from each process."""
        data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        sizes = self.gather_numbers([data.size])[:, 0].astype(int).tolist()
        return [json.loads(array.tobytes()) for array in self.gather_arrays(data, sizes)]

    def broadcast(self, value: Any) -> Any:
        """The JSON value that process 0 has."""
        return self.gather(value if self.rank == 0 else None)[0]

    @contextmanager
    def telling(self) -> Iterator[None]:
        """A block of which the other processes learn where it fails here, while they wait for this one.

        What is not finite is so for all of them, and needs no telling.
        """
        try:
            yield
        except NonFiniteError:
            raise
        except BaseException as error:
            self.tell(error)
            raise

    def tell(self, error: BaseException) -> None:
        """Tell every other process that this one has failed; once."""
        if self.size > 1 and not self._told:
            self._told = True
            self._send_words(f"{type(error).__name__}: {error}"[:2000])

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """A block that every process runs, and that fails for all where it fails for one: each learns why.

        Raises:
            DistributedError: where it has failed for others, but not here.
        """
        failed: BaseException | None = None
        try:
            yield
        except Exception as error:
            failed = error
        words = self.gather(None if failed is None else f"{type(failed).__name__}: {failed}")
        if failed is not None:
            raise failed
        for process, word in enumerate(words):
            if word is not None:
                raise DistributedError(f"{self.name_of(process)}: {word}")


class Alone(Communicator):
    """One process by itself."""

    rank, size = 0, 1

    def _start_sending(self, data: np.ndarray, process: int) -> Any:
        raise AssertionError("there is nobody to send to")

    def _start_receiving(self, into: np.ndarray, process: int) -> Any:
        raise AssertionError("there is nobody to receive from")

    def _are_done(self, requests: Sequence[Any]) -> bool:
        return True

    def _send_words(self, words: str) -> None:
        pass

    def _words_of_failure(self) -> tuple[int, str] | None:
        return None


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)
