"""A table of host arrays: one row for each parameter, flat and ready for an engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Table"]


class Table:
    """Rows of equally long one-dimensional arrays.

    An array that is not contiguous stands in its row as a contiguous copy in logical (C) order; :meth:`gather` fills
    the copies before a run and :meth:`scatter` writes them back after it.

    Attributes:
        rows: for each row its arrays, one axis each, in the order of the Program's slots.
        dtypes: for each row the dtypes of its arrays.
        sizes: elements of each row's arrays.
        sets: for each row the index of its scalar set.
        scopes: for each scalar set the index of its scope.
    """

    def __init__(
        self,
        arrays: Sequence[Sequence[np.ndarray]],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
    ):
        self._copies: list[tuple[np.ndarray, np.ndarray]] = []
        self.rows = [tuple([self._flat(a) for a in row]) for row in arrays]
        self.dtypes = [tuple([a.dtype for a in row]) for row in self.rows]
        self.sizes = np.array([row[0].size for row in self.rows], dtype=np.int64)
        self.sets = np.zeros(len(self.rows), np.int64) if sets is None else np.asarray(sets, np.int64)
        n_sets = int(self.sets.max(initial=0)) + 1
        self.scopes = np.zeros(n_sets, np.int64) if scopes is None else np.asarray(scopes, np.int64)

    def _flat(self, array: np.ndarray) -> np.ndarray:
        if array.flags.c_contiguous:
            return array.reshape(-1)
        copy = np.empty(array.shape, array.dtype)
        self._copies.append((array, copy))
        return copy.reshape(-1)

    def gather(self) -> None:
        """Copy what is not contiguous into its contiguous copy."""
        for array, copy in self._copies:
            np.copyto(copy, array)

    def scatter(self) -> None:
        """Copy back what :meth:`gather` copied, where it may be written."""
        for array, copy in self._copies:
            if array.flags.writeable:
                np.copyto(array, copy)
