"""Matrix products in the fixed order of `deterministic=True`, in NumPy.

An element is the sum of its products, each rounded, added one after the other from 0 on, in the compute type.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FixedProduct"]

_BLOCK = 16_384
"""Elements of the result that are worked on at a time."""

_NARROW = 16
"""Columns of a result below which the transposed result is computed, if it has more."""


class FixedProduct:
    """Products, as something to call. A subclass may do those of rows in another way."""

    def __call__(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right, or one product for each index of a first axis; out overlaps neither."""
        if out.ndim > 2:
            for k in range(out.shape[0]):
                self(left[k], right[k], out[k])
            return
        left, right = left.astype(out.dtype, copy=False), right.astype(out.dtype, copy=False)
        if out.shape[1] < _NARROW and out.shape[0] > out.shape[1]:
            turned = np.empty(out.shape[::-1], out.dtype)  # a product of two numbers has no order
            self._of_rows(right.T, _in_rows(left.T), turned)
            out[...] = turned.T
        elif _is_in_rows(out):
            self._of_rows(left, _in_rows(right), out)
        else:
            rows = np.empty(out.shape, out.dtype)
            self._of_rows(left, _in_rows(right), rows)
            out[...] = rows

    def _of_rows(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """The same where the elements of a row of ``right`` and ``out`` lie beside each other."""
        rows = max(1, _BLOCK // max(1, out.shape[1]))
        columns = np.asfortranarray(left)
        terms = np.empty((min(rows, out.shape[0]), out.shape[1]), out.dtype)
        for start in range(0, out.shape[0], rows):
            sums = out[start : start + rows]
            sums.fill(0.0)
            for k in range(right.shape[0]):
                term = np.multiply(columns[start : start + rows, k, None], right[k], out=terms[: len(sums)])
                np.add(sums, term, out=sums)


def _is_in_rows(array: np.ndarray) -> bool:
    """Whether the elements of a row lie beside each other, and rows apart by a number of elements."""
    down, across = array.strides
    return across == array.itemsize and down % array.itemsize == 0


def _in_rows(array: np.ndarray) -> np.ndarray:
    return array if _is_in_rows(array) else np.ascontiguousarray(array)
