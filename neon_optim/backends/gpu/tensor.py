"""Tensors in device memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.array_tensor import ArrayTensor
from neon_optim.backends.gpu.memory import address_of

__all__ = ["GPUTensor"]


class GPUTensor(ArrayTensor):
    """A tensor in device memory; made by :meth:`GPUBackend.array` and its sisters.

    PyCUDA, CuPy and PyTorch read and write the same memory through ``__cuda_array_interface__``.
    """

    __slots__ = ()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        array = self._array
        return {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (address_of(array) if array.size else 0, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "stream": 1,  # the legacy default stream
        }

    def get(self) -> np.ndarray:
        """A copy of the contents in host memory. Waits for the device."""
        return self.backend.download(self._array)

    def set(self, ary: Any) -> GPUTensor:
        """Copy an array of the same shape (or a vector of the same size) into the tensor."""
        self.backend.upload(self._array, self._source(ary))
        return self
