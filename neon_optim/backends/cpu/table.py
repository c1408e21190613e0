"""A table of host arrays: one row for each parameter, flat and ready for an engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from neon_optim.backends.sums import CHUNK

__all__ = ["HostTable", "RowGroup"]

TASK = 16_384
"""Elements that a thread takes at a time, at least, where there are so many."""


@dataclass(frozen=True)
class RowGroup:
    """Rows whose arrays have the same dtypes, cut into work.

    Attributes:
        dtypes: of the arrays of each row.
        rows: numbers of the rows, ascending.
        chunks: (row, first element, number of elements) of each chunk; a chunk lies within a chunk of the sums.
            Elements are counted in the tensor, where the row is a part of one.
        tasks: task k is the chunks from ``tasks[k]`` to ``tasks[k + 1]``.
        size: number of elements of all rows.
        launches: a place for engines to keep what they prepared for this group.
    """

    dtypes: tuple[np.dtype, ...]
    rows: np.ndarray
    chunks: np.ndarray
    tasks: np.ndarray
    size: int
    launches: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def addresses(self) -> tuple[int, int]:
        """Where ``tasks`` and ``chunks`` are in memory."""
        return self.tasks.ctypes.data, self.chunks.ctypes.data

    @cached_property
    def one_chunk_a_row(self) -> bool:
        """Whether no row has more than one chunk."""
        return bool((np.diff(self.chunks[:, 0]) > 0).all())


class HostTable:
    """Rows of equally long one-dimensional arrays.

    An array that is not contiguous, not aligned or not in native byte order stands in its row as a plain copy in
    logical (C) order; :meth:`gather` fills the copies before a run and :meth:`scatter` writes them back after it.

    Attributes:
        dtypes: for each row the dtypes of its arrays.
        sizes: elements of each row's arrays.
        starts: where each row begins in the tensor that it is a part of; a multiple of the chunk of sums.
        sets: for each row the index of its scalar set.
        scopes: for each scalar set the index of its scope.
    """

    def __init__(
        self,
        arrays: Sequence[Sequence[np.ndarray]],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
        starts: Sequence[int] | None = None,
    ):
        self._copies: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._rows = [tuple([self._flat(slot, a) for slot, a in enumerate(row)]) for row in arrays]
        self._replaced: dict[int, Callable[[], Sequence[np.ndarray]]] = {}
        self.dtypes = [tuple([a.dtype for a in row]) for row in self._rows]
        self.sizes = np.array([row[0].size for row in self._rows], dtype=np.int64)
        self.starts = np.zeros_like(self.sizes) if starts is None else np.asarray(starts, np.int64)
        if (self.starts % CHUNK).any():
            raise ValueError(
                f"a part of a tensor begins at a multiple of {CHUNK} elements, received {starts}"
            )
        self.sets = np.zeros(len(self._rows), np.int64) if sets is None else np.asarray(sets, np.int64)
        n_sets = int(self.sets.max(initial=0)) + 1
        self.scopes = np.zeros(n_sets, np.int64) if scopes is None else np.asarray(scopes, np.int64)

    def _flat(self, slot: int, array: np.ndarray) -> np.ndarray:
        plain = np.asarray(array)
        if _is_plain(plain):
            return plain.reshape(-1)
        copy = np.empty(plain.shape, plain.dtype.newbyteorder("="))
        self._copies.append((slot, plain, copy))
        return copy.reshape(-1)

    @property
    def rows(self) -> list[tuple[np.ndarray, ...]]:
        """For each row its arrays, one axis each, in the order of the Program's slots."""
        while self._replaced:
            slot, arrays = self._replaced.popitem()
            flat = [array.reshape(-1) for array in arrays()]
            self._rows = [(*r[:slot], a, *r[slot + 1 :]) for r, a in zip(self._rows, flat, strict=True)]
        return self._rows

    @cached_property
    def pointers(self) -> np.ndarray:
        """The address of every array, one row of numbers for each row; of a part where its tensor would begin."""
        addresses = [
            [a.__array_interface__["data"][0] - start * a.itemsize for a in row]
            for row, start in zip(self.rows, self.starts.tolist(), strict=True)
        ]
        return np.array(addresses, np.int64).reshape(len(self.rows), -1)

    @cached_property
    def addresses(self) -> tuple[int, int]:
        """Where ``sets`` and ``pointers`` are in memory."""
        return self.sets.ctypes.data, self.pointers.ctypes.data

    @cached_property
    def groups(self) -> list[RowGroup]:
        """The rows by the dtypes of their arrays."""
        members: dict[tuple[np.dtype, ...], list[int]] = {}
        for row, dtypes in enumerate(self.dtypes):
            members.setdefault(dtypes, []).append(row)
        return [self._group(dtypes, np.array(rows)) for dtypes, rows in members.items()]

    def _group(self, dtypes: tuple[np.dtype, ...], rows: np.ndarray) -> RowGroup:
        sizes = self.sizes[rows]
        n_chunks = -(-sizes // CHUNK)
        chunks = np.empty((int(n_chunks.sum()), 3), np.int64)
        chunks[:, 0] = np.repeat(rows, n_chunks)
        number = np.arange(len(chunks)) - np.repeat(np.cumsum(n_chunks) - n_chunks, n_chunks)
        chunks[:, 1] = number * CHUNK
        chunks[:, 2] = np.minimum(np.repeat(sizes, n_chunks) - chunks[:, 1], CHUNK)
        chunks[:, 1] += np.repeat(self.starts[rows], n_chunks)
        before = np.cumsum(chunks[:, 2]) - chunks[:, 2]
        starts = np.flatnonzero(np.diff(before // TASK, prepend=-1))
        tasks = np.append(starts, len(chunks)).astype(np.int64)
        return RowGroup(dtypes, rows, chunks, tasks, int(sizes.sum()))

    def gather(self) -> None:
        """Fill the copies."""
        for _, array, copy in self._copies:
            np.copyto(copy, array)

    def scatter(self, slots: Collection[int]) -> None:
        """Copy back what :meth:`gather` copied of the slots that were written."""
        for slot, array, copy in self._copies:
            if slot in slots:
                np.copyto(array, copy)

    def readdress(self, slot: int, addresses: np.ndarray, arrays: Callable[[], Sequence[np.ndarray]]) -> bool:
        """Put other arrays, laid out like those before, in the place of those of a slot; False: it cannot be.

        Arguments:
            addresses: where they are.
            arrays: gives them, if they are wanted.
        """
        if any(place == slot for place, _, _ in self._copies):
            return False
        self._replaced[slot] = arrays
        sizes = np.array([dtypes[slot].itemsize for dtypes in self.dtypes], np.int64)
        self.pointers[:, slot] = addresses.astype(np.int64) - self.starts * sizes
        return True


def _is_plain(array: np.ndarray) -> bool:
    """Whether an array can stand in a row as it is."""
    return array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
