"""Shapes of op-trees: what an operation makes of the shapes of its operands, and what it refuses."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neon_optim.errors import BackendError

__all__ = [
    "broadcast_shape",
    "check_fits",
    "fits",
    "image_shapes",
    "normalized_key",
    "part_shape",
    "resolved",
    "result_shape",
    "window_counts",
]

Shape = tuple[int, ...]


def result_shape(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    """The shape of an operation's value. An operation that is not in the table below is elementwise.

    Arguments:
        op: a name of :mod:`neon_optim.backends.optree`.
        shapes: those of the operands; a number has ().
        attrs: the settings of the operation.

    Raises:
        BackendError: the operands do not go together.

    >>> result_shape("add", [(3, 1), (1, 4)], {}), result_shape("dot", [(2, 3), (3, 4)], {})
    ((3, 4), (2, 4))
    """
    rule = _RULES.get(op)
    return broadcast_shape(shapes, op) if rule is None else rule(op, shapes, attrs)


def broadcast_shape(shapes: Sequence[Shape], op: str = "broadcast") -> Shape:
    """The shape that operands of an elementwise operation are broadcast to, as in NumPy.

    >>> broadcast_shape([(2, 1, 4), (3, 1), ()])
    (2, 3, 4)
    """
    distinct = [shape for shape in dict.fromkeys(shapes) if shape]
    if len(distinct) < 2:
        return distinct[0] if distinct else ()
    ndim = max(map(len, shapes))
    result = []
    for column in zip(*[(1,) * (ndim - len(shape)) + shape for shape in shapes], strict=True):
        extents = set(column) - {1}
        if len(extents) > 1:
            raise BackendError(f"{op}: the operands have shapes that do not go together: {_listed(shapes)}")
        result.append(extents.pop() if extents else 1)
    return tuple(result)


def fits(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a value of one shape can be broadcast to another.

    >>> fits((3, 1), (3, 4)), fits((3, 4), (3, 1)), fits((), (2, 2))
    (True, False, True)
    """
    offset = len(target) - len(shape)
    return offset >= 0 and all(n in (1, target[offset + k]) for k, n in enumerate(shape))


def check_fits(shape: Sequence[int], target: Sequence[int]) -> None:
    """Refuse to assign a value of one shape to a tensor of another that it cannot be broadcast to.

    Raises:
        BackendError: both are named.
    """
    if not fits(shape, target):
        raise BackendError(f"a value of shape {shape} does not fit into a tensor of shape {target}")


def resolved(shape: Any, size: int) -> Shape:
    """A shape of two axes or more, with one -1 replaced by what is left of the size; a vector is a column.

    >>> resolved((2, -1), 6), resolved(6, 6)
    ((2, 3), (6, 1))
    """
    try:
        dims = [operator.index(d) for d in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    except TypeError:
        raise BackendError(f"a shape holds integers, received {shape!r}") from None
    if dims.count(-1) == 1:
        known = -math.prod(dims)
        dims[dims.index(-1)] = size // known if known else 0
    if any(d < 0 for d in dims) or math.prod(dims) != size:
        raise BackendError(f"reshape: {size} elements do not fill the shape {shape!r}")
    return (*dims, *[1] * (2 - len(dims)))


def normalized_key(shape: Shape, key: Any) -> tuple[tuple[int, int, int], ...]:
    """An index of integers and slices as (start, stop, step) for each axis; an integer keeps its axis, of length one.

    >>> normalized_key((4, 6), (-1, slice(None, None, 2)))
    ((3, 4, 1), (0, 6, 2))
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(k is Ellipsis for k in keys):
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    if len(keys) > len(shape):
        raise BackendError(f"slice: {len(keys)} indices for the shape {shape}")
    keys += [slice(None)] * (len(shape) - len(keys))
    return tuple(_triple(k, extent, shape) for k, extent in zip(keys, shape, strict=True))


def _triple(key: Any, extent: int, shape: Shape) -> tuple[int, int, int]:
    if isinstance(key, slice):
        start, stop, step = key.indices(extent)
        if step < 1:
            raise BackendError(f"slice: a step must be 1 or more, received {key!r}")
        return start, max(start, stop), step
    try:
        index = operator.index(key)
    except TypeError:
        raise BackendError(
            f"an op-tree is indexed by integers and slices, received {key!r}; see take()"
        ) from None
    if not -extent <= index < extent:
        raise BackendError(f"slice: index {index} is out of range for the shape {shape}")
    return index % extent, index % extent + 1, 1


def part_shape(key: Sequence[tuple[int, int, int]]) -> Shape:
    """The shape of the part that a normalized key takes.

    >>> part_shape(((3, 4, 1), (0, 6, 4)))
    (1, 2)
    """
    return tuple(-(-(stop - start) // step) for start, stop, step in key)


def window_counts(attrs: Mapping[str, Any]) -> Shape:
    """How many windows of an 'unfold' fit along each axis of an image.

    >>> window_counts({"size": (5, 6), "window": (3, 2), "strides": (1, 2), "padding": (1, 0), "dilation": (1, 1)})
    (5, 3)
    """
    counts = tuple(
        [
            (size + 2 * padding - dilation * (window - 1) - 1) // stride + 1
            for size, window, stride, padding, dilation in zip(*_by_axis(attrs), strict=True)
        ]
    )
    if min(counts) < 1:
        raise BackendError(
            f"unfold: a window of {attrs['window']} does not fit into an image of {attrs['size']} "
            f"with a padding of {attrs['padding']} and a dilation of {attrs['dilation']}"
        )
    return counts


def _by_axis(attrs: Mapping[str, Any]) -> list[Shape]:
    settings = [attrs[name] for name in ("size", "window", "strides", "padding", "dilation")]
    if len(set(map(len, settings))) != 1:
        raise BackendError(
            f"unfold: a window of {attrs['window']} for an image of {attrs['size']}: strides {attrs['strides']}, "
            f"padding {attrs['padding']} and dilation {attrs['dilation']} have a number for each axis, too"
        )
    return settings


def image_shapes(n: int, attrs: Mapping[str, Any]) -> tuple[Shape, Shape]:
    """The axes of n images and of their windows: (C, H, W, n) and (C, R, S, P, Q, n) where images have two axes."""
    channels = attrs["channels"]
    return (channels, *attrs["size"], n), (channels, *attrs["window"], *window_counts(attrs), n)


def _axis(op: str, axis: int, shape: Shape) -> int:
    if not -len(shape) <= axis < len(shape):
        raise BackendError(f"{op}: axis {axis} is out of range for the shape {shape}")
    return axis % len(shape)


def _with_extent(op: str, axis: int, shape: Shape, extent: int) -> Shape:
    axis = _axis(op, axis, shape)
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _product(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    a, b = shapes
    ndim = 2 if op == "dot" else 3
    if len(a) != ndim or len(b) != ndim or a[-1] != b[-2] or a[:-2] != b[:-2]:
        needed = "(m, k) and (k, n)" if op == "dot" else "(g, m, k) and (g, k, n)"
        raise BackendError(f"{op} needs shapes {needed}, received {a} and {b}")
    return (*a[:-1], b[-1])


def _transpose(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    (a,) = shapes
    axes = attrs.get("axes") or (1, 0, *range(2, len(a)))
    if sorted(axes) != list(range(len(a))):
        raise BackendError(f"transpose: the axes {axes} are no order of the axes of the shape {a}")
    return tuple(a[axis] for axis in axes)


def _reshape(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    if math.prod(shapes[0]) != math.prod(attrs["shape"]):
        raise BackendError(f"reshape: the shape {shapes[0]} has another size than {attrs['shape']}")
    return tuple(attrs["shape"])


def _slice(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    return _checked_part(op, attrs["key"], shapes[0])


def _place(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    part = _checked_part(op, attrs["key"], attrs["shape"])
    if part != shapes[0]:
        raise BackendError(f"place: the key takes a part of shape {part}, received {shapes[0]}")
    return tuple(attrs["shape"])


def _checked_part(op: str, key: Sequence[tuple[int, int, int]], whole: Shape) -> Shape:
    fits = len(key) == len(whole) and all(
        0 <= start <= stop <= extent and step >= 1
        for (start, stop, step), extent in zip(key, whole, strict=True)
    )
    if not fits:
        raise BackendError(f"{op}: the key {tuple(key)} does not fit the shape {tuple(whole)}")
    return part_shape(key)


def _concatenate(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    axis = _axis(op, attrs["axis"], shapes[0])
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(rest) > 1 or any(len(shape) != len(shapes[0]) for shape in shapes):
        raise BackendError(f"concatenate: the shapes differ beside axis {axis}: {_listed(shapes)}")
    return _with_extent(op, axis, shapes[0], sum(shape[axis] for shape in shapes))


def _broadcast(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    shape = tuple(attrs["shape"])
    if not fits(shapes[0], shape):
        raise BackendError(f"broadcast: the shape {shapes[0]} does not fit into {shape}")
    return shape


def _reduce(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    reduced = _with_extent(attrs["kind"], attrs["axis"], shapes[0], 1)
    return reduced if attrs["keepdims"] else (math.prod(reduced), 1)


def _whole(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    return 1, 1


def _take(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    return _with_extent(op, attrs["axis"], shapes[0], math.prod(shapes[1]))


def _put(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    a, indices = shapes
    if a[_axis(op, attrs["axis"], a)] != math.prod(indices):
        raise BackendError(f"put: {math.prod(indices)} indices for slices along axis {attrs['axis']} of {a}")
    return _with_extent(op, attrs["axis"], a, attrs["extent"])


def _onehot(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    extent = attrs.get("extent")
    if extent is None:
        raise BackendError(
            "onehot takes its shape from the tensor it is assigned to: use out[:] = be.onehot(...), or say its extent"
        )
    count = math.prod(shapes[0])
    return (extent, count) if attrs["axis"] == 0 else (count, extent)


def _unfold(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    (a,) = shapes
    pixels = attrs["channels"] * math.prod(attrs["size"])
    windows = math.prod(window_counts(attrs))
    if len(a) != 2 or a[0] != pixels:
        raise BackendError(
            f"unfold: {attrs['channels']} channels of {attrs['size']} need the shape ({pixels}, n), received {a}"
        )
    return attrs["channels"] * math.prod(attrs["window"]), windows * a[1]


def _fold(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    (a,) = shapes
    rows = attrs["channels"] * math.prod(attrs["window"])
    windows = math.prod(window_counts(attrs))
    if len(a) != 2 or a[0] != rows or a[1] % windows:
        raise BackendError(
            f"fold: {attrs['channels']} channels and {windows} windows of {attrs['window']} need the shape "
            f"({rows}, {windows} n), received {a}"
        )
    return attrs["channels"] * math.prod(attrs["size"]), a[1] // windows


def _convolution(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    a, b = shapes
    pixels = attrs["channels"] * math.prod(attrs["size"])
    rows, windows = attrs["channels"] * math.prod(attrs["window"]), math.prod(window_counts(attrs))
    if len(a) == len(b) == 2:
        if op == "correlate":
            if a[0] == pixels and a[1] == b[1] and not b[0] % windows:
                return rows, b[0] // windows
        elif b[0] == rows and a[0] == (pixels if op == "convolve" else b[1] * windows):
            return (b[1] * windows if op == "convolve" else pixels), a[1]
    raise BackendError(
        f"{op}: {attrs['channels']} channels of {attrs['size']} and {windows} windows of {attrs['window']} have "
        f"images ({pixels}, n), filters ({rows}, K) and results ({windows} K, n), received {a} and {b}"
    )


def _stated(op: str, shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> Shape:
    return shapes[0]


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(str, shapes))


_RULES: dict[str, Callable[[str, Sequence[Shape], Mapping[str, Any]], Shape]] = {
    "dot": _product,
    "batched_dot": _product,
    "transpose": _transpose,
    "reshape": _reshape,
    "slice": _slice,
    "place": _place,
    "concatenate": _concatenate,
    "broadcast": _broadcast,
    "reduce": _reduce,
    **dict.fromkeys(("sum", "sum_square", "amax", "amin", "total", "total_square", "size"), _whole),
    "take": _take,
    "put": _put,
    "onehot": _onehot,
    "unfold": _unfold,
    "fold": _fold,
    **dict.fromkeys(("convolve", "deconvolve", "correlate"), _convolution),
    "stated": _stated,
    "scalar": lambda op, shapes, attrs: (),
}
