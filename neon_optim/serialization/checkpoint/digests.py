"""Digests of tensors, computed beside the reading or writing of the same bytes.

The digest of a tensor is the SHA-256 of the joined SHA-256 digests of its pieces of 1 MiB (the last one may
be shorter; a tensor without bytes has none). SHA-256 of one long stream cannot be shared between cores;
pieces can.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PIECE = 1 << 20
DIGEST_BYTES = 32
_SMALL = 1 << 14
_MOST_THREADS = 4


class TensorDigests:
    """The digests of ``count`` tensors that are given piece by piece.

    From two pieces of ``nbytes`` on, threads do the hashing (hashlib releases the interpreter lock); a piece
    must then stay as it is until :meth:`result`. Small pieces are hashed at once; ``nbytes=0`` hashes every piece so.

    Example:
        >>> with TensorDigests(1, nbytes=0) as digests:
        ...     digests.add(0, b"abc")
        ...     digests.result()[0][:16]
        '4f8b42c22dd3729b'
    """

    def __init__(self, count: int, nbytes: int) -> None:
        self._pieces: list[list[Callable[[], bytes]]] = [[] for _ in range(count)]
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)), nbytes // PIECE)
        self._pool = ThreadPoolExecutor(threads, "neon_optim-sha256") if threads else None

    def add(self, index: int, piece: memoryview | bytes) -> None:
        """Append the next piece (:data:`PIECE` bytes, or the rest) of tensor ``index``."""
        if self._pool is not None and len(piece) > _SMALL:
            try:
                self._pieces[index].append(self._pool.submit(_digest, piece).result)
                return
            except RuntimeError:  # no more threads, as at the end of the interpreter
                self._pool = None
        digest = _digest(piece)
        self._pieces[index].append(lambda: digest)

    def result(self) -> list[str]:
        """The digests in lower-case hexadecimal; nothing can be added after it."""
        return [hashlib.sha256(self.of_pieces(index)).hexdigest() for index in range(len(self._pieces))]

    def of_pieces(self, index: int) -> bytes:
        """The digests of the pieces of tensor ``index``, joined: the digest of the tensor is the SHA-256 of these."""
        return b"".join(piece() for piece in self._pieces[index])

    def __enter__(self) -> TensorDigests:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _digest(piece: memoryview | bytes) -> bytes:
    return hashlib.sha256(piece).digest()
