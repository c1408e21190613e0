"""neon's Tensor: what tensors of all backends have in common under neon's names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends import contract
from neon_optim.backends.optree import Expression
from neon_optim.backends.shapes import at_least_2d
from neon_optim.compat.neon.backends.op_trees import OpTreeNode
from neon_optim.errors import BackendError

__all__ = ["Tensor"]

_ALL = slice(None)
_INDICES = (list, np.ndarray, contract.Tensor)


class Tensor(contract.Tensor):
    """A tensor as neon has it; mixed into the tensors of a backend.

    Beside those of :class:`neon_optim.backends.contract.Tensor`: a reshape to the same shape and ``t[:]`` are the
    tensor itself, a part of a tensor of three axes or more loses its axes of length 1 until two are left, a list of
    indices along an axis gives a copy, the transpose of a tensor of three axes or more exchanges its axes 1 and 2, a
    vector may be assigned to any tensor of its size, and a tensor counts as true where its first axis is not empty.

    References:
        neon/backends/backend.py, neon/backends/nervanacpu.py.
    """

    backend: Any
    _node = OpTreeNode
    _view: Any
    _array: np.ndarray
    persist_values = True
    _min_dims = 2

    @property
    def _ours(self) -> Any:
        """The tensor as the backend has it that this class is mixed with."""
        return super()

    @property
    def base(self) -> Any:
        """What the tensor is a view of; None for one of its own."""
        return None if self._view_of is None else self._view_of[0]

    @property
    def _original_base(self) -> Any:
        tensor = self
        while tensor.base is not None:
            tensor = tensor.base
        return tensor

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie one behind the other, in order."""
        return self.viewed.flags.c_contiguous

    def __bool__(self) -> bool:
        return len(self) > 0

    def __getitem__(self, key: Any) -> Any:
        if type(key) is slice and key == _ALL:
            return self
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, _INDICES) for k in keys):
            return self._taken(keys)
        part = self._ours.__getitem__(key)
        shape = _squeezed(part.shape)
        return part if shape == part.shape else part.reshape(shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        if any(isinstance(k, _INDICES) for k in (key if isinstance(key, tuple) else (key,))):
            raise BackendError("a tensor is assigned to by integers and slices, not by lists of indices")
        part = self[key]
        if isinstance(value, Expression):
            part._ours.__setitem__(_ALL, self.backend.drawn(value, part.shape))
        else:
            part.set(value)

    def _taken(self, keys: tuple[Any, ...]) -> Any:
        """A copy of the slices at the indices along one axis, and of that what the other keys take."""
        axes = [axis for axis, k in enumerate(keys) if isinstance(k, _INDICES)]
        if len(axes) > 1:
            raise BackendError("a tensor is indexed by a list of indices along one axis only")
        (axis,) = axes
        others = tuple(_ALL if k == axis else key for k, key in enumerate(keys))
        return self.take(keys[axis], axis)[others]

    def _assign(self, value: Any) -> Tensor:
        self[:] = value
        return self

    def set(self, ary: Any) -> Tensor:
        """Copy a number, or an array of the same size, into the tensor.

        Raises:
            BackendError: it has another shape, and is no vector.
        """
        source = np.asarray(ary)
        if source.ndim == 0:
            self._ours.__setitem__(_ALL, source.item())
            return self
        if source.ndim == 1 and source.size == self.size:
            source = source.reshape(self.shape)
        self._ours.set(source)
        return self

    def fill(self, value: float) -> Tensor:
        """Set every element to a number."""
        return self.set(value)

    def copy(self, a: Any = None) -> Any:
        """Copy from a tensor, op-tree, array or number, as in neon; without one, a new tensor like this."""
        return super().copy() if a is None else self._assign(a)

    def copy_from(self, source: Any) -> Tensor:
        """Copy from a tensor, op-tree, array or number."""
        return self._assign(source)

    def reshape(self, *shape: Any) -> Any:
        """A view of another shape; the tensor itself where it has that shape.

        Raises:
            ValueError: the sizes differ.
        """
        wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        if wanted == self.shape:
            return self
        if -1 not in wanted and math.prod(wanted) != self.size:
            raise ValueError(
                f"reshape: the shape {wanted} has {math.prod(wanted)} elements, the tensor of {self.shape} {self.size}"
            )
        return self._ours.reshape(wanted)

    def dimension_reorder(self, new_order: Sequence[int]) -> Any:
        """The elements where they are, in a shape whose extents are in another order."""
        return self.reshape([self.shape[axis] for axis in new_order])

    def share(self, shape: Any, dtype: Any = None, name: str | None = None) -> Any:
        """A view of a shape on the first elements; ``dtype`` has no effect.

        Raises:
            ValueError: the tensor has fewer elements.
        """
        wanted = at_least_2d(shape)
        size = math.prod(wanted)
        if size > self.size:
            raise ValueError(
                f"share: the shape {wanted} has {size} elements, the tensor of {self.shape} {self.size}"
            )
        flat = self.reshape((self.size, 1))
        shared = flat[:size].reshape(wanted)
        if name is not None:
            shared.name = name
        return shared

    @property
    def T(self) -> Any:  # noqa: N802 (neon's name)
        """A transposed view: of three axes or more the first stays and the next two are exchanged."""
        if len(self.shape) < 3:
            return super().T
        order = (0, 2, 1, *range(3, len(self.shape)))
        return self._view(self.viewed.transpose(order), "transpose", axes=order)

    @property
    def viewed(self) -> np.ndarray:
        """The array that views are taken of; on a device it describes the memory."""
        return self._array

    def transpose(self, out: Any = None) -> Any:
        """The transposed view; with ``out``, copied there."""
        if out is None:
            return self.T
        return OpTreeNode("assign", out, self.T).execute()

    def take(self, indices: Any, axis: int | None = None, out: Any = None) -> Any:
        """The slices at indices along an axis, as a new tensor or in ``out``; of all elements where axis is None."""
        source = self if axis is not None else self.reshape((1, self.size))
        axis = 1 if axis is None else axis % len(self.shape)
        if isinstance(indices, Expression):
            places: Any = indices
            count = indices.size  # type: ignore[attr-defined]
        else:
            places = self.backend.array(np.asarray(indices).reshape(-1), np.int32)
            count = places.size
        if out is None:
            shape = [count if k == axis else extent for k, extent in enumerate(source.shape)]
            out = self.backend.empty(tuple(shape), self.dtype)
        out[:] = self.backend.take(source, places, axis)
        return out

    def hist(self, tag: str) -> Any:
        """How many elements have each power of two as the nearest to their magnitude, kept by the backend under a tag.

        The first of the backend's ``hist_bins`` bins counts all below 2 to the power ``hist_offset + 1``, zeros too.
        """
        bins = np.arange(self.backend.hist_bins + 1) + float(self.backend.hist_offset)
        bins[0] = -np.inf
        with np.errstate(divide="ignore"):
            exponents = np.rint(np.log2(np.abs(self.get().astype(np.float32))))
        return self.backend._hist_tensor(tag).set(np.histogram(exponents, bins=bins)[0])

    def raw(self) -> int:
        """The address of the first element."""
        raise NotImplementedError


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a part in neon: axes of length 1 go while more than two are left.

    neon looks at the places of the axes one by one while it takes axes away, and so passes by the one behind each that
    it takes.
    """
    left = list(shape)
    for place in range(len(shape)):
        if 2 < len(left) > place and left[place] == 1:
            left.remove(1)
    return tuple(left)
