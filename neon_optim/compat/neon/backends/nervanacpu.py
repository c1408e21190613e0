"""neon.backends.nervanacpu: the CPU backend by neon's name."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.backends.cpu import backend as cpu
from neon_optim.backends.cpu import tensor as cpu_tensor
from neon_optim.backends.shapes import at_least_2d
from neon_optim.compat.neon.backends.backend import Backend, Tensor

__all__ = ["CPUTensor", "NervanaCPU"]


class CPUTensor(Tensor, cpu_tensor.CPUTensor):  # type: ignore[misc]  # neon's names mean what they mean in neon
    """A tensor in host memory, by neon's names; see :class:`~neon_optim.compat.neon.backends.tensor.Tensor`."""

    def raw(self) -> int:
        """The address of the first element."""
        return int(self._array.ctypes.data)


class NervanaCPU(Backend, cpu.CPUBackend):  # type: ignore[misc]  # neon's names mean what they mean in neon
    """The CPU backend.

    Arguments:
        rng_seed, default_dtype, compat_mode, hist_bins, hist_offset: see :class:`Backend`.
        num_devices, device_id: neon's; without effect.
        stochastic_round, deterministic, engine: see :func:`neon_optim.gen_backend`.

    References:
        neon/backends/nervanacpu.py.

    >>> from neon_optim.compat.neon.backends.nervanacpu import NervanaCPU
    >>> be = NervanaCPU(rng_seed=0)
    >>> x = be.array([[1.0, 2.0, 3.0]])
    >>> be.argmax(x).asnumpyarray(), be.mean(x, 1, None, be.empty((1, 1))).get()
    (array([[2.]], dtype=float32), array([[2.]], dtype=float32))
    """

    backend_name = "cpu"
    tensor_cls = CPUTensor
    device_type = 0
    device_id = 0
    use_pinned_mem = False

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        hist_bins: int = 64,
        hist_offset: int = -48,
        compat_mode: str | None = None,
        num_devices: int | None = None,
        stochastic_round: bool | int | None = None,
        device_id: int | None = None,
        deterministic: bool | None = None,
        *,
        engine: str = "auto",
    ):
        super().__init__(
            rng_seed,
            default_dtype,
            compat_mode,
            hist_bins,
            hist_offset,
            stochastic_round=stochastic_round or False,
            deterministic=bool(deterministic),
            engine=engine,
            as_numpy=True,
        )

    def _arguments(self) -> dict[str, Any]:
        mine = {name: getattr(self, name) for name in ("hist_bins", "hist_offset", "compat_mode")}
        return {**{name: value for name, value in super()._arguments().items() if name != "as_numpy"}, **mine}

    def empty(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> Any:
        """A tensor, which like neon's holds zeros."""
        return self.tensor_cls(self, np.zeros(at_least_2d(shape), dtype or self.default_dtype), name)

    def consume(self, buf_index: int, hostlist: Any, devlist: Any) -> None:
        """Copy the transpose of a host array into the tensor of a double buffer, which is made where there is none."""
        source = hostlist[buf_index].T
        if devlist[buf_index] is None:
            devlist[buf_index] = self.empty(source.shape, source.dtype)
        devlist[buf_index].set(source)
