"""neon.backends.nervanamkl: neon's backend on Intel's engine, which is no more; the CPU backend by its name."""

from __future__ import annotations

import logging
from typing import Any

from neon_optim.compat.neon.backends.nervanacpu import CPUTensor, NervanaCPU

__all__ = ["MKLTensor", "NervanaMKL"]

logger = logging.getLogger(__name__)

MKLTensor = CPUTensor


class NervanaMKL(NervanaCPU):
    """The CPU backend, for programs that ask for 'mkl'; arguments are those of :class:`NervanaCPU`."""

    backend_name = "mkl"

    def __init__(self, *arguments: Any, **options: Any):
        logger.warning("backend 'mkl' is Intel's; the CPU backend is used instead")
        super().__init__(*arguments, **options)
