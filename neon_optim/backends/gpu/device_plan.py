"""The plan of the GPU backend: the checks of the CPU's, on arrays in device memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from neon_optim.backends.contract import Parameter
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.device_table import DeviceTable
from neon_optim.backends.gpu.memory import device_array
from neon_optim.backends.plan import MemoryPlan

__all__ = ["DevicePlan"]


class DevicePlan(MemoryPlan):
    """Arguments as for :meth:`Backend.plan`, and the device."""

    table: DeviceTable

    def __init__(
        self,
        device: Device,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None,
        scopes: Sequence[int] | None,
        describe: Callable[[int], str] | None,
    ):
        super().__init__(
            parameters,
            slots,
            sets,
            scopes,
            describe,
            array_of=partial(device_array, device_id=device.device_id),
            table_of=partial(DeviceTable, device),
        )
