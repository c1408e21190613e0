"""neon.callbacks: what happens beside training."""

from __future__ import annotations

from neon_optim.compat.neon.callbacks.callbacks import Callbacks

__all__ = ["Callbacks"]
