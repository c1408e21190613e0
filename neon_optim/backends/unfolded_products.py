"""Convolutions as one product of all windows of images: in the order that all deterministic backends have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from neon_optim.backends.optree_shapes import result_shape

__all__ = ["AT_ONCE", "UnfoldingArrays"]

Attrs = Mapping[str, Any]


class UnfoldingArrays(Protocol):
    """What a backend does for these on its arrays."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array of undefined contents."""

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        """The array itself where its elements lie in order, else a copy."""

    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right."""

    def unfold(self, images: np.ndarray, out: np.ndarray, attrs: Attrs) -> None:
        """out (C·R·S, P·Q·n) = the windows of images (C·H·W, n), zero where they reach over the border."""

    def fold(self, windows: np.ndarray, out: np.ndarray, attrs: Attrs) -> None:
        """out (C·H·W, n) = zeros to which windows (C·R·S, P·Q·n) are added, in their order."""


def _convolve(
    do: UnfoldingArrays, out: np.ndarray, images: np.ndarray, filters: np.ndarray, attrs: Attrs
) -> None:
    """out (K·P·Q, n): each window of images times filters (C·R·S, K)."""
    do.product(filters.T, _unfolded(do, images, out.dtype, attrs), out.reshape(filters.shape[1], -1))


def _deconvolve(
    do: UnfoldingArrays, out: np.ndarray, errors: np.ndarray, filters: np.ndarray, attrs: Attrs
) -> None:
    """out (C·H·W, n): the adjoint of "convolve" by the images."""
    wide = do.contiguous(errors).reshape(filters.shape[1], -1)
    windows = do.empty((len(filters), wide.shape[1]), out.dtype)
    do.product(filters, wide, windows)
    do.fold(windows, out, attrs)


def _correlate(
    do: UnfoldingArrays, out: np.ndarray, images: np.ndarray, errors: np.ndarray, attrs: Attrs
) -> None:
    """out (C·R·S, K): the adjoint of "convolve" by the filters."""
    wide = do.contiguous(errors).reshape(out.shape[1], -1)
    do.product(_unfolded(do, images, out.dtype, attrs), wide.T, out)


AT_ONCE: dict[str, Callable[..., None]] = {
    "convolve": _convolve,
    "deconvolve": _deconvolve,
    "correlate": _correlate,
}
"""The operations, called with the arrays of a backend, the result, both operands, and the settings."""


def _unfolded(do: UnfoldingArrays, images: np.ndarray, dtype: np.dtype, attrs: Attrs) -> np.ndarray:
    out = do.empty(result_shape("unfold", [images.shape], attrs), dtype)
    do.unfold(images, out, attrs)
    return out
