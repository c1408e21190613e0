"""Operations of op-trees that change shapes: values against NumPy, shapes against values, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.optree import (
    ELEMENTWISE,
    PRODUCTS,
    REDUCTIONS,
    STRUCTURAL,
    Node,
    Symbol,
    stated,
    topological_order,
)
from neon_optim.backends.optree_shapes import normalized_key
from neon_optim.errors import BackendError


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    yield gen_backend(request.param, rng_seed=1, batch_size=4)
    cleanup_backend()


def values(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def run(be, tree, dtype=None):
    """The value of a tree, of the shape that the tree says it has."""
    out = be.empty(tree.shape, dtype)
    out[:] = tree
    return out.get()


def unit_rows(indices):
    return np.eye(6, dtype=np.float32)[indices.astype(int)]


A, B, C3, D3 = values(6, 5), values(6, 5, seed=1), values(3, 4, 5), values(3, 5, 2, seed=1)
INDICES = np.array([2.0, 0.0, 2.0, 5.0, 1.0], np.float32)
KEY = ((1, 6, 2), (0, 5, 3))


def placed():
    out = np.zeros((6, 5), np.float32)
    out[1:6:2, 0:5:3] = A[:3, :2]
    return out


def put():
    out = np.zeros((7, 5), np.float32)
    for row, place in zip(A[:5], INDICES.astype(int), strict=True):
        out[place] += row
    return out


EXACT = {
    "transpose": lambda be, a, c: (be.transpose(a * 2.0), A.T * 2),
    "transpose, three axes": lambda be, a, c: (be.transpose(c, axes=(2, 0, 1)) + 0.0, C3.transpose(2, 0, 1)),
    "reshape": lambda be, a, c: (be.reshape(a + 1.0, (3, -1)), (A + 1).reshape(3, 10)),
    "reshape of a transpose": lambda be, a, c: (be.reshape(be.transpose(a), (3, 10)) * 1.0, A.T.reshape(3, 10)),
    "reshape of a node": lambda be, a, c: ((a + 1.0).reshape(10, 3), (A + 1).reshape(10, 3)),
    "slice": lambda be, a, c: ((a + 1.0)[1:6:2, ::3], (A + 1)[1:6:2, ::3]),
    "slice by integers": lambda be, a, c: ((a + 1.0)[-1, 2], (A + 1)[-1:, 2:3]),
    "slice of three axes": lambda be, a, c: ((c + 1.0)[..., 1:3] * 2.0, (C3 + 1)[..., 1:3] * 2),
    "an empty slice": lambda be, a, c: ((a + 1.0)[4:2], A[4:2]),
    "place": lambda be, a, c: (Node("place", a[:3, :2], key=KEY, shape=(6, 5)), placed()),
    "concatenate": lambda be, a, c: (be.concatenate([a, a + a, a[:, :1]], 1), np.concatenate([A, A + A, A[:, :1]], 1)),
    "concatenate, last axis": lambda be, a, c: (be.concatenate([c, c], axis=-1) + 0.0, np.concatenate([C3, C3], -1)),
    "broadcast": lambda be, a, c: (be.broadcast_to(a[:, :1] * 2.0, (6, 5)), np.broadcast_to(A[:, :1] * 2, (6, 5))),
    "broadcast to a new axis": lambda be, a, c: (be.broadcast_to(a, (2, 6, 5)), np.broadcast_to(A, (2, 6, 5))),
    "take": lambda be, a, c: (be.take(a, INDICES, axis=0), A[INDICES.astype(int)]),
    "put": lambda be, a, c: (Node("put", a[:5], INDICES, axis=0, extent=7), put()),
    "put, other axis": lambda be, a, c: (Node("put", be.transpose(a[:5]), INDICES, axis=1, extent=7), put().T),
    "onehot": lambda be, a, c: (be.onehot(INDICES, axis=0, extent=6), unit_rows(INDICES).T),
    "onehot within": lambda be, a, c: (be.onehot(INDICES, axis=1, extent=6)[1:, :], unit_rows(INDICES)[1:]),
    "amax along an axis": lambda be, a, c: (be.max(a, axis=1), A.max(1, keepdims=True)),
    "argmin without the axis": lambda be, a, c: (be.argmin(a, axis=0, keepdims=False), A.argmin(0).reshape(-1, 1)),
    "amax of all": lambda be, a, c: (be.max(a), A.max().reshape(1, 1)),
    "size": lambda be, a, c: (Node("size", a) * 2.0, np.array([[60.0]])),
    "stated": lambda be, a, c: (be.transpose(stated(a + 1.0, [a], None)), (A + 1).T),
}  # fmt: skip


@pytest.mark.parametrize("case", EXACT)
def test_values_and_shapes(be, case):
    tree, expected = EXACT[case](be, be.array(A), be.array(C3))
    assert tree.shape == expected.shape
    np.testing.assert_array_equal(run(be, tree), expected)


def test_every_structural_operation_is_tried():
    """By :func:`test_values_and_shapes`, or by a test of its own."""
    backend = gen_backend("cpu")
    trees = [case(backend, backend.array(A), backend.array(C3))[0] for case in EXACT.values()]
    tried = {node.op for node in topological_order(trees)} | {*PRODUCTS, "unfold", "fold"}
    assert tried >= set(STRUCTURAL)


def test_products_of_a_batch(be):
    """Tolerance: sums of five products in float32, each within 2**-24 of its size."""
    c, d = be.array(C3), be.array(D3)
    np.testing.assert_allclose(run(be, be.batched_dot(c, d)), C3 @ D3, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        run(be, be.batched_dot(c[0].reshape(4, 5), d)), C3[0] @ D3, rtol=1e-6, atol=1e-6
    )
    total = be.ones((4, 2))
    be.batched_dot(c, d, total, alpha=2.0, beta=3.0, relu=True)
    np.testing.assert_allclose(total.get(), np.maximum(2 * (C3 @ D3).sum(0) + 3, 0), rtol=1e-5, atol=1e-5)
    each = be.empty((3, 4, 2))
    be.batched_dot(c, d, each)
    np.testing.assert_allclose(each.get(), C3 @ D3, rtol=1e-6, atol=1e-6)


IMAGES = [
    {
        "channels": c,
        "size": size,
        "window": window,
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
    }
    for c, size, window, strides, padding, dilation in itertools.product(
        (1, 2), ((5, 4), (3, 6)), ((2, 3), (1, 1)), ((1, 2), (3, 1)), ((0, 0), (1, 2)), ((1, 1), (2, 1))
    )
] + [
    {
        "channels": 1,
        "size": (2, 2),
        "window": (3, 3),
        "strides": (1, 1),
        "padding": (3, 3),
        "dilation": (2, 2),
    },
    {"channels": 2, "size": (5,), "window": (3,), "strides": (2,), "padding": (1,), "dilation": (1,)},
    {
        "channels": 2,
        "size": (3, 4, 2),
        "window": (2, 3, 1),
        "strides": (1, 2, 1),
        "padding": (1, 1, 0),
        "dilation": (2, 1, 1),
    },
]


def windows_of(images, channels, size, window, strides, padding, dilation):
    """Windows one by one, element by element."""
    n, axes = images.shape[1], len(size)
    images = images.reshape(channels, *size, n)
    counts = [
        len(range(0, extent + 2 * pad - step * (wide - 1), stride))
        for extent, wide, stride, pad, step in zip(size, window, strides, padding, dilation, strict=True)
    ]
    out = np.zeros((channels, *window, *counts, n), images.dtype)
    for place in np.ndindex(*out.shape[:-1]):
        pixel = [
            place[1 + axes + k] * strides[k] + place[1 + k] * dilation[k] - padding[k] for k in range(axes)
        ]
        if all(0 <= x < extent for x, extent in zip(pixel, size, strict=True)):
            out[place] = images[(place[0], *pixel)]
    return out.reshape(channels * math.prod(window), -1)


@pytest.mark.parametrize("attrs", IMAGES, ids=lambda a: "-".join(str(v) for v in a.values()))
def test_windows_of_images(be, attrs):
    """unfold equals windows taken one by one; fold is its adjoint, which adds windows in their order."""
    images = values(attrs["channels"] * math.prod(attrs["size"]), 3)
    expected = windows_of(images, **attrs)
    np.testing.assert_array_equal(run(be, be.unfold(be.array(images), **attrs)), expected)
    weights = values(*expected.shape, seed=1)
    folded = run(be, be.fold(be.array(weights), **attrs))
    adjoint = np.zeros_like(images)
    for r in reversed(
        range(len(weights))
    ):  # rows are (channel, r, s): what is at a later place, in an earlier window
        alone = np.zeros_like(weights)
        alone[r] = weights[r]
        unit = np.eye(len(images), dtype=np.float32)
        matrix = np.array([windows_of(np.repeat(e[:, None], 3, 1), **attrs)[r] for e in unit])
        adjoint += (
            (matrix * weights[r]).reshape(len(images), -1, 3).sum(1)
        )  # one of a row's products at most is not 0
    np.testing.assert_array_equal(folded, adjoint)


@pytest.mark.parametrize("attrs", IMAGES, ids=lambda a: "-".join(str(v) for v in a.values()))
def test_convolutions(be, attrs):
    """All three against windows taken one by one, in float64. Tolerance: sums of some products in float32."""
    images = values(attrs["channels"] * math.prod(attrs["size"]), 3)
    windows = windows_of(images.astype(np.float64), **attrs)
    filters = values(len(windows), 2, seed=1)
    errors = values(2 * windows.shape[1] // 3, 3, seed=2)
    folded = be.fold(be.array(filters @ errors.reshape(2, -1)), **attrs)
    found = {
        "convolve": (be.convolve(be.array(images), be.array(filters), **attrs), filters.T @ windows),
        "deconvolve": (be.deconvolve(be.array(errors), be.array(filters), **attrs), run(be, folded)),
        "correlate": (
            be.correlate(be.array(images), be.array(errors), **attrs),
            windows @ errors.reshape(2, -1).T,
        ),
    }
    for op, (tree, expected) in found.items():
        expected = expected.reshape(tree.shape)
        np.testing.assert_allclose(run(be, tree), expected, rtol=1e-5, atol=1e-5, err_msg=op)


def test_sixteen_bits_are_storage(be):
    half = be.array(A, dtype=np.float16)
    exact = A.astype(np.float16)
    assert run(be, be.reshape(half, (5, 6)), np.float16).tobytes() == exact.reshape(5, 6).tobytes()
    expected = np.zeros((1, 5), np.float32)
    for row in exact.astype(np.float32):
        expected += row
    tree = Node("put", half, np.zeros(6, np.float32), axis=0, extent=1)
    np.testing.assert_array_equal(run(be, tree, np.float32), expected)
    both = be.concatenate([half, be.array(B)])
    np.testing.assert_array_equal(run(be, both, np.float32), np.concatenate([exact.astype("f4"), B]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_are_storage(be, dtype):
    """Computed in float32, cut off at the store, exact as indices."""
    exact = np.arange(6, dtype=dtype)[:, None]
    whole, half = be.array(exact, dtype=dtype), be.array([[0.5]])
    assert whole.dtype == dtype
    np.testing.assert_array_equal(run(be, whole * half, np.float32), exact / 2)
    np.testing.assert_array_equal(run(be, whole * half, dtype), exact // 2)
    np.testing.assert_array_equal(run(be, be.take(be.array(A), whole, axis=0)), A)
    np.testing.assert_array_equal(run(be, be.argmax(be.array(A.T), axis=0), dtype)[0], A.argmax(1))


def test_a_structural_tree_may_read_what_it_writes(be):
    t = be.array(A[:5])
    t[:] = be.concatenate([t[1:], t[:1]])
    np.testing.assert_array_equal(t.get(), np.roll(A[:5], -1, 0))
    t[:] = be.reshape(t, (5, 5))[:, ::1] + be.broadcast_to(t[:, :1], (5, 5))
    rolled = np.roll(A[:5], -1, 0)
    np.testing.assert_array_equal(t.get(), rolled + rolled[:, :1])


REFUSED = {
    "add": (lambda be, a: a + a.T, r"add: .*\(6, 5\), \(5, 6\)"),
    "dot": (lambda be, a: be.dot(a, a), r"dot needs shapes .* \(6, 5\) and \(6, 5\)"),
    "batched_dot": (lambda be, a: Node("batched_dot", a, a), r"batched_dot needs shapes .* \(6, 5\)"),
    "transpose": (lambda be, a: be.transpose(a, axes=(0, 0)), r"\(0, 0\) are no order of the axes .* \(6, 5\)"),
    "reshape": (lambda be, a: Node("reshape", a, shape=(4, 5)), r"\(6, 5\) has another size than \(4, 5\)"),
    "slice": (lambda be, a: Node("slice", a, key=((0, 7, 1), (0, 5, 1))), r"does not fit the shape \(6, 5\)"),
    "place": (lambda be, a: Node("place", a, key=KEY, shape=(6, 5)), r"part of shape \(3, 2\), received \(6, 5\)"),
    "concatenate": (lambda be, a: be.concatenate([a, a.T]), r"differ beside axis 0: \(6, 5\), \(5, 6\)"),
    "broadcast": (lambda be, a: be.broadcast_to(a, (6, 1)), r"\(6, 5\) does not fit into \(6, 1\)"),
    "reduce": (lambda be, a: be.sum(a, axis=2), r"sum: axis 2 is out of range for the shape \(6, 5\)"),
    "take": (lambda be, a: be.take(a, INDICES, axis=3), r"take: axis 3 .* \(6, 5\)"),
    "put": (lambda be, a: Node("put", a, INDICES, axis=0, extent=9), r"put: 5 indices .* \(6, 5\)"),
    "onehot": (lambda be, a: be.onehot(INDICES, axis=0), r"onehot takes its shape"),
    "unfold": (lambda be, a: be.unfold(a, 1, (2, 2), (1, 1)), r"unfold: 1 channels of \(2, 2\) .*\(4, n\), received"),
    "unfold, axes": (lambda be, a: be.unfold(a, 1, (6, 1), (1, 1), (1, 1, 1)), r"strides \(1, 1, 1\), .* each axis"),
    "unfold, window": (lambda be, a: be.unfold(a, 1, (2, 3), (3, 1)), r"window of \(3, 1\) .* image of \(2, 3\)"),
    "fold": (lambda be, a: be.fold(a, 1, (2, 2), (2, 2)), r"fold: .* \(4, 1 n\), received \(6, 5\)"),
    "convolve": (lambda be, a: be.convolve(a, a, 2, (3, 1), (2, 1)), r"convolve: .* filters \(4, K\).* \(6, 5\)"),
    "deconvolve": (lambda be, a: be.deconvolve(a, a, 2, (3, 1), (2, 1)), r"deconvolve: .* results \(2 K, n\)"),
    "correlate": (lambda be, a: be.correlate(a, a[:5], 2, (3, 1), (2, 1)), r"correlate: .* \(6, n\).* and \(5, 5\)"),
}  # fmt: skip


@pytest.mark.parametrize("op", REFUSED)
def test_wrong_shapes_are_refused_by_name(op):
    backend = gen_backend("cpu")
    make, message = REFUSED[op]
    with pytest.raises(BackendError, match=message):
        _ = make(backend, backend.array(A)).shape


@pytest.mark.parametrize("op", [op for op in REFUSED if op != "onehot"])
def test_trees_of_wrong_shapes_do_not_run(op):
    backend = gen_backend("cpu")
    out = backend.empty((6, 5))
    with pytest.raises(BackendError):
        out[:] = REFUSED[op][0](backend, backend.array(A)) * 1.0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (7, "index 7 is out of range"),
        (slice(None, None, -1), "a step must be 1 or more"),
        ((0, 0, 0), "3 indices for the shape"),
        ("a", "integers and slices, received 'a'"),
    ],
)
def test_wrong_indices(key, message):
    with pytest.raises(BackendError, match=message):
        normalized_key((6, 5), key)


def test_numbers_symbols_and_iteration():
    a = gen_backend("cpu").array(A)
    assert (Node("add", 1.0, 2.0).shape, (a * 2.0).shape) == ((), (6, 5))
    symbol = Symbol("grad", 1)
    for ask in (lambda: symbol.shape, lambda: (symbol * 2.0).shape, lambda: (symbol * 2.0)[0]):
        with pytest.raises(AttributeError, match="'grad' has no 'shape' while a rule is traced"):
            ask()
    with pytest.raises(TypeError, match="not iterable"):
        iter(a + 1.0)
    with pytest.raises(BackendError, match="do not fill"):
        (a + 1.0).reshape(7, -1)


def test_deep_trees(be):
    """10,000 nodes deep: shapes and values, without recursion; and 2**50 paths through 50 nodes."""
    a = be.array(A)
    deep = a
    for _ in range(10_000):
        deep = deep + 1.0
    assert deep.shape == (6, 5)
    shared = a
    for _ in range(50):
        shared = be.transpose(be.transpose(shared + shared)) * 0.5
    np.testing.assert_array_equal(run(be, shared), A)


def test_the_value_of_a_deep_tree():
    backend = gen_backend("cpu")
    deep = backend.array(np.zeros((2, 2)))
    for _ in range(3_000):
        deep = deep + 1.0
    np.testing.assert_array_equal(run(backend, deep), np.full((2, 2), 3000.0))


def test_several_trees_at_once(be):
    """Common parts are done once; what is known is not done at all, which a wrong value of it shows."""
    a, b = be.array(A), be.array(B)
    common = be.max(a * b, axis=0)
    trees = [common + 1.0, be.dot(a, be.transpose(b)), a - common, common]
    targets = [be.empty(tree.shape) for tree in trees]
    assignments = list(zip(targets, trees, strict=True))
    be.assign_all(assignments)
    for target, tree in assignments:
        assert target.get().tobytes() == run(be, tree).tobytes()
    known = be.zeros((1, 5))
    be.assign_all(assignments, [(common, known)])
    assert not targets[3].get().any()
    np.testing.assert_array_equal(targets[2].get(), A)


def test_common_parts_are_run_once_and_round_as_ever():
    """A part that one tree needs as an array and in wider arithmetic too is rounded in neither place."""
    backend = gen_backend("cpu")
    a, wide = backend.array(A), backend.array(B, dtype=np.float64)
    third = a / 3.0
    out = backend.empty((6, 5), dtype=np.float64)
    out[:] = third * wide + backend.max(third, axis=0)
    expected = A.astype(np.float64) / 3.0 * B.astype(np.float64) + (A / np.float32(3)).max(0)
    np.testing.assert_array_equal(out.get(), expected)


def test_the_names_of_operations_are_told_apart():
    assert not set(ELEMENTWISE) & (set(STRUCTURAL) | set(REDUCTIONS))
    with pytest.raises(BackendError, match="'total' is for rules"):
        gen_backend("cpu").zeros((1, 1))[:] = Node("total", A)


def test_the_text_of_a_graph_ends():
    """2**60 ways through 60 nodes: a message that shows the tree must come in this life."""
    tree = gen_backend("cpu").ones((1, 1))
    for _ in range(60):
        tree = tree + tree
    assert "add(...)" in repr(tree)
    assert len(repr(tree)) < 20_000
