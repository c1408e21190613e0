"""Tensors in device memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.gpu.memory import address_of
from neon_optim.backends.graph import Leaf
from neon_optim.backends.shapes import as_slices, at_least_2d, resolve_shape, view_as
from neon_optim.errors import BackendError

__all__ = ["GPUTensor"]

_ALL = slice(None)


class GPUTensor(Tensor):
    """A tensor in device memory; made by :meth:`GPUBackend.array` and its sisters.

    PyCUDA, CuPy and PyTorch read and write the same memory through ``__cuda_array_interface__``.
    """

    __slots__ = ("_layout", "_leaf")
    backend: Any
    _leaf: Leaf

    def __init__(self, backend: Any, layout: np.ndarray, name: str | None = None, rounding: int = 0):
        super().__init__(backend, name, rounding)
        self._layout = layout

    @property
    def leaf(self) -> Leaf:
        """What a graph knows of the tensor; it stays the same."""
        try:
            return self._leaf
        except AttributeError:
            self._leaf = Leaf(self._layout)
            return self._leaf

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis."""
        return self._layout.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self._layout.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        array = self._layout
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
        return self.backend.download(self._layout)

    def set(self, ary: Any) -> GPUTensor:
        """Copy an array of the same shape (or a vector of the same size) into the tensor."""
        source = np.asarray(ary)
        if source.shape != self.shape and at_least_2d(source.shape) != at_least_2d(self.shape):
            raise BackendError(f"cannot set a tensor of shape {self.shape} from an array of {source.shape}")
        self.backend.upload(self._layout, source.reshape(self.shape))
        return self

    def reshape(self, *shape: Any) -> GPUTensor:
        """A view of another shape on the same memory.

        Raises:
            BackendError: the sizes differ, or the memory cannot be viewed that way.
        """
        wanted = resolve_shape(shape[0] if len(shape) == 1 else shape, self._layout.size)
        try:
            view = view_as(self._layout, wanted)
        except (AttributeError, ValueError) as error:
            raise BackendError(f"cannot view shape {self.shape} as {wanted}: {error}") from error
        return self._view(view, "reshape", shape=view.shape)

    @property
    def T(self) -> GPUTensor:  # noqa: N802 (neon's name)
        """A view with axes 0 and 1 exchanged."""
        return self._view(self._layout.swapaxes(0, 1), "transpose")

    def _view(self, layout: np.ndarray, op: str, **attrs: Any) -> GPUTensor:
        view = type(self)(self.backend, layout, self.name, self.rounding)
        view._view_of = (self, op, attrs)
        return view

    def __getitem__(self, key: Any) -> GPUTensor:
        return self._view(self._layout[as_slices(key)], "slice", key=key)

    def __setitem__(self, key: Any, value: Any) -> None:
        whole = type(key) is slice and key == _ALL
        self.backend.assign(self if whole else self._layout[as_slices(key)], value)
