"""neon_optim: neon-compatible optimizers, schedules and training state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neon_optim.described.object import NervanaObject
from neon_optim.version import __version__

if TYPE_CHECKING:
    from neon_optim.backends import cleanup_backend, gen_backend

__all__ = ["NervanaObject", "__version__", "cleanup_backend", "gen_backend"]


def __getattr__(name: str) -> Any:
    if name in ("gen_backend", "cleanup_backend"):
        from neon_optim import backends

        return getattr(backends, name)
    raise AttributeError(f"module 'neon_optim' has no attribute '{name}'")
