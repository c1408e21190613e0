"""Op-trees on tensors of every backend: ``t[:] = tree`` equals NumPy's own arithmetic."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neon_optim import cleanup_backend, gen_backend
from neon_optim.errors import BackendError


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    yield gen_backend(request.param, rng_seed=1, batch_size=4)
    cleanup_backend()


RNG = np.random.RandomState(0)
A = RNG.randn(6, 5).astype(np.float32)
B = RNG.randn(6, 5).astype(np.float32)
COLUMN = RNG.randn(6, 1).astype(np.float32)
ROW = RNG.randn(1, 5).astype(np.float32)

EXACT = {
    "add": lambda be, a, b: (be.add(a, b), A + B),
    "operators": lambda be, a, b: (2.0 - (a + 1.0) * b / 3.0, np.float32(2) - (A + np.float32(1)) * B / np.float32(3)),
    "reflected": lambda be, a, b: (1.0 / (2.0 + abs(a)), np.float32(1) / (np.float32(2) + np.abs(A))),
    "clip": lambda be, a, b: (be.clip(a, -0.5, 0.5), np.clip(A, -0.5, 0.5)),
    "square": lambda be, a, b: (be.square(a), A * A),
    "sqrt": lambda be, a, b: (be.sqrt(be.absolute(a)), np.sqrt(np.abs(A))),
    "sgn": lambda be, a, b: (be.sgn(a), np.sign(A)),
    "rint": lambda be, a, b: (be.rint(a * 3.0), np.rint(A * np.float32(3))),
    "maximum": lambda be, a, b: (be.maximum(a, b), np.maximum(A, B)),
    "comparison": lambda be, a, b: (a > b, (A > B).astype(np.float32)),
    "comparison with a number": lambda be, a, b: (a >= 0.0, (A >= 0).astype(np.float32)),
    "where": lambda be, a, b: (be.where(a < 0.0, b, 0.0), np.where(A < 0, B, np.float32(0))),
    "row broadcast": lambda be, a, b: (a + be.array(ROW), A + ROW),
    "column broadcast": lambda be, a, b: (a * be.array(COLUMN) - b, A * COLUMN - B),
    "transpose": lambda be, a, b: (be.array(A.T.copy()).T + b, A + B),
    "argmax": lambda be, a, b: (a * 0.0 + be.argmax(a, axis=0), np.broadcast_to(A.argmax(0).astype("f4"), A.shape)),
    "max of axis": lambda be, a, b: (a - be.max(a, axis=0), A - A.max(0, keepdims=True)),
    "take": lambda be, a, b: (be.take(a, be.array([5, 4, 3, 2, 1, 0]), axis=0), A[::-1]),
}  # fmt: skip


@pytest.mark.parametrize("case", EXACT)
def test_exact_operations_give_numpys_bits(be, case):
    tree, expected = EXACT[case](be, be.array(A), be.array(B))
    out = be.empty((6, 5))
    out[:] = tree
    np.testing.assert_array_equal(out.get(), expected)


CLOSE = {
    "exp": lambda be, a: (be.exp(a), np.exp(A)),
    "log": lambda be, a: (be.log(be.absolute(a)), np.log(np.abs(A))),
    "exp2": lambda be, a: (be.exp2(a), np.exp2(A)),
    "log2": lambda be, a: (be.log2(be.absolute(a)), np.log2(np.abs(A))),
    "safelog": lambda be, a: (be.safelog(be.maximum(a, 0.0)), np.log(np.maximum(A, np.exp(-50.0)))),
    "tanh": lambda be, a: (be.tanh(a), np.tanh(A)),
    "tanh2": lambda be, a: (be.tanh2(a), np.tanh(A * np.log(2))),
    "sig": lambda be, a: (be.sig(a), 1 / (1 + np.exp(-A))),
    "sig2": lambda be, a: (be.sig2(a), 1 / (1 + np.exp2(-A))),
    "power": lambda be, a: (be.absolute(a) ** 1.5, np.abs(A) ** 1.5),
    "softmax": lambda be, a: (
        be.exp(a - be.max(a, axis=0)) / be.sum(be.exp(a - be.max(a, axis=0)), axis=0),
        np.exp(A - A.max(0)) / np.exp(A - A.max(0)).sum(0),
    ),
    "var": lambda be, a: (a * 0.0 + be.var(a, axis=1), np.broadcast_to(A.var(1, keepdims=True), A.shape)),
    "std of all": lambda be, a: (a * 0.0 + be.std(a), np.full_like(A, A.std())),
    "mean of all": lambda be, a: (a * 0.0 + be.mean(a), np.full_like(A, A.mean())),
}


@pytest.mark.parametrize("case", CLOSE)
def test_other_operations_are_close_to_numpys(be, case):
    """Tolerance: a few roundings of float32 (2**-23 each)."""
    tree, expected = CLOSE[case](be, be.array(A))
    out = be.empty((6, 5))
    out[:] = tree
    np.testing.assert_allclose(out.get(), expected, rtol=2e-6, atol=2e-6)


def test_dot(be):
    out = be.empty((6, 6))
    out[:] = be.dot(be.array(A), be.array(B).T) + 1.0
    np.testing.assert_allclose(out.get(), A @ B.T + 1.0, rtol=1e-5, atol=1e-5)
    be.compound_dot(be.array(A), be.array(B).T, out, alpha=2.0, beta=0.5, relu=True)
    np.testing.assert_allclose(
        out.get(), np.maximum(2 * A @ B.T + 0.5 * (A @ B.T + 1.0), 0), rtol=1e-5, atol=1e-5
    )


def test_onehot_takes_its_shape_from_the_target(be):
    out = be.empty((3, 4))
    out[:] = be.onehot(be.array([[2, 0, 1, 1]]), axis=0)
    np.testing.assert_array_equal(out.get(), np.eye(3, dtype="f4")[:, [2, 0, 1, 1]])
    rows = be.empty((4, 3))
    rows[:] = be.onehot(be.array([2, 0, 1, 1]), axis=1)
    np.testing.assert_array_equal(rows.get(), np.eye(3, dtype="f4")[[2, 0, 1, 1]])


def test_a_tree_may_read_what_it_writes(be):
    square = RNG.randn(5, 5).astype(np.float32)
    t = be.array(square)
    t[:] = t.T + t
    np.testing.assert_array_equal(t.get(), square.T + square)
    t = be.array(square)
    t[1:, :] = t[:-1, :] * 2.0
    np.testing.assert_array_equal(t.get()[1:], square[:-1] * 2)


def test_a_tensor_is_gone_through_row_by_row(be):
    t = be.array(A)
    rows = list(t)
    assert [row.shape for row in rows] == [(1, 5)] * 6
    rows[2][:] = 7.0
    np.testing.assert_array_equal(t.get()[2], np.full(5, 7.0))


def test_parts_are_views_of_two_axes(be):
    t = be.zeros((4, 3))
    t[1, :] = 5.0
    t[:, -1] = be.ones((4, 1)) * 7.0
    assert t[1].shape == (1, 3)
    assert t[:, 0].shape == (4, 1)
    np.testing.assert_array_equal(t.get(), [[0, 0, 7], [5, 5, 7], [0, 0, 7], [0, 0, 7]])


@pytest.mark.parametrize("be", ["cpu"], indirect=True)
def test_memory_is_shared_with_numpy(be):
    t = be.zeros((2, 3))
    np.asarray(t)[0, 0] = 4.0
    assert t.get()[0, 0] == 4.0
    t[1, 2] = 5.0
    assert np.from_dlpack(t)[1, 2] == 5.0
    assert np.shares_memory(np.from_dlpack(t), np.asarray(t))
    copy = t.get()
    copy[:] = 9.0
    assert t.get()[0, 1] == 0.0
    t.reshape(3, 2)[2, 1] = 6.0
    assert t.get()[1, 2] == 6.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arithmetic_is_in_the_tensors_type_and_16_bits_are_storage(dtype):
    be = gen_backend("cpu", datatype=dtype)
    a, b = A.astype(dtype), B.astype(dtype)
    out = be.empty((6, 5))
    out[:] = be.array(a) * 0.1 + be.array(b)
    wide = "float64" if dtype == "float64" else "float32"
    expected = (a.astype(wide) * np.dtype(wide).type(0.1) + b.astype(wide)).astype(dtype)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.get(), expected)


def test_no_warning_for_infinities(be):
    out = be.empty((1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out[:] = be.array([[1.0, -1.0, 0.0]]) / 0.0
    np.testing.assert_array_equal(out.get(), [[np.inf, -np.inf, np.nan]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda be: be.zeros((2, 3)) + be.zeros((3, 2)), "shape"),
        (lambda be: be.zeros((3, 3)), r"\(3, 3\) does not fit into a tensor of shape \(2, 2\)"),
        (lambda be: be.dot(be.zeros((2, 3)), be.zeros((2, 3))), r"\(2, 3\) and \(2, 3\)"),
        (lambda be: be.zeros((2, 2)) + "x", "received str"),
    ],
)
def test_a_tree_that_does_not_fit_is_an_error_and_changes_nothing(be, make, message):
    out = be.ones((2, 2))
    with pytest.raises(BackendError, match=message):
        out[:] = make(be)
    np.testing.assert_array_equal(out.get(), np.ones((2, 2)))


def test_an_expression_has_no_truth_value(be):
    with pytest.raises(TypeError, match="truth value"):
        bool(be.zeros((1, 1)) > 0.0)


def test_several_backends_one_after_another():
    first = gen_backend("cpu", datatype=np.float64)
    kept = first.array([[1.0, 2.0]])
    cleanup_backend()
    second = gen_backend("cpu")
    out = second.empty((1, 2))
    out[:] = kept * 2.0
    np.testing.assert_array_equal(out.get(), [[2.0, 4.0]])
    cleanup_backend()
    cleanup_backend()


def reference_sum(values: np.ndarray) -> float:
    """DESIGN's definition, element by element, in plain Python."""
    flat = values.reshape(-1).astype(np.float64)
    total = 0.0
    for start in range(0, flat.size, 65_536):
        lanes = [0.0] * 256
        for k, x in enumerate(flat[start : start + 65_536]):
            lanes[k % 256] += float(x)
        width = 128
        while width:
            lanes = [lanes[i] + lanes[i + width] for i in range(width)]
            width //= 2
        total += lanes[0]
    return total


@pytest.mark.parametrize("size", [1, 255, 256, 257, 16_385, 65_536, 65_537, 140_000])
def test_the_sum_has_one_definition(be, size):
    values = np.random.RandomState(size).standard_cauchy((size, 1))
    out = be.empty((1, 1), dtype=np.float64)
    out[:] = be.sum(be.array(values, dtype=np.float64))
    assert out.get()[0, 0] == reference_sum(values)


def test_the_order_of_a_sum_shows_in_its_bits():
    """Negative control of the test above: another order gives other bits on such data."""
    values = np.random.RandomState(140_000).standard_cauchy((140_000, 1))
    assert reference_sum(values) != reference_sum(values[::-1])


def reference_axis_sum(elements: np.ndarray) -> float:
    """The definition of a sum along an axis, element by element, in plain Python."""
    lanes = [0.0] * 32
    for k, x in enumerate(elements.tolist()):
        lanes[k % 32] += x
    width = 16
    while width:
        lanes = [lanes[i] + lanes[i + width] for i in range(width)]
        width //= 2
    return lanes[0]


VIEWS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.T,
    "every other column": lambda t: t[:, ::2],
    "backwards": lambda t: t[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "shape", [(0, 3), (1, 1), (31, 2), (5, 32), (33, 64), (3, 1000), (1000, 5), (130, 140)]
)
def test_a_sum_along_an_axis_has_one_definition(be, shape, view, dtype):
    rng = np.random.RandomState(sum(shape))
    contents = rng.standard_normal(shape) * 10.0 ** rng.randint(-3, 4, shape)
    values = VIEWS[view](contents.astype(dtype))
    tensor = VIEWS[view](be.array(contents, dtype=dtype))
    wide = "float64" if dtype == "float64" else "float32"
    for axis in (0, 1):
        sums = np.array([[reference_axis_sum(row) for row in np.moveaxis(values, axis, 1)]])
        n = values.shape[axis]
        out = be.empty((1, sums.size) if axis == 0 else (sums.size, 1), dtype=wide)
        out[:] = be.sum(tensor, axis=axis)
        assert out.get().tobytes() == sums.astype(wide).tobytes()
        with np.errstate(invalid="ignore"):
            means = (sums / n).astype(wide)
        out[:] = be.mean(tensor, axis=axis)
        np.testing.assert_array_equal(out.get().reshape(-1), means[0])


@pytest.mark.parametrize("shape", [(0, 3), (33, 70), (5, 100)])
def test_loops_keep_the_definition_when_they_are_compiled(shape):
    """The first runs of an assignment are NumPy's."""
    be = gen_backend("cpu", engine="numba")
    values = np.random.RandomState(3).standard_cauchy(shape)
    tensor = be.array(values, dtype=np.float64)
    for axis in (0, 1):
        sums = np.array([reference_axis_sum(row) for row in np.moveaxis(values, axis, 1)])
        out = be.empty((1, sums.size) if axis == 0 else (sums.size, 1), dtype=np.float64)
        for _ in range(6):
            out.fill(7.0)
            out[:] = be.sum(tensor, axis=axis)
            assert out.get().tobytes() == sums.tobytes()
    cleanup_backend()


def test_the_order_of_a_sum_along_an_axis_shows_in_its_bits():
    """Negative control of the test above: adding one element after the other gives other bits on such data."""
    values = np.random.RandomState(1).standard_normal((1, 1000)) * 10.0 ** np.arange(-3, 4).repeat(143)[:1000]
    assert reference_axis_sum(values[0]) != np.cumsum(values)[-1]


def test_a_sum_of_negative_zeros_is_zero(be):
    for n in (1, 3, 40, 70):
        out = be.ones((1, 2))
        out[:] = be.sum(be.array(np.full((n, 2), -0.0)), axis=0)
        assert out.get().tobytes() == bytes(8)


@pytest.mark.parametrize("axis", [0, 1])
def test_extremes_along_an_axis_are_those_of_ieee(be, axis):
    columns = np.array(
        [
            [0.0, -0.0, -0.0, 1.0, np.nan, -np.inf],
            [-0.0, 0.0, -0.0, np.nan, 2.0, -1.0],
            [-1.0, 1.0, -0.0, 3.0, -1.0, 5.0],
        ],
        np.float32,
    )
    expected = {
        "max": np.array([0.0, 1.0, -0.0, np.nan, np.nan, 5.0], np.float32),
        "min": np.array([-1.0, -0.0, -0.0, np.nan, np.nan, -np.inf], np.float32),
        "argmax": np.array([0, 2, 0, 1, 0, 2], np.float32),
        "argmin": np.array([2, 0, 0, 1, 0, 0], np.float32),
    }
    values = columns if axis == 0 else columns.T
    for name, wanted in expected.items():
        out = be.empty((1, 6) if axis == 0 else (6, 1))
        out[:] = getattr(be, name)(be.array(values), axis=axis)
        got = out.get().reshape(-1)
        np.testing.assert_array_equal(got, wanted)
        number = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(wanted[number]))


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.floats(-4, 4, width=32)
    ),
    st.floats(-3, 3),
)
def test_a_tree_of_any_shape(values, number):
    be = gen_backend("cpu")
    t = be.array(values)
    out = be.empty(values.shape)
    out[:] = (t + number) * t - be.maximum(t, number)
    n = np.float32(number)
    np.testing.assert_array_equal(out.get(), (values + n) * values - np.maximum(values, n))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_number_fills_a_tensor(be, dtype):
    """One stored as it is, and one that was computed; a float64 that float32 has not is rounded once."""
    out, total = be.zeros((3, 4), dtype=dtype), be.zeros((1, 1), dtype=dtype)
    for _ in range(3):  # planned, then found again
        out[:] = 1 / 3
        total[:] = be.sum(out)
        assert (out.get() == np.array(1 / 3).astype(dtype)).all()
        assert total.get() == np.array(12 * float(np.array(1 / 3).astype(dtype))).astype(dtype)
