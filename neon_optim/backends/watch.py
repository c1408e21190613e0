"""Notices arrays that were moved, resized or given another shape, type or permission.

A plan keeps the addresses of its arrays from step to step, and a step of many small tensors is done in less time than
Python needs to ask each array where it is. So the few words that say so are read from the array objects themselves:
NumPy's C structure ``PyArrayObject_fields``, which is part of its binary interface. Whether it is laid out as expected
is checked against what the arrays say; where it is not, each array is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor

__all__ = ["ArrayWatch", "Differ", "ForeignWatch", "Watch"]

_HEAD = object.__basicsize__ // 8
_FIELDS = np.array([_HEAD, _HEAD + 2, _HEAD + 5, _HEAD + 6])
"""Words of an array object: address of the data, of the extents and strides, of the dtype; flags."""
_ARE_READABLE = sys.implementation.name == "cpython" and np.ndarray.__basicsize__ >= 8 * (_HEAD + 7)


Differ = Callable[[int, int, int, int], None]
"""Compiled code that compares words. Its arguments are

- the address of a table, whose rows are an address and the word expected there;
- how many rows to look at first: the others are addresses only where these are as expected;
- how many rows there are;
- the address of a word that becomes 0 where all are as expected.
"""


class _Window:
    """Memory of this process as NumPy sees it; apart from :class:`_Words`, which no array must keep alive."""

    def __init__(self, address: int, n_words: int):
        self.__array_interface__ = {
            "data": (address, True),
            "shape": (n_words,),
            "typestr": "<i8",
            "version": 3,
        }


class _Words:
    """The words of this process's memory at some addresses.

    Attributes:
        then: what they were when this was made.
    """

    def __init__(self, addresses: np.ndarray):
        low = int(addresses.min()) if addresses.size else id(self)
        n_words = (int(addresses.max()) - low) // 8 + 1 if addresses.size else 0
        self._memory = np.asarray(_Window(low, n_words))
        self._places = ((addresses - low) // 8).reshape(-1)
        self.then = self._memory[self._places]
        self.table = np.stack([addresses.reshape(-1), self.then], axis=1)

    def unchanged(self) -> bool:
        """Whether they are the same still."""
        return np.array_equal(self._memory[self._places], self.then)


def _beyond(starts: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The addresses of so many words from each of some addresses on."""
    n = np.array(counts, np.int64)
    return np.repeat(starts - 8 * (np.cumsum(n) - n), n) + 8 * np.arange(n.sum())


class ArrayWatch:
    """Remembers how arrays are now.

    Arguments:
        arrays: what to watch; they stay alive as long as this does.
        differ: compiled code that compares words; None: NumPy does.

    >>> a = np.zeros(10)
    >>> watch = ArrayWatch([a])
    >>> watch.unchanged()
    True
    >>> a.resize(20, refcheck=False)
    >>> watch.unchanged()
    False
    """

    def __init__(self, arrays: Sequence[np.ndarray], differ: Differ | None = None):
        self._arrays = list(arrays)
        self._layouts = [_layout(a) for a in arrays]
        self._words = self._look_directly() if _ARE_READABLE and self._arrays else None
        self._compare = None
        if self._words is not None and differ is not None:
            fields, extents = self._words
            self._table = np.concatenate([fields.table, extents.table])
            self._difference = np.zeros(1, np.int64)
            arguments = (self._table.ctypes.data, len(fields.table), len(self._table))
            self._compare = partial(differ, *arguments, self._difference.ctypes.data)
            self._found = self._difference.data

    def _look_directly(self) -> tuple[_Words, _Words] | None:
        fields = _Words(np.array([id(a) for a in self._arrays])[:, None] + 8 * _FIELDS)
        data, extents_at, _, _ = fields.then.reshape(-1, 4).T
        if data.tolist() != [layout[0] for layout in self._layouts]:
            return None
        counts = [2 * a.ndim for a in self._arrays]  # the strides follow the extents
        extents = _Words(_beyond(extents_at, counts))
        expected = list(chain.from_iterable(a.shape + a.strides for a in self._arrays))
        return (fields, extents) if extents.then.tolist() == expected else None

    def unchanged(self) -> bool:
        """Whether every array is where it was and as it was."""
        if self._compare is not None:
            self._compare()
            return self._found[0] == 0
        if self._words is None:
            return all(_layout(a) == then for a, then in zip(self._arrays, self._layouts, strict=True))
        fields, extents = self._words
        # Where the fields have changed, the extents may be elsewhere and must not be read.
        return fields.unchanged() and extents.unchanged()


def _layout(array: np.ndarray) -> tuple[Any, ...]:
    return (
        array.__array_interface__["data"][0],
        array.shape,
        array.strides,
        array.dtype,
        array.flags.writeable,
    )


class ForeignWatch:
    """Remembers where the arrays of other libraries are.

    PyTorch's tell by ``data_ptr``, those with an array interface by that; every other object is made an array of anew.

    Arguments:
        values: the objects.
        array_of: turns one into an array on its memory.
    """

    def __init__(self, values: Sequence[Any], array_of: Callable[[Any], np.ndarray]):
        self._tensors = [value for value in values if _has_pointer(value)]
        self._rest = [(value, array_of) for value in values if not _has_pointer(value)]
        self._then = self._now()

    def _now(self) -> list[Any]:
        tensors = self._tensors
        return [
            [t.data_ptr() for t in tensors],
            [t.shape for t in tensors],
            [t.stride() for t in tensors],
            [_layout(array_of(value)) for value, array_of in self._rest],
        ]

    def unchanged(self) -> bool:
        """Whether every object is where it was and as it was."""
        return self._now() == self._then


def _has_pointer(value: Any) -> bool:
    return hasattr(value, "data_ptr") and hasattr(value, "stride")


class Watch:
    """Remembers how some arrays are now, whoever made them; tensors of ours stay where they are."""

    def __init__(
        self, values: Sequence[Any], array_of: Callable[[Any], np.ndarray], differ: Differ | None = None
    ):
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        foreign = [value for value in values if not isinstance(value, (np.ndarray, Tensor))]
        self._watches: list[ArrayWatch | ForeignWatch] = []
        if arrays:
            self._watches.append(ArrayWatch(arrays, differ))
        if foreign:
            self._watches.append(ForeignWatch(foreign, array_of))

    def unchanged(self) -> bool:
        """Whether all are where they were and as they were."""
        return all(watch.unchanged() for watch in self._watches)
