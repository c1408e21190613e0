"""neon's layers."""

from __future__ import annotations

from neon_optim.compat.neon.layers.base import Layer, ParameterLayer, interpret_in_shape
from neon_optim.compat.neon.layers.compound import Affine, CompoundLayer
from neon_optim.compat.neon.layers.dense import Activation, Bias, Linear
from neon_optim.compat.neon.layers.normalization import BatchNorm
from neon_optim.compat.neon.layers.shaping import BranchNode, DataTransform, Dropout, Reshape, SkipNode

__all__ = [
    "Activation",
    "Affine",
    "BatchNorm",
    "Bias",
    "BranchNode",
    "CompoundLayer",
    "DataTransform",
    "Dropout",
    "Layer",
    "Linear",
    "ParameterLayer",
    "Reshape",
    "SkipNode",
    "interpret_in_shape",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # what descriptions and pickles call it
