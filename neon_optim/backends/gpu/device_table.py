"""Rows of device arrays, as tables in device memory that kernels read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.kernel_arguments import PIECE
from neon_optim.backends.gpu.memory import address_of, new_array
from neon_optim.backends.sums import CHUNK

__all__ = ["DeviceTable", "Group"]


@dataclass
class Group:
    """Rows whose slots have the same dtypes: what one launch runs over.

    Attributes:
        dtypes: of the slots.
        pieces, chunks: device memory with (row, number) pairs: the work of stages that store and that reduce.
        n_pieces, n_chunks: their number.
    """

    dtypes: tuple[np.dtype, ...]
    pieces: Any
    n_pieces: int
    chunks: Any
    n_chunks: int


class DeviceTable:
    """The device's twin of :class:`neon_optim.backends.cpu.table.HostTable`.

    Attributes:
        groups: rows by dtypes.
        sizes: elements of each row's arrays.
        sets: for each row the index of its scalar set.
        scopes: for each scalar set the index of its scope.
        copies: (slot, array, its contiguous copy) for arrays with gaps; the rows hold the copies.
        row_chunks: for each row, and the end, the number of its first chunk.
        fields: what all kernels are told about the table, by the names in ``TABLE_FIELDS``.
        scratch: a place for the engine to keep device memory, by Program.
    """

    def __init__(
        self,
        device: Device,
        arrays: Sequence[Sequence[np.ndarray]],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
    ):
        self._device = device
        self.copies: list[tuple[int, np.ndarray, np.ndarray]] = []
        rows = [[self._contiguous(slot, a) for slot, a in enumerate(row)] for row in arrays]
        self.sizes = np.array([row[0].size for row in rows], dtype=np.int64)
        self.sets = np.zeros(len(rows), np.int64) if sets is None else np.asarray(sets, np.int64)
        n_sets = int(self.sets.max(initial=0)) + 1
        self.scopes = np.zeros(n_sets, np.int64) if scopes is None else np.asarray(scopes, np.int64)
        self.row_chunks = np.concatenate([[0], np.cumsum(-(-self.sizes // CHUNK))])
        self._entries = np.array(
            [
                [*map(address_of, row), size, k]
                for row, size, k in zip(rows, self.sizes, self.sets, strict=True)
            ],
            np.int64,
        )
        self._kept = [device.constant(a) for a in (self._entries, self.scopes, self.row_chunks)]
        addresses = [int(memory) for memory in self._kept]
        self.fields = dict(zip(("rows", "scopes", "row_chunks"), addresses, strict=True))
        self.fields |= {"n_rows": len(rows), "n_sets": n_sets}
        self.groups = self._group(rows)
        self.scratch: dict[Any, Any] = {}
        self._rows = rows  # they keep the memory alive

    def _contiguous(self, slot: int, array: np.ndarray) -> np.ndarray:
        if array.flags.c_contiguous:
            return array
        copy = new_array(self._device, array.shape, array.dtype)
        self.copies.append((slot, array, copy))
        return copy

    def readdress(self, slot: int, addresses: np.ndarray, arrays: Callable[[], Sequence[np.ndarray]]) -> bool:
        """Put other arrays, laid out like those before, in the place of those of a slot; False: it cannot be.

        Arguments:
            addresses: where they are.
            arrays: gives them; their owner keeps them alive.
        """
        if any(place == slot for place, _, _ in self.copies):
            return False
        self._entries[:, slot] = addresses
        self._device.upload(self.fields["rows"], self._entries)
        return True

    def _group(self, rows: list[list[np.ndarray]]) -> list[Group]:
        members: dict[tuple[np.dtype, ...], list[int]] = {}
        for r, row in enumerate(rows):
            members.setdefault(tuple(a.dtype for a in row), []).append(r)
        groups = []
        for dtypes, indices in members.items():
            pieces, chunks = self._work(indices, PIECE), self._work(indices, CHUNK)
            on_device = [self._device.constant(work) for work in (pieces, chunks)]
            groups.append(Group(dtypes, on_device[0], len(pieces), on_device[1], len(chunks)))
        return groups

    def _work(self, rows: list[int], piece: int) -> np.ndarray:
        """(row, number of the piece in the row) for every piece of the rows, in order."""
        counts = -(-self.sizes[rows] // piece)
        ends = np.cumsum(counts)
        work = np.empty((int(ends[-1]), 2), np.int32)
        work[:, 0] = np.repeat(rows, counts)
        work[:, 1] = np.arange(len(work)) - np.repeat(ends - counts, counts)
        return work
