"""neon.backends.nervanagpu: the GPU backend by neon's name. Nothing of CUDA is loaded before one is made."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.gpu import backend as gpu
from neon_optim.backends.gpu import tensor as gpu_tensor
from neon_optim.compat.neon.backends.backend import Backend, Tensor

__all__ = ["GPUTensor", "NervanaGPU"]


class GPUTensor(Tensor, gpu_tensor.GPUTensor):  # type: ignore[misc]  # neon's names mean what they mean in neon
    """A tensor in device memory, by neon's names; see :class:`~neon_optim.compat.neon.backends.tensor.Tensor`."""

    def raw(self) -> int:
        """The address of the first element, on the device."""
        address: int = self.__cuda_array_interface__["data"][0]
        return address

    @property
    def ptr(self) -> int:
        """The address of the first element, on the device."""
        return self.raw()


class NervanaGPU(Backend, gpu.GPUBackend):  # type: ignore[misc]  # neon's names mean what they mean in neon
    """An NVIDIA GPU.

    Arguments:
        rng_seed, default_dtype, compat_mode, hist_bins, hist_offset: see :class:`Backend`.
        stochastic_round, device_id, deterministic: see :func:`neon_optim.gen_backend`.
        bench, scratch_size, enable_winograd, num_devices: neon's; without effect.

    References:
        neon/backends/nervanagpu.py.
    """

    backend_name = "gpu"
    tensor_cls = GPUTensor
    device_type = 1

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        stochastic_round: bool | int = False,
        deterministic: bool | None = None,
        device_id: int = 0,
        bench: bool = False,
        scratch_size: int = 0,
        hist_bins: int = 64,
        hist_offset: int = -48,
        compat_mode: str | None = None,
        enable_winograd: bool = True,
        num_devices: int | None = None,
    ):
        self.device_id = device_id
        self.bench, self.enable_winograd = bench, enable_winograd
        super().__init__(
            rng_seed,
            default_dtype,
            compat_mode,
            hist_bins,
            hist_offset,
            stochastic_round=stochastic_round or False,
            deterministic=bool(deterministic),
            device_id=device_id,
        )

    def empty(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> Any:
        """A tensor, which holds zeros, as on the CPU."""
        tensor: Any = super().empty(shape, dtype, name)
        with self.device.context:
            if tensor.size:
                self.device.zero(tensor.raw(), tensor.size * tensor.dtype.itemsize)
        return tensor

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor number of the device's compute capability."""
        return self.device.compute_capability
