"""What a step asks of the processes that have the other parts of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

__all__ = ["Others"]


class Others(Protocol):
    """Every process has a row for every parameter: a part of the tensor, the whole of it, or nothing, of size 0.

    Each method is called by all processes together, and gives each the same.
    """

    def sum_of_chunks(self, indices: Sequence[int], sums: Sequence[np.ndarray]) -> float:
        """The sum of some tensors, of which each process knows the sums of the chunks in its parts.

        Chunks of a tensor are added in order, then tensors in order: the fixed definition of a sum.

        Arguments:
            indices: places of the tensors in the list of parameters.
            sums: for each of them the sums of the chunks of the part that is here.
        """

    def all_words(self, words: Sequence[str]) -> list[str]:
        """What each process has to say, one after the other."""
