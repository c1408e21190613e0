"""Tensors in host memory, which they share with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.graph import Leaf
from neon_optim.backends.shapes import as_slices, at_least_2d, resolve_shape, view_as
from neon_optim.errors import BackendError

__all__ = ["CPUTensor"]

_ALL = slice(None)


class CPUTensor(Tensor):
    """A tensor on a NumPy array; made by :meth:`CPUBackend.array` and its sisters.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu")
    >>> t = be.array([[1.0, 2.0], [3.0, 4.0]])
    >>> t[:] = t * 2.0 + 1.0
    >>> t.get()
    array([[3., 5.],
           [7., 9.]], dtype=float32)
    >>> import numpy as np
    >>> np.shares_memory(np.asarray(t), t.asnumpyarray())
    True
    """

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

    def get(self) -> np.ndarray:
        """A copy of the contents."""
        return self._array.copy()

    def asnumpyarray(self) -> np.ndarray:
        """A NumPy array on the same memory: what is written to it is written to the tensor."""
        return self._array.view()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            return self._array.astype(dtype)
        return self._array.copy() if copy else self._array.view()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        device, number = self._array.__dlpack_device__()
        return int(device), int(number)

    def set(self, ary: Any) -> CPUTensor:
        """Copy an array of the same shape (or a vector of the same size) into the tensor."""
        source = np.asarray(ary)
        if source.shape != self.shape and at_least_2d(source.shape) != at_least_2d(self.shape):
            raise BackendError(f"cannot set a tensor of shape {self.shape} from an array of {source.shape}")
        np.copyto(self._array, source.reshape(self.shape), casting="unsafe")
        return self

    def reshape(self, *shape: Any) -> CPUTensor:
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
    def T(self) -> CPUTensor:  # noqa: N802 (neon's name)
        """A view with axes 0 and 1 exchanged."""
        return self._view(self._array.swapaxes(0, 1), "transpose")

    def _view(self, array: np.ndarray, op: str, **attrs: Any) -> CPUTensor:
        view = type(self)(self.backend, array, self.name, self.rounding)
        view._view_of = (self, op, attrs)
        return view

    def __getitem__(self, key: Any) -> CPUTensor:
        return self._view(self._array[as_slices(key)], "slice", key=key)

    def __setitem__(self, key: Any, value: Any) -> None:
        whole = type(key) is slice and key == _ALL
        self.backend.assign(self if whole else self._array[as_slices(key)], value)
