"""What the GPU backend does for the steps of a graph, in device memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.backends.executor import Executor, RunLoop, belongs_elsewhere
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.fusion import Loop
from neon_optim.backends.gpu.cuda_engine import CudaEngine, Reduction
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.device_arrays import DeviceArrays
from neon_optim.backends.gpu.device_loops import DeviceLoop
from neon_optim.backends.gpu.memory import address_of, is_described, new_array
from neon_optim.backends.gpu.tensor import GPUTensor
from neon_optim.backends.graph import Leaf

__all__ = ["DeviceExecutor"]


class DeviceExecutor(Executor):
    """See :class:`Executor`. Nothing waits for the device: totals stay there, for the loops that read them."""

    def __init__(self, device: Device, engine: CudaEngine, arrays: DeviceArrays):
        self._device = device
        self._engine = engine
        self._arrays = arrays

    def leaf_of(self, value: Any) -> Leaf | None:
        """See :meth:`Executor.leaf_of`; a host array is uploaded."""
        if isinstance(value, GPUTensor):
            return value.leaf
        if isinstance(value, Tensor):
            raise belongs_elsewhere(value)
        if isinstance(value, np.ndarray) and value.ndim:
            if is_described(value):
                return Leaf(value)
            return Leaf(self.constant(value if value.dtype.name in FLOAT_TYPES else value.astype(np.float32)))
        return None

    def allocate(self, size: int) -> np.ndarray:
        """See :meth:`Executor.allocate`."""
        return new_array(self._device, (size,), np.dtype(np.uint8))

    def constant(self, values: np.ndarray) -> np.ndarray:
        """See :meth:`Executor.constant`."""
        out = new_array(self._device, values.shape, values.dtype)
        self._device.upload(address_of(out), np.ascontiguousarray(values))
        return out

    def loop(self, loop: Loop, memory: FlowMemory) -> RunLoop:
        """See :meth:`Executor.loop`."""
        return DeviceLoop(self._device, loop, memory, self._arrays.grid)

    def call(self, v: int, memory: FlowMemory) -> Callable[[], None]:
        """See :meth:`Executor.call`."""
        value, arrays = memory.graph.values[v], memory.arrays
        if value.is_number:
            return _Total(self._engine, self._arrays, v, memory)
        if value.op in ("dot", "batched_dot"):
            left, right = value.args
            return lambda: self._arrays.product(arrays[left], arrays[right], arrays[v])
        return lambda: self._arrays.move(value, [arrays[a] for a in value.args], arrays[v])


class _Total:
    """A total of an array of a flow; it stays on the device, in the fixed order of a sum.

    Where it is becomes the address of its value.
    """

    def __init__(self, engine: CudaEngine, arrays: DeviceArrays, v: int, memory: FlowMemory):
        self._engine, self._arrays, self._memory = engine, arrays, memory
        (self._a,) = memory.graph.values[v].args
        self._v, self._op = v, memory.graph.values[v].op
        self._reduction: Reduction | None = None

    def __call__(self) -> None:
        array = self._arrays.contiguous(self._memory.arrays[self._a])
        if self._reduction is None:
            self._reduction = self._engine.reduction(self._op, array.size, array.dtype)
            self._memory.addresses[self._v] = self._reduction.address
        self._reduction.run(address_of(array))
