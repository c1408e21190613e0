"""neon.layers."""

from __future__ import annotations

from neon_optim.compat.neon.layers.container import Sequential
from neon_optim.compat.neon.layers.layer import (
    Activation,
    Affine,
    BatchNorm,
    Bias,
    BranchNode,
    DataTransform,
    Dropout,
    Linear,
    Reshape,
    SkipNode,
)

__all__ = [
    "Activation",
    "Affine",
    "BatchNorm",
    "Bias",
    "BranchNode",
    "DataTransform",
    "Dropout",
    "Linear",
    "Reshape",
    "Sequential",
    "SkipNode",
]
