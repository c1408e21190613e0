"""The backend `neon_optim_gpu` of Intel's neon: our GPU backend under neon's names, with tensors that neon takes.

neon's NervanaGPU needs kernels for cards that are no longer made. Here layers, models and callbacks are neon's, and all
they compute is ours: tensors are in device memory, and what neon calls a backend for is done by op-trees of ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from neon.backends.backend import Backend as NeonBackend
from neon.backends.backend import Tensor as NeonTensor

from neon_optim.backends.optree import Expression
from neon_optim.compat.neon.backends.nervanagpu import GPUTensor, NervanaGPU
from neon_optim.described.object import NervanaObject

__all__ = ["DeviceTensor", "NeonOptimGPU"]


class DeviceTensor(GPUTensor, NeonTensor):
    """Our tensor in device memory; to neon's layers it is a Tensor."""


class NeonOptimGPU(NervanaGPU):
    """neon's GPU backend, by ours; arguments are those of neon's NervanaGPU.

    While it is neon's backend it is ``neon_optim.NervanaObject.be``, so that our optimizers run on the device, too.
    """

    backend_name = "neon_optim_gpu"
    tensor_cls = DeviceTensor

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.default_dtype = np.dtype(self.default_dtype).type  # neon asks whether it is numpy.float64 itself
        NervanaObject.be = self

    def cleanup_backend(self) -> None:
        """Give the device back."""
        if NervanaObject.be is self:
            NervanaObject.be = None
        super().cleanup_backend()

    def shift(self, a: Any, b: Any, value: bool = True, out: Any = None) -> Any:  # type: ignore[override]
        """See :meth:`NervanaGPU.shift`; of numbers a tensor, whose value neon's ShiftSchedule takes."""
        if out is None and not isinstance(a, Expression) and not isinstance(b, Expression):
            out = self.empty((1, 1))
        return super().shift(a, b, value, out)


NeonBackend.register(NeonOptimGPU)
NeonBackend.backends[NeonOptimGPU.backend_name] = NeonOptimGPU
