"""Runs op-trees on host tensors: elementwise ones by the NumPy kernel, block by block where shapes agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.cpu.numpy_engine import BLOCK, NumpyEngine
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.evaluate import TreeEvaluator
from neon_optim.backends.functions import largest, smallest, store
from neon_optim.backends.optree import Node
from neon_optim.backends.program import linearize
from neon_optim.backends.scalars import ScalarValues
from neon_optim.backends.sums import CHUNK, LaneSum

__all__ = ["HostEvaluator"]

_ZERO = np.zeros(1, np.int64)
_ONE = np.ones(1, np.int64)


class HostEvaluator(TreeEvaluator):
    """Evaluates trees with the scratch of a NumPy engine."""

    def __init__(self, engine: NumpyEngine):
        self._engine = engine

    def array_of(self, value: Tensor | np.ndarray) -> np.ndarray | None:
        """The memory of a tensor; an array as it is."""
        array = getattr(value, "_array", None) if isinstance(value, Tensor) else value
        return array if isinstance(array, np.ndarray) else None

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array of undefined contents."""
        return np.empty(shape, dtype)

    def copy(self, array: np.ndarray) -> np.ndarray:
        """A contiguous copy."""
        return array.copy("C")

    def run(self, target: np.ndarray, graph: Any, leaves: Sequence[Any]) -> None:
        """See :meth:`TreeEvaluator.run`."""
        if not leaves:
            np.copyto(target, _number(graph), casting="unsafe")
        elif graph.op == "slot":
            np.copyto(target, leaves[0], casting="unsafe")
        else:
            self._run(target, graph, leaves)

    def _run(self, target: np.ndarray, graph: Node, leaves: Sequence[np.ndarray]) -> None:
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
            values.run(stage)
            inputs = [kernel.dtype.type(x) for x in values.by_row(stage.inputs)[0]]
            for start in range(0, arrays[0].shape[0], per_block):
                blocks = [a[start : start + per_block] for a in arrays]
                _, stores = kernel.run(blocks, inputs, self._engine.scratch(kernel, blocks[0].shape))
                for slot, value in stores:
                    store(blocks[slot], value)

    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right."""
        np.matmul(left.astype(out.dtype, copy=False), right.astype(out.dtype, copy=False), out=out)

    def reduce_all(self, op: str, values: np.ndarray) -> float:
        """See :meth:`TreeEvaluator.reduce_all`."""
        if op in ("amax", "amin"):
            return float((largest if op == "amax" else smallest)(values))
        flat = values.reshape(-1)
        running = LaneSum(CHUNK)
        for start in range(0, flat.size, CHUNK):
            running.add(flat[start : start + CHUNK], square=op == "sum_square")
        return running.close()

    def reduce_axis(self, kind: str, values: np.ndarray, axis: int) -> np.ndarray:
        """See :meth:`TreeEvaluator.reduce_axis`."""
        dtype = compute_type([values.dtype])
        if kind in ("argmax", "argmin"):
            function = np.argmax if kind == "argmax" else np.argmin
            return np.expand_dims(function(values, axis=axis), axis).astype(dtype)
        functions: dict[str, Callable[..., np.ndarray]] = {
            "sum": np.sum,
            "mean": np.mean,
            "amax": np.max,
            "amin": np.min,
        }
        return functions[kind](values.astype(dtype, copy=False), axis=axis, keepdims=True)

    def take(self, values: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        """See :meth:`TreeEvaluator.take`."""
        return np.take(values, indices.astype(np.intp), axis=axis)

    def put(self, values: np.ndarray, indices: np.ndarray, axis: int, out: np.ndarray) -> None:
        """See :meth:`TreeEvaluator.put`."""
        out.fill(0.0)
        moved = values.astype(out.dtype, copy=False).swapaxes(0, axis)
        np.add.at(out.swapaxes(0, axis), indices.astype(np.intp), moved)

    def unfold(self, images: np.ndarray, windows: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :meth:`TreeEvaluator.unfold`."""
        windows.fill(0.0)
        for of_windows, of_images in _overlaps(windows.shape, attrs):
            windows[of_windows] = images[of_images]

    def fold(self, windows: np.ndarray, images: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :meth:`TreeEvaluator.fold`."""
        images.fill(0.0)
        for of_windows, of_images in _overlaps(windows.shape, attrs):
            images[of_images] += windows[of_windows]


def _overlaps(
    windows: tuple[int, ...], attrs: Mapping[str, Any]
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """For each place in a window, in order: the windows that have it inside the image, and the pixels there."""
    for place in np.ndindex(*attrs["window"]):
        inside, pixels = [], []
        for axis in range(2):
            size, stride = attrs["size"][axis], attrs["strides"][axis]
            offset = place[axis] * attrs["dilation"][axis] - attrs["padding"][axis]
            first = max(0, -(offset // stride))  # the first window whose pixel is at 0 or behind
            last = max(first, min(windows[3 + axis], (size - 1 - offset) // stride + 1))
            inside.append(slice(first, last))
            start = first * stride + offset
            pixels.append(slice(start, start + (last - first) * stride, stride))
        yield (slice(None), *place, *inside), (slice(None), *pixels)


def _number(graph: Any) -> np.ndarray:
    """The value of a tree of numbers only."""
    program, scalars = linearize("tree", (), (), results=(graph,))
    with np.errstate(all="ignore"):
        values = ScalarValues(program, [scalars], _ZERO, _ONE, _ZERO)
        values.run(program.stages[0])
    return values.of_set(program.results[0])
