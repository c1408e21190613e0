"""The plan of the CPU backend: arrays in host memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from neon_optim.backends.contract import Parameter, Tensor
from neon_optim.backends.cpu.table import HostTable
from neon_optim.backends.cpu.tensor import CPUTensor
from neon_optim.backends.plan import MemoryPlan
from neon_optim.backends.watch import Differ
from neon_optim.errors import StateError

__all__ = ["HostPlan", "host_array"]


def host_array(value: Any) -> np.ndarray:
    """A NumPy array on the memory of a tensor, an array, or an object that shares its memory with NumPy.

    Raises:
        StateError: the object has no memory that NumPy can share.
    """
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):
            raise StateError(
                "the array has a mask, which a step would not keep to; give its .data, or .filled()"
            )
        return value
    if isinstance(value, CPUTensor):
        return value._array
    if isinstance(value, Tensor):
        raise StateError(f"{value!r} does not live in host memory: it belongs to another backend")
    neons = getattr(value, "_tensor", None)  # where neon's CPU tensors keep theirs
    if isinstance(neons, np.ndarray):
        return neons
    if not any(hasattr(value, p) for p in ("__array__", "__array_interface__", "__dlpack__", "__buffer__")):
        raise StateError(
            f"expected a tensor or a NumPy array, received {type(value).__name__}: {value!r:.60}"
        )
    if getattr(value, "requires_grad", False):  # PyTorch shares the memory of detached tensors only
        value = value.detach()
    try:
        array = np.asarray(value)
        if hasattr(value, "data_ptr") and value.data_ptr() == array.__array_interface__["data"][0]:
            return array
        again = np.asarray(value)
    except Exception as error:
        raise StateError(f"{type(value).__name__} cannot share its memory with NumPy: {error}") from error
    if array.size and not np.shares_memory(array, again):
        raise StateError(
            f"{type(value).__name__} gives NumPy a copy of its memory, so it cannot be updated in place"
        )
    return array


class HostPlan(MemoryPlan):
    """Arguments as for :meth:`Backend.plan`, and ``differ`` as for :class:`MemoryPlan`."""

    table: HostTable

    def __init__(
        self,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
        describe: Callable[[int], str] | None = None,
        starts: Sequence[int] | None = None,
        differ: Differ | None = None,
    ):
        table_of = HostTable if starts is None else partial(HostTable, starts=starts)
        super().__init__(
            parameters, slots, sets, scopes, describe, array_of=host_array, table_of=table_of, differ=differ
        )
