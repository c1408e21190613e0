"""Shapes of images, filters and windows, by neon's letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["extents", "in_words", "of_images", "settings"]


def settings(prefix: str, value: Any) -> dict[str, int]:
    """neon's strides, padding or dilation: one number for height and width, or a mapping.

    >>> settings("str", 2), settings("pad", {"pad_h": 1})
    ({'str_h': 2, 'str_w': 2}, {'pad_h': 1})
    """
    if isinstance(value, Mapping):
        return dict(value)
    return {f"{prefix}_h": int(value), f"{prefix}_w": int(value)}


def extents(value: Any, names: str) -> dict[str, Any]:
    """neon's extents of filters by its letters; the first letter is for those of three dimensions.

    >>> extents((3, 5, 16), "TRSK"), extents((2, 3, 5, 16), "TRSK")
    ({'R': 3, 'S': 5, 'K': 16}, {'T': 2, 'R': 3, 'S': 5, 'K': 16})
    """
    if isinstance(value, Mapping):
        return dict(value)
    return dict(zip(names[len(names) - len(value) :], value, strict=True))


def of_images(layer: Any, names: str) -> dict[str, int]:
    """The shape of the images that come into a layer by neon's letters; the second letter is for their depth.

    Raises:
        ValueError: they are no images.
    """
    shape = layer.in_shape
    if not isinstance(shape, (tuple, list)) or len(shape) not in (3, 4):
        raise ValueError(
            f"{layer.classnm} '{layer.name}' needs images (C, H, W), received samples of shape {shape}"
        )
    channels, *size = map(int, shape)
    return dict(zip(names, (channels, *([1] * (3 - len(size))), *size), strict=True))


def in_words(shape: Any) -> str:
    """
    >>> in_words((3, 8, 8))
    '3 x (8x8)'
    """
    return f"{shape[0]} x ({'x'.join(map(str, shape[1:]))})"
