"""Op-trees on whole tensors: ``tensor[:] = tree``, the part that does not depend on where tensors live.

Structural operations (products, transposes, reductions, take, onehot) are done first, each into a temporary; what is
left is elementwise and becomes a Program of one row. A backend's evaluator says how each of these is done. Its arrays
are NumPy arrays, or arrays that describe other memory and that only it may read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.optree import ELEMENTWISE, Node
from neon_optim.errors import BackendError

__all__ = ["Held", "TreeEvaluator"]


class Held:
    """A float64 number that a backend keeps where it computed it, as an array of one element."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray):
        self.array = array


class TreeEvaluator(ABC):
    """Evaluates trees; a subclass does the work on its arrays."""

    # --- what a backend defines ---

    @abstractmethod
    def array_of(self, value: Tensor | np.ndarray) -> np.ndarray | None:
        """The array of a tensor, or of an array that stands in a tree; None for a tensor of another backend."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array of undefined contents."""

    @abstractmethod
    def copy(self, array: np.ndarray) -> np.ndarray:
        """A contiguous copy."""

    @abstractmethod
    def run(self, target: np.ndarray, graph: Any, leaves: Sequence[Any]) -> None:
        """target = graph: a number, or nodes over 'slot' nodes 1, 2, … that stand for the leaves."""

    @abstractmethod
    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right; out overlaps neither."""

    @abstractmethod
    def reduce_all(self, op: str, values: np.ndarray) -> float | Held:
        """'sum', 'sum_square', 'amax' or 'amin' of all elements."""

    @abstractmethod
    def reduce_axis(self, kind: str, values: np.ndarray, axis: int) -> np.ndarray:
        """'sum', 'mean', 'amax', 'amin', 'argmax' or 'argmin' along an axis, which stays with one element."""

    @abstractmethod
    def take(self, values: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        """The slices at the indices (a vector) along an axis."""

    def fold(self, node: Node) -> Any:
        """What an elementwise node becomes when its operands are lowered: itself, or a number that is held."""
        return node

    # --- what follows ---

    def assign(self, target: np.ndarray, tree: Any) -> None:
        """Run a tree into an array.

        Raises:
            BackendError: shapes do not fit, or an operand is of another kind.
        """
        if isinstance(tree, Node) and tree.op == "dot":
            left, right = self._factors(tree)
            direct = target.shape == (left.shape[0], right.shape[1]) and target.dtype == compute_type(
                [left.dtype, right.dtype]
            )
            if direct and not any(np.may_share_memory(target, factor) for factor in (left, right)):
                self.product(left, right, target)
                return
            lowered = self._product(left, right)
        else:
            lowered = self._lower(tree, target.shape, {})
        leaves: list[Any] = []
        graph = _with_slots(lowered, leaves, {})
        _check_fits(_common_shape(leaves), target.shape)
        self.run(target, graph, [self._without_overlap(leaf, target) for leaf in leaves])

    def evaluate(self, tree: Any) -> np.ndarray:
        """The value of a tree as an array of the compute type."""
        lowered = self._lower(tree, None, {})
        if isinstance(lowered, np.ndarray):
            return lowered
        leaves: list[Any] = []
        graph = _with_slots(lowered, leaves, {})
        arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
        dtype = compute_type([a.dtype for a in arrays]) if arrays else np.dtype(np.float64)
        out = self.empty(_common_shape(leaves) or (1, 1), dtype)
        self.run(out, graph, leaves)
        return out

    def _operand(self, tree: Any) -> np.ndarray:
        """A tree as an array, without a copy where it is a tensor."""
        leaf = tree if isinstance(tree, Node) else self._leaf(tree)
        return leaf if isinstance(leaf, np.ndarray) else self.evaluate(leaf)

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.ndim):
            array = self.array_of(value)
            if array is None:
                raise BackendError(
                    f"{value!r} belongs to another backend; copy it with be.array(tensor.get())"
                )
            return array
        try:
            return float(value)
        except (TypeError, ValueError):
            raise BackendError(
                f"an op-tree holds tensors, arrays and numbers, received {type(value).__name__}: {value!r:.60}"
            ) from None

    def _lower(self, tree: Any, shape: tuple[int, ...] | None, done: dict[int, Any]) -> Any:
        """Replace what is not elementwise by arrays or numbers; ``shape`` is the target's, if known."""
        if isinstance(tree, Held):
            return tree
        if not isinstance(tree, Node):
            return self._leaf(tree)
        if id(tree) not in done:
            done[id(tree)] = self._lower_node(tree, shape, done)
        return done[id(tree)]

    def _lower_node(self, tree: Node, shape: tuple[int, ...] | None, done: dict[int, Any]) -> Any:
        op = tree.op
        if op in ELEMENTWISE:
            return self.fold(Node(op, *(self._lower(a, shape, done) for a in tree.args)))
        if op == "dot":
            return self._product(*self._factors(tree))
        if op not in ("sum", "sum_square", "amax", "amin", "size", "transpose", "reduce", "take", "onehot"):
            raise BackendError(f"'{op}' is for rules that run over all tensors; it has no value in a tree")
        operand = self._operand(tree.args[0])
        if op == "size":
            return float(operand.size)
        if op == "transpose":
            return operand.swapaxes(0, 1)
        if op == "reduce":
            return self._reduce_axis(operand, **tree.attrs)
        if op == "take":
            indices = self._operand(tree.args[1])
            return self.take(operand, self._flat(indices), tree.attrs["axis"])
        if op == "onehot":
            return self._onehot(operand, tree.attrs["axis"], shape)
        return self.reduce_all(op, operand)

    def _flat(self, array: np.ndarray) -> np.ndarray:
        return (array if array.flags.c_contiguous else self.copy(array)).reshape(-1)

    def _factors(self, tree: Node) -> tuple[np.ndarray, np.ndarray]:
        left, right = (self._operand(a) for a in tree.args)
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise BackendError(f"dot needs shapes (m, k) and (k, n), received {left.shape} and {right.shape}")
        return left, right

    def _product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        out = self.empty((left.shape[0], right.shape[1]), compute_type([left.dtype, right.dtype]))
        self.product(left, right, out)
        return out

    def _reduce_axis(self, values: np.ndarray, kind: str, axis: int, keepdims: bool) -> np.ndarray:
        if not values.shape[axis] and kind not in ("sum", "mean"):
            raise BackendError(f"{kind} along an axis of length 0 of shape {values.shape}")
        reduced = self.reduce_axis(kind, values, axis)
        return reduced if keepdims else reduced.reshape(-1, 1)

    def _onehot(self, indices: np.ndarray, axis: int, shape: tuple[int, ...] | None) -> Node:
        if shape is None or len(shape) != 2:
            raise BackendError(
                "onehot takes its shape from the tensor it is assigned to: use out[:] = be.onehot(...)"
            )
        across = (1, -1) if axis == 0 else (-1, 1)
        places = self.array_of(np.arange(shape[axis], dtype=np.float32).reshape(across[::-1]))
        return Node("equal", self._flat(indices).reshape(across), places)

    def _without_overlap(self, leaf: Any, target: np.ndarray) -> Any:
        """The leaf, or a copy where writing the target would change elements of the leaf that are read later."""
        if not isinstance(leaf, np.ndarray) or not np.may_share_memory(leaf, target):
            return leaf
        same = (
            leaf.__array_interface__["data"][0] == target.__array_interface__["data"][0]
            and leaf.shape == target.shape
            and leaf.strides == target.strides
            and leaf.dtype == target.dtype
        )
        return leaf if same else self.copy(leaf)


def _with_slots(tree: Any, leaves: list[Any], done: dict[int, Node]) -> Any:
    """The same graph over 'slot' nodes; its arrays and held numbers go to ``leaves`` (slot 0 is the target)."""
    if isinstance(tree, (np.ndarray, Held)):
        if id(tree) not in done:
            leaves.append(tree)
            done[id(tree)] = Node("slot", name=f"a{len(leaves) - 1}", index=len(leaves))
        return done[id(tree)]
    if not isinstance(tree, Node):
        return tree
    if id(tree) not in done:
        done[id(tree)] = Node(tree.op, *(_with_slots(a, leaves, done) for a in tree.args))
    return done[id(tree)]


def _common_shape(leaves: Sequence[Any]) -> tuple[int, ...]:
    """The shape that the arrays among the leaves are broadcast to; () if there are none."""
    shapes = [leaf.shape for leaf in leaves if isinstance(leaf, np.ndarray)]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise BackendError(f"the operands have shapes that do not go together: {shapes}") from None


def _check_fits(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise BackendError(f"a value of shape {shape} does not fit into a tensor of shape {target}")
