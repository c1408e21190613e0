"""Operations on whole arrays of a device, without waiting for it: products, and what moves slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.gpu.cublas import load_cublas
from neon_optim.backends.gpu.cuda_engine import BLOCKS_PER_MULTIPROCESSOR
from neon_optim.backends.gpu.cuda_source import storage_type
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.memory import address_of, new_array
from neon_optim.backends.gpu.strided_source import THREADS
from neon_optim.backends.gpu.whole_array_source import (
    TILE,
    bernoulli_source,
    copy_source,
    place_of_extreme_source,
    product_source,
    put_source,
    take_source,
    window_source,
)
from neon_optim.backends.graph import Value
from neon_optim.backends.loop_layout import lay_out
from neon_optim.backends.optree_shapes import image_shapes
from neon_optim.backends.unfolded_products import AT_ONCE

__all__ = ["DeviceArrays"]


class DeviceArrays:
    """What a flow on a device does beside loops; arrays describe device memory.

    Arguments:
        deterministic: products in their fixed order, not those of cuBLAS.
    """

    def __init__(self, device: Device, deterministic: bool):
        self._device = device
        self.cublas = None if deterministic else load_cublas()

    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right, or one product for each index of a first axis; out overlaps neither.

        By cuBLAS where it is installed, else tile by tile, each sum in order of its terms.
        """
        if out.ndim == 3:
            for of_left, of_right, of_out in zip(left, right, out, strict=True):
                self.product(of_left, of_right, of_out)
            return
        if not out.size or (self.cublas is not None and self.cublas.product(left, right, out)):
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

    def move(self, value: Value, operands: Sequence[np.ndarray], out: np.ndarray) -> None:
        """out = the value of an operation that is neither a view nor part of a loop."""
        op, attrs = value.op, value.attrs
        if op == "place":
            if out.size:
                self._device.zero(address_of(out), out.nbytes)
            self.copy(operands[0], out[tuple(slice(*triple) for triple in attrs["key"])])
        elif op == "concatenate":
            moved, start = np.moveaxis(out, attrs["axis"], 0), 0
            for array in operands:
                part = np.moveaxis(array, attrs["axis"], 0)
                self.copy(part, moved[start : start + len(part)])
                start += len(part)
        elif op == "unfold":
            self.unfold(operands[0], out, attrs)
        elif op == "fold":
            self.fold(operands[0], out, attrs)
        elif op in AT_ONCE:
            AT_ONCE[op](self, out, *operands, attrs)
        elif op == "take":
            self._take(operands[0], self.contiguous(operands[1]), attrs["axis"], out)
        elif op == "put":
            self._put(operands[0], self.contiguous(operands[1]), attrs["axis"], out)
        else:
            self._place_of_extreme(attrs["kind"], operands[0], attrs["axis"], out)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array of undefined contents."""
        return new_array(self._device, shape, dtype)

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        """The array itself where its elements lie in order, else a copy."""
        if array.flags.c_contiguous:
            return array
        out = self.empty(array.shape, array.dtype)
        self.copy(array, out)
        return out

    def copy(self, source: np.ndarray, out: np.ndarray) -> None:
        """out = source, of one shape."""
        text = copy_source([out.dtype, source.dtype], self._axes([out, source], out.shape)[2])
        self._strided(text, "copy", [out, source], [out, source], out.shape)

    def _place_of_extreme(self, kind: str, values: np.ndarray, axis: int, out: np.ndarray) -> None:
        """argmax or argmin along an axis, which stays with one element."""
        start = values[_from_first(values.ndim, axis)]
        ndim = self._axes([out, start], out.shape)[2]
        text = place_of_extreme_source(kind, [out.dtype, values.dtype], storage_type(out.dtype), ndim)
        along = [values.shape[axis], values.strides[axis]]
        self._strided(text, "place_of_extreme", [out, values], [out, start], out.shape, along)

    def _take(self, values: np.ndarray, indices: np.ndarray, axis: int, out: np.ndarray) -> None:
        """The slices at the indices along an axis; an index out of range gives NaN."""
        axis %= out.ndim
        places = [1] * values.ndim
        places[axis] = indices.size
        if not out.size:
            return
        described = [out, values[_from_first(values.ndim, axis)], indices.reshape(places)]
        ndim = self._axes(described, out.shape)[2]
        text = take_source([out.dtype, values.dtype, indices.dtype], ndim)
        along = [values.shape[axis], values.strides[axis]]
        self._strided(text, "take", [out, values, indices], described, out.shape, along)

    def _put(self, values: np.ndarray, indices: np.ndarray, axis: int, out: np.ndarray) -> None:
        """Zeros to which slices are added at the indices along an axis, in order; one out of range is passed by."""
        axis %= out.ndim
        start = values[_from_first(out.ndim, axis)] if indices.size else out
        described = [out, start, np.broadcast_to(indices.reshape(-1)[:1], out.shape) if indices.size else out]
        ndim = self._axes(described[:2], out.shape)[2]
        text = put_source([out.dtype, values.dtype, indices.dtype], storage_type(out.dtype), ndim)
        inner = math.prod(out.shape[axis + 1 :])
        along = [indices.size, values.strides[axis], out.shape[axis], inner]
        self._strided(text, "put", [out, values, indices], described, out.shape, along)

    def unfold(self, images: np.ndarray, out: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :class:`~neon_optim.backends.unfolded_products.UnfoldingArrays`."""
        of_image, of_window = image_shapes(images.shape[1], attrs)
        pixels = self.contiguous(images).reshape(of_image)
        self._windows(out.reshape(of_window), pixels, of_window, attrs)

    def fold(self, windows: np.ndarray, out: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :class:`~neon_optim.backends.unfolded_products.UnfoldingArrays`."""
        of_image, of_window = image_shapes(out.shape[1], attrs)
        parts = self.contiguous(windows).reshape(of_window)
        self._windows(out.reshape(of_image), parts, of_window, attrs)

    def _windows(
        self, out: np.ndarray, source: np.ndarray, windows: Sequence[int], attrs: Mapping[str, Any]
    ) -> None:
        if not out.size:
            return
        settings = [*attrs["strides"], *attrs["padding"], *attrs["dilation"]]
        extents = [*windows[1:-1], *attrs["size"], windows[-1]]
        header = [address_of(out), address_of(source), out.size, *extents, *settings]
        arguments = np.array(header, np.int64).tobytes()
        compute = storage_type(compute_type([out.dtype]))
        text = window_source(out.ndim < source.ndim, len(attrs["size"]), [out.dtype, source.dtype], compute)
        self._device.kernel(text, "windows", len(arguments))(self.grid(out.size), THREADS, arguments)

    def bernoulli(self, out: np.ndarray, limit: int, seed: int, stream: int, step: int) -> None:
        """Set each element of a contiguous array to 1 where its random word is below the limit, else to 0."""
        if out.size:
            numbers = [address_of(out), out.size, seed & 0xFFFFFFFF, stream, step, limit]
            arguments = np.array(numbers, np.int64).tobytes()
            kernel = self._device.kernel(bernoulli_source(out.dtype), "bernoulli", len(arguments))
            kernel(self.grid(out.size), THREADS, arguments)

    def close(self) -> None:
        """Give back what cuBLAS holds."""
        if self.cublas is not None:
            self.cublas.close()
            self.cublas = None

    def grid(self, threads: int) -> int:
        """The blocks for so many threads."""
        return min(-(-threads // THREADS), self._device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR)

    @staticmethod
    def _axes(
        arrays: Sequence[np.ndarray], shape: tuple[int, ...]
    ) -> tuple[list[int], list[tuple[int, ...]], int]:
        """Extents, each array's strides, and the number of axes."""
        layout = lay_out(arrays, shape, None)
        extents = [*layout.outer, layout.inner or 0]
        return extents, list(layout.strides), len(extents)

    def _strided(
        self,
        text: str,
        name: str,
        arrays: Sequence[np.ndarray],
        described: Sequence[np.ndarray],
        shape: tuple[int, ...],
        scalars: Sequence[float] = (),
    ) -> None:
        """Launch a kernel over the elements of a shape.

        Arguments:
            described: for each of the arrays the part that is gone through, broadcast to the shape.
        """
        size = math.prod(shape)
        if not size:
            return
        extents, strides, _ = self._axes(described, shape)
        header = [*map(address_of, arrays), size, *extents, *(s for row in strides for s in row)]
        numbers = np.zeros(max(1, len(scalars)))
        numbers[: len(scalars)] = scalars
        arguments = np.array(header, np.int64).tobytes() + numbers.tobytes()
        self._device.kernel(text, name, len(arguments))(self.grid(size), THREADS, arguments)


def _from_first(ndim: int, axis: int) -> tuple[slice, ...]:
    """The key of the first element along an axis, which stays."""
    return tuple(slice(1) if a == axis % ndim else slice(None) for a in range(ndim))
