"""Assignments of op-trees as one list of operations, each once, with shapes and types.

``flatten`` is what happens at every assignment: a walk over the nodes, which gives what the list is found by. All that
follows from it (shapes, types, equal operations joined) is worked out once, by ``Graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.optree import ELEMENTWISE, STRUCTURAL, Node, topological_order
from neon_optim.backends.optree_shapes import check_fits, result_shape
from neon_optim.errors import BackendError, shown

__all__ = ["TOTALS", "VIEWS", "Flat", "Graph", "Leaf", "Value", "flatten", "lies_contiguous"]

TOTALS = ("sum", "sum_square", "amax", "amin", "size")
"""Reductions of a whole tensor. They give a float64 number."""

VIEWS = ("transpose", "reshape", "slice", "broadcast")
"""Operations that need no work where their operand is in memory."""

_KNOWN = {*ELEMENTWISE, *STRUCTURAL, *TOTALS}

_NONE: tuple[Any, ...] = ()

_DEEPEST = 50
"""How far down a tree is walked recursively."""


class Leaf:
    """An array that a tree reads or is assigned to.

    Attributes:
        array: the array.
        entry: what a graph needs to know of it: ('leaf', (shape, strides, type), ()). Where there is one element, its
            distance to the next is 0.
        address: where its elements begin.
    """

    __slots__ = ("address", "array", "entry")

    def __init__(self, array: np.ndarray):
        self.array = array
        strides = tuple(
            [0 if n == 1 else stride for n, stride in zip(array.shape, array.strides, strict=True)]
        )
        self.entry = ("leaf", (array.shape, strides, array.dtype), _NONE)
        self.address: int = array.__array_interface__["data"][0]


class Flat:
    """The nodes of some trees in order, operands first.

    Attributes:
        entries: (operation, attributes, operands) of each node. An operand is the place of an entry, or ``~k`` for the
            k-th number.
        leaves: the arrays among the operands, each once.
        numbers: the numbers among the operands.
        stores: for each assignment the place of its value and that of its target, which is a leaf.
        held: the operands, which must live as long as places are found by what they are.
    """

    __slots__ = ("entries", "held", "leaves", "numbers", "stores")

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self.held: list[Any] = []
        self.leaves: list[Leaf] = []
        self.numbers: list[float] = []
        self.stores: list[tuple[int, int]] = []

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for trees that differ in what arrays hold, and in numbers, only."""
        return tuple(self.entries), tuple(self.stores)

    def written_leaves(self) -> list[int]:
        """Which of the leaves are targets."""
        places = [place for place, entry in enumerate(self.entries) if entry[0] == "leaf"]
        return [places.index(target) for _, target in self.stores]

    def with_leaves(self, leaves: Mapping[int, Leaf]) -> Flat:
        """The same with other arrays in the place of some, by their numbers among the leaves."""
        other = Flat()
        other.entries, other.leaves = list(self.entries), list(self.leaves)
        other.numbers, other.stores, other.held = self.numbers, self.stores, self.held
        places = [place for place, entry in enumerate(self.entries) if entry[0] == "leaf"]
        for k, leaf in leaves.items():
            other.leaves[k] = leaf
            other.entries[places[k]] = leaf.entry
        return other


def flatten(
    assignments: Sequence[tuple[Any, Any]],
    leaf_of: Callable[[Any], Leaf | None],
    values: Mapping[int, Any] = MappingProxyType({}),
) -> Flat:
    """The nodes of the trees that are assigned to arrays, in the order in which they can be computed.

    Arguments:
        assignments: (target, tree) pairs.
        leaf_of: what a graph is told of a tensor or an array in a tree; None: it is neither.
        values: tensors with the values of nodes that are known, by the nodes' ids.
    """
    flat = Flat()
    entries = flat.entries
    places: dict[int, int] = {}

    def operand(value: Any) -> int:
        leaf = None if type(value) is float else leaf_of(value)
        if leaf is None:
            flat.numbers.append(_number(value))
            place = -len(flat.numbers)
        else:
            known = places.get(id(leaf.array))
            place = len(entries) if known is None else known
            if known is None:
                flat.leaves.append(leaf)
                entries.append(leaf.entry)
                places[id(leaf.array)] = place
        places[id(value)] = place
        flat.held.append(value)
        return place

    def walk(node: Node, depth: int) -> int:
        operands: list[int] = []
        for a in node.args:
            place: Any = places.get(id(a))
            if place is None:
                known = values.get(id(a), a) if values else a
                if not isinstance(known, Node):
                    place = places[id(a)] = operand(known)
                elif depth:
                    place = walk(known, depth - 1)
                else:  # a tree may be thousands of nodes deep
                    for below in topological_order(
                        [known], lambda n: id(n) not in places and id(n) not in values
                    ):
                        place = walk(below, _DEEPEST)
            operands.append(place)
        if node.op == "stated":
            here = operands[0]
        else:
            here = len(entries)
            attrs = tuple(node.attrs.items()) if node.attrs else _NONE
            entries.append((node.op, attrs, tuple(operands)))
        places[id(node)] = here
        return here

    for target, tree in assignments:
        tree = values.get(id(tree), tree)
        if id(tree) not in places and isinstance(tree, Node):
            walk(tree, _DEEPEST)
        value = places.get(id(tree))
        flat.stores.append((operand(tree) if value is None else value, operand(target)))
    return flat


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BackendError(
            f"an op-tree holds tensors, arrays and numbers, received {type(value).__name__}: {shown(value)}"
        ) from None


class Value(NamedTuple):
    """One operation of a graph.

    Attributes:
        op: the operation. Beside those of :mod:`neon_optim.backends.optree`: 'leaf', 'number', 'places' (the numbers
            0, 1, … along an axis), 'contiguous' (its operand, in memory without gaps) and 'copy' (its operand,
            broadcast to the shape of a target).
        args: the numbers of its operands.
        attrs: its settings.
        shape: its shape; () for a number.
        dtype: the type that it is computed in.
        is_number: whether it is one float64 number, whatever its shape, which takes the type of what it meets.
    """

    op: str
    args: tuple[int, ...]
    attrs: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    is_number: bool = False


_DOUBLE, _SINGLE = np.dtype(np.float64), np.dtype(np.float32)


class Graph:
    """What there is to compute, and what it is stored to.

    Attributes:
        values: the operations, operands first, equal ones once.
        leaves: for each array of the :class:`Flat` the number of its value.
        numbers: for each of its numbers the number of its value.
        stores: (value, target) pairs of value numbers; the value is a 'copy' of the target's shape.

    Raises:
        BackendError: shapes do not fit.
    """

    def __init__(self, flat: Flat):
        self.values: list[Value] = []
        self.leaves: list[int] = []
        self._known: dict[Any, int] = {}
        self.numbers = [
            self._add(Value("number", (), {"index": k}, (), _DOUBLE, True), unique=True)
            for k in range(len(flat.numbers))
        ]
        self._flat = flat
        self._type = compute_type([leaf.array.dtype for leaf in flat.leaves])
        numbers = self.numbers
        widths = _widths(flat)
        known: dict[tuple[int, bool], int] = {}

        def operand(a: int, wide: bool) -> int:
            if a < 0:
                return numbers[~a]
            return known[a, flat.entries[a][0] in ELEMENTWISE and (wide or widths[a][0])]

        for place, (op, attrs, args) in enumerate(flat.entries):
            for wide in widths[place]:
                in_wide = wide and op in ELEMENTWISE
                known[place, wide] = self._entry(
                    op, attrs, tuple([operand(a, in_wide) for a in args]), in_wide
                )
        self.stores: list[tuple[int, int]] = []
        for value, target in flat.stores:
            leaf = known[target, False]
            source = operand(value, self.values[leaf].dtype == _DOUBLE)
            self.stores.append((self._copy(source, leaf), leaf))
        del self._flat  # a graph outlives the arrays that it was made for

    def _entry(self, op: str, attrs: tuple[Any, ...], args: tuple[int, ...], wide: bool) -> int:
        if op == "leaf":
            shape, strides, dtype = attrs
            value = Value("leaf", (), {"strides": strides, "stored": dtype}, shape, compute_type([dtype]))
            number = self._add(value, unique=True)
            self.leaves.append(number)
            return number
        if op not in _KNOWN:
            raise BackendError(f"'{op}' is for rules that run over all tensors; it has no value in a tree")
        operands = [self.values[a] for a in args]
        settings = dict(attrs)
        if op == "onehot":
            return self._onehot(args[0], wide, **settings)
        shapes = [v.shape for v in operands]
        if op in ("broadcast", "reshape") and operands[0].is_number:
            return self._add(Value("broadcast", args, {}, result_shape(op, shapes, settings), _DOUBLE, True))
        if op not in ELEMENTWISE and any(v.is_number for v in operands):
            args = tuple([self._in_memory(a) for a in args])
            operands = [self.values[a] for a in args]
        if op in TOTALS:
            return self._add(Value(op, args, settings, (1, 1), _DOUBLE, True))
        if op in ELEMENTWISE and all(v.is_number for v in operands):
            return self._add(Value(op, args, settings, result_shape(op, shapes, settings), _DOUBLE, True))
        dtype = _DOUBLE if wide else compute_type([v.dtype for v in operands if not v.is_number])
        shape = result_shape(op, shapes, settings)
        if op == "reduce":
            return self._reduced(args, shape, dtype, **settings)
        if op == "reshape" and not self._is_contiguous(args[0]):
            args = (self._add(Value("contiguous", args, {}, shapes[0], operands[0].dtype)),)
        if op == "transpose":
            settings = {"axes": settings.get("axes") or (1, 0, *range(2, len(shape)))}
        return self._add(Value(op, args, settings, shape, dtype))

    def _in_memory(self, v: int) -> int:
        """A number as an array, for what is no elementwise operation."""
        value = self.values[v]
        if not value.is_number:
            return v
        shape = value.shape if value.shape else (1, 1)
        return self._add(Value("contiguous", (v,), {}, shape, self._type))

    def _reduced(
        self,
        args: tuple[int, ...],
        shape: tuple[int, ...],
        dtype: np.dtype,
        kind: str,
        axis: int,
        keepdims: bool,
    ) -> int:
        (operand,) = (self.values[a] for a in args)
        axis %= len(operand.shape)
        if not operand.shape[axis] and kind not in ("sum", "mean"):
            raise BackendError(f"{kind} along an axis of length 0 of shape {operand.shape}")
        row = tuple([1 if k == axis else n for k, n in enumerate(operand.shape)])
        reduced = self._add(Value("reduce", args, {"kind": kind, "axis": axis}, row, dtype))
        return (
            reduced
            if row == shape
            else self._add(Value("reshape", (reduced,), {"shape": shape}, shape, dtype))
        )

    def _is_contiguous(self, v: int) -> bool:
        """Whether the elements of a value will lie one behind the other, in order."""
        value = self.values[v]
        if value.op == "leaf":
            return lies_contiguous(value.shape, value.attrs["strides"], value.attrs["stored"].itemsize)
        return value.op not in ("transpose", "slice", "broadcast")

    def _onehot(self, indices: int, wide: bool, axis: int, extent: int | None = None) -> int:
        if extent is None:
            extent = self._extent_of_target(axis)
        values = self.values
        size = 1
        for n in values[indices].shape:
            size *= n
        across = (1, size) if axis == 0 else (size, 1)
        dtype = _DOUBLE if wide else values[indices].dtype
        flat = self._add(Value("reshape", (indices,), {"shape": across}, across, values[indices].dtype))
        along = (extent, 1) if axis == 0 else (1, extent)
        places = self._add(Value("places", (), {"axis": axis}, along, dtype))
        shape = (extent, size) if axis == 0 else (size, extent)
        return self._add(Value("equal", (flat, places), {}, shape, dtype))

    def _extent_of_target(self, axis: int) -> int:
        targets = {self._flat.entries[target][1][0] for _, target in self._flat.stores}
        if len(targets) != 1 or len(next(iter(targets))) != 2:
            raise BackendError(
                "onehot takes its shape from the tensor it is assigned to: use out[:] = be.onehot(...), "
                "or say how many classes there are: be.onehot(indices, axis, extent=...)"
            )
        extent: int = next(iter(targets))[axis]
        return extent

    def _copy(self, value: int, target: int) -> int:
        source, shape = self.values[value], self.values[target].shape
        check_fits(source.shape, shape)
        dtype = self.values[target].dtype if source.is_number else source.dtype
        return self._add(Value("copy", (value,), {}, shape, dtype), unique=True)

    def _add(self, value: Value, unique: bool = False) -> int:
        key = (value.op, value.args, tuple(value.attrs.items()), value.dtype, value.shape)
        known = None if unique else self._known.get(key)
        if known is None:
            known = self._known[key] = len(self.values)
            self.values.append(value)
        return known


def lies_contiguous(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Whether the elements of an array lie one behind the other."""
    expected = itemsize
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != expected:
            return False
        expected *= n
    return True


def _widths(flat: Flat) -> list[tuple[bool, ...]]:
    """For each entry whether it is computed in float64 for what it meets further up (True), by itself (False), or both.

    What is computed in one go, from one operation that is not elementwise to the next, has one type: float64 if any
    array that it reads or writes is float64. The first of two is the one that others than elementwise operations read.
    """
    entries = flat.entries
    narrow: list[tuple[bool, ...]] = [(False,)] * len(entries)
    if not any(op == "leaf" and attrs[2] == _DOUBLE for op, attrs, _ in entries):
        return narrow
    reads = [False] * len(entries)
    for place, (op, attrs, args) in enumerate(entries):
        if op == "leaf":
            reads[place] = attrs[2] == _DOUBLE
        elif op not in TOTALS:
            reads[place] = any(a >= 0 and reads[a] for a in args)
    found: list[set[bool]] = [set() for _ in entries]
    for value, target in flat.stores:
        if value >= 0:
            found[value].add(reads[value] or reads[target])
    for place in range(len(entries) - 1, -1, -1):
        op, _, args = entries[place]
        for wide in tuple(found[place]) or (False,):
            for a in args:
                if a >= 0:
                    found[a].add(reads[a] or (wide and op in ELEMENTWISE))
    return [
        (False,)
        if op not in ELEMENTWISE
        else tuple(sorted(widths or {False}, key=lambda w: w != reads[place]))
        for place, ((op, _, _), widths) in enumerate(zip(entries, found, strict=True))
    ]
