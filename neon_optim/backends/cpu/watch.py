"""Notices NumPy arrays that were moved, resized or given another shape, type or permission.

A plan keeps the addresses of its arrays from step to step, and a step of many small tensors is done in less time than
Python needs to ask each array where it is. So the few words that say so are read from the array objects themselves:
NumPy's C structure ``PyArrayObject_fields``, which is part of its binary interface. Whether it is laid out as expected
is checked against what the arrays say; where it is not, each array is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["ArrayWatch"]

_HEAD = object.__basicsize__ // 8
_DATA, _DIMENSIONS, _DESCR, _FLAGS = _HEAD, _HEAD + 2, _HEAD + 5, _HEAD + 6
_FIELDS = np.array([_DATA, _DIMENSIONS, _DESCR, _FLAGS])


class _Memory:
    """The words of this process's memory from the lowest to the highest of some addresses, as an array."""

    def __init__(self, addresses: np.ndarray, span: int):
        self.low = int(addresses.min())
        n_words = (int(addresses.max()) - self.low) // 8 + span
        self.__array_interface__ = {
            "data": (self.low, True),
            "shape": (n_words,),
            "typestr": "<i8",
            "version": 3,
        }
        self.words = np.asarray(self)

    def index(self, addresses: np.ndarray) -> Any:
        """The places of addresses in ``words``."""
        return (addresses - self.low) // 8


class ArrayWatch:
    """Remembers how arrays are now.

    >>> a = np.zeros(10)
    >>> watch = ArrayWatch([a])
    >>> watch.unchanged()
    True
    >>> a.resize(20, refcheck=False)
    >>> watch.unchanged()
    False
    """

    def __init__(self, arrays: Sequence[np.ndarray]):
        self._arrays = list(arrays)  # alive as long as their memory is read
        self._slow = [_layout(a) for a in arrays]
        self._fast = (
            self._look_directly() if self._arrays and np.ndarray.__basicsize__ >= 8 * (_FLAGS + 1) else None
        )

    def _look_directly(self) -> Any:
        objects = np.array([id(a) for a in self._arrays], np.int64)
        structures = _Memory(objects, _FLAGS + 1)
        fields = structures.index(objects)[:, None] + _FIELDS
        now = structures.words[fields]
        if now[:, 0].tolist() != [data for data, *_ in self._slow]:
            return None
        counts = np.array([a.ndim for a in self._arrays])
        starts = np.repeat(now[:, 1], counts)
        places = starts + 8 * (np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts))
        if not len(places):
            return structures.words, fields, now, structures.words, places, places
        extents = _Memory(places, 1)
        index = extents.index(places)
        lengths = extents.words[index]
        if lengths.tolist() != [extent for a in self._arrays for extent in a.shape]:
            return None
        return structures.words, fields, now, extents.words, index, lengths

    def unchanged(self) -> bool:
        """Whether every array is where it was and as it was."""
        if self._fast is None:
            return all(_layout(a) == then for a, then in zip(self._arrays, self._slow, strict=True))
        structures, fields, then, extents, index, lengths = self._fast
        if not np.array_equal(structures[fields], then):
            return False  # the extents may be elsewhere, so they must not be read
        return np.array_equal(extents[index], lengths)


def _layout(array: np.ndarray) -> tuple[Any, ...]:
    return (
        array.__array_interface__["data"][0],
        array.shape,
        array.strides,
        array.dtype,
        array.flags.writeable,
    )
