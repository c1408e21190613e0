"""neon.models.model: neon's models."""

from __future__ import annotations

from neon_optim.compat.neon.models.base import Model
from neon_optim.compat.neon.models.gan import GAN

__all__ = ["GAN", "Model"]

for _cls in (GAN, Model):
    _cls.__module__ = __name__  # what descriptions call it
