"""Operations of images of neon's backends, against windows taken one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.errors import BackendError

N = 2


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    yield gen_backend(request.param, rng_seed=1, batch_size=N)
    cleanup_backend()


def values(*shape, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


CONVOLUTIONS = {
    "plain": {"C": 2, "K": 3, "H": 5, "W": 4, "R": 3, "S": 2},
    "padded, with strides": {
        "C": 2,
        "K": 3,
        "H": 5,
        "W": 6,
        "R": 3,
        "S": 3,
        "pad_h": 1,
        "pad_w": 2,
        "str_w": 2,
    },
    "dilated": {"C": 1, "K": 2, "H": 6, "W": 6, "R": 2, "S": 3, "dil_h": 3, "dil_w": 2, "pad_w": 1},
    "of volumes": {"C": 2, "K": 2, "D": 4, "H": 3, "W": 3, "T": 2, "R": 2, "S": 2, "str_d": 2, "pad_d": 1},
    "of pixels": {"C": 3, "K": 2, "H": 3, "W": 4},
}


def matrix_of(layer):
    """Which pixel stands at each place of each window: (windows, channel and place) -> (channel, pixel), or None."""
    for window in np.ndindex(*layer.MPQ):
        for place in np.ndindex(*layer.TRS):
            settings = zip(window, place, layer.strides, layer.dilation, layer.padding, strict=True)
            pixel = tuple(w * step + p * dil - pad for w, p, step, dil, pad in settings)
            if all(0 <= x < extent for x, extent in zip(pixel, layer.DHW, strict=True)):
                yield window, place, pixel


def convolved(layer, images, filters):
    images, filters = images.reshape(layer.dimI), filters.reshape(layer.dimF)
    out = np.zeros(layer.dimO)
    for window, place, pixel in matrix_of(layer):
        out[(slice(None), *window)] += filters[(slice(None), *place)].T @ images[(slice(None), *pixel)]
    return out.reshape(layer.dimO2)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_and_its_derivatives(be, case):
    """Products of up to 36 numbers below 1, in float32; derivatives by <E, conv(I, F)>, which is linear in both."""
    layer = be.conv_layer(np.float32, N, **CONVOLUTIONS[case])
    x, f, e = values(*layer.dimI2), values(*layer.dimF2, seed=1), values(*layer.dimO2, seed=2)
    images, filters, errors = (be.array(a) for a in (x, f, e))
    out, by_images, by_filters = (be.array(np.ones(dims)) for dims in (layer.dimO, layer.dimI, layer.dimF))
    assert (out.size, by_images.size, by_filters.size) == (layer.sizeO, layer.sizeI, layer.sizeF)
    assert layer.nOut == layer.dimO2[0]
    be.fprop_conv(layer, images, filters, out)
    expected = convolved(layer, x, f)
    np.testing.assert_allclose(out.get().reshape(layer.dimO2), expected, rtol=1e-5, atol=1e-5)
    be.bprop_conv(layer, filters, errors, by_images, alpha=2.0, beta=0.5)
    adjoint, gradient = np.zeros(layer.dimI), np.zeros(layer.dimF)
    error = e.reshape(layer.dimO)
    for window, place, pixel in matrix_of(layer):
        at = (slice(None), *place)
        adjoint[(slice(None), *pixel)] += f.reshape(layer.dimF)[at] @ error[(slice(None), *window)]
        gradient[at] += x.reshape(layer.dimI)[(slice(None), *pixel)] @ error[(slice(None), *window)].T
    np.testing.assert_allclose(by_images.get(), 2 * adjoint + 0.5, rtol=1e-5, atol=1e-5)
    bias = be.empty((layer.K, 1))
    be.update_conv(layer, images, errors, by_filters, alpha=2.0, beta=0.5, grad_bias=bias)
    np.testing.assert_allclose(by_filters.get(), 2 * gradient + 0.5, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bias.get()[:, 0], error.reshape(layer.K, -1).sum(1), rtol=1e-5, atol=1e-5)


def test_what_a_convolution_is_followed_by(be):
    layer = be.conv_layer(np.float32, N, **CONVOLUTIONS["padded, with strides"])
    x, f, beside = values(*layer.dimI2), values(*layer.dimF2, seed=1), values(*layer.dimO2, seed=2)
    images, filters, out = be.array(x), be.array(f), be.empty(layer.dimO2)
    bias, sums = be.array([[1.0], [-1.0], [0.5]]), be.empty((3, 1))
    plain = convolved(layer, x, f)
    be.fprop_conv(layer, images, filters, out, bias=bias, bsum=sums, relu=True, slope=0.1)
    expected = plain.reshape(3, -1) + bias.get()
    expected = np.where(expected > 0, expected, 0.1 * expected)
    np.testing.assert_allclose(out.get().reshape(3, -1), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums.get()[:, 0], expected.sum(1), rtol=1e-4, atol=1e-5)
    be.fprop_conv(layer, images, filters, out, X=be.array(beside), brelu=True, slope=0.1)
    np.testing.assert_allclose(out.get(), plain * np.where(beside > 0, 1, 0.1), rtol=1e-4, atol=1e-5)
    be.fprop_conv(layer, images, filters, out, X=be.array(beside), alpha=2.0, beta=0.5)
    np.testing.assert_allclose(out.get(), 2 * plain + 0.5 * beside, rtol=1e-4, atol=1e-5)
    be.fprop_conv(layer, images, filters, out, X=be.array(beside), alpha=2.0, beta=0.5, bias=bias, relu=True)
    expected = (2 * plain + 0.5 * beside).reshape(3, -1) + bias.get()
    np.testing.assert_allclose(out.get().reshape(3, -1), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
    with pytest.raises(
        BackendError, match=r"of 120 elements, \(2, 1, 5, 6, 2\), is needed, received \(4, 4\)"
    ):
        be.fprop_conv(layer, be.empty((4, 4)), filters, out)


def test_the_sizes_of_a_transposed_convolution(be):
    layer = be.deconv_layer(np.float32, N, 2, 3, M=1, P=4, Q=3, R=3, S=2, str_h=2, dil_w=2, pad_w=1)
    assert (layer.DHW, layer.nOut) == ((1, 9, 3), 2 * 9 * 3)
    assert (layer.dimO, layer.MPQ) == ((3, 1, 4, 3, N), (1, 4, 3))
    x, f, out = values(*layer.dimI2), values(*layer.dimF2, seed=1), be.empty(layer.dimO2)
    be.fprop_conv(layer, be.array(x), be.array(f), out)
    np.testing.assert_allclose(out.get(), convolved(layer, x, f), rtol=1e-5, atol=1e-5)


POOLINGS = {
    "side by side": ((3, 1, 4, 6), (1, 1, 2, 2), (0, 0, 0, 0), (None,) * 4),
    "padded and overlapping": ((2, 1, 5, 6), (1, 1, 3, 3), (0, 0, 1, 1), (1, 1, 2, 2)),
    "of channels": ((5, 1, 3, 3), (3, 1, 2, 2), (1, 0, 1, 0), (2, 1, 1, 1)),
    "of volumes": ((2, 4, 4, 3), (1, 2, 2, 2), (0, 1, 0, 0), (1, 2, 2, 1)),
}


@pytest.mark.parametrize("caffe", [False, True])
@pytest.mark.parametrize("op", ["max", "avg", "l2"])
@pytest.mark.parametrize("case", POOLINGS)
def test_a_pooling_and_its_derivative(be, case, op, caffe):
    """Pixels are quarters, so that some windows have several largest elements, of which the first counts."""
    be.compat_mode = "caffe" if caffe else None
    extents, sides, padding, strides = POOLINGS[case]
    layer = be.pool_layer(np.float32, op, N, *extents, *sides, *padding, *strides)
    x, before = np.round(values(*layer.dimI) * 4) / 4, values(*layer.dimO2, seed=1)
    images, out, argmax = be.array(x), be.array(before), be.empty(layer.dimO, dtype=np.int32)
    be.fprop_pool(layer, images, out, argmax if op == "max" else None, beta=0.5)
    e, expected, numbers, by_images = (
        values(*layer.dimO, seed=2),
        np.zeros(layer.dimO),
        np.zeros(layer.dimO),
        0.5 + 0 * x,
    )
    for window in np.ndindex(*layer.dimO[:-1]):
        settings = zip(window, layer.JTRS, layer.strides, layer.padding, extents, strict=True)
        seen = [
            range(max(0, w * step - pad), min(extent, w * step - pad + side))
            for w, side, step, pad, extent in settings
        ]
        pixels = list(itertools.product(*seen))
        column = np.array([x[pixel] for pixel in pixels])
        expected[window] = {"max": column.max(0), "avg": column.mean(0), "l2": np.sqrt((column**2).sum(0))}[
            op
        ]
        numbers[window] = column.argmax(0)
        for sample in range(N):
            if op == "max":
                by_images[(*pixels[int(numbers[window][sample])], sample)] += 2 * e[window][sample]
            else:
                for pixel in pixels:
                    by_images[(*pixel, sample)] += 2 * e[window][sample] / len(pixels)
    np.testing.assert_allclose(out.get(), expected.reshape(layer.dimO2) + 0.5 * before, rtol=1e-6, atol=1e-6)
    deltas = be.ones(layer.dimI)
    if op == "l2":
        with pytest.raises(NotImplementedError, match="'max' and 'avg' have a derivative, 'l2' has none"):
            be.bprop_pool(layer, be.array(e), deltas)
        return
    if op == "max":
        np.testing.assert_array_equal(argmax.get(), numbers)
    errors = be.array(e)
    be.bprop_pool(layer, errors, deltas, argmax, alpha=2.0, beta=0.5)
    np.testing.assert_array_equal(errors.get(), e)
    np.testing.assert_allclose(deltas.get(), by_images, rtol=1e-5, atol=1e-5)


def test_normalization_by_neighbouring_channels(be):
    layer = be.lrn_layer(np.float32, N, 5, 1, 3, 2, J=3)
    x, e = values(*layer.dimI), values(*layer.dimI, seed=1).astype(np.float64)
    images, out, denom = be.array(x), be.empty(layer.dimO2), be.empty(layer.dimO2)
    be.fprop_lrn(layer, images, out, denom, ascale=1.2, bpower=0.75)

    def normalized(x):
        square = np.pad(x**2, [(1, 1), *[(0, 0)] * 4])
        divisor = 1 + 1.2 / 3 * (square[:-2] + square[1:-1] + square[2:])
        return x * divisor**-0.75, divisor

    expected, divisor = normalized(x)
    np.testing.assert_allclose(denom.get(), divisor.reshape(layer.dimO2), rtol=1e-5)
    np.testing.assert_allclose(out.get(), expected.reshape(layer.dimO2), rtol=1e-5, atol=1e-6)
    deltas = be.empty(layer.dimI)
    be.bprop_lrn(layer, images, out, be.array(e), deltas, denom, ascale=1.2, bpower=0.75)
    exact, small = x.astype(np.float64), 1e-6
    for at in np.ndindex(*x.shape[:1]):
        step = np.zeros(x.shape)
        step[at] = small
        slope = (normalized(exact + step)[0] - normalized(exact - step)[0]) / (2 * small)
        np.testing.assert_allclose(deltas.get()[at], (slope * e).sum(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(BackendError, match="J must be odd, received 2"):
        be.lrn_layer(np.float32, N, 5, J=2)


def test_the_largest_pixels_of_regions(be):
    x = values(2, 4, 5, N)
    rois = np.array([[0, 0, 0, 63, 47], [1, 16, 16, 20, 20], [1, 48, 0, 200, 300]], np.float32)
    out, argmax = be.empty((2 * 2 * 2, 3)), be.empty((2 * 2 * 2, 3), dtype=np.int32)
    sizes = {
        "roi_count": 3,
        "C": 2,
        "H": 4,
        "W": 5,
        "pooled_height": 2,
        "pooled_width": 2,
        "spatial_scale": 1 / 16,
    }
    be.roipooling_fprop(be.array(x.reshape(-1, N)), be.array(rois), out, argmax, **sizes)
    cells = {  # of each region: image, and rows and columns of its 2 x 2 cells
        0: (0, [(0, 2), (2, 4)], [(0, 3), (2, 5)]),
        1: (1, [(1, 2), (1, 2)], [(1, 2), (1, 2)]),
        2: (1, [(0, 4), (4, 4)], [(3, 5), (5, 5)]),
    }
    expected, places = np.zeros((2, 2, 2, 3), np.float32), np.full((2, 2, 2, 3), -1)
    for number, (image, rows, columns) in cells.items():
        for c, r, s in np.ndindex(2, 2, 2):
            (top, bottom), (left, right) = rows[r], columns[s]
            cell = x[c, top:bottom, left:right, image]
            if cell.size:
                down, across = np.unravel_index(cell.argmax(), cell.shape)
                expected[c, r, s, number], places[c, r, s, number] = (
                    cell.max(),
                    (down + top) * 5 + across + left,
                )
    np.testing.assert_array_equal(out.get(), expected.reshape(8, 3))
    np.testing.assert_array_equal(argmax.get(), places.reshape(8, 3))
    errors, deltas, by_images = values(8, 3, seed=1), be.empty((40, N)), np.zeros((2, 20, N))
    be.roipooling_bprop(be.array(errors), be.array(rois), deltas, argmax, **sizes)
    for (c, r, s, number), place in np.ndenumerate(places):
        if place >= 0:
            by_images[c, place, cells[number][0]] += errors.reshape(2, 2, 2, 3)[c, r, s, number]
    np.testing.assert_allclose(deltas.get(), by_images.reshape(40, N), rtol=1e-6, atol=1e-6)
    with pytest.raises(BackendError, match=r"roipooling: rois need the shape \(3, 5\), received \(2, 5\)"):
        be.roipooling_fprop(be.array(x.reshape(-1, N)), be.array(rois[:2]), out, argmax, **sizes)


def test_boxes_that_overlap_a_better_one_are_dropped(be):
    boxes = [
        [0, 0, 9, 9, 0.9],
        [1, 0, 10, 9, 0.8],
        [20, 20, 29, 29, 0.7],
        [0, 5, 9, 14, 0.6],
        [0, 0, 9, 9, 0.0],
    ]
    assert be.nms(be.array(boxes), 0.5) == [0, 2, 3], "90 of 110 pixels are common to the first two"
    assert be.nms(be.array(boxes), 0.3) == [0, 2]
    assert be.nms(be.array(boxes), 0.9) == [0, 1, 2, 3]
    assert be.nms(be.array([boxes[0]] * 3), 0.5) == [0], "the first of equal ones"
    parts = [[0.0, 0.0, 0.5, 0.5, 0.9], [0.25, 0.0, 0.75, 0.5, 0.8]]
    assert be.nms(be.array(parts), 0.3, normalized=True) == [0], "a third is common"
    assert be.nms(be.array(parts), 0.34, normalized=True) == [0, 1]
