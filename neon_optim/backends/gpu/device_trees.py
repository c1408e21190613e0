"""Runs op-trees on device tensors, without waiting for the device: one kernel for what is elementwise.

Reductions of a whole tensor stay on the device as float64 numbers; arithmetic between such numbers is in float64 too,
and they are cast once where they meet tensors, as on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.dtypes import FLOAT_TYPES, compute_type
from neon_optim.backends.gpu.cublas import load_cublas
from neon_optim.backends.gpu.cuda_engine import BLOCKS_PER_MULTIPROCESSOR, CudaEngine
from neon_optim.backends.gpu.cuda_source import storage_type
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.evaluate import Held, TreeEvaluator
from neon_optim.backends.gpu.memory import address_of, is_described, new_array
from neon_optim.backends.gpu.tree_source import (
    THREADS,
    TILE,
    axis_source,
    axis_sum_source,
    bernoulli_source,
    elementwise_source,
    product_source,
    put_source,
    take_source,
    window_source,
)
from neon_optim.backends.optree import Node
from neon_optim.backends.program import linearize
from neon_optim.backends.scalars import ScalarValues
from neon_optim.backends.sums import AXIS_LANES

__all__ = ["DeviceEvaluator"]

_WIDE = np.dtype(np.float64)
_ONE_SET = np.zeros(1, np.int64)


class DeviceEvaluator(TreeEvaluator):
    """Evaluates trees on one device; its arrays describe device memory."""

    def __init__(self, device: Device, engine: CudaEngine, deterministic: bool):
        self._device = device
        self._engine = engine
        self._cublas = None if deterministic else load_cublas()

    def array_of(self, value: Tensor | np.ndarray) -> np.ndarray | None:
        """The description of a tensor; a host array is uploaded."""
        if isinstance(value, Tensor):
            return getattr(value, "_layout", None)
        if is_described(value):
            return value
        floats = value if value.dtype.name in FLOAT_TYPES else value.astype(np.float32)
        out = self.empty(floats.shape, floats.dtype)
        self._device.upload(address_of(out), np.ascontiguousarray(floats))
        return out

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """New device memory of undefined contents."""
        return new_array(self._device, shape, dtype)

    def copy(self, array: np.ndarray) -> np.ndarray:
        """A contiguous copy on the device."""
        out = self.empty(array.shape, array.dtype)
        self.assign(out, array)
        return out

    def joined(self, node: Node) -> Any:
        """Arithmetic between held numbers is done at once, in float64."""
        if not any(isinstance(a, Held) for a in node.args) or any(
            isinstance(a, (np.ndarray, Node)) for a in node.args
        ):
            return node
        held = [a for a in node.args if isinstance(a, Held)]
        slots = {id(a): Node("slot", name="number", index=k + 1) for k, a in enumerate(held)}
        out = self.empty((1, 1), _WIDE)
        self.run(out, Node(node.op, *(slots.get(id(a), a) for a in node.args)), held)
        return Held(out)

    def run(self, target: np.ndarray, graph: Any, leaves: Sequence[Any]) -> None:
        """See :meth:`TreeEvaluator.run`."""
        if not target.size:
            return
        slots = ("out", *(f"a{k}" for k in range(len(leaves))))
        program, scalars = linearize("tree", slots, [(0, graph)])
        stage = program.stages[0]
        with np.errstate(all="ignore"):
            values = ScalarValues(program, [scalars], _ONE_SET, np.ones(1, np.int64), _ONE_SET)
            values.run(stage)
        passed = values.by_row(stage.inputs)[0]
        compute = compute_type([target.dtype, *(a.dtype for a in leaves if isinstance(a, np.ndarray))])
        arrays = [target, *(a.array if isinstance(a, Held) else a for a in leaves)]
        extents, strides = _collapsed(arrays, target.shape)
        dtypes = [a.dtype for a in arrays]
        source = elementwise_source(program, dtypes, storage_type(compute), len(extents), len(passed))
        self._launch(source, "tree", arrays, target.size, extents, strides, passed)

    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right: by cuBLAS where it is installed, else tile by tile, each sum in order of its terms."""
        if not out.size or (self._cublas is not None and self._cublas.product(left, right, out)):
            return
        rows, depth, columns = *left.shape, right.shape[1]
        arrays = (out, left, right)
        tiles = -(-columns // TILE)
        strides = [step for a in arrays for step in a.strides]
        header = [*map(address_of, arrays), rows, columns, depth, *strides, tiles]
        arguments = np.array(header, np.int64).tobytes()
        source = product_source([a.dtype for a in arrays], storage_type(out.dtype))
        kernel = self._device.kernel(source, "product", len(arguments))
        kernel(-(-rows // TILE) * tiles, THREADS, arguments)

    def reduce_all(self, op: str, values: np.ndarray) -> Held:
        """See :meth:`TreeEvaluator.reduce_all`; the order of a sum is the fixed one."""
        return Held(self._engine.reduce(op, self.contiguous(values)))

    def reduce_axis(self, kind: str, values: np.ndarray, axis: int) -> np.ndarray:
        """See :meth:`TreeEvaluator.reduce_axis`."""
        compute = compute_type([values.dtype])
        moved = np.moveaxis(values, axis, -1)
        out = self.empty(moved.shape[:-1], compute)
        if out.size:
            first = moved[..., 0] if moved.size else out  # where the axis has no element nothing is read
            extents, strides = _collapsed([out, first], out.shape)
            along = [moved.shape[-1], moved.strides[-1]]
            described = [compute, values.dtype], storage_type(compute), len(extents)
            if kind in ("sum", "mean"):
                beside = not 0 < abs(strides[1][-1]) <= abs(along[1])
                source, name, threads = axis_sum_source(kind, *described, beside), "sum_axis", AXIS_LANES
            else:
                source, name, threads = axis_source(kind, *described), "reduce_axis", 1
            self._launch(source, name, [out, values], out.size, extents, strides, along, threads)
        return np.expand_dims(out, axis)

    def take(self, values: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        """See :meth:`TreeEvaluator.take`; an index out of range gives NaN."""
        shape = list(values.shape)
        shape[axis] = indices.size
        out = self.empty(tuple(shape), values.dtype)
        if out.size:
            places = [1] * values.ndim
            places[axis] = indices.size
            start = tuple(slice(1) if a == axis else slice(None) for a in range(values.ndim))
            described = [out, values[start], indices.reshape(places)]
            extents, strides = _collapsed(described, out.shape)
            source = take_source([out.dtype, values.dtype, indices.dtype], len(extents))
            along = [values.shape[axis], values.strides[axis]]
            self._launch(source, "take", [out, values, indices], out.size, extents, strides, along)
        return out

    def put(self, values: np.ndarray, indices: np.ndarray, axis: int, out: np.ndarray) -> None:
        """See :meth:`TreeEvaluator.put`; an index out of range is passed by."""
        if out.size:
            start = tuple(slice(1) if a == axis % out.ndim else slice(None) for a in range(out.ndim))
            described = [out, values[start] if indices.size else out]
            extents, strides = _collapsed(described, out.shape)
            dtypes = [out.dtype, values.dtype, indices.dtype]
            source = put_source(dtypes, storage_type(out.dtype), len(extents))
            inner = math.prod(out.shape[axis % out.ndim + 1 :])
            along = [indices.size, values.strides[axis], out.shape[axis], inner]
            strides.append([0] * len(extents))  # indices are read by their number
            self._launch(source, "put", [out, values, indices], out.size, extents, strides, along)

    def unfold(self, images: np.ndarray, windows: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :meth:`TreeEvaluator.unfold`."""
        self._windows(windows, images, windows.shape, attrs)

    def fold(self, windows: np.ndarray, images: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :meth:`TreeEvaluator.fold`."""
        self._windows(images, windows, windows.shape, attrs)

    def _windows(
        self, out: np.ndarray, source: np.ndarray, windows: tuple[int, ...], attrs: Mapping[str, Any]
    ) -> None:
        if not out.size:
            return
        settings = [*attrs["strides"], *attrs["padding"], *attrs["dilation"]]
        extents = [*windows[1:-1], *attrs["size"], windows[-1]]
        header = [address_of(out), address_of(source), out.size, *extents, *settings]
        arguments = np.array(header, np.int64).tobytes()
        text = window_source(
            out.ndim < source.ndim,
            len(attrs["size"]),
            [out.dtype, source.dtype],
            storage_type(compute_type([out.dtype])),
        )
        self._device.kernel(text, "windows", len(arguments))(self._grid(out.size), THREADS, arguments)

    def bernoulli(self, target: np.ndarray, limit: int, seed: int, stream: int, step: int) -> None:
        """Set each element to 1 where its random word is below the limit, else to 0."""
        out = target if target.flags.c_contiguous else self.empty(target.shape, target.dtype)
        if out.size:
            numbers = [address_of(out), out.size, seed & 0xFFFFFFFF, stream, step, limit]
            arguments = np.array(numbers, np.int64).tobytes()
            kernel = self._device.kernel(bernoulli_source(out.dtype), "bernoulli", len(arguments))
            kernel(self._grid(out.size), THREADS, arguments)
        if out is not target:
            self.assign(target, out)

    def close(self) -> None:
        """Give back what cuBLAS holds."""
        if self._cublas is not None:
            self._cublas.close()
            self._cublas = None

    def _launch(
        self,
        source: str,
        name: str,
        arrays: Sequence[np.ndarray],
        size: int,
        extents: Sequence[int],
        strides: Sequence[Sequence[int]],
        scalars: Any,
        threads: int = 1,
    ) -> None:
        """Run a kernel over ``size`` elements of the described shape, each of them the work of some threads."""
        header = [*map(address_of, arrays), size, *extents, *(s for row in strides for s in row)]
        numbers = np.zeros(max(1, len(scalars)))
        numbers[: len(scalars)] = scalars
        arguments = np.array(header, np.int64).tobytes() + numbers.tobytes()
        self._device.kernel(source, name, len(arguments))(self._grid(size * threads), THREADS, arguments)

    def _grid(self, size: int) -> int:
        return min(-(-size // THREADS), self._device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR)


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
