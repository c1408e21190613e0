"""Tensors that a NumPy array stands for: it is their memory, or describes memory that only a backend can read."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.graph import Leaf
from neon_optim.backends.shapes import as_slices, at_least_2d, resolve_shape, view_as
from neon_optim.errors import BackendError

__all__ = ["ArrayTensor"]

_ALL = slice(None)

_Own = TypeVar("_Own", bound="ArrayTensor")


class ArrayTensor(Tensor):
    """What such tensors share: shapes and views, which NumPy computes, and what a graph knows of them."""

    __slots__ = ("_array", "_leaf")
    backend: Any
    _leaf: Leaf

    def __init__(self, backend: Any, array: np.ndarray, name: str | None = None, rounding: int = 0):
        super().__init__(backend, name, rounding)
        self._array = array  # never given to anybody, who could resize it: plans count on that

    @property
    def leaf(self) -> Leaf:
        """What a graph knows of the tensor; it stays the same."""
        try:
            return self._leaf
        except AttributeError:
            self._leaf = Leaf(self._array)
            return self._leaf

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self._array.dtype

    def _source(self, ary: Any) -> np.ndarray:
        """An array of the same shape, or a vector of the same size, in the shape of the tensor.

        Raises:
            BackendError: it is neither.
        """
        source = np.asarray(ary)
        if source.shape != self.shape and at_least_2d(source.shape) != at_least_2d(self.shape):
            raise BackendError(f"cannot set a tensor of shape {self.shape} from an array of {source.shape}")
        return source.reshape(self.shape)

    def reshape(self: _Own, *shape: Any) -> _Own:
        """A view of another shape on the same memory.

        Raises:
            BackendError: the sizes differ, or the memory cannot be viewed that way.
        """
        wanted = shape[0] if len(shape) == 1 else shape
        try:
            view = view_as(self._array, resolve_shape(wanted, self._array.size))
        except (AttributeError, ValueError) as error:
            raise BackendError(f"cannot view shape {self.shape} as {wanted}: {error}") from error
        return self._view(view, "reshape", shape=view.shape)

    @property
    def T(self: _Own) -> _Own:  # noqa: N802 (neon's name)
        """A view with axes 0 and 1 exchanged."""
        return self._view(self._array.swapaxes(0, 1), "transpose")

    def _view(self: _Own, array: np.ndarray, op: str, **attrs: Any) -> _Own:
        view = type(self)(self.backend, array, self.name, self.rounding)
        view._view_of = (self, op, attrs)
        return view

    def __getitem__(self: _Own, key: Any) -> _Own:
        return self._view(self._array[as_slices(key)], "slice", key=key)

    def __setitem__(self, key: Any, value: Any) -> None:
        whole = type(key) is slice and key == _ALL
        self.backend.assign(self if whole else self._array[as_slices(key)], value)
