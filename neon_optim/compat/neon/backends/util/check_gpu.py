"""neon.backends.util.check_gpu: which GPUs there are, by PyCUDA."""

from __future__ import annotations

import importlib
from typing import Any

from neon_optim.compat.display_logger import logger

__all__ = ["ensure_gpu_capability", "get_compute_capability", "get_device_count"]

_LEAST_CAPABILITY = 3.0


def get_device_count(verbose: bool = False) -> int:
    """How many GPUs there are; 0 where PyCUDA or the driver is missing.

    Arguments:
        verbose: say so in the log.
    """
    cuda = _driver(verbose)
    count = 0 if cuda is None else int(cuda.Device.count())
    if verbose and cuda is not None:
        logger.display("Found %d GPU(s)", count)
    return count


def get_compute_capability(device_id: int | None = None, verbose: bool = False) -> float:
    """The compute capability of a GPU, such as 9.0; 0 where there is none.

    Arguments:
        device_id: which one; None: the highest of all.
        verbose: say so in the log.
    """
    cuda = _driver(verbose)
    if cuda is None:
        return 0.0
    numbers = range(cuda.Device.count()) if device_id is None else [device_id]
    found = []
    for number in numbers:
        major, minor = cuda.Device(number).compute_capability()
        found.append(major + minor / 10.0)
    if verbose:
        logger.display("Found GPU(s) with compute capability: %s", found)
    return max(found, default=0.0)


def ensure_gpu_capability(device_id: int) -> None:
    """Refuse a GPU that is too old.

    Raises:
        RuntimeError: its compute capability is below 3.0, or there is none.
    """
    found = get_compute_capability(device_id)
    if found < _LEAST_CAPABILITY:
        raise RuntimeError(
            f"GPU {device_id} has compute capability {found}; {_LEAST_CAPABILITY} or more is needed"
        )


def _driver(verbose: bool) -> Any:
    """PyCUDA's driver module, ready for use; None where it is not usable."""
    try:
        cuda = importlib.import_module("pycuda.driver")
        cuda.init()
    except Exception as error:  # ImportError, or what PyCUDA raises without a driver
        if verbose:
            logger.display("No GPU is usable: %s", error)
        return None
    return cuda
