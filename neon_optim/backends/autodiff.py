"""neon's face of differentiation: Autodiff, which turns an op-tree into the gradients of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.optree import shape_of
from neon_optim.errors import BackendError

__all__ = ["Autodiff"]


class Autodiff:
    """The gradients of an op-tree.

    Arguments:
        op_tree: the op-tree; a tensor or a number too.
        be: the backend.
        next_error: derivative of the cost by the op-tree, of its shape; None: ones.

    Each method takes a list of tensors; the gradient by one that the op-tree does not hold is zero.

    Raises:
        BackendError: ``next_error`` has another shape.

    References:
        neon/backends/autodiff.py.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu")
    >>> x, w = be.array([[1.0, 2.0]]), be.array([[3.0], [4.0]])
    >>> by_x, by_w = Autodiff(be.dot(x, w) * 2.0, be).get_grad_asnumpyarray([x, w])
    >>> print(by_x, by_w.T)
    [[6. 8.]] [[2. 4.]]
    """

    def __init__(self, op_tree: Any, be: Any, next_error: Any = None):
        if next_error is not None and shape_of(next_error) != shape_of(op_tree):
            raise BackendError(
                f"next_error must have the shape of the op-tree, {shape_of(op_tree)}, received {shape_of(next_error)}"
            )
        self.op_tree = op_tree
        self.be = be
        self.next_error = next_error

    def get_grad_op_tree(self, tensors: Sequence[Any]) -> list[Any]:
        """The gradients as op-trees, which may be differentiated again."""
        if self.be is None:
            raise BackendError("this Autodiff was cleaned up; make another one")
        return gradients(self.op_tree, tensors, self.next_error)

    def get_grad_tensor(self, tensors: Sequence[Any]) -> list[Any]:
        """The gradients as new tensors."""
        trees = self.get_grad_op_tree(tensors)
        results = [self.be.empty(shape_of(tree)) for tree in trees]
        self.be.assign_all(list(zip(results, trees, strict=True)))
        return results

    def get_grad_asnumpyarray(self, tensors: Sequence[Any]) -> list[np.ndarray]:
        """The gradients as NumPy arrays of the backend's default type."""
        return [tensor.get() for tensor in self.get_grad_tensor(tensors)]

    def back_prop_grad(self, tensors: Sequence[Any], gradients: Sequence[Any]) -> None:
        """Write the gradients into tensors: ``next_error`` may be one of them, but none of ``tensors``.

        Raises:
            BackendError: there are not as many gradients as tensors; one of ``tensors`` would be overwritten.
        """
        if len(tensors) != len(gradients):
            raise BackendError(f"{len(tensors)} tensors need as many gradients, received {len(gradients)}")
        for gradient in gradients:
            if any(gradient is tensor for tensor in tensors):
                raise BackendError(f"{gradient!r} is differentiated by: its gradient needs another tensor")
        for gradient, result in zip(gradients, self.get_grad_tensor(tensors), strict=True):
            gradient[:] = result

    def cleanup(self) -> None:
        """Let go of the op-tree, its tensors and the backend."""
        self.op_tree = self.be = self.next_error = None
