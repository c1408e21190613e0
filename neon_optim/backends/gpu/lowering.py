"""Op-trees on their way to be run: what is not elementwise becomes arrays, what is left is one elementwise graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.gpu.tree_arrays import Held, TreeArrays
from neon_optim.backends.optree import ELEMENTWISE, Node, topological_order
from neon_optim.backends.optree_shapes import broadcast_shape, result_shape
from neon_optim.errors import BackendError

__all__ = ["Lowering", "common_shape", "with_slots"]


class Lowering:
    """Trees on their way to be run: every node once, after its operands, however deep they are.

    What is not elementwise becomes an array or a number. What is elementwise stays a node; where an operation needs it
    as an array it is run, and the array stands for it from then on, where that changes no rounding.

    Arguments:
        trees: their common parts are done once.
        order: their nodes, each after its operands.
        targets: the arrays that they will be stored in, one for each tree; none if they are not known.
        shape: that of the only target, for a onehot that takes its shape from there.
        values: the values of nodes that are not in the order.
    """

    def __init__(
        self,
        on: TreeArrays,
        trees: Sequence[Any],
        order: Sequence[Node],
        targets: Sequence[np.ndarray] = (),
        shape: tuple[int, ...] | None = None,
        values: Mapping[int, np.ndarray] = MappingProxyType({}),
    ):
        self._do = on
        self._shape = shape
        self._values: dict[int, Any] = dict(values)
        self._arrays: dict[int, np.ndarray] = {}
        self._shaped_by_target: set[int] = set()
        self._targets = {id(tree): target for tree, target in zip(trees, targets, strict=bool(targets))}
        arrays = [*targets, *values.values()]
        for a in itertools.chain(trees, *[node.args for node in order]):
            if not isinstance(a, Node) and id(a) not in self._values:
                leaf = self._values[id(a)] = on.leaf(a)
                if isinstance(leaf, np.ndarray):
                    arrays.append(leaf)
        self._type = compute_type([a.dtype for a in arrays])
        for node in order:
            self._values[id(node)] = self._lower(node)

    def value(self, tree: Any) -> Any:
        """What a tree has become: an array, a number, or elementwise nodes over such."""
        return self._values[id(tree)]

    def array(self, tree: Any) -> np.ndarray:
        """The value of a tree as an array, without a copy where it is a tensor or a part of one."""
        lowered = self._values[id(tree)]
        if isinstance(lowered, np.ndarray):
            return lowered
        if id(tree) not in self._arrays:
            graph, leaves = with_slots(lowered)
            arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
            dtype = compute_type([a.dtype for a in arrays]) if arrays else self._type
            out = self._do.empty(common_shape(leaves) or (1, 1), dtype)
            self._do.run(out, graph, leaves)
            self._arrays[id(tree)] = out
            if arrays and dtype == self._type:  # else the rest may compute in a wider type
                self._values[id(tree)] = out
        return self._arrays[id(tree)]

    def _lower(self, node: Node) -> Any:
        op, attrs = node.op, node.attrs
        if self._shaped_by_target and any(id(a) in self._shaped_by_target for a in node.args):
            if op not in ELEMENTWISE and op != "stated":
                result_shape("onehot", [()], {})  # raises: nothing says its extent
            self._shaped_by_target.add(id(node))
        if op in ELEMENTWISE:
            return self._do.joined(Node(op, *[self._values[id(a)] for a in node.args]))
        if op == "stated":
            return self._values[id(node.args[0])]
        operands = [self.array(a) for a in node.args]
        if op in _WHOLE:
            return float(operands[0].size) if op == "size" else self._do.reduce_all(op, operands[0])
        if op == "onehot":
            return self._one_hot(node, *operands)
        if op not in _STRUCTURAL:
            raise BackendError(f"'{op}' is for rules that run over all tensors; it has no value in a tree")
        if op == "broadcast" and operands[0].size == 1:
            operands = [operands[0].reshape(())]  # a number is an array of (1, 1) here
        result_shape(op, [a.shape for a in operands], attrs)
        if op in ("dot", "batched_dot"):
            attrs = {"target": self._targets.get(id(node))}
        return _STRUCTURAL[op](self._do, *operands, **attrs)

    def _one_hot(self, node: Node, indices: np.ndarray) -> Node:
        axis, extent = node.attrs["axis"], node.attrs.get("extent")
        if extent is None and self._shape is not None and len(self._shape) == 2:
            self._shaped_by_target.add(id(node))
            extent = self._shape[axis]
        else:
            extent = result_shape("onehot", [indices.shape], node.attrs)[axis]
        return self._do.one_hot(indices, axis, extent)


_WHOLE = ("sum", "sum_square", "amax", "amin", "size")

_STRUCTURAL: dict[str, Callable[..., Any]] = {
    "dot": TreeArrays.products,
    "batched_dot": TreeArrays.products,
    "transpose": TreeArrays.transpose,
    "reshape": TreeArrays.reshape,
    "slice": TreeArrays.slice,
    "place": TreeArrays.place,
    "concatenate": TreeArrays.concatenate,
    "broadcast": TreeArrays.broadcast,
    "reduce": TreeArrays.reduce,
    "take": TreeArrays.taken,
    "put": TreeArrays.added,
    "unfold": TreeArrays.unfolded,
    "fold": TreeArrays.folded,
    "convolve": TreeArrays.convolved,
    "deconvolve": TreeArrays.deconvolved,
    "correlate": TreeArrays.correlated,
}


def with_slots(
    tree: Any, order: Sequence[Node] | None = None, leaf: Callable[[Any], Any] | None = None
) -> tuple[Any, list[Any]]:
    """An elementwise tree over 'slot' nodes, from 1 on, and the arrays and held numbers that these stand for.

    Arguments:
        order: its nodes, each after its operands, where they are known.
        leaf: makes arrays and numbers of what stands in the tree, where it is not lowered.
    """
    done: dict[int, Any] = {}
    leaves: list[Any] = []

    def slotted(a: Any) -> Any:
        value = a if leaf is None else leaf(a)
        if isinstance(value, (np.ndarray, Held)):
            leaves.append(value)
            value = Node("slot", name=f"a{len(leaves) - 1}", index=len(leaves))
        done[id(a)] = value
        return value

    for node in topological_order([tree]) if order is None else order:
        done[id(node)] = Node(node.op, *[done[id(a)] if id(a) in done else slotted(a) for a in node.args])
    return done[id(tree)] if id(tree) in done else slotted(tree), leaves


def common_shape(leaves: Sequence[Any]) -> tuple[int, ...]:
    """The shape that the arrays among the leaves are broadcast to; () if there are none."""
    shapes = [leaf.shape for leaf in leaves if isinstance(leaf, np.ndarray)]
    return broadcast_shape(shapes, "elementwise") if shapes else ()
