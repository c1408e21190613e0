"""neon's layers made of layers."""

from __future__ import annotations

from neon_optim.compat.neon.layers.adversarial import GenerativeAdversarial
from neon_optim.compat.neon.layers.branching import (
    Broadcast,
    MergeBroadcast,
    MergeMultistream,
    MergeSum,
    SingleOutputTree,
    Tree,
)
from neon_optim.compat.neon.layers.multicost import Multicost
from neon_optim.compat.neon.layers.seq2seq import Decoder, Encoder, Seq2Seq
from neon_optim.compat.neon.layers.sequential import DeltasTree, LayerContainer, Sequential, flatten
from neon_optim.compat.neon.layers.skip_thought import SkipThought

__all__ = [
    "Broadcast",
    "Decoder",
    "DeltasTree",
    "Encoder",
    "GenerativeAdversarial",
    "LayerContainer",
    "MergeBroadcast",
    "MergeMultistream",
    "MergeSum",
    "Multicost",
    "Seq2Seq",
    "Sequential",
    "SingleOutputTree",
    "SkipThought",
    "Tree",
    "flatten",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # what descriptions and pickles call it
