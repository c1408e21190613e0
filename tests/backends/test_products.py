"""Products with ``deterministic=True``: one order, whatever engine, backend, layout or number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.cpu.compiled.product import CompiledProduct
from neon_optim.backends.cpu.fixed_product import FixedProduct
from neon_optim.errors import BackendError


@pytest.fixture(params=["numpy", "numba", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    options = {} if request.param == "gpu" else {"engine": request.param}
    yield gen_backend("gpu" if request.param == "gpu" else "cpu", deterministic=True, **options)
    cleanup_backend()


def reference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The definition: products, each rounded, added one after the other from 0 on."""
    out = np.zeros((left.shape[0], right.shape[1]), left.dtype)
    for i, j in np.ndindex(out.shape):
        for product in left[i] * right[:, j]:
            out[i, j] += product
    return out


def factors(m, k, n, dtype="float32"):
    rng = np.random.RandomState(m + k + n)
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


LAYOUTS = {
    "rows": lambda a: a,
    "columns": lambda a: np.asfortranarray(a),
    "every other": lambda a: np.repeat(np.repeat(a, 2, 0), 2, 1)[::2, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
}

SHAPES = [
    (1, 1, 1),
    (3, 0, 4),
    (4, 5, 16),
    (5, 7, 3),
    (33, 40, 17),
    (6, 300, 20),
    (40, 9, 5),
    (2, 3, 530),
    (70, 6, 33),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_product_has_one_definition(be, shape, dtype):
    left, right = factors(*shape, dtype)
    out = be.empty((shape[0], shape[2]), dtype=dtype)
    out[:] = be.dot(be.array(left, dtype=dtype), be.array(right, dtype=dtype))
    np.testing.assert_array_equal(out.get(), reference(left, right))
    back = be.empty((shape[2], shape[0]), dtype=dtype)
    back[:] = be.dot(be.array(right, dtype=dtype).T, be.array(left, dtype=dtype).T)
    np.testing.assert_array_equal(back.get(), reference(left, right).T)


def test_the_order_of_a_product_shows_in_its_bits():
    """Negative control of the test above: BLAS, or another order, gives other bits."""
    left, right = factors(6, 300, 20)
    assert (reference(left, right) != left @ right).any()
    assert (reference(left, right) != reference(left[:, ::-1], right[::-1])).any()


@pytest.mark.parametrize("product", [FixedProduct, CompiledProduct])
@pytest.mark.parametrize("left_layout", LAYOUTS)
@pytest.mark.parametrize("right_layout", LAYOUTS)
def test_any_layout(product, left_layout, right_layout):
    for shape in ((33, 40, 17), (40, 9, 5)):
        left, right = factors(*shape)
        for layout in LAYOUTS.values():
            out = layout(np.full((shape[0], shape[2]), 7.0, np.float32))
            product()(LAYOUTS[left_layout](left), LAYOUTS[right_layout](right), out)
            np.testing.assert_array_equal(out, reference(left, right))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads(dtype, monkeypatch):
    """Wider and deeper than what compiled code works on at a time, with rows and columns left over."""
    left, right = factors(203, 261, 1031, dtype)
    expected = np.empty((203, 1031), dtype)
    FixedProduct()(left, right, expected)
    for i, j in ((0, 0), (202, 1030), (100, 512)):
        assert expected[i, j] == reference(left[i : i + 1], right[:, j : j + 1])[0, 0]
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        out = np.full_like(expected, np.nan)
        CompiledProduct()(left, right, out)
        assert out.tobytes() == expected.tobytes()


def test_infinities_and_zeros(be):
    left = np.array([[np.inf, 0.0], [0.0, np.inf], [-0.0, 0.0], [3e38, 3e38]], np.float32)
    right = np.array([[1.0, 0.0, -1.0], [-1.0, 1.0, 1.0]], np.float32)
    out = be.empty((4, 3))
    with np.errstate(all="ignore"):
        out[:] = be.dot(be.array(left), be.array(right))
        expected = reference(left, right)
    np.testing.assert_array_equal(out.get(), expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(out.get()[number]), np.signbit(expected[number]))


def test_16_bit_factors_are_multiplied_in_float32(be):
    left, right = (f.astype(np.float16) for f in factors(5, 40, 6))
    out = be.empty((5, 6))
    out[:] = be.dot(be.array(left, dtype=np.float16), be.array(right, dtype=np.float16))
    np.testing.assert_array_equal(out.get(), reference(left.astype("f4"), right.astype("f4")))


def test_a_backend_says_whether_it_is_deterministic():
    assert [gen_backend("cpu", deterministic=d).deterministic for d in (None, False, True)] == [
        False,
        False,
        True,
    ]
    with pytest.raises(BackendError, match=r"deterministic must be True, False or None, received 'yes'"):
        gen_backend("cpu", deterministic="yes")
    cleanup_backend()
