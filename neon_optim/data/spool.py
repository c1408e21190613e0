"""Rows of numbers, written once and read in any order: in memory while they are few, then in a temporary file."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import weakref
from typing import Any

import numpy as np

from neon_optim.data.learning import rows_of_chunk
from neon_optim.errors import DataError

__all__ = ["Spool", "read_exactly"]


class Spool:
    """Rows of one shape and type.

    Arguments:
        shape: of a row.
        dtype: of its numbers.
        limit: bytes up to which they stay in memory. More go to a file in $TMPDIR (else /var/tmp, or where the system
            keeps such files), which has no name and goes with this object.
        what: whose rows they are, for messages.

    >>> spool = Spool((2,), np.float32, limit=100, what="an example")
    >>> spool.append(np.ones((3, 2), np.float32))
    >>> spool.read(1, 3).shape, spool.on_disk
    ((2, 2), False)
    """

    rows_at_once = 1

    def __init__(self, shape: tuple[int, ...], dtype: Any, limit: int, what: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.row_bytes = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        self.count = 0
        self._limit, self._what = limit, what
        self._segments: list[np.ndarray] = []
        self._size = rows_of_chunk(int(np.prod(shape, dtype=np.int64)))
        self._file: int | None = None
        self._sha = hashlib.sha256()

    @property
    def on_disk(self) -> bool:
        """Whether the rows are in a file."""
        return self._file is not None

    def append(self, rows: np.ndarray) -> None:
        """Add rows, (n, …).

        Raises:
            DataError: the disk is full.
        """
        rows = np.ascontiguousarray(rows, self.dtype)
        self._sha.update(bytes_in(rows))
        first, self.count = self.count, self.count + len(rows)
        if self._file is None and self.count * self.row_bytes <= self._limit:
            self._hold(rows, first)
            return
        if self._file is None:
            self._file, name = tempfile.mkstemp(prefix="neon_optim-", dir=_folder())
            weakref.finalize(self, os.close, self._file)
            os.unlink(name)
            for k, segment in enumerate(self._segments):
                self._write(self._file, bytes_in(segment[: first - k * self._size]))
            self._segments.clear()
        self._write(self._file, bytes_in(rows))

    def read(self, first: int, last: int) -> np.ndarray:
        """Some rows, one after the other; not to be written to."""
        if self._file is None:
            return self._joined(first, min(last, self.count))
        out = np.empty((last - first, *self.shape), self.dtype)
        read_exactly(self._file, out, first * self.row_bytes, f"the temporary copy of {self._what}")
        return out

    def _hold(self, rows: np.ndarray, at: int) -> None:
        """Keep rows in memory, in segments, so that none has to be moved."""
        while len(rows):
            place = at % self._size
            if not place:
                self._segments.append(np.empty((self._size, *self.shape), self.dtype))
            some = rows[: self._size - place]
            self._segments[-1][place : place + len(some)] = some
            rows, at = rows[len(some) :], at + len(some)

    def _joined(self, first: int, last: int) -> np.ndarray:
        """Rows in memory; without a copy where they are of one segment, as those of a chunk are."""
        parts = [np.empty((0, *self.shape), self.dtype)]
        while first < last:
            k, place = divmod(first, self._size)
            parts.append(self._segments[k][place : place + last - first])
            first += len(parts[-1])
        return parts[-1] if len(parts) <= 2 else np.concatenate(parts)

    def digest(self) -> str:
        """SHA-256 of all rows, however they came."""
        return self._sha.hexdigest()

    def _write(self, file: int, data: memoryview) -> None:
        try:
            while len(data):
                data = data[os.write(file, data) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(
                f"{self._what} is larger than `memory`, and the disk has no room for a temporary copy in {_folder()}: "
                f"{self.count * self.row_bytes:,} bytes by now. TMPDIR names another folder; more `memory` needs none"
            ) from error


def read_exactly(file: int, out: np.ndarray, offset: int, what: str) -> None:
    """Fill an array from an open file.

    Raises:
        DataError: the file ends before, or cannot be read.
    """
    left = bytes_in(out)
    try:
        while len(left):
            count = os.preadv(file, [left], offset)
            if not count:
                raise DataError(f"{what} has become shorter while it was read")
            left, offset = left[count:], offset + count
    except OSError as error:
        raise DataError(f"{what} cannot be read: {error.strerror}") from error


def bytes_in(array: Any) -> memoryview:
    """The bytes of an array that lie in one piece, without a copy."""
    return memoryview(array).cast("B") if array.size else memoryview(b"")


def _folder() -> str:
    """Where temporary files of any size may be: not in memory, as /tmp often is."""
    given = os.environ.get("TMPDIR")
    return given or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
