"""Backends: where tensors live and how work is done on them.

:func:`gen_backend` makes one and sets it for all objects; :func:`cleanup_backend` frees it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from neon_optim.backends.autodiff import Autodiff
from neon_optim.backends.derivatives import gradients
from neon_optim.backends.dtypes import float_dtype
from neon_optim.backends.optree import stated
from neon_optim.described.object import NervanaObject
from neon_optim.errors import BackendError

__all__ = ["Autodiff", "cleanup_backend", "gen_backend", "gradients", "stated"]


def gen_backend(
    backend: str = "cpu",
    rng_seed: int | None = None,
    datatype: Any = np.float32,
    batch_size: int = 0,
    stochastic_round: bool | int = False,
    device_id: int = 0,
    max_devices: int | None = None,
    compat_mode: str | None = None,
    deterministic: bool | None = None,
    *,
    engine: str = "auto",
) -> Any:
    """Make a backend, set it as ``NervanaObject.be`` and return it (neon/backends/__init__.py).

    Arguments:
        backend: 'cpu', 'gpu', or a name registered under the entry-point group ``neon_optim.backends``; neon's 'mkl'
            is taken as 'cpu' with a warning.
        rng_seed: seed of ``be.rng`` and of the counter-based random numbers, an integer from 0 to 2³² - 1; None: from
            the operating system.
        datatype: type of new tensors: float16, bfloat16, float32 or float64.
        batch_size: elements of a minibatch; optimizers divide gradients by it. 0: not set, which counts as 1.
        stochastic_round: round stores stochastically, to so many mantissa bits (True: what the type has).
        device_id: which GPU.
        max_devices, compat_mode: neon's; accepted, without effect.
        deterministic: give the same bits on every engine, backend and processor, for matrix products and for exp, log
            and their like too; docs/numerics.md says what it costs. Without it a result is the same each time on one
            machine with one engine.
        engine: for 'cpu': 'numpy', 'numba', or 'auto' (Numba where it is installed).

    Raises:
        BackendError: no such backend, engine or datatype, no such seed, or the device is not usable.

    >>> be = gen_backend("cpu", rng_seed=1, batch_size=32)
    >>> be.bsz, be.zeros((2, 3)).shape
    (32, (2, 3))
    """
    options: dict[str, Any] = {
        "rng_seed": rng_seed,
        "default_dtype": float_dtype(datatype),
        "batch_size": _batch_size(batch_size),
        "stochastic_round": stochastic_round,
    }
    if backend == "mkl":
        warnings.warn("backend 'mkl' is neon's; 'cpu' is used instead", UserWarning, stacklevel=2)
        backend = "cpu"
    if not isinstance(deterministic, (bool, np.bool_, type(None))):
        raise BackendError(f"deterministic must be True, False or None, received {deterministic!r}")
    if deterministic:
        options["deterministic"] = True
    made: Any
    if backend == "cpu":
        from neon_optim.backends.cpu.backend import CPUBackend

        made = CPUBackend(engine=engine, **options)
    elif backend == "gpu":
        from neon_optim.backends.gpu.backend import GPUBackend

        made = GPUBackend(device_id=device_id, **options)
    else:
        made = _plugged_in(backend)(device_id=device_id, **options)
    NervanaObject.be = made
    return made


def _plugged_in(name: str) -> Any:
    from neon_optim.described.registry import resolve

    return resolve(name, "backend")


def _batch_size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise BackendError(f"batch_size must be an integer >= 0 (0: not set), received {value!r}")
    return int(value)


def cleanup_backend() -> None:
    """Free what the current backend holds and unset it. Does nothing where there is none."""
    current, NervanaObject.be = NervanaObject.be, None
    if current is not None:
        current.close()
