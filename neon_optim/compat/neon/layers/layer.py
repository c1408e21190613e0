"""neon's layers."""

from __future__ import annotations

from neon_optim.compat.neon.layers.base import Layer, interpret_in_shape
from neon_optim.compat.neon.layers.binary import BinaryAffine, BinaryLinear, ShiftBatchNorm
from neon_optim.compat.neon.layers.compound import Affine, CompoundLayer, Conv, Deconv
from neon_optim.compat.neon.layers.convolution import Convolution, Convolution_bias, Deconvolution
from neon_optim.compat.neon.layers.costs import GeneralizedCost, GeneralizedCostMask, GeneralizedGANCost
from neon_optim.compat.neon.layers.dense import Activation, Bias, Linear
from neon_optim.compat.neon.layers.lookup_table import LookupTable
from neon_optim.compat.neon.layers.normalization import BatchNorm, BatchNormAutodiff
from neon_optim.compat.neon.layers.parameters import ParameterLayer
from neon_optim.compat.neon.layers.pooling import LRN, Pooling, RoiPooling
from neon_optim.compat.neon.layers.shaping import BranchNode, DataTransform, Dropout, Reshape, SkipNode

__all__ = [
    "LRN",
    "Activation",
    "Affine",
    "BatchNorm",
    "BatchNormAutodiff",
    "Bias",
    "BinaryAffine",
    "BinaryLinear",
    "BranchNode",
    "CompoundLayer",
    "Conv",
    "Convolution",
    "Convolution_bias",
    "DataTransform",
    "Deconv",
    "Deconvolution",
    "Dropout",
    "GeneralizedCost",
    "GeneralizedCostMask",
    "GeneralizedGANCost",
    "Layer",
    "Linear",
    "LookupTable",
    "ParameterLayer",
    "Pooling",
    "Reshape",
    "RoiPooling",
    "ShiftBatchNorm",
    "SkipNode",
    "interpret_in_shape",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # what descriptions and pickles call it
