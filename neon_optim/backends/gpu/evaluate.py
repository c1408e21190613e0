"""Runs op-trees on device tensors: ``tensor[:] = tree``, without waiting for the device.

Structural operations are done first, each into a temporary; what is left is elementwise and runs as one kernel.
Reductions of a whole tensor stay on the device as float64 scalars; arithmetic between such scalars is in float64 too,
and they are cast once where they meet tensors, as on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.backend import Tensor
from neon_optim.backends.cpu.numpy_kernel import compute_type
from neon_optim.backends.cpu.scalars import ScalarValues
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.engine import BLOCKS_PER_MULTIPROCESSOR, CudaEngine
from neon_optim.backends.gpu.layout import address_of, is_described, new_array
from neon_optim.backends.gpu.tree_source import (
    THREADS,
    TILE,
    axis_source,
    bernoulli_source,
    elementwise_source,
    product_source,
    take_source,
)
from neon_optim.backends.optree import ELEMENTWISE, Node
from neon_optim.backends.program import linearize
from neon_optim.errors import BackendError

__all__ = ["Evaluator"]

_WIDE = np.dtype(np.float64)
_ONE_SET = np.zeros(1, np.int64)


class _Scalar:
    """One float64 number on the device."""

    def __init__(self, array: np.ndarray):
        self.array = array


class Evaluator:
    """Evaluates trees on one device."""

    def __init__(self, device: Device, engine: CudaEngine):
        self._device = device
        self._engine = engine

    def assign(self, target: np.ndarray, tree: Any) -> None:
        """Run a tree into a described array.

        Raises:
            BackendError: shapes do not fit, or an operand is of another kind.
        """
        if isinstance(tree, Node) and tree.op == "dot":
            left, right = self._operand(tree.args[0]), self._operand(tree.args[1])
            _check_product(left, right)
            if target.shape == (left.shape[0], right.shape[1]) and not _overlaps(target, left, right):
                self._product(target, left, right)
                return
            tree = self._product(None, left, right)
        lowered = self._lower(tree, target.shape, {})
        leaves: list[Any] = []
        graph = _with_slots(lowered, leaves, {})
        _check_fits([a.shape for a in leaves if isinstance(a, np.ndarray)], target.shape)
        self._run(target, graph, [self._without_overlap(a, target) for a in leaves])

    def evaluate(self, tree: Any) -> np.ndarray:
        """The value of a tree as a described array of the compute type."""
        lowered = self._lower(tree, None, {})
        if isinstance(lowered, np.ndarray):
            return lowered
        leaves: list[Any] = []
        graph = _with_slots(lowered, leaves, {})
        arrays = [a for a in leaves if isinstance(a, np.ndarray)]
        dtype = compute_type([a.dtype for a in arrays]) if arrays else _WIDE
        out = new_array(self._device, _common_shape([a.shape for a in arrays]) or (1, 1), dtype)
        self._run(out, graph, leaves)
        return out

    # --- elementwise ---

    def _run(self, target: np.ndarray, graph: Any, leaves: list[Any]) -> None:
        """slot 0 = graph over slots 1, 2, … (arrays and device scalars)."""
        if not target.size:
            return
        slots = ("out", *(f"a{k}" for k in range(len(leaves))))
        program, scalars = linearize("tree", slots, [(0, graph)])
        stage = program.stages[0]
        with np.errstate(all="ignore"):
            values = ScalarValues(program, [scalars], _ONE_SET, np.ones(1, np.int64), _ONE_SET)
            values.run(stage.scalar_code)
        passed = values.by_row(stage.inputs)[0]
        compute = compute_type([target.dtype, *(a.dtype for a in leaves if isinstance(a, np.ndarray))])
        arrays = [target, *(a.array if isinstance(a, _Scalar) else a for a in leaves)]
        dtypes = [a.dtype for a in arrays]
        extents, strides = _collapsed(arrays, target.shape)
        source = elementwise_source(program, dtypes, _c(compute), len(extents), len(passed))
        self._launch(source, "tree", arrays, target.size, extents, strides, passed)

    def _launch(
        self,
        source: str,
        name: str,
        arrays: Sequence[np.ndarray],
        size: int,
        extents: Sequence[int],
        strides: Sequence[Sequence[int]],
        scalars: Any,
    ) -> None:
        header = [*map(address_of, arrays), size, *extents, *(s for row in strides for s in row)]
        numbers = np.zeros(max(1, len(scalars)))
        numbers[: len(scalars)] = scalars
        arguments = np.array(header, np.int64).tobytes() + numbers.tobytes()
        self._device.kernel(source, name, len(arguments))(self._grid(size), THREADS, arguments)

    def _grid(self, size: int) -> int:
        return min(-(-size // THREADS), self._device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR)

    def _without_overlap(self, leaf: Any, target: np.ndarray) -> Any:
        """The leaf, or a copy where writing the target would change elements of the leaf that are read later."""
        if not isinstance(leaf, np.ndarray) or not np.may_share_memory(leaf, target):
            return leaf
        same = (address_of(leaf), leaf.shape, leaf.strides, leaf.dtype) == (
            address_of(target),
            target.shape,
            target.strides,
            target.dtype,
        )
        return leaf if same else self.contiguous(leaf, copy=True)

    def contiguous(self, array: np.ndarray, copy: bool = False) -> np.ndarray:
        """The array itself if it has no gaps, else (or with ``copy``) a copy in C order."""
        if array.flags.c_contiguous and not copy:
            return array
        out = new_array(self._device, array.shape, array.dtype)
        self.assign(out, array)
        return out

    def bernoulli(self, target: np.ndarray, limit: int, seed: int, stream: int, step: int) -> None:
        """Set each element to 1 where its random word is below the limit, else to 0."""
        out = target if target.flags.c_contiguous else new_array(self._device, target.shape, target.dtype)
        if out.size:
            numbers = [address_of(out), out.size, seed & 0xFFFFFFFF, stream, step, limit]
            arguments = np.array(numbers, np.int64).tobytes()
            kernel = self._device.kernel(bernoulli_source(out.dtype), "bernoulli", len(arguments))
            kernel(self._grid(out.size), THREADS, arguments)
        if out is not target:
            self.assign(target, out)

    # --- the rest of a tree ---

    def _operand(self, tree: Any) -> np.ndarray:
        """A tree as a described array, without a copy where it is a tensor."""
        if isinstance(tree, Node):
            return self.evaluate(tree)
        leaf = self._leaf(tree)
        return leaf if isinstance(leaf, np.ndarray) else self.evaluate(leaf)

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            described = getattr(value, "_layout", None)
            if described is None:
                raise BackendError(
                    f"{value!r} belongs to another backend; copy it with be.array(tensor.get())"
                )
            return described
        if isinstance(value, np.ndarray) and value.ndim:
            return value if is_described(value) else self._uploaded(value)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise BackendError(
                f"an op-tree holds tensors, arrays and numbers, received {type(value).__name__}: {value!r:.60}"
            ) from None

    def _uploaded(self, value: np.ndarray) -> np.ndarray:
        floats = (
            value if value.dtype.name in ("float16", "bfloat16", "float32", "float64") else value.astype("f4")
        )
        out = new_array(self._device, floats.shape, floats.dtype)
        self._device.upload(address_of(out), np.ascontiguousarray(floats))
        return out

    def _lower(self, tree: Any, shape: tuple[int, ...] | None, done: dict[int, Any]) -> Any:
        """Replace what is not elementwise by described arrays, device scalars or numbers."""
        if isinstance(tree, _Scalar):
            return tree
        if not isinstance(tree, Node):
            return self._leaf(tree)
        if id(tree) not in done:
            done[id(tree)] = self._lower_node(tree, shape, done)
        return done[id(tree)]

    def _lower_node(self, tree: Node, shape: tuple[int, ...] | None, done: dict[int, Any]) -> Any:
        if tree.op in ELEMENTWISE:
            operands = [self._lower(a, shape, done) for a in tree.args]
            node = Node(tree.op, *operands)
            if any(isinstance(a, _Scalar) for a in operands) and not _has_arrays(node):
                out = new_array(self._device, (1, 1), _WIDE)
                leaves: list[Any] = []
                graph = _with_slots(node, leaves, {})
                self._run(out, graph, leaves)
                return _Scalar(out)
            return node
        operand = self._operand(tree.args[0])
        if tree.op in ("sum", "sum_square", "amax", "amin"):
            return _Scalar(self._engine.reduce(tree.op, self.contiguous(operand)))
        if tree.op == "size":
            return float(operand.size)
        if tree.op == "dot":
            right = self._operand(tree.args[1])
            _check_product(operand, right)
            return self._product(None, operand, right)
        if tree.op == "transpose":
            return operand.swapaxes(0, 1)
        if tree.op == "reduce":
            return self._reduce_axis(operand, **tree.attrs)
        if tree.op == "take":
            return self._take(operand, self._operand(tree.args[1]), tree.attrs["axis"])
        if tree.op == "onehot":
            return self._onehot(operand, tree.attrs["axis"], shape)
        raise BackendError(f"'{tree.op}' is for rules that run over all tensors; it has no value in a tree")

    def _product(self, target: np.ndarray | None, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        compute = compute_type([left.dtype, right.dtype])
        rows, depth, columns = *left.shape, right.shape[1]
        out = new_array(self._device, (rows, columns), compute) if target is None else target
        if not out.size:
            return out
        arrays = (out, left, right)
        tiles = -(-columns // TILE)
        header = [
            *map(address_of, arrays),
            rows,
            columns,
            depth,
            *(s for a in arrays for s in a.strides),
            tiles,
        ]
        arguments = np.array(header, np.int64).tobytes()
        source = product_source([a.dtype for a in arrays], _c(compute))
        self._device.kernel(source, "product", len(arguments))(-(-rows // TILE) * tiles, THREADS, arguments)
        return out

    def _reduce_axis(self, values: np.ndarray, kind: str, axis: int, keepdims: bool) -> np.ndarray:
        compute = compute_type([values.dtype])
        moved = np.moveaxis(values, axis, -1)
        if not moved.shape[-1] and kind not in ("sum", "mean"):
            raise BackendError(f"{kind} along an axis of length 0 of shape {values.shape}")
        out = new_array(self._device, moved.shape[:-1], compute)
        if out.size:
            extents, strides = _collapsed([out, moved[..., 0] if moved.size else out], out.shape)
            source = axis_source(kind, [compute, values.dtype], _c(compute), len(extents))
            self._launch(
                source,
                "reduce_axis",
                [out, values],
                out.size,
                extents,
                strides,
                [moved.shape[-1], moved.strides[-1]],
            )
        return np.expand_dims(out, axis) if keepdims else out.reshape(-1, 1)

    def _take(self, values: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        flat = self.contiguous(indices).reshape(-1)
        shape = list(values.shape)
        length, stride = shape[axis], values.strides[axis]
        shape[axis] = flat.size
        out = new_array(self._device, tuple(shape), values.dtype)
        if out.size:
            places = [1] * values.ndim
            places[axis] = flat.size
            start = tuple(slice(1) if a == axis else slice(None) for a in range(values.ndim))
            first = np.broadcast_to(values[start], out.shape)
            chosen = np.broadcast_to(flat.reshape(places), out.shape)
            extents, strides = _collapsed([out, first, chosen], out.shape)
            source = take_source([out.dtype, values.dtype, flat.dtype], len(extents))
            self._launch(source, "take", [out, values, flat], out.size, extents, strides, [length, stride])
        return out

    def _onehot(self, indices: np.ndarray, axis: int, shape: tuple[int, ...] | None) -> Any:
        if shape is None or len(shape) != 2:
            raise BackendError(
                "onehot takes its shape from the tensor it is assigned to: use out[:] = be.onehot(...)"
            )
        wanted = self.contiguous(indices).reshape((1, -1) if axis == 0 else (-1, 1))
        places = np.arange(shape[axis], dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        return Node("equal", wanted, self._uploaded(places))


def _c(dtype: np.dtype) -> str:
    return "double" if dtype == _WIDE else "float"


def _has_arrays(tree: Any) -> bool:
    if isinstance(tree, Node):
        return any(map(_has_arrays, tree.args))
    return isinstance(tree, np.ndarray)


def _with_slots(tree: Any, leaves: list[Any], done: dict[int, Node]) -> Any:
    """The same graph over 'slot' nodes; its arrays and device scalars go to ``leaves`` (slot 0 is the target)."""
    if isinstance(tree, (np.ndarray, _Scalar)):
        if id(tree) not in done:
            leaves.append(tree)
            done[id(tree)] = Node("slot", name=f"a{len(leaves) - 1}", index=len(leaves))
        return done[id(tree)]
    if not isinstance(tree, Node):
        return tree
    if id(tree) not in done:
        done[id(tree)] = Node(tree.op, *(_with_slots(a, leaves, done) for a in tree.args))
    return done[id(tree)]


def _common_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise BackendError(f"the operands have shapes that do not go together: {list(shapes)}") from None


def _check_fits(shapes: Sequence[tuple[int, ...]], target: tuple[int, ...]) -> None:
    shape = _common_shape(shapes)
    try:
        fits = np.broadcast_shapes(shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise BackendError(f"a value of shape {shape} does not fit into a tensor of shape {target}")


def _check_product(left: np.ndarray, right: np.ndarray) -> None:
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise BackendError(f"dot needs shapes (m, k) and (k, n), received {left.shape} and {right.shape}")


def _overlaps(target: np.ndarray, *others: np.ndarray) -> bool:
    return any(np.may_share_memory(target, other) for other in others)


def _collapsed(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[list[int], list[list[int]]]:
    """The shape with neighbouring axes merged where every array allows it, and each array's strides in bytes."""
    views = [np.broadcast_to(a, shape) for a in arrays]
    extents: list[int] = []
    strides: list[list[int]] = [[] for _ in views]
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        steps = [v.strides[axis] for v in views]
        if extents and all(s[-1] == step * extent for s, step in zip(strides, steps, strict=True)):
            extents[-1] *= extent
            for s, step in zip(strides, steps, strict=True):
                s[-1] = step
        else:
            extents.append(extent)
            for s, step in zip(strides, steps, strict=True):
                s.append(step)
    if not extents:
        return [math.prod(shape)], [[0] for _ in views]
    return extents, strides
