"""Device arrays: NumPy computes their shapes, strides and views, on addresses that it never reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from neon_optim.backends.array_tensor import ArrayTensor
from neon_optim.backends.contract import Tensor
from neon_optim.backends.dtypes import float_dtype
from neon_optim.errors import StateError

if TYPE_CHECKING:
    from neon_optim.backends.gpu.device import Device

__all__ = ["address_of", "device_array", "is_described", "layout", "new_array"]


class _Interface:
    """What NumPy makes an array from; the array keeps it, and with it the memory's owner, alive."""

    def __init__(self, interface: dict[str, Any], owner: Any):
        self.__array_interface__ = interface
        self.owner = owner


def layout(
    address: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    owner: Any,
    strides: tuple[int, ...] | None = None,
    read_only: bool = False,
) -> np.ndarray:
    """A NumPy array that describes device memory: slice, reshape and broadcast it, but never read or write it.

    Arguments:
        address: of the first element, on the device.
        strides: in bytes; None: C order.
        owner: kept alive as long as the array or a view of it.
    """
    interface = {
        "version": 3,
        "shape": shape,
        "typestr": f"<u{dtype.itemsize}",
        "strides": strides,
        "data": (address or 1, read_only),  # 0, as zero-size arrays may have it, is NumPy's "no data"
    }
    return np.asarray(_Interface(interface, owner)).view(dtype)


def new_array(device: Device, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Describes newly allocated device memory of undefined contents."""
    memory = device.allocate(math.prod(shape) * dtype.itemsize)
    return layout(int(memory), shape, dtype, memory)


def address_of(array: np.ndarray) -> int:
    """Where a described array begins on the device."""
    return int(array.__array_interface__["data"][0])


def is_described(array: np.ndarray) -> bool:
    """Whether an array came from :func:`layout`, and so must not be read."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, _Interface)


def device_array(value: Any, device_id: int | None = None) -> np.ndarray:
    """The description of a tensor of the GPU backend, or of any object with ``__cuda_array_interface__``.

    Raises:
        StateError: the object is not in device memory, or is a tensor of another device than ``device_id``.
    """
    if isinstance(value, Tensor):
        if not (isinstance(value, ArrayTensor) and is_described(value._array)):
            raise StateError(f"{value!r} does not live in device memory: it belongs to another backend")
        home = value.backend.device.device_id
        if device_id not in (None, home):
            raise StateError(f"{value!r} lives on device {home}, this backend uses device {device_id}")
        return value._array
    if getattr(value, "requires_grad", False):  # PyTorch hands out the memory of detached tensors only
        value = value.detach()
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is None:
        raise StateError(
            f"{type(value).__name__} is not in device memory: the GPU backend takes its own tensors and objects with "
            "__cuda_array_interface__ (PyCUDA, CuPy, PyTorch); copy with be.array(...)"
        )
    if interface.get("mask") is not None:
        raise StateError(f"{type(value).__name__} has a mask, which is not supported")
    address, read_only = interface["data"]
    dtype = _dtype_of(value, interface["typestr"])
    return layout(address, tuple(interface["shape"]), dtype, value, interface.get("strides"), read_only)


def _dtype_of(value: Any, typestr: str) -> np.dtype:
    """What the elements are; the interface has no word for bfloat16, which is called two bytes of anything."""
    dtype = np.dtype(typestr)
    if dtype.kind != "V":
        return dtype
    name = str(getattr(value, "dtype", "")).rpartition(".")[2]  # 'torch.bfloat16' in PyTorch
    if dtype.itemsize != 2 or name != "bfloat16":
        raise StateError(f"{type(value).__name__} has elements of the type {typestr!r} ({name or 'no name'})")
    return float_dtype(name)
