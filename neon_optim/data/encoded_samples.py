"""Samples of the users' data, as minibatches take them: held in memory, or read from where they lie."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from neon_optim.data.encoding import Classes, Encoding
from neon_optim.data.learning import Chosen
from neon_optim.model.samples import Rows, Samples

__all__ = ["EncodedSamples", "HeldRows", "RowSource", "StoredRows", "StreamedRows"]

_BLOCK_BYTES = 1 << 20
_BLOCKS = 256
"""Blocks, at least, that memory has room for; a window of a quarter of it mixes as many as a quarter of these."""


class RowSource(ABC):
    """Rows that an encoding has made, in blocks.

    Attributes:
        blocks: how many rows are in each block.
        like: rows, none of them, of the types and shapes of all.
    """

    blocks: np.ndarray
    like: Rows
    held: Rows | None = None

    @abstractmethod
    def read(self, block: int, rows: Rows, at: int) -> None:
        """See :meth:`Samples.read`."""

    def empty(self, count: int) -> Rows:
        """Memory for so many rows."""
        return tuple(np.empty((count, *array.shape[1:]), array.dtype) for array in self.like)

    def all(self) -> Rows:
        """All rows."""
        if self.held is not None:
            return self.held
        rows, at = self.empty(int(self.blocks.sum())), 0
        for block, count in enumerate(self.blocks.tolist()):
            self.read(block, rows, at)
            at += count
        return rows


class HeldRows(RowSource):
    """Rows in memory."""

    def __init__(self, rows: Rows) -> None:
        self.held = rows
        self.blocks = np.array([len(rows[0])])
        self.like = tuple(array[:0] for array in rows)

    def read(self, block: int, rows: Rows, at: int) -> None:
        """See :meth:`Samples.read`."""
        assert self.held is not None
        for array, given in zip(rows, self.held, strict=True):
            array[at : at + len(given)] = given


class StoredRows(Protocol):
    """What raw rows are read from: a :class:`~neon_optim.data.spool.Spool`, or arrays in files.

    Attributes:
        count: of the rows.
        row_bytes: size of one.
        rows_at_once: rows that lie in one piece, which is read as a whole.
    """

    count: int
    row_bytes: int
    rows_at_once: int

    def read(self, first: int, last: int) -> Any:
        """Some rows, one after the other."""


class StreamedRows(RowSource):
    """Rows that are read, chosen and encoded each time.

    Arguments:
        stored: raw rows.
        make: makes rows of raw ones.
        chosen: which of them belong to this part; None: all.
        memory: bytes that samples may take.
    """

    def __init__(
        self, stored: StoredRows, make: Callable[[Any], Rows], chosen: Chosen | None, memory: int
    ) -> None:
        self._stored, self._make, self._chosen = stored, make, chosen
        self.like = tuple(array[:0] for array in make(stored.read(0, 0)))
        rows = min(_BLOCK_BYTES, memory // _BLOCKS) // max(1, stored.row_bytes)
        step = math.lcm(8, stored.rows_at_once)
        size = max(1, rows // step) * step
        self._borders = [(at, min(at + size, stored.count)) for at in range(0, stored.count, size)]
        self.blocks = np.array(
            [
                last - first if chosen is None else np.count_nonzero(chosen.of(first, last))
                for first, last in self._borders
            ],
            np.int64,
        )

    def read(self, block: int, rows: Rows, at: int) -> None:
        """See :meth:`Samples.read`."""
        first, last = self._borders[block]
        after = at + int(self.blocks[block])
        chosen = None if self._chosen is None else self._chosen.of(first, last)
        for array, made in zip(rows, self._make(self._stored.read(first, last)), strict=True):
            if chosen is None:
                array[at:after] = made
            else:
                np.compress(chosen, made, axis=0, out=array[at:after])


class EncodedSamples(Samples):
    """Samples that an encoding makes inputs and targets of.

    Arguments:
        source: rows, as the encoding has made them.
        encoding: what makes inputs of them.
        content: a digest of what they were made of.
    """

    def __init__(self, source: RowSource, encoding: Encoding, content: str) -> None:
        self._source, self._encoding, self._content = source, encoding, content
        self.shape, self.nout = encoding.shape, encoding.target.nout
        self.has_classes = isinstance(encoding.target, Classes)
        self.blocks = source.blocks
        self.row_bytes = sum(array.itemsize * int(np.prod(array.shape[1:])) for array in source.like)

    @property
    def held(self) -> Rows | None:
        """See :attr:`Samples.held`."""
        return self._source.held

    def empty(self, count: int) -> Rows:
        """See :meth:`Samples.empty`."""
        return self._source.empty(count)

    def read(self, block: int, rows: Rows, at: int) -> None:
        """See :meth:`Samples.read`."""
        self._source.read(block, rows, at)

    def all(self) -> Rows:
        """All samples."""
        return self._source.all()

    def inputs(self, rows: Rows) -> np.ndarray:
        """See :meth:`Samples.inputs`."""
        return self._encoding.inputs_of(rows)

    def targets(self, rows: Rows) -> np.ndarray:
        """See :meth:`Samples.targets`."""
        return rows[-1]

    def digest(self) -> str:
        """See :meth:`Samples.digest`."""
        described = json.dumps([self._content, self.ndata, self._encoding.to_json()], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()
