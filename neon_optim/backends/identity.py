"""Whether lists hold the very objects that they held before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import is_
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor

__all__ = ["FixedRows", "have_no_truth", "same_lists", "same_objects", "same_where_equal"]


class FixedRows(tuple[Any, ...]):
    """Parameters that always hold the same objects: tuples, with their states as tuples."""

    @classmethod
    def of(cls, rows: Iterable[Any]) -> FixedRows:
        """The parameters as they are now."""
        return cls([(tuple(pair), tuple(states)) for pair, states in rows])


def same_objects(values: Sequence[Any], kept: Sequence[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(values) == len(kept) and all(map(is_, values, kept))


def same_lists(lists: Sequence[Any], kept: Sequence[Any]) -> bool:
    """Whether the lists in two lists hold the same objects."""
    same_lengths = [*map(len, lists)] == [*map(len, kept)]
    return same_lengths and all(map(is_, chain.from_iterable(lists), chain.from_iterable(kept)))


def same_where_equal(values: Any, kept: Any) -> bool:
    """Whether lists, and lists in them, hold the same objects, none of which has a truth value when it is compared.

    A list takes an object to be equal to itself without comparing it, or even touching it: this is far faster than
    looking at each object. Where one is another, its comparison has no truth value and raises.
    """
    try:
        return bool(values == kept)
    except Exception:  # of NumPy, or of whatever stands there instead of an array
        return False


def have_no_truth(values: Sequence[Any]) -> bool:
    """Whether ``bool(value == anything else)`` raises for all: for expressions, and for arrays of several elements."""
    kinds = {*map(type, values)} - {np.ndarray}
    return all(issubclass(kind, Tensor) for kind in kinds) and all(
        value.size > 1 for value in values if type(value) is np.ndarray
    )
