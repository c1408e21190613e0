"""Tensors in host memory, which they share with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.array_tensor import ArrayTensor

__all__ = ["CPUTensor"]


class CPUTensor(ArrayTensor):
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

    __slots__ = ()

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
        np.copyto(self._array, self._source(ary), casting="unsafe")
        return self
