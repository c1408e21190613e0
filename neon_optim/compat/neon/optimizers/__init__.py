"""neon.optimizers: the optimizers and schedules of this package, whose signatures are neon's."""

from __future__ import annotations

from neon_optim import optimizers
from neon_optim.compat.neon.optimizers import optimizer
from neon_optim.optimizers import *  # noqa: F403

__all__ = list(optimizers.__all__)

MultiOptimizer = optimizer.MultiOptimizer  # type: ignore[misc]
