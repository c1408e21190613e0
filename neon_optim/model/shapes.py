"""Shapes of samples: features, images (C, H, W), sequences (F, T); and how tensors of a minibatch hold them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from neon_optim.backends.optree_shapes import window_counts
from neon_optim.described.checks import Check, Number, Schema, SchemaOfKind
from neon_optim.errors import ArgumentError, BackendError, Problem

__all__ = [
    "PairOf",
    "Shape",
    "columns",
    "features",
    "in_channels",
    "pair",
    "reshaped",
    "steps",
    "wanted",
    "window_settings",
    "with_features",
]

Shape = tuple[int, ...]


def features(shape: Shape) -> int:
    """Rows of a tensor of such samples: those of one step of a sequence, all elements of anything else.

    >>> features((3, 8, 8)), features((16, 50)), features((10,))
    (192, 16, 10)
    """
    return shape[0] if len(shape) == 2 else math.prod(shape)


def steps(shape: Shape) -> int:
    """Steps of a sequence, which stand one behind the other in the columns of a tensor; 1 for anything else."""
    return shape[1] if len(shape) == 2 else 1


def columns(shape: Shape, samples: int) -> int:
    """Columns of a tensor of so many samples.

    >>> columns((16, 50), 64), columns((3, 8, 8), 64)
    (3200, 64)
    """
    return steps(shape) * samples


def with_features(shape: Shape, count: int) -> Shape:
    """The shape with another number of features in each step; an image is flattened.

    >>> with_features((16, 50), 10), with_features((3, 8, 8), 10)
    ((10, 50), (10,))
    """
    return (count, shape[1]) if len(shape) == 2 else (count,)


def reshaped(x: Any, shape: Any) -> Any:
    """A tensor or an op-tree in another shape, or itself where it has that shape already."""
    return x if x.shape == shape else x.reshape(shape)


def in_channels(x: Any, channels: int) -> Any:
    """A tensor or an op-tree of samples as (channels, all the rest)."""
    return reshaped(x, (channels, math.prod(x.shape) // channels))


def wanted(layer: Any, what: str, hint: str) -> ArgumentError:
    """The error of a layer that is given samples of a shape that it cannot take."""
    message = (
        f"{layer.classnm} '{layer.name}' needs {what}, received samples of shape {layer.in_shape}; {hint}"
    )
    return ArgumentError(message, [Problem.about(str(layer.name), message, layer)])


class PairOf(Check):
    """A whole number for both axes of an image, or a mapping with one for each, as in neon.

    Arguments:
        prefix: of the keys: 'str' for ``str_h`` and ``str_w``.
        least: the smallest number that is allowed.
    """

    def __init__(self, prefix: str, least: int) -> None:
        self.keys = (f"{prefix}_h", f"{prefix}_w")
        self.number = Number(ge=least, integer=True)
        self.allowed = f"{self.number.allowed}, or a mapping of {' and '.join(self.keys)} to such"

    def verdict(self, value: object) -> str | None:
        return None if isinstance(value, Mapping) else self.number.verdict(value)

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        yield from super().faults(value, path)
        if isinstance(value, Mapping):
            for key, number in value.items():
                if key not in self.keys:
                    yield Problem("", number, f"is none of the keys {', '.join(self.keys)}", (*path, key))
                else:
                    yield from self.number.faults(number, (*path, key))

    def kept(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.number.kept(number) for key, number in value.items()}
        return self.number.kept(value)

    def schema(self, object_of: SchemaOfKind) -> Schema:
        number = self.number.schema(object_of)
        pair = {
            "type": "object",
            "properties": dict.fromkeys(self.keys, number),
            "additionalProperties": False,
        }
        return {"anyOf": [number, pair]}


def pair(value: Any, default: tuple[int, int]) -> tuple[int, int]:
    """(along the height, along the width) of what :class:`PairOf` lets through.

    >>> pair(2, (1, 1)), pair({"str_w": 3}, (1, 1))
    ((2, 2), (1, 3))
    """
    if value is None:
        return default
    if isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        return int(value), int(value)
    found = {key[-1]: int(number) for key, number in value.items()}
    return found.get("h", default[0]), found.get("w", default[1])


def window_settings(layer: Any, window: tuple[int, int] | None, strides: Any, **pairs: Any) -> dict[str, Any]:
    """What ``be.unfold`` takes, for the images that come into a layer.

    Arguments:
        layer: says the shape of the images.
        window: (R, S); None: all of an image.
        strides: as :class:`PairOf` lets them through; None: as large as the window.
        pairs: padding and dilation, likewise.

    Raises:
        ArgumentError: they are no images, or too small for the window.
    """
    if len(layer.in_shape) != 3:
        hint = (
            "give the data its shape, as in ArrayIterator(..., lshape=(1, 28, 28)); dense layers come behind"
        )
        raise wanted(layer, "images (C, H, W)", hint)
    channels, *size = layer.in_shape
    window = window or (size[0], size[1])
    found = {"channels": channels, "size": tuple(size), "window": window, "strides": pair(strides, window)}
    found["padding"] = pair(pairs.get("padding"), (0, 0))
    found["dilation"] = pair(pairs.get("dilation"), (1, 1))
    try:
        window_counts(found)
    except BackendError:
        hint = f"a smaller fshape, smaller dilation or more padding than {found['padding']} would do"
        raise wanted(layer, f"images of {_least(found)} pixels or more", hint) from None
    return found


def _least(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """The smallest image that one window fits into."""
    of = zip(settings["window"], settings["padding"], settings["dilation"], strict=True)
    return tuple(max(1, dilation * (window - 1) + 1 - 2 * padding) for window, padding, dilation in of)
