"""neon.backends: makes backends and knows the one in use."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from neon_optim.backends.dtypes import float_dtype
from neon_optim.compat.neon.backends import nervanacpu, nervanagpu, nervanamkl
from neon_optim.compat.neon.backends.autodiff import Autodiff
from neon_optim.compat.neon.backends.backend import Backend
from neon_optim.compat.neon.backends.nervanacpu import NervanaCPU
from neon_optim.compat.neon.backends.nervanagpu import NervanaGPU
from neon_optim.compat.neon.backends.nervanamkl import NervanaMKL
from neon_optim.described.object import NervanaObject

__all__ = [
    "Autodiff",
    "Backend",
    "NervanaCPU",
    "NervanaGPU",
    "NervanaMKL",
    "cleanup_backend",
    "gen_backend",
    "nervanacpu",
    "nervanagpu",
    "nervanamkl",
]

logger = logging.getLogger(__name__)


def gen_backend(
    backend: str = "cpu",
    rng_seed: int | None = None,
    datatype: Any = np.float32,
    batch_size: int = 0,
    stochastic_round: bool | int = False,
    device_id: int = 0,
    max_devices: int | None = None,
    compat_mode: str | None = None,
    deterministic_update: Any = None,
    deterministic: bool | None = None,
) -> Any:
    """Make a backend, set it as ``NervanaObject.be`` and return it; the one before is cleaned up.

    Arguments:
        backend: 'cpu', 'gpu', 'mkl' (the CPU too), or the ``backend_name`` of a subclass of :class:`Backend`.
        rng_seed: seed of ``be.rng``.
        datatype: type of new tensors.
        batch_size: elements of a minibatch, ``be.bsz``.
        stochastic_round: round what optimizers store stochastically, to so many mantissa bits (True: the type's).
        device_id, max_devices: of GPUs.
        compat_mode: 'caffe', or None.
        deterministic_update: neon's; without effect.
        deterministic: see :func:`neon_optim.gen_backend`.

    Raises:
        ValueError: there is no such backend.

    >>> be = gen_backend("cpu", rng_seed=0, batch_size=128)
    >>> be.iobuf(10).shape
    (10, 128)
    """
    cleanup_backend()
    if deterministic_update is not None:
        logger.warning("deterministic_update has no effect; a seed, rng_seed, makes runs repeatable")
    made = Backend.allocate_backend(
        backend,
        rng_seed=rng_seed,
        default_dtype=float_dtype(datatype),
        stochastic_round=stochastic_round,
        device_id=device_id,
        num_devices=max_devices,
        compat_mode=compat_mode,
        deterministic=deterministic,
    )
    made.bsz = batch_size
    NervanaObject.be = made
    logger.info("Backend: %s, RNG seed: %s", backend, rng_seed)
    return made


def cleanup_backend() -> None:
    """Clean up the backend in use, if there is one, and unset it."""
    current, NervanaObject.be = NervanaObject.be, None
    if current is not None:
        getattr(current, "cleanup_backend", current.close)()
