"""What the structural operations of op-trees do to whole arrays, made of a few primitive ones.

The arrays describe memory that only whoever does the primitive ones may read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.optree import Node
from neon_optim.backends.optree_shapes import image_shapes, result_shape
from neon_optim.errors import BackendError

__all__ = ["Held", "TreeArrays"]


class Held:
    """A float64 number that a backend keeps where it computed it, as an array of one element."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray):
        self.array = array


class TreeArrays(ABC):
    """Operations on arrays; a subclass does the work."""

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

    @abstractmethod
    def put(self, values: np.ndarray, indices: np.ndarray, axis: int, out: np.ndarray) -> None:
        """out = zeros to which the slices of values are added at the indices (a vector) along an axis, in order."""

    @abstractmethod
    def unfold(self, images: np.ndarray, windows: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """windows (C, R, S, P, Q, n) = the windows of images (C, H, W, n), zero where they reach over the border."""

    @abstractmethod
    def fold(self, windows: np.ndarray, images: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """images = zeros to which the windows are added, in their order."""

    def joined(self, node: Node) -> Any:
        """What an elementwise node becomes when its operands are lowered: itself, or a number that is held."""
        return node

    # --- what follows ---

    def leaf(self, value: Any) -> Any:
        """What stands in a tree beside nodes: an array of this backend, or a number."""
        if isinstance(value, Held):
            return value
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

    def copy_into(self, target: np.ndarray, array: np.ndarray) -> None:
        """target = array, which does not overlap it."""
        self.run(target, Node("slot", name="a0", index=1), [array])

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        """The array itself where its elements lie in C order, else a copy."""
        return array if array.flags.c_contiguous else self.copy(array)

    # --- structural operations on arrays; attrs are those of the node ---

    def transpose(self, a: np.ndarray, axes: Sequence[int] | None = None) -> np.ndarray:
        """A view with the axes in another order; None: 0 and 1 exchanged."""
        return a.swapaxes(0, 1) if axes is None else a.transpose(axes)

    def reshape(self, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The same elements in another shape: a view where they lie in order."""
        return self.contiguous(a).reshape(shape)

    def slice(self, a: np.ndarray, key: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """A view on a part."""
        return a[_slices(key)]

    def place(self, a: np.ndarray, key: Sequence[tuple[int, int, int]], shape: tuple[int, ...]) -> np.ndarray:
        """Zeros with a at the key."""
        out = self.empty(shape, a.dtype)
        self.run(out, 0.0, [])
        self.copy_into(out[_slices(key)], a)
        return out

    def concatenate(self, *arrays: np.ndarray, axis: int) -> np.ndarray:
        """The arrays one behind the other."""
        dtypes = {a.dtype for a in arrays}
        shape = result_shape("concatenate", [a.shape for a in arrays], {"axis": axis})
        out = self.empty(shape, dtypes.pop() if len(dtypes) == 1 else compute_type(dtypes))
        moved, start = np.moveaxis(out, axis, 0), 0
        for a in arrays:
            part = np.moveaxis(a, axis, 0)
            self.copy_into(moved[start : start + len(part)], part)
            start += len(part)
        return out

    def broadcast(self, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A view in which elements stand several times."""
        return np.broadcast_to(a, shape)

    def reduce(self, a: np.ndarray, kind: str, axis: int, keepdims: bool) -> np.ndarray:
        """A reduction along an axis."""
        if not a.shape[axis] and kind not in ("sum", "mean"):
            raise BackendError(f"{kind} along an axis of length 0 of shape {a.shape}")
        reduced = self.reduce_axis(kind, a, axis)
        return reduced if keepdims else reduced.reshape(-1, 1)

    def products(self, left: np.ndarray, right: np.ndarray, target: np.ndarray | None) -> np.ndarray:
        """The product, or one for each index of a first axis; in the target, where that can take it."""
        shape, dtype = (*left.shape[:-1], right.shape[-1]), compute_type([left.dtype, right.dtype])
        out = target
        if out is None or (out.shape, out.dtype) != (shape, dtype) or _overlap(out, left, right):
            out = self.empty(shape, dtype)
        if len(shape) == 2:
            self.product(left, right, out)
        for k in range(shape[0] if len(shape) == 3 else 0):
            self.product(left[k], right[k], out[k])
        return out

    def taken(self, a: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        """The slices at the indices along an axis."""
        return self.take(a, self._flat(indices), axis)

    def added(self, a: np.ndarray, indices: np.ndarray, axis: int, extent: int) -> np.ndarray:
        """Zeros to which the slices of a are added at the indices along an axis."""
        shape = result_shape("put", [a.shape, indices.shape], {"axis": axis, "extent": extent})
        out = self.empty(shape, compute_type([a.dtype]))
        self.put(a, self._flat(indices), axis, out)
        return out

    def unfolded(self, a: np.ndarray, **attrs: Any) -> np.ndarray:
        """The windows of images, (C·H·W, n) -> (C·R·S, P·Q·n)."""
        out = self.empty(result_shape("unfold", [a.shape], attrs), a.dtype)
        images, windows = image_shapes(a.shape[1], attrs)
        self.unfold(self.contiguous(a).reshape(images), out.reshape(windows), attrs)
        return out

    def folded(self, a: np.ndarray, **attrs: Any) -> np.ndarray:
        """Images to which windows are added, (C·R·S, P·Q·n) -> (C·H·W, n)."""
        out = self.empty(result_shape("fold", [a.shape], attrs), compute_type([a.dtype]))
        images, windows = image_shapes(out.shape[1], attrs)
        self.fold(self.contiguous(a).reshape(windows), out.reshape(images), attrs)
        return out

    def convolved(self, images: np.ndarray, filters: np.ndarray, **attrs: Any) -> np.ndarray:
        """Filters times the windows of images."""
        found = self.products(filters.T, self.unfolded(images, **attrs), None)
        return found.reshape(-1, images.shape[1])

    def deconvolved(self, errors: np.ndarray, filters: np.ndarray, **attrs: Any) -> np.ndarray:
        """The adjoint of :meth:`convolved` by the images."""
        wide = self.contiguous(errors).reshape(filters.shape[1], -1)
        return self.folded(self.products(filters, wide, None), **attrs)

    def correlated(self, images: np.ndarray, errors: np.ndarray, **attrs: Any) -> np.ndarray:
        """The adjoint of :meth:`convolved` by the filters."""
        _, count = result_shape("correlate", [images.shape, errors.shape], attrs)
        wide = self.contiguous(errors).reshape(count, -1)
        return self.products(self.unfolded(images, **attrs), wide.T, None)

    def one_hot(self, indices: np.ndarray, axis: int, extent: int) -> Node:
        """A row or column of numbers compared with the indices, as an elementwise node."""
        across = (1, -1) if axis == 0 else (-1, 1)
        places = self.array_of(np.arange(extent, dtype=np.float32).reshape(across[::-1]))
        return Node("equal", self._flat(indices).reshape(across), places)

    def _flat(self, array: np.ndarray) -> np.ndarray:
        return self.contiguous(array).reshape(-1)


def _overlap(target: np.ndarray, *arrays: np.ndarray) -> bool:
    return any(np.may_share_memory(target, a) for a in arrays)


def _slices(key: Sequence[tuple[int, int, int]]) -> tuple[slice, ...]:
    return tuple([slice(*triple) for triple in key])
