"""Operations on whole host arrays: products, totals, and what moves slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.cpu import window_products
from neon_optim.backends.functions import FUNCTIONS, largest, smallest
from neon_optim.backends.fusion import Loop
from neon_optim.backends.graph import Graph, Value
from neon_optim.backends.optree_shapes import image_shapes
from neon_optim.backends.sums import CHUNK, LaneSum
from neon_optim.backends.unfolded_products import AT_ONCE

__all__ = ["Product", "WholeArrays", "blas_product"]


Product = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def blas_product(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out = left · right, or one product for each index of a first axis, by NumPy's BLAS."""
    np.matmul(left.astype(out.dtype, copy=False), right.astype(out.dtype, copy=False), out=out)


class WholeArrays:
    """What a flow does beside loops.

    Arguments:
        product: called with two factors and their product, which overlaps neither.
        as_numpy: take exp, log, tanh and sums along axes as NumPy computes them, too.
    """

    def __init__(self, product: Product = blas_product, as_numpy: bool = False):
        self.product = product
        self._as_numpy = as_numpy
        self._moves = {**_MOVES, **(_WINDOW_BY_WINDOW if product is blas_product else self._at_once())}

    def is_alone(self, value: Value) -> bool:
        """Whether an operation that a loop could hold is done here."""
        if not self._as_numpy or value.is_number:
            return False
        return (value.attrs["kind"] if value.op == "reduce" else value.op) in _NUMPYS_OWN

    def takes_numpys(self, loop: Loop, graph: Graph) -> bool:
        """Whether an operation of a loop is computed as NumPy does, so that no engine may compile it: a power."""
        return self._as_numpy and any(graph.values[v].op == "power" for v in loop.values)

    def reduce_all(self, op: str, values: np.ndarray) -> float:
        """'sum', 'sum_square', 'amax' or 'amin' of all elements; sums in the fixed order."""
        if op in ("amax", "amin"):
            return float((largest if op == "amax" else smallest)(values))
        flat = values.reshape(-1)
        running = LaneSum(min(CHUNK, max(1, flat.size)))
        for start in range(0, flat.size, CHUNK):
            running.add(flat[start : start + CHUNK], square=op == "sum_square")
        return running.close()

    def move(self, value: Value, operands: Sequence[np.ndarray], out: np.ndarray) -> None:
        """out = the value of an operation that is neither a view nor part of a loop."""
        op = f"{value.attrs['kind']}" if value.op == "reduce" else value.op
        self._moves[op](out, *operands, **{k: v for k, v in value.attrs.items() if k != "kind"})

    # --- convolutions at once ---

    def _at_once(self) -> dict[str, Callable[..., None]]:
        def bound(move: Callable[..., None]) -> Callable[..., None]:
            return lambda out, one, other, **attrs: move(self, out, one, other, attrs)

        return {op: bound(move) for op, move in AT_ONCE.items()}

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """See :class:`UnfoldingArrays`."""
        return np.empty(shape, dtype)

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        """See :class:`UnfoldingArrays`."""
        return np.ascontiguousarray(array)

    def unfold(self, images: np.ndarray, out: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :class:`UnfoldingArrays`."""
        _unfold(out, images, **attrs)

    def fold(self, windows: np.ndarray, out: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """See :class:`UnfoldingArrays`."""
        _fold(out, windows, **attrs)


def _argmax(out: np.ndarray, values: np.ndarray, axis: int) -> None:
    out[...] = np.argmax(values, axis=axis, keepdims=True)


def _argmin(out: np.ndarray, values: np.ndarray, axis: int) -> None:
    out[...] = np.argmin(values, axis=axis, keepdims=True)


def _take(out: np.ndarray, values: np.ndarray, indices: np.ndarray, axis: int) -> None:
    out[...] = np.take(values, _places(indices), axis=axis)


def _put(out: np.ndarray, values: np.ndarray, indices: np.ndarray, axis: int, extent: int) -> None:
    """Slices added at the indices, in order, to zeros."""
    out.fill(0.0)
    moved = values.astype(out.dtype, copy=False).swapaxes(0, axis)
    np.add.at(out.swapaxes(0, axis), _places(indices), moved)


def _places(indices: np.ndarray) -> np.ndarray:
    return indices.reshape(-1).astype(np.intp)


def _place(out: np.ndarray, part: np.ndarray, key: Sequence[Any], shape: tuple[int, ...]) -> None:
    out.fill(0.0)
    out[tuple(slice(*triple) for triple in key)] = part


def _concatenate(out: np.ndarray, *arrays: np.ndarray, axis: int) -> None:
    np.concatenate(arrays, axis=axis, out=out, casting="unsafe")


def _unfold(out: np.ndarray, images: np.ndarray, **attrs: Any) -> None:
    """The windows of images (C, H, W, n) as (C, R, S, P, Q, n), zero where they reach over the border."""
    of_image, of_window = image_shapes(images.shape[1], attrs)
    pixels, windows = images.reshape(of_image), out.reshape(of_window)
    windows.fill(0.0)
    for of_windows, of_images in _overlaps(windows.shape, attrs):
        windows[of_windows] = pixels[of_images]


def _fold(out: np.ndarray, windows: np.ndarray, **attrs: Any) -> None:
    """Windows added to images of zeros, in their order: a pixel is at a later place of an earlier window."""
    of_image, of_window = image_shapes(out.shape[1], attrs)
    pixels, parts = out.reshape(of_image), windows.reshape(of_window)
    pixels.fill(0.0)
    for of_windows, of_images in reversed(list(_overlaps(parts.shape, attrs))):
        pixels[of_images] += parts[of_windows]


def _overlaps(
    windows: tuple[int, ...], attrs: Mapping[str, Any]
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """For each place in a window, in order: the windows that have it inside the image, and the pixels there."""
    for place in np.ndindex(*attrs["window"]):
        inside, pixels = [], []
        for axis in range(len(place)):
            size, stride = attrs["size"][axis], attrs["strides"][axis]
            offset = place[axis] * attrs["dilation"][axis] - attrs["padding"][axis]
            first = max(0, -(offset // stride))  # the first window whose pixel is at 0 or behind
            last = max(first, min(windows[1 + len(place) + axis], (size - 1 - offset) // stride + 1))
            inside.append(slice(first, last))
            start = first * stride + offset
            pixels.append(slice(start, start + (last - first) * stride, stride))
        yield (slice(None), *place, *inside), (slice(None), *pixels)


def _elementwise(function: Callable[..., Any]) -> Callable[..., None]:
    def of_one(out: np.ndarray, values: np.ndarray) -> None:
        function(values.astype(out.dtype, copy=False), out=out)

    return of_one


def _sum(out: np.ndarray, values: np.ndarray, axis: int) -> None:
    np.add.reduce(values.astype(out.dtype, copy=False), axis=axis, keepdims=True, out=out)


def _mean(out: np.ndarray, values: np.ndarray, axis: int) -> None:
    _sum(out, values, axis)
    np.divide(out, values.shape[axis], out=out)


_NUMPYS_OWN: dict[str, Callable[..., None]] = {
    **{name: _elementwise(FUNCTIONS[name]) for name in ("exp", "exp2", "log", "log2", "tanh")},
    "sum": _sum,
    "mean": _mean,
}

_MOVES: dict[str, Callable[..., None]] = {
    **_NUMPYS_OWN,
    "argmax": _argmax,
    "argmin": _argmin,
    "take": _take,
    "put": _put,
    "place": _place,
    "concatenate": _concatenate,
    "unfold": _unfold,
    "fold": _fold,
}

_WINDOW_BY_WINDOW: dict[str, Callable[..., None]] = {
    "convolve": window_products.convolve,
    "deconvolve": window_products.deconvolve,
    "correlate": window_products.correlate,
}
