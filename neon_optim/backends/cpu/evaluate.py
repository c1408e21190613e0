"""Runs op-trees on host tensors: ``tensor[:] = tree``.

Structural operations (dot, transpose, reductions along an axis) are done first, each into a temporary; what is left
is elementwise and becomes a Program of one row, run by the NumPy kernel, block by block where shapes agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.backend import Tensor
from neon_optim.backends.cpu.functions import largest, smallest, store
from neon_optim.backends.cpu.numpy_engine import BLOCK, NumpyEngine
from neon_optim.backends.cpu.numpy_kernel import compute_type
from neon_optim.backends.cpu.scalars import ScalarValues
from neon_optim.backends.cpu.sums import CHUNK, LaneSum
from neon_optim.backends.optree import ELEMENTWISE, Node
from neon_optim.backends.program import linearize
from neon_optim.errors import BackendError

__all__ = ["Evaluator"]

_ZERO = np.zeros(1, np.int64)
_ONE = np.ones(1, np.int64)


class Evaluator:
    """Evaluates trees with the scratch of a NumPy engine."""

    def __init__(self, engine: NumpyEngine):
        self._engine = engine

    def assign(self, target: np.ndarray, tree: Any) -> None:
        """Run a tree into an array.

        Raises:
            BackendError: shapes do not fit, or an operand is of another kind.
        """
        if isinstance(tree, Node) and tree.op == "dot":
            left, right = self._operand(tree.args[0]), self._operand(tree.args[1])
            if _can_hold_product(target, left, right):
                np.matmul(left, right, out=target)
                return
        lowered = self._lower(tree, target.shape, {})
        if not isinstance(lowered, Node):
            _check_fits(np.shape(lowered), target.shape)
            np.copyto(target, lowered, casting="unsafe")
            return
        leaves: list[np.ndarray] = []
        graph = _with_slots(lowered, leaves, {})
        if not leaves:  # numbers only, such as be.sum(x) * 2
            program, scalars = linearize("tree", (), (), results=(graph,))
            values = ScalarValues(program, [scalars], _ZERO, _ONE, _ZERO)
            values.run(program.stages[0].scalar_code)
            np.copyto(target, values.of_set(program.results[0])[0], casting="unsafe")
            return
        _check_fits(_common_shape(leaves), target.shape)
        self._run(target, graph, [_without_overlap(a, target) for a in leaves])

    def _run(self, target: np.ndarray, graph: Node, leaves: list[np.ndarray]) -> None:
        slots = ("out", *(f"a{k}" for k in range(len(leaves))))
        program, scalars = linearize("tree", slots, [(0, graph)])
        stage = program.stages[0]
        arrays = [target, *leaves]
        kernel = self._engine.kernel(program, stage, tuple(a.dtype for a in arrays))
        if all(a.shape == target.shape and a.flags.c_contiguous for a in arrays):
            arrays = [a.reshape(-1) for a in arrays]
            per_block = BLOCK
        else:
            arrays = [np.broadcast_to(a, target.shape) if a is not target else a for a in arrays]
            per_block = max(1, BLOCK // max(1, target.size // max(1, target.shape[0])))
        with np.errstate(all="ignore"):
            values = ScalarValues(program, [scalars], _ZERO, _ONE, _ZERO)
            values.run(stage.scalar_code)
            inputs = [kernel.dtype.type(x) for x in values.by_row(stage.inputs)[0]]
            for start in range(0, arrays[0].shape[0], per_block):
                blocks = [a[start : start + per_block] for a in arrays]
                _, stores = kernel.run(blocks, inputs, self._engine.scratch(kernel, blocks[0].shape))
                for slot, value in stores:
                    store(blocks[slot], value)

    def evaluate(self, tree: Any) -> np.ndarray:
        """The value of a tree as an array of the compute type."""
        lowered = self._lower(tree, None, {})
        if not isinstance(lowered, Node):
            return np.asarray(lowered)
        leaves: list[np.ndarray] = []
        graph = _with_slots(lowered, leaves, {})
        if not leaves:
            out = np.empty((1, 1))
            self.assign(out, lowered)
            return out
        out = np.empty(
            np.broadcast_shapes(*(a.shape for a in leaves)), compute_type([a.dtype for a in leaves])
        )
        self._run(out, graph, leaves)
        return out

    def _operand(self, tree: Any) -> np.ndarray:
        """A tree as an array, without a copy where it is a tensor."""
        return _as_leaf(tree) if not isinstance(tree, Node) else self.evaluate(tree)

    def _lower(self, tree: Any, shape: tuple[int, ...] | None, done: dict[int, Any]) -> Any:
        """Replace everything that is not elementwise by arrays or numbers; ``shape`` is the target's, if known."""
        if not isinstance(tree, Node):
            return _as_leaf(tree)
        if id(tree) in done:
            return done[id(tree)]
        if tree.op in ELEMENTWISE:
            lowered: Any = Node(tree.op, *(self._lower(a, shape, done) for a in tree.args))
        elif tree.op in ("sum", "sum_square", "amax", "amin"):
            lowered = _reduce_all(tree.op, self._operand(tree.args[0]))
        elif tree.op == "size":
            lowered = float(self._operand(tree.args[0]).size)
        elif tree.op == "dot":
            lowered = _product(self._operand(tree.args[0]), self._operand(tree.args[1]))
        elif tree.op == "transpose":
            lowered = self._operand(tree.args[0]).swapaxes(0, 1)
        elif tree.op == "reduce":
            lowered = _reduce_axis(self._operand(tree.args[0]), **tree.attrs)
        elif tree.op == "take":
            indices = self._operand(tree.args[1]).reshape(-1).astype(np.intp)
            lowered = np.take(self._operand(tree.args[0]), indices, axis=tree.attrs["axis"])
        elif tree.op == "onehot":
            lowered = _onehot(self._operand(tree.args[0]), tree.attrs["axis"], shape)
        else:
            raise BackendError(
                f"'{tree.op}' is for rules that run over all tensors; it has no value in a tree"
            )
        done[id(tree)] = lowered
        return lowered


def _as_leaf(value: Any) -> Any:
    if isinstance(value, Tensor):
        array = getattr(value, "_array", None)
        if not isinstance(array, np.ndarray):
            raise BackendError(f"{value!r} belongs to another backend; copy it with be.array(tensor.get())")
        return array
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BackendError(
            f"an op-tree holds tensors, arrays and numbers, received {type(value).__name__}: {value!r:.60}"
        ) from None


def _with_slots(tree: Any, leaves: list[np.ndarray], done: dict[int, Node]) -> Any:
    """The same graph over 'slot' nodes; its arrays go to ``leaves`` (slot 0 is the target)."""
    if isinstance(tree, np.ndarray):
        if id(tree) not in done:
            leaves.append(tree)
            done[id(tree)] = Node("slot", name=f"a{len(leaves) - 1}", index=len(leaves))
        return done[id(tree)]
    if not isinstance(tree, Node):
        return tree
    if id(tree) not in done:
        done[id(tree)] = Node(tree.op, *(_with_slots(a, leaves, done) for a in tree.args))
    return done[id(tree)]


def _common_shape(leaves: list[np.ndarray]) -> tuple[int, ...]:
    shapes = [a.shape for a in leaves]
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


def _without_overlap(leaf: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The leaf, or a copy where writing the target would change elements of the leaf that are read later."""
    if not np.may_share_memory(leaf, target):
        return leaf
    same = (
        leaf.__array_interface__["data"] == target.__array_interface__["data"]
        and leaf.shape == target.shape
        and leaf.strides == target.strides
        and leaf.dtype == target.dtype
    )
    return leaf if same else leaf.copy()


def _can_hold_product(target: np.ndarray, left: Any, right: Any) -> bool:
    return (
        isinstance(left, np.ndarray)
        and isinstance(right, np.ndarray)
        and left.ndim == right.ndim == target.ndim == 2
        and left.shape[1] == right.shape[0]
        and target.shape == (left.shape[0], right.shape[1])
        and target.dtype == left.dtype == right.dtype
        and target.dtype in (np.float32, np.float64)
        and not np.may_share_memory(target, left)
        and not np.may_share_memory(target, right)
    )


def _product(left: Any, right: Any) -> np.ndarray:
    shapes = np.shape(left), np.shape(right)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][0]:
        raise BackendError(f"dot needs shapes (m, k) and (k, n), received {shapes[0]} and {shapes[1]}")
    dtype = compute_type([left.dtype, right.dtype])
    return np.matmul(left.astype(dtype, copy=False), right.astype(dtype, copy=False))


def _reduce_all(op: str, values: np.ndarray) -> float:
    if op in ("amax", "amin"):
        return float((largest if op == "amax" else smallest)(values))
    flat = values.reshape(-1)
    running = LaneSum(CHUNK)
    for start in range(0, flat.size, CHUNK):
        running.add(flat[start : start + CHUNK], square=op == "sum_square")
    return running.close()


def _reduce_axis(values: np.ndarray, kind: str, axis: int, keepdims: bool) -> np.ndarray:
    dtype = compute_type([values.dtype])
    if kind in ("argmax", "argmin"):
        function = np.argmax if kind == "argmax" else np.argmin
        reduced = np.expand_dims(function(values, axis=axis), axis).astype(dtype)
    else:
        functions: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "amax": np.max, "amin": np.min}
        reduced = functions[kind](values.astype(dtype, copy=False), axis=axis, keepdims=True)
    return reduced if keepdims else reduced.reshape(-1, 1)


def _onehot(indices: np.ndarray, axis: int, shape: tuple[int, ...] | None) -> np.ndarray:
    if shape is None or len(shape) != 2:
        raise BackendError(
            "onehot takes its shape from the tensor it is assigned to: use out[:] = be.onehot(...)"
        )
    wanted = indices.reshape((1, -1) if axis == 0 else (-1, 1))
    places = np.arange(shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    return (places == wanted).astype(np.float32)
