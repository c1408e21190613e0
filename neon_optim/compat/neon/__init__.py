"""neon, as a program finds it: each module by neon's own path, with neon's names, signatures and answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from neon_optim.compat.display_logger import DISPLAY as DISPLAY_LEVEL_NUM
from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.util.persist import load_class
from neon_optim.compat.neon.version import VERSION
from neon_optim.described.object import NervanaObject

__all__ = ["DISPLAY_LEVEL_NUM", "NervanaObject", "__version__", "get_args", "load_class", "logger"]


__version__ = VERSION


def get_args(func: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a function with their defaults; None where there is none."""
    parameters = inspect.signature(func).parameters.values()
    return {p.name: None if p.default is p.empty else p.default for p in parameters}
