"""Whether Intel's neon is there."""

from __future__ import annotations

import importlib
import sys

from neon_optim.described.object import NervanaObject
from neon_optim.errors import NeonInstalledError, NeonMissingError

__all__ = ["require_neon"]


def require_neon() -> None:
    """Import neon's backends.

    Raises:
        NeonMissingError: there is no neon.
        NeonInstalledError: what answers to its name is this package, or another one.
    """
    try:
        neon = importlib.import_module("neon")
        backends = importlib.import_module("neon.backends.nervanacpu")
    except ImportError as error:
        raise NeonMissingError(
            f"Intel's neon cannot be imported ({error}). This module puts our backends into it; to run programs that "
            "were written for neon without it, use neon_optim.compat.install_as_neon()"
        ) from error
    if neon.NervanaObject is NervanaObject:
        raise NeonInstalledError(
            "'neon' is this package here, by install_as_neon(): its backends are ours already; name 'cpu' or 'gpu'"
        )
    if not hasattr(backends, "NervanaCPU"):
        where = getattr(sys.modules["neon"], "__file__", "?")
        raise NeonInstalledError(f"the package 'neon' in {where} is not Intel's neon: it has no NervanaCPU")
