"""Digests of tensors, computed beside the reading or writing of the same bytes.

The digest of a tensor is the SHA-256 of the joined SHA-256 digests of its pieces of 1 MiB (the last one may
be shorter; a tensor without bytes has none). SHA-256 of one long stream cannot be shared between cores;
pieces can.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from types import TracebackType

PIECE = 1 << 20
_MOST_THREADS = 4

_Task = tuple[list[bytes], int, memoryview | bytes]


class TensorDigests:
    """The digests of ``count`` tensors that are given piece by piece.

    From two pieces of ``nbytes`` on, threads do the hashing (hashlib releases the interpreter lock); a piece
    must then stay as it is until :meth:`result`. ``nbytes=0`` hashes each piece before :meth:`add` returns.

    Example:
        >>> with TensorDigests(1, nbytes=0) as digests:
        ...     digests.add(0, b"abc")
        ...     digests.result()[0][:16]
        '4f8b42c22dd3729b'
    """

    def __init__(self, count: int, nbytes: int) -> None:
        self._pieces: list[list[bytes]] = [[] for _ in range(count)]
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(min(_MOST_THREADS, len(os.sched_getaffinity(0)), nbytes // PIECE)):
            thread = threading.Thread(target=self._work, name="neon_optim-sha256", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads, as at the end of the interpreter
                break
            self._threads.append(thread)

    def add(self, index: int, piece: memoryview | bytes) -> None:
        """Append the next piece (:data:`PIECE` bytes, or the rest) of tensor ``index``."""
        pieces = self._pieces[index]
        if self._threads:
            pieces.append(b"")
            self._queue.put((pieces, len(pieces) - 1, piece))
        else:
            pieces.append(hashlib.sha256(piece).digest())

    def result(self) -> list[str]:
        """The digests in lower-case hexadecimal; nothing can be added after it."""
        self._finish()
        if not all(map(all, self._pieces)):
            raise RuntimeError("a thread that computes digests has died")
        return [hashlib.sha256(b"".join(pieces)).hexdigest() for pieces in self._pieces]

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            pieces, position, piece = item
            pieces[position] = hashlib.sha256(piece).digest()

    def _finish(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def __enter__(self) -> TensorDigests:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()
