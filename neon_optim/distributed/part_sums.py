"""The gradients of the parts that one process computes, added up as far as the tree allows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neon_optim.distributed.travel import AsTheyAre
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
        travel: how sums travel to other processes.

    Attributes:
        nodes: the sums that are done, by the nodes of the tree.
        count: parts that have been added.
    """

    def __init__(
        self, own: range, parts: int, dtypes: Sequence[np.dtype], sizes: Sequence[int], travel: AsTheyAre
    ) -> None:
        self._travel = travel
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

    def add(self, gradient: Flats | None, step: int) -> None:
        """Add the gradient of the next part; None: of a part without samples.

        That of the last part may be kept as it is: it must not change until the step is done.

        Arguments:
            step: number of the step.
        """
        part = self._own[self.count]
        self.count += 1
        node = part, part + 1
        value = self._leaf(node, gradient, step)
        while node not in self._tops:
            above = parent(node, self._parts)
            assert above is not None, "the root is nobody's half"
            left, _ = halves(above)
            if node == left:
                self._held[node] = value
                return
            sums = self._sum(above, self._held.pop(left), value, step)
            if value is not gradient:
                self._free.append(value)
            node, value = above, sums
        self.nodes[node] = value

    def _leaf(self, node: Node, gradient: Flats | None, step: int) -> Flats:
        """The gradient of a part, where it is to be kept: a copy, if it must be, and if it is needed for long."""
        if gradient is None:
            made = self._new()
            for array in made:
                array.fill(0)
            return made
        travels = [self._travel.dtype_of(dtype) for dtype in self._dtypes]
        is_last = not self.missing or (
            node not in self._tops and node != halves(parent(node, self._parts) or node)[0]
        )
        if is_last and travels == self._dtypes:
            return gradient
        made = self._new()
        for k, (array, out) in enumerate(zip(gradient, made, strict=True)):
            self._travel.put(array, out, node, k, 0, step)
        return made

    def _sum(self, node: Node, one: Flats, other: Flats, step: int) -> Flats:
        """The sum of two halves, in the place of the first; the root does not travel, and has its own type."""
        found = []
        with np.errstate(all="ignore"):
            for k, (left, right) in enumerate(zip(one, other, strict=True)):
                dtype = self._dtypes[k]
                out = left if left.dtype == dtype else None
                total = np.add(left.astype(dtype, copy=False), right.astype(dtype, copy=False), out=out)
                if node != (0, self._parts):
                    self._travel.put(total, left, node, k, 0, step)
                    total = left
                found.append(total)
        return found

    def clear(self) -> None:
        """Begin with the first part again."""
        self._free = [*self._made]
        self._held.clear()
        self.nodes = {}
        self.count = 0

    def _new(self) -> Flats:
        if self._free:
            return self._free.pop()
        travels = map(self._travel.dtype_of, self._dtypes)
        made = [np.empty(n, dtype) for n, dtype in zip(self._sizes, travels, strict=True)]
        self._made.append(made)
        return made
