"""The plan of the GPU backend: the checks of the CPU's, on arrays in device memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from neon_optim.backends.backend import Parameter, Tensor
from neon_optim.backends.cpu.plan import HostPlan
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.layout import address_of, device_array
from neon_optim.backends.gpu.table import DeviceTable

__all__ = ["DevicePlan"]


class DevicePlan(HostPlan):
    """Arguments as for :meth:`Backend.plan`, and the device."""

    array_of = staticmethod(device_array)

    def __init__(
        self,
        device: Device,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None,
        scopes: Sequence[int] | None,
        describe: Callable[[int], str] | None,
    ):
        self.table_of = partial(DeviceTable, device)
        super().__init__(parameters, slots, sets, scopes, describe)
        self._foreign = [
            (value, array)
            for value, (array, *_) in zip(self._objects, self._layout, strict=True)
            if not isinstance(value, Tensor)
        ]

    def fits(self, parameters: Sequence[Parameter]) -> bool:
        """Whether these are the same arrays, where they were, of the same shapes."""
        return super().fits(parameters) and all(
            _same_place(device_array(value), array) for value, array in self._foreign
        )


def _same_place(now: np.ndarray, then: np.ndarray) -> bool:
    return address_of(now) == address_of(then) and now.shape == then.shape and now.strides == then.strides
