"""The names of :mod:`neon_optim.described.registry` that programs import from here."""

from neon_optim.described.registry import available, full_name, register, resolve

__all__ = ["available", "full_name", "register", "resolve"]
