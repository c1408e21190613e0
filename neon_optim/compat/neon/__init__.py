"""neon, as a program finds it: each module by neon's own path, with neon's names, signatures and answers."""

from __future__ import annotations

from neon_optim.compat.display_logger import logger
from neon_optim.described.object import NervanaObject

__all__ = ["NervanaObject", "__version__", "logger"]

__version__ = "2.6.0"
"""The version whose behaviour this is."""
