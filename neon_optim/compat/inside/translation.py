"""neon's op-trees as ours: operations by our names, arrays and numbers by their places."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.algebra import Algebra
from neon_optim.backends.graph import Flat, Leaf, flatten
from neon_optim.backends.optree import Expression, Node
from neon_optim.compat.inside.reading import Reading, UnreadableTreeError
from neon_optim.compat.neon.backends.op_trees import OURS

__all__ = ["Kind"]

_REDUCTIONS = ("sum", "max", "min", "argmax", "argmin")
_SAME_NAME = (
    *("sgn", "sqrt", "exp", "exp2", "log", "log2", "safelog", "sig", "sig2", "tanh", "tanh2", "rint"),
    *("add", "minimum", "maximum", "dot"),
    *_REDUCTIONS,
)
_OURS = {**OURS, **{op: op for op in _SAME_NAME}, "sqr": "square"}
"""neon's word for an operation → the method of our algebra; what neon's CPU does not run is not here."""


class _Array(Expression):
    """An array of a tree."""

    __slots__ = ("leaf", "shape")

    def __init__(self, leaf: Leaf):
        self.leaf = leaf
        self.shape = leaf.array.shape


class _Number:
    """A number of a tree. It has no arithmetic: another takes its place in the next tree of the kind."""

    def __init__(self, place: int, value: float):
        self.place = place
        self._value = value

    def __float__(self) -> float:
        return float(self._value)


class Kind:
    """What all assignments of one key have in common.

    Arguments:
        reading: one of them, read.
        tree: its tree.

    Raises:
        UnreadableTreeError: we have no such operation.
        BackendError: shapes do not go together.
    """

    def __init__(self, reading: Reading, tree: Any):
        arrays = [_Array(leaf) for leaf in reading.leaves]
        flat = flatten(
            [(arrays[0], _Translation(reading, arrays).of(tree))], lambda x: getattr(x, "leaf", None)
        )
        places = {id(leaf): place for place, leaf in enumerate(reading.leaves)}
        self._leaves = [places[id(leaf)] for leaf in flat.leaves]
        held = [x for x in flat.held if not isinstance(x, _Array)]
        self._numbers = [x.place if isinstance(x, _Number) else None for x in held]
        self._constants = flat.numbers
        self._entries, self._stores = flat.entries, flat.stores

    def flat(self, reading: Reading) -> Flat:
        """The operations, with the arrays and numbers of one of these assignments."""
        flat, numbers, leaves = Flat(), reading.numbers, reading.leaves
        flat.entries, flat.stores = self._entries, self._stores
        flat.leaves = [leaves[place] for place in self._leaves]
        flat.numbers = [
            constant if place is None else numbers[place]
            for place, constant in zip(self._numbers, self._constants, strict=True)
        ]
        return flat


class _Translation:
    """A tree on its way; what stands in it twice is one node."""

    def __init__(self, reading: Reading, arrays: list[_Array]):
        self._reading = reading
        self._arrays = arrays
        self._algebra = Algebra()
        self._nodes: dict[int, Any] = {}
        self._n_numbers = 0

    def of(self, x: Any) -> Any:
        """A part of the tree as ours; numbers are met in the order in which they were read."""
        if hasattr(x, "_tensor"):
            return self._arrays[self._reading.place_of(x)]
        if not isinstance(x, tuple):
            self._n_numbers += 1
            return _Number(self._n_numbers - 1, x)
        if id(x) not in self._nodes:
            self._nodes[id(x)] = self._operation(*x)
        return self._nodes[id(x)]

    def _operation(self, what: dict[str, Any], left: Any, right: Any) -> Any:
        op = what["op"]
        operands = [self.of(x) for x in (left, right) if x is not None]
        if op == "transpose":
            return Node(op, *operands, axes=tuple(range(len(operands[0].shape)))[::-1])
        if op not in _OURS:
            raise UnreadableTreeError(f"there is no operation '{op}'")
        settings = {"axis": what["axis"]} if op in _REDUCTIONS else {}
        return getattr(self._algebra, _OURS[op])(*operands, **settings)
