"""neon.backends.autodiff: Autodiff, whose gradients are neon's op-trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends import autodiff
from neon_optim.compat.neon.backends.op_trees import OpTreeNode

__all__ = ["Autodiff"]


class Autodiff(autodiff.Autodiff):
    """The gradients of an op-tree; see :class:`neon_optim.backends.Autodiff`."""

    def get_grad_op_tree(self, tensors: Sequence[Any]) -> list[Any]:
        """The gradients as op-trees, which may be differentiated again."""
        return [
            OpTreeNode.of(tree)
            if hasattr(tree, "shape")
            else OpTreeNode("broadcast", tree, shape=tensor.shape)
            for tree, tensor in zip(super().get_grad_op_tree(tensors), tensors, strict=True)
        ]

    def get_grad_asnumpyarray(self, tensors: Sequence[Any]) -> list[np.ndarray]:
        """The gradients as NumPy arrays of the backend's default type."""
        return super().get_grad_asnumpyarray(tensors)
