"""Convolutions window by window: the bits of NumPy's products, of one window after the other."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend

SIZE = (7, 6)

WINDOWS = {
    "plain": {"window": (3, 3), "strides": (1, 1), "padding": (0, 0), "dilation": (1, 1)},
    "border": {"window": (3, 2), "strides": (1, 1), "padding": (2, 1), "dilation": (1, 1)},
    "strides": {"window": (3, 2), "strides": (2, 3), "padding": (1, 0), "dilation": (1, 1)},
    "dilation": {"window": (2, 3), "strides": (1, 2), "padding": (1, 2), "dilation": (3, 2)},
    "one window": {"window": (7, 6), "strides": (1, 1), "padding": (0, 0), "dilation": (1, 1)},
    "seen by none": {"window": (1, 1), "strides": (1, 1), "padding": (1, 1), "dilation": (1, 1)},
}
SIZES = [(3, 4, 8), (16, 33, 64), (64, 16, 32)]
"""Channels, filters, samples: products that BLAS does in one way and in another; sums longer than its blocks."""


@pytest.fixture
def be():
    yield gen_backend("cpu", engine="numpy")
    cleanup_backend()


def places(attrs, axis, window):
    """(place in the window, pixel) of what of a window lies within the image."""
    stride, padding, step = (attrs[name][axis] for name in ("strides", "padding", "dilation"))
    met = [(s, window * stride - padding + s * step) for s in range(attrs["window"][axis])]
    return [(s, x) for s, x in met if 0 <= x < SIZE[axis]]


def one_by_one(images, filters, errors, attrs):
    """What every window gives, what every pixel gets, and the sum over windows, by a product for each."""
    counts = errors.shape[1:3]
    seen = [[places(attrs, axis, k) for k in range(counts[axis])] for axis in range(2)]
    out, back, total = np.zeros_like(errors), np.zeros_like(images), np.zeros_like(filters)
    for p, q in np.ndindex(*counts):
        (r, y), (s, x) = ([[m[k] for m in met] for k in range(2)] for met in (seen[0][p], seen[1][q]))
        if r and s:
            part, n = filters[:, r][:, :, s], images.shape[-1]
            pixels = np.ascontiguousarray(images[:, y][:, :, x]).reshape(-1, n)
            out[:, p, q] = np.dot(np.ascontiguousarray(part).reshape(-1, len(errors)).T, pixels)
            total[np.ix_(range(len(images)), r, s)] += np.dot(pixels, errors[:, p, q].T).reshape(part.shape)
    mirrored = np.ascontiguousarray(np.flip(filters, (1, 2)).swapaxes(0, -1))
    for y, x in np.ndindex(*SIZE):
        met = []
        for axis, pixel in enumerate((y, x)):
            last = attrs["window"][axis] - 1
            met.append([(last - s, k) for k, of in enumerate(seen[axis]) for s, at in of if at == pixel])
        (r, p), (s, q) = ([[m[k] for m in of] for k in range(2)] for of in met)
        if r and s:
            part, n = mirrored[:, r][:, :, s], images.shape[-1]
            those = np.ascontiguousarray(errors[:, p][:, :, q]).reshape(-1, n)
            rows = np.ascontiguousarray(part).reshape(-1, len(images)).T
            back[:, y, x] = np.dot(rows if len(r) * len(s) > 1 else np.ascontiguousarray(rows), those)
    return out, back, total


@pytest.mark.parametrize(("channels", "count", "n"), SIZES)
@pytest.mark.parametrize("kind", WINDOWS)
def test_bits_are_those_of_products_one_by_one(be, kind, channels, count, n):
    attrs, random = WINDOWS[kind], np.random.RandomState(0)
    images = random.normal(size=(channels, *SIZE, n)).astype(np.float32)
    filters = random.normal(size=(channels, *attrs["window"], count)).astype(np.float32)
    x, w = be.array(images.reshape(-1, n)), be.array(filters.reshape(-1, count))
    settings = {"channels": channels, "size": SIZE, **attrs}
    found = be.empty(be.convolve(x, w, **settings).shape)
    windows = [
        (s + 2 * p - d * (r - 1) - 1) // t + 1 for s, r, t, p, d in zip(SIZE, *attrs.values(), strict=True)
    ]
    errors = random.normal(size=(count, *windows, n)).astype(np.float32)
    y = be.array(errors.reshape(-1, n))
    expected = one_by_one(images, filters, errors, attrs)
    trees = be.convolve(x, w, **settings), be.deconvolve(y, w, **settings), be.correlate(x, y, **settings)
    for tree, value in zip(trees, expected, strict=True):
        found = be.empty(tree.shape)
        found[:] = tree
        np.testing.assert_array_equal(found.get(), value.reshape(tree.shape))


def test_no_samples(be):
    settings = {"channels": 2, "size": SIZE, **WINDOWS["border"]}
    x, w, y = be.empty((84, 0)), be.ones((12, 3)), be.empty((3 * 9 * 7, 0))
    total = be.ones((12, 3))
    total[:] = be.correlate(x, y, **settings)
    assert not total.get().any()
    x[:], y[:] = be.deconvolve(y, w, **settings), be.convolve(x, w, **settings)


def test_one_product_of_all_windows_has_other_bits():
    """Negative control: the sum over windows depends on its order."""
    random = np.random.RandomState(0)
    windows, errors = (random.normal(size=(rows, 30, 8)).astype(np.float32) for rows in (27, 4))
    one_by_one = np.zeros((27, 4), np.float32)
    for k in range(30):
        one_by_one += np.dot(windows[:, k].copy(), errors[:, k].T)
    at_once = np.dot(windows.reshape(27, -1), errors.reshape(4, -1).T)
    assert (one_by_one != at_once).any()
