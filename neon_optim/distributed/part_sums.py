"""The gradients of the parts that one process computes, added up as far as the tree allows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neon_optim.distributed.tree import Node, halves, nodes_within, parent

__all__ = ["PartSums"]

Flats = Sequence[np.ndarray]


class PartSums:
    """Sums of gradients, a part of a minibatch after the other.

    Arguments:
        own: the parts that this process computes.
        parts: how many there are in all.
        dtypes: of the sums, for each parameter.
        sizes: elements of each parameter.

    Attributes:
        nodes: the sums that are done, by the nodes of the tree.
        count: parts that have been added.
    """

    def __init__(self, own: range, parts: int, dtypes: Sequence[np.dtype], sizes: Sequence[int]) -> None:
        self._own, self._parts = own, parts
        self._dtypes, self._sizes = dtypes, sizes
        self._tops = set(nodes_within(own, parts))
        self._held: dict[Node, Flats] = {}
        self._made: list[Flats] = []
        self._free: list[Flats] = []
        self.nodes: dict[Node, Flats] = {}
        self.count = 0

    @property
    def missing(self) -> int:
        """Parts of this process that have not been added."""
        return len(self._own) - self.count

    def add(self, gradient: Flats | None) -> None:
        """Add the gradient of the next part; None: of a part without samples.

        That of the last part is not copied: it must not change until the step is done.
        """
        part = self._own[self.count]
        self.count += 1
        node, value, is_ours = (part, part + 1), gradient, False
        if value is None:
            value, is_ours = self._new(), True
            for array in value:
                array.fill(0)
        while node not in self._tops:
            above = parent(node, self._parts)
            assert above is not None, "the root is nobody's half"
            left, _ = halves(above)
            if node == left:
                self._held[node] = value if is_ours else self._copy(value)
                return
            sums = self._held.pop(left)
            with np.errstate(all="ignore"):
                for total, more in zip(sums, value, strict=True):
                    np.add(total, more.astype(total.dtype, copy=False), out=total)
            if is_ours:
                self._free.append(value)
            node, value, is_ours = above, sums, True
        self.nodes[node] = value if is_ours or not self.missing else self._copy(value)

    def clear(self) -> None:
        """Begin with the first part again."""
        self._free = [*self._made]
        self._held.clear()
        self.nodes = {}
        self.count = 0

    def _new(self) -> Flats:
        if self._free:
            return self._free.pop()
        made = [np.empty(n, dtype) for n, dtype in zip(self._sizes, self._dtypes, strict=True)]
        self._made.append(made)
        return made

    def _copy(self, value: Flats) -> Flats:
        copy = self._new()
        for into, array in zip(copy, value, strict=True):
            np.copyto(into, array)
        return copy
