"""neon.initializers: first values of parameters."""

from __future__ import annotations

from neon_optim.compat.neon.initializers.initializer import (
    Array,
    Constant,
    Gaussian,
    GlorotUniform,
    IdentityInit,
    Kaiming,
    Orthonormal,
    Uniform,
    Xavier,
)

__all__ = [
    "Array",
    "Constant",
    "Gaussian",
    "GlorotUniform",
    "IdentityInit",
    "Kaiming",
    "Orthonormal",
    "Uniform",
    "Xavier",
]
