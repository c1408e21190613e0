"""The GPU backend: tensors in device memory, trees and Programs run as CUDA kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend, Captured, Outcome, Parameter, Plan, Rounding, Tensor
from neon_optim.backends.flows import Flows, Replay
from neon_optim.backends.gpu.cuda_engine import CudaEngine
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.device_arrays import DeviceArrays
from neon_optim.backends.gpu.device_executor import DeviceExecutor
from neon_optim.backends.gpu.device_plan import DevicePlan
from neon_optim.backends.gpu.memory import address_of, device_array, new_array
from neon_optim.backends.gpu.tensor import GPUTensor
from neon_optim.backends.program import Program
from neon_optim.backends.shapes import at_least_2d
from neon_optim.errors import BackendError

__all__ = ["GPUBackend"]


class _InContext(Captured):
    """Captured assignments, done in the context of their device."""

    def __init__(self, device: Device, replay: Replay):
        self._device = device
        self._replay = replay

    def __call__(self, *inputs: Tensor) -> None:
        """See :class:`Captured`."""
        with self._device.context:
            self._replay(*inputs)


class GPUBackend(Backend):
    """An NVIDIA GPU, by PyCUDA; arguments as for :func:`neon_optim.gen_backend`.

    Work runs in the device's default stream; only :meth:`GPUTensor.get` and its like wait for it.

    Attributes:
        tensor_cls: the class of its tensors.
        device: the device in use.
        deterministic: whether results have the bits of every other deterministic backend.
    """

    name = "gpu"
    tensor_cls: type[GPUTensor] = GPUTensor

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        batch_size: int = 0,
        stochastic_round: bool | int = False,
        device_id: int = 0,
        deterministic: bool = False,
    ):
        super().__init__(rng_seed, default_dtype, batch_size, stochastic_round)
        self.deterministic = deterministic
        self.device = Device(device_id)
        with self.device.context:
            self.engine = CudaEngine(self.device)
            self._arrays = DeviceArrays(self.device, deterministic)
            self._flows = Flows(DeviceExecutor(self.device, self.engine, self._arrays))

    def empty(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> GPUTensor:
        """A tensor of undefined contents."""
        with self.device.context:
            array = new_array(self.device, at_least_2d(shape), np.dtype(dtype or self.default_dtype))
        return self.tensor_cls(self, array, name)

    def as_tensor(self, value: Any) -> Tensor:
        """A tensor on the memory of an object with ``__cuda_array_interface__``; a tensor as it is."""
        if isinstance(value, GPUTensor):
            return value
        array = device_array(value)
        return self.tensor_cls(self, array.reshape(at_least_2d(array.shape)) if array.ndim < 2 else array)

    def assign(self, target: np.ndarray | GPUTensor, tree: Any) -> None:
        """Run an op-tree into a described array; what ``tensor[:] = tree`` calls."""
        with self.device.context:
            self._flows.assign(target, tree)

    def assign_all(
        self, assignments: Sequence[tuple[Tensor, Any]], values: Sequence[tuple[Any, Tensor]] = ()
    ) -> None:
        """See :meth:`Backend.assign_all`."""
        with self.device.context:
            self._flows.assign_all(assignments, {id(node): value for node, value in values})

    def upload(self, target: np.ndarray, source: np.ndarray) -> None:
        """Copy a host array into a described one of the same shape."""
        converted = np.ascontiguousarray(source, dtype=target.dtype)
        with self.device.context:
            if target.flags.c_contiguous:
                self.device.upload(address_of(target), converted)
            else:
                self._flows.assign(target, converted)

    def download(self, source: np.ndarray) -> np.ndarray:
        """A host copy of a described array, after all work before it.

        Raises:
            NonFiniteError: a step before was refused.
        """
        out = np.empty(source.shape, source.dtype)
        with self.device.context:
            self.device.download(out, address_of(self._arrays.contiguous(source)))
            self.engine.check()
        return out

    def capture(
        self,
        assignments: Sequence[tuple[Tensor, Any]],
        inputs: Sequence[Tensor] = (),
        values: Sequence[tuple[Any, Tensor]] = (),
    ) -> Captured:
        """See :meth:`Backend.capture`."""
        with self.device.context:
            return _InContext(
                self.device,
                self._flows.capture(assignments, inputs, {id(node): value for node, value in values}),
            )

    def plan(
        self,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
        describe: Callable[[int], str] | None = None,
        starts: Sequence[int] | None = None,
    ) -> Plan:
        """Check a list of parameters; see :meth:`Backend.plan`."""
        if starts is not None and any(starts):
            raise BackendError("the GPU backend updates whole tensors, not parts of them")
        with self.device.context:
            return DevicePlan(self.device, parameters, slots, sets, scopes, describe)

    def execute(
        self,
        program: Program,
        plan: Plan,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """Run a Program over every row of a plan; see :meth:`Backend.execute`."""
        if not isinstance(plan, DevicePlan):
            raise BackendError(f"a plan of another backend: {type(plan).__name__}")
        with self.device.context:
            for _, array, copy in plan.table.copies:
                self._arrays.copy(array, copy)
            outcome = self.engine.execute(program, plan.table, scalars, rounding)
            written = {slot for slot, _ in program.outputs}
            for slot, array, copy in plan.table.copies:
                if slot in written:
                    self._arrays.copy(copy, array)
            return outcome

    def settle(self) -> None:
        """See :meth:`Backend.settle`; waits for the device where an execution may have been refused."""
        with self.device.context:
            if self.engine.undecided():
                self.device.synchronize()
                self.engine.check()

    def bernoulli(self, out: Tensor, keep: float, *, stream: int, step: int) -> Tensor:
        """Set each element to 1 with probability ``keep``, else to 0; see :meth:`Backend.bernoulli`."""
        limit = round(keep * 2.0**32)
        with self.device.context:
            array = device_array(out)
            drawn = array if array.flags.c_contiguous else new_array(self.device, array.shape, array.dtype)
            self._arrays.bernoulli(drawn, limit, self.noise_seed, stream, step)
            if drawn is not array:
                self._arrays.copy(drawn, array)
        return out

    def close(self) -> None:
        """Wait for the device, free memory that no tensor holds, and leave the device's context.

        Raises:
            NonFiniteError: the last steps were refused, which nobody has been told yet. The backend is closed all the
                same.
        """
        if self.device.closed:
            return
        try:
            with self.device.context:
                self.device.synchronize()
                self.engine.check()
        finally:
            with self.device.context:
                self._flows.close()
                self._arrays.close()
                self.engine.close()
            self.device.close()
