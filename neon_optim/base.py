"""The names of :mod:`neon_optim.described` that programs import from here."""

from neon_optim.described.build import build, from_description, is_description
from neon_optim.described.object import NervanaObject
from neon_optim.described.values import plain

__all__ = ["NervanaObject", "build", "from_description", "is_description", "plain"]
