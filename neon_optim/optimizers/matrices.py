"""Tensors as matrices, for rules that run tensor by tensor."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.dtypes import compute_type

__all__ = ["compute_like", "matrix_shape"]


def matrix_shape(tensor: Any) -> tuple[int, int]:
    """Its first axis by the rest: what a layer's outputs are to its inputs in neon's layout."""
    rows = tensor.shape[0]
    return rows, tensor.size // max(rows, 1)


def compute_like(be: Any, tensor: Any) -> Any:
    """A new tensor of the same shape in the compute type: float64 for float64, else float32."""
    return be.empty(tensor.shape, compute_type([tensor.dtype]))
