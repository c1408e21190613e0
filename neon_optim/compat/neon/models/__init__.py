"""neon.models: models."""

from __future__ import annotations

from neon_optim.compat.neon.models.model import Model

__all__ = ["Model"]
