"""neon's op-trees read: which operations they are made of, apart from the arrays and numbers in them.

An op-tree of neon is a tuple (what, left, right). ``what`` is a dict: the operation, and the axis of a reduction. A
leaf is one of neon's tensors, which keep a NumPy array in ``_tensor``, or a Python number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.backends.graph import Leaf
from neon_optim.errors import BackendError

__all__ = ["Reading", "UnreadableTreeError"]


class UnreadableTreeError(BackendError):
    """A tree holds what we have no word for: neon runs it by itself."""


class Reading:
    """One assignment, read.

    Attributes:
        key: equal for those that differ in what arrays hold, in where these are, and in numbers only.
        leaves: the arrays, each once; the first is the target. What overlaps the target is a copy.
        numbers: the numbers.

    Arguments:
        target: the tensor that is assigned to.
        tree: what is assigned.

    Raises:
        UnreadableTreeError: there is something that is neither a tensor of a float type nor a number.
    """

    __slots__ = ("_places", "_words", "key", "leaves", "numbers")

    def __init__(self, target: Any, tree: Any):
        leaf = _leaf_of(target)
        self.leaves = [leaf]
        self.numbers: list[float] = []
        self._places: dict[int, int] = {id(leaf.array): 0}
        self._words: list[Any] = [leaf.entry]
        self._read(tree)
        self.key = tuple(self._words)

    def _read(self, x: Any) -> None:
        """Write a part of the tree down, an operation before its operands."""
        if isinstance(x, tuple):
            known = self._places.get(id(x))
            if known is not None:  # the same part again
                self._words.append(known)
                return
            self._places[id(x)] = -len(self._words)
            what, left, right = x
            self._words.append((what["op"], what.get("axis")))
            if left is not None:
                self._read(left)
            if right is not None:
                self._read(right)
        elif hasattr(x, "_tensor"):
            place = self._places.get(id(x._tensor))
            self._words.append(self._add(x) if place is None else place)
        elif isinstance(x, (int, float)):
            self._words.append(None)
            self.numbers.append(x)
        else:
            raise UnreadableTreeError(f"an op-tree holds {type(x).__name__}")

    def _add(self, tensor: Any) -> int:
        """The place of an array that was not met before."""
        leaf, target = _leaf_of(tensor), self.leaves[0]
        place = len(self.leaves)
        if np.may_share_memory(leaf.array, target.array):
            if (leaf.address, leaf.entry) == (target.address, target.entry):
                place = 0
            elif _share(leaf, target):
                leaf = Leaf(leaf.array.copy())
        self._places[id(tensor._tensor)] = place
        if place:
            self.leaves.append(leaf)
            self._words.append(leaf.entry)
        return place

    def place_of(self, tensor: Any) -> int:
        """The place of a tensor's array among the leaves."""
        return self._places[id(tensor._tensor)]


def _leaf_of(tensor: Any) -> Leaf:
    """What our graphs know of a tensor's array; kept with the tensor.

    Raises:
        UnreadableTreeError: the array is of integers.
    """
    array = tensor._tensor
    known: Leaf | None = getattr(tensor, "_leaf", None)
    if known is not None and known.array is array:
        return known
    if array.dtype.name not in FLOAT_TYPES:
        raise UnreadableTreeError(f"an op-tree holds a tensor of {array.dtype}")
    made = tensor._leaf = Leaf(array)
    return made


_MOST = 4_096
_shared: dict[Any, bool] = {}
"""Whether two layouts so many bytes apart have an element in common."""


def _share(leaf: Leaf, target: Leaf) -> bool:
    """Whether two arrays have an element in common; steps of a sequence lie between each other, and have none."""
    layouts = (leaf.address - target.address, leaf.entry, target.entry)
    known = _shared.get(layouts)
    if known is None:
        if len(_shared) >= _MOST:
            _shared.clear()
        known = _shared[layouts] = _may_have_common_element(leaf.array, target.array)
    return known


def _may_have_common_element(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
