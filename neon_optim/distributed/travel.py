"""How sums of gradients travel: as they are, or in 16 bits, rounded stochastically."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.contract import Rounding
from neon_optim.backends.dtypes import float_dtype
from neon_optim.backends.optree import Symbol
from neon_optim.backends.program import linearize
from neon_optim.backends.sums import CHUNK
from neon_optim.distributed.tree import Node

__all__ = ["AsTheyAre", "InHalf"]


class AsTheyAre:
    """Sums travel in the type that they are added in.

    Attributes:
        grain: elements at whose multiples sums may be cut.
    """

    grain = 1

    def dtype_of(self, sums: np.dtype) -> np.dtype:
        """The type of what travels."""
        return sums

    def put(self, values: np.ndarray, out: np.ndarray, node: Node, index: int, start: int, step: int) -> None:
        """Store values to travel.

        Arguments:
            values, out: where they are, and where they go.
            node: of the tree, that they are the sum of.
            index: place of the parameter that they are elements of, from ``start`` on.
            step: number of the step.
        """
        if values is not out:
            np.copyto(out, values)

    def arrived(self, values: np.ndarray, node: Node, index: int, start: int, step: int) -> np.ndarray:
        """What values would be if they had travelled; they may be overwritten."""
        return values


class InHalf(AsTheyAre):
    """Sums travel as bfloat16: each node of the tree but the root is rounded, whoever computes it.

    Rounding is stochastic, by the random numbers of (seed, step, parameter and node, element): sums are right on
    average, and what comes out does not depend on who computes what.

    Arguments:
        be: the backend.
        parts: leaves of the tree.
    """

    grain = CHUNK

    def __init__(self, be: Any, parts: int) -> None:
        self._be, self._parts = be, parts
        self._dtype = float_dtype("bfloat16")
        self._program, self._scalars = linearize("round", ("value", "grad"), [(0, Symbol("grad", 1).held)])

    def dtype_of(self, sums: np.dtype) -> np.dtype:
        """See :class:`AsTheyAre`."""
        return self._dtype

    def put(self, values: np.ndarray, out: np.ndarray, node: Node, index: int, start: int, step: int) -> None:
        """See :class:`AsTheyAre`; ``start`` is a multiple of the chunk of sums."""
        first, end = node
        row = (index * self._parts + first) * (self._parts + 1) + end
        rounding = Rounding(0, (self._be.noise_seed ^ _PURPOSE) & 0xFFFFFFFF, step, row)
        plan = self._be.plan([((out, values), [])], ("value", "grad"), starts=[start])
        self._be.execute(self._program, plan, [self._scalars], rounding)

    def arrived(self, values: np.ndarray, node: Node, index: int, start: int, step: int) -> np.ndarray:
        """See :class:`AsTheyAre`."""
        rounded = np.empty(values.size, self._dtype)
        self.put(values, rounded, node, index, start, step)
        values[:] = rounded
        return values


_PURPOSE = 0x48414C46
"""Turns the seed into another one, so that stores of the optimizer are rounded by other numbers."""
