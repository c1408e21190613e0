"""Ranges of the tensors in one file, every byte of them verified, without reading the rest."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, file_header
from neon_optim.serialization.checkpoint.digests import DIGEST_BYTES, PIECE, TensorDigests

__all__ = ["TensorRanges", "open_ranges"]


class TensorRanges:
    """An open file whose tensors are read by ranges; :func:`open_ranges` makes one.

    A part of a sharded checkpoint lists the digests of its pieces of 1 MiB, so that a range is verified by itself. An
    ordinary file does not: all of it is read once when it is opened, and what it had then is what ranges are held
    against.

    Attributes:
        header: of the file; of a part without the list of digests.
        nbytes: of the file.
    """

    def __init__(self, fd: int, size: int, path: durable.StrPath, kind: str) -> None:
        self._fd, self._path, self._name, self.nbytes = fd, path, repr(os.fsdecode(path)), size
        header = archive.read_header(fd, size, path, kind)
        self._data = size - sum(entry.nbytes for entry in header.entries)
        if kind == "part":
            self._pieces = self._listed(header)
            header = header._replace(entries=header.entries[:-1], digests=header.digests[:-1])
        else:
            self._pieces = archive.check_data(fd, header, path)
        self.header = header
        self._starts = [self._data]
        for entry in header.entries:
            self._starts.append(self._starts[-1] + entry.nbytes)

    def _listed(self, header: file_header.Header) -> list[bytes]:
        """For each tensor of a part the digests of its pieces, joined, held against the header."""
        entries = header.entries[:-1]
        due = archive.piece_digests(entries)
        if header.entries[-1:] != [due]:
            raise CheckpointError(
                f"{self._name}: malformed: its last tensor does not list {due.shape[0]:,} digests"
            )
        listed = bytearray(due.nbytes)
        os.lseek(self._fd, self._data + sum(entry.nbytes for entry in entries), os.SEEK_SET)
        archive.fill(self._fd, memoryview(listed), self._path)
        pieces, position = [], 0
        for entry, digest in zip(entries, header.digests, strict=False):
            end = position + archive.piece_digests([entry]).nbytes
            pieces.append(bytes(listed[position:end]))
            position = end
            if hashlib.sha256(pieces[-1]).hexdigest() != digest:
                raise self._damaged(
                    entry.name, "the digests of its pieces are not those that it was written with"
                )
        return pieces

    def read(self, index: int, start: int, stop: int, out: memoryview | None) -> None:
        """Verify the bytes from ``start`` to ``stop`` of tensor ``index``, and put them into ``out``, if given.

        Pieces that reach beyond the range are read whole, into memory of their own.

        Raises:
            CheckpointError: they are damaged.
        """
        entry = self.header.entries[index]
        first, last = start // PIECE, -(-stop // PIECE)
        scratch = np.empty(PIECE if out is None else 0, np.uint8)
        with TensorDigests(1, nbytes=0 if out is None else stop - start) as digests:
            for piece in range(first, last):
                low, high = piece * PIECE, min((piece + 1) * PIECE, entry.nbytes)
                if out is None:
                    view = scratch.data[: high - low]
                    self._fill(view, index, low)
                elif low >= start and high <= stop:
                    view = out[low - start : high - start]
                    self._fill(view, index, low)
                else:
                    view = memoryview(bytearray(high - low))
                    self._fill(view, index, low)
                    begin, end = max(low, start), min(high, stop)
                    out[begin - start : end - start] = view[begin - low : end - low]
                digests.add(0, view)
            if digests.of_pieces(0) != self._pieces[index][first * DIGEST_BYTES : last * DIGEST_BYTES]:
                raise self._damaged(entry.name, "its digest is not the one that it was written with")

    def _fill(self, view: memoryview, index: int, position: int) -> None:
        position += self._starts[index]
        while view.nbytes:
            count = os.preadv(self._fd, [view], position)
            if count == 0:
                raise CheckpointError(f"{self._name}: the file became shorter while it was read")
            view, position = view[count:], position + count

    def _damaged(self, name: str, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self._name}: the data of tensor {name!r} are damaged: {reason}. Use an older checkpoint."
        )


@contextlib.contextmanager
def open_ranges(path: durable.StrPath, kind: str = "checkpoint") -> Iterator[TensorRanges]:
    """Open a file of a kind ('checkpoint', 'part') to read ranges of its tensors.

    Raises:
        CheckpointError: it cannot be read, is of another kind, or is damaged.
    """
    with durable.reading(path) as (fd, size):
        yield TensorRanges(fd, size, path, kind)
