"""Convolutions window by window: each result has the bits of a product of its own, of what lies within the image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from neon_optim.backends.optree_shapes import window_counts

__all__ = ["convolve", "correlate", "deconvolve"]

_BYTES = 1 << 20
"""Windows that are brought together at a time: what a cache holds."""


def convolve(out: np.ndarray, images: np.ndarray, filters: np.ndarray, **attrs: Any) -> None:
    """out (K·P·Q, n): each window of images (C·H·W, n) times filters (C·R·S, K)."""
    axes = _axes(_key(attrs))
    shape = (attrs["channels"], *attrs["window"], filters.shape[1])
    _products(
        out.reshape(shape[-1], *window_counts(attrs), out.shape[1]),
        images.astype(out.dtype, copy=False).reshape(shape[0], *attrs["size"], out.shape[1]),
        filters.astype(out.dtype, copy=False).reshape(shape),
        axes.forward,
    )


def deconvolve(out: np.ndarray, errors: np.ndarray, filters: np.ndarray, **attrs: Any) -> None:
    """out (C·H·W, n): for each pixel the errors (K·P·Q, n) of the windows that see it, times filters (C·R·S, K)."""
    axes = _axes(_key(attrs))
    shape = (attrs["channels"], *attrs["window"], filters.shape[1])
    mirrored = np.flip(
        filters.astype(out.dtype, copy=False).reshape(shape), axis=tuple(range(1, len(shape) - 1))
    )
    _products(
        out.reshape(shape[0], *attrs["size"], out.shape[1]),
        errors.astype(out.dtype, copy=False).reshape(shape[-1], *window_counts(attrs), out.shape[1]),
        np.ascontiguousarray(mirrored.swapaxes(0, -1)),
        axes.backward,
    )


def correlate(out: np.ndarray, images: np.ndarray, errors: np.ndarray, **attrs: Any) -> None:
    """out (C·R·S, K): for each window its pixels in images (C·H·W, n) times its errors (K·P·Q, n), added in order."""
    counts, (_, n) = window_counts(attrs), images.shape
    total = out.reshape(attrs["channels"], *attrs["window"], out.shape[1])
    pixels = images.astype(out.dtype, copy=False).reshape(attrs["channels"], *attrs["size"], n)
    by_window = np.moveaxis(errors.astype(out.dtype, copy=False).reshape(out.shape[1], *counts, n), 0, -1)
    if math.prod(counts) > 1:
        by_window = np.ascontiguousarray(by_window)
    total.fill(0.0)
    for runs in itertools.product(*_axes(_key(attrs)).in_order):
        part = total[_behind_first(run.places for run in runs)]
        of_runs = by_window[tuple([run.which for run in runs])]
        if part.size:
            for tile, windows in _gathered(pixels, runs):
                for product in np.matmul(windows, of_runs[tile]).reshape(-1, *part.shape):
                    np.add(part, product, out=part)


def _products(
    out: np.ndarray, images: np.ndarray, filters: np.ndarray, axes: Sequence[Sequence[_Run]]
) -> None:
    """out (K, P, Q, n): for each window its part of filters (C, R, S, K) times its pixels in images (C, H, W, n)."""
    by_window = np.moveaxis(out, 0, -2)
    for runs in itertools.product(*axes):
        part = filters[_behind_first(run.places for run in runs)].reshape(-1, len(out))
        of_runs = by_window[tuple([run.which for run in runs])]
        if not part.size:
            of_runs[...] = 0.0
            continue
        # A copy in rows, as NumPy's dot makes of what has gaps: BLAS adds in another order there.
        turned = part.T if part.flags.c_contiguous else np.ascontiguousarray(part.T)
        for tile, windows in _gathered(images, runs):
            np.matmul(turned, windows, out=of_runs[tile])


def _gathered(images: np.ndarray, runs: Sequence[_Run]) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """The windows of images (C, H, W, n), in order and as many at a time as fit: (P, Q, C·R·S, n); and which they are.

    All come in the same memory.
    """
    along = list(zip(runs, images.strides[1:-1], strict=True))
    counts, n = [len(run.windows) for run in runs], images.shape[-1]
    windows = np.lib.stride_tricks.as_strided(
        images[_behind_first(slice(run.start, None) for run in runs)],
        (*counts, len(images), *[run.extent for run in runs], n),
        (
            *[run.advance * stride for run, stride in along],
            images.strides[0],
            *[run.step * stride for run, stride in along],
            images.strides[-1],
        ),
        writeable=False,
    )
    window = windows.shape[len(runs) :]
    left = _BYTES // max(1, math.prod(window) * images.itemsize)
    extents: list[int] = []
    for count in reversed(counts):
        extents.insert(0, max(1, min(count, left)))
        left //= count
    memory = np.empty((*extents, *window), images.dtype)
    for corner in itertools.product(*map(range, [0] * len(runs), counts, extents)):
        tile = tuple([slice(k, k + extent) for k, extent in zip(corner, extents, strict=True)])
        part = windows[tile]
        found = memory[tuple([slice(count) for count in part.shape[: len(runs)]])]
        np.copyto(found, part)
        yield tile, found.reshape(*found.shape[: len(runs)], math.prod(window[:-1]), n)


def _behind_first(parts: Iterable[slice]) -> tuple[slice, ...]:
    return (slice(None), *parts)


class _Run(NamedTuple):
    """Windows along an axis that meet pixels with the same part of a filter, each time the same distance further on.

    Attributes:
        windows: their numbers.
        places: the part of the filter.
        start, step, extent: the pixels that the first window meets.
        advance: how much further on those of the next are.
    """

    windows: range
    places: slice
    start: int
    step: int
    extent: int
    advance: int = 0

    @property
    def which(self) -> slice:
        """The windows, as a key."""
        return slice(self.windows.start, self.windows.stop, self.windows.step)


class _Axes(NamedTuple):
    """What meets what along each axis.

    Attributes:
        forward: windows and pixels.
        backward: pixels and the windows that see them, which takes the filter from its end.
        in_order: as ``forward``, cut so that windows keep their order where the last axis is gone through first.
    """

    forward: list[list[_Run]]
    backward: list[list[_Run]]
    in_order: list[list[_Run]]


def _key(attrs: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    return tuple([tuple(attrs[name]) for name in ("size", "window", "strides", "padding", "dilation")])


@lru_cache(maxsize=256)
def _axes(key: tuple[tuple[int, ...], ...]) -> _Axes:
    found, whole = _Axes([], [], []), True
    for size, window, stride, padding, dilation in reversed(list(zip(*key, strict=True))):
        count = (size + 2 * padding - dilation * (window - 1) - 1) // stride + 1
        forward = [
            [(s, x) for s in range(window) if 0 <= (x := k * stride - padding + s * dilation) < size]
            for k in range(count)
        ]
        backward = [
            [(window - 1 - s, k) for k, seen in enumerate(forward) for s, x in seen if x == pixel]
            for pixel in range(size)
        ]
        ones = [_run(k, met) for k, met in enumerate(forward)]
        in_order = _joined(ones) if whole else ones
        whole = whole and len(in_order) == 1
        found.forward.insert(0, _joined(_by_places(ones)))
        found.backward.insert(0, _joined(_by_places([_run(x, met) for x, met in enumerate(backward)])))
        found.in_order.insert(0, in_order)
    return found


def _run(number: int, met: Sequence[tuple[int, int]]) -> _Run:
    """One window, by what each place in it meets."""
    if not met:
        return _Run(range(number, number + 1), slice(0, 0), 0, 1, 0)
    (place, start), *others = met
    far, step = (others[0][0] - place, others[0][1] - start) if others else (1, 1)
    places = slice(place, met[-1][0] + 1, far)
    return _Run(range(number, number + 1), places, start, step, len(met))


def _by_places(ones: Sequence[_Run]) -> list[_Run]:
    return sorted(ones, key=lambda one: (one.places.start, one.places.stop, one.step))


def _joined(ones: Sequence[_Run]) -> list[_Run]:
    """Runs of windows that come one after the other."""
    runs: list[_Run] = []
    for one in ones:
        number, last = one.windows.start, runs[-1] if runs else one
        distance, advance = number - last.windows[-1], one.start - last.start
        if len(last.windows) > 1:
            fits = distance == last.windows.step and advance == len(last.windows) * last.advance
        else:
            fits = distance > 0
        if fits and (one.places, one.step) == (last.places, last.step):
            windows = range(last.windows.start, number + 1, distance)
            runs[-1] = last._replace(windows=windows, advance=advance // (len(windows) - 1))
        else:
            runs.append(one)
    return runs
