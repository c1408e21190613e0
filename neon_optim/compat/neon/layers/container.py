"""neon's layers made of layers."""

from __future__ import annotations

from neon_optim.compat.neon.layers.sequential import DeltasTree, LayerContainer, Sequential, flatten

__all__ = ["DeltasTree", "LayerContainer", "Sequential", "flatten"]

for _cls in (DeltasTree, LayerContainer, Sequential):
    _cls.__module__ = __name__  # what descriptions and pickles call it
