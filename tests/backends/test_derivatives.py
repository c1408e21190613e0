"""Derivatives of op-trees: every operation against finite differences in float64 and against PyTorch, twice over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.derivatives import DERIVATIVES, gradients
from neon_optim.backends.optree import (
    ELEMENTWISE,
    REDUCTIONS,
    STRUCTURAL,
    Node,
    Symbol,
    slots_of,
    stated,
    topological_order,
)
from neon_optim.backends.program import trace
from neon_optim.errors import BackendError


@pytest.fixture(params=["numpy", "numba"])
def be(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    yield gen_backend("cpu", datatype=np.float64, engine=request.param)
    cleanup_backend()


@dataclass
class Row:
    """An operation in use: as an op-tree and as PyTorch has it, of arrays drawn in a range away from its kinks.

    Attributes:
        curved: whether the second derivative is not 0 everywhere.
    """

    tree: Any
    torch: Any
    shapes: tuple[tuple[int, ...], ...] = ((3, 4),)
    low: float = 0.3
    high: float = 2.0
    curved: bool = True

    def inputs(self):
        rng = np.random.RandomState(5)
        return [
            rng.uniform(self.low, self.high, shape) * rng.choice([-1, 1], shape) ** (self.low < 0)
            for shape in self.shapes
        ]


def n(op, *args, **attrs):
    return Node(op, *args, **attrs)


TWO = ((3, 4), (3, 4))
KEY = ((1, 3, 1), (0, 4, 3))
INDEX = np.array([2.0, 0.0, 2.0, 1.0])
LONG = [2, 0, 2, 1]
WINDOWS = {
    "channels": 2,
    "size": (4, 3),
    "window": (2, 2),
    "strides": (2, 1),
    "padding": (1, 0),
    "dilation": (1, 2),
}


def t():
    return pytest.importorskip("torch")


def torch_images(x):
    """(C·H·W, n) as PyTorch's (n, C, H, W)."""
    return x.reshape(2, 4, 3, -1).permute(3, 0, 1, 2)


def torch_unfold(x):
    images = torch_images(x)
    windows = t().nn.functional.unfold(images, (2, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1))
    return windows.permute(1, 2, 0).reshape(8, -1)


def torch_fold(x):
    windows = x.reshape(8, -1, 2).permute(2, 0, 1)
    images = t().nn.functional.fold(windows, (4, 3), (2, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1))
    return images.permute(1, 2, 3, 0).reshape(24, 2)


def from_images(images):
    """PyTorch's (n, K, P, Q) as (K, P·Q·n)."""
    return images.permute(1, 2, 3, 0).reshape(images.shape[1], -1)


def torch_convolution(x, w):
    filters = w.T.reshape(3, 2, 2, 2)
    return from_images(
        t().nn.functional.conv2d(torch_images(x), filters, stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    )


def pooled(be, x, reduce):
    """A reduction over windows of 2 x 2, two rows and one column apart: (C·H·W, n) -> (C, P·Q·n)."""
    windows = be.unfold(x, 2, (4, 3), (2, 2), (2, 1))
    return be.reshape(reduce(be.reshape(windows, (2, 4, 8)), axis=1), (2, 8))


def flat(op, torch):
    """A row of an operation whose derivative is 0: beside it stands something that has one."""
    return Row(lambda be, a, b: (n(op, a, b) + 2.0) * a * b, lambda a, b: (torch(a, b) + 2.0) * a * b, TWO)


ROWS = {
    "add": Row(lambda be, a, b: a + b, lambda a, b: a + b, TWO, curved=False),
    "subtract": Row(lambda be, a, b: a - b, lambda a, b: a - b, TWO, curved=False),
    "multiply": Row(lambda be, a, b: a * b, lambda a, b: a * b, TWO),
    "divide": Row(lambda be, a, b: a / b, lambda a, b: a / b, TWO),
    "power": Row(lambda be, a, b: a**b, lambda a, b: a**b, TWO),
    "maximum": Row(lambda be, a, b: be.maximum(a, b) * a, lambda a, b: t().maximum(a, b) * a, TWO),
    "minimum": Row(lambda be, a, b: be.minimum(a, b) * a, lambda a, b: t().minimum(a, b) * a, TWO),
    "shift": Row(
        lambda be, a, b: be.shift(a * a, b) * b,
        lambda a, b: a * a * b.sign() * 2 ** t().round(t().log2(b.abs())).detach() * b,
        TWO, -2.0,
    ),
    "equal": flat("equal", lambda a, b: (a == b).double()),
    "not_equal": flat("not_equal", lambda a, b: (a != b).double()),
    "less": flat("less", lambda a, b: (a < b).double()),
    "less_equal": flat("less_equal", lambda a, b: (a <= b).double()),
    "greater": flat("greater", lambda a, b: (a > b).double()),
    "greater_equal": flat("greater_equal", lambda a, b: (a >= b).double()),
    "negative": Row(lambda be, a: -a, lambda a: -a, curved=False),
    "absolute": Row(lambda be, a: abs(a) * a, lambda a: a.abs() * a, low=-2.0),
    "sgn": Row(lambda be, a: be.sgn(a) * a * a, lambda a: a.sign() * a * a, low=-2.0),
    "sqrt": Row(lambda be, a: be.sqrt(a), lambda a: a.sqrt()),
    "exp": Row(lambda be, a: be.exp(a), lambda a: a.exp()),
    "exp2": Row(lambda be, a: be.exp2(a), lambda a: a.exp2()),
    "log": Row(lambda be, a: be.log(a), lambda a: a.log()),
    "log2": Row(lambda be, a: be.log2(a), lambda a: a.log2()),
    "tanh": Row(lambda be, a: be.tanh(a), lambda a: a.tanh(), low=-2.0),
    "rint": Row(lambda be, a: be.rint(a) * a * a, lambda a: a.round() * a * a),
    "where": Row(
        lambda be, a, b, c: be.where(c > 1.0, a * a, a * b),
        lambda a, b, c: t().where(c > 1.0, a * a, a * b),
        (*TWO, (3, 4)),
    ),
    "sum": Row(lambda be, a: be.sum(a * a), lambda a: (a * a).sum().reshape(1, 1)),
    "sum_square": Row(lambda be, a: be.sum_square(a), lambda a: (a * a).sum().reshape(1, 1)),
    "amax": Row(lambda be, a: be.max(a) * a, lambda a: a.amax() * a),
    "amin": Row(lambda be, a: be.min(a) * a, lambda a: a.amin() * a),
    "size": Row(lambda be, a: n("size", a) * a * a, lambda a: a.numel() * a * a),
    "reduce": Row(lambda be, a: be.sum(a * a, axis=1), lambda a: (a * a).sum(1, keepdim=True)),
    "reduce, mean": Row(lambda be, a: be.mean(a * a, axis=0), lambda a: (a * a).mean(0, keepdim=True)),
    "reduce, amax": Row(lambda be, a: be.max(a, axis=-1) * a, lambda a: a.amax(1, keepdim=True) * a),
    "reduce, amin": Row(lambda be, a: be.min(a * a, axis=0, keepdims=False), lambda a: (a * a).amin(0).reshape(-1, 1)),
    "reduce, argmax": Row(lambda be, a: be.argmax(a, axis=0) * a * a, lambda a: a.argmax(0, keepdim=True) * a * a),
    "reduce, argmin": Row(lambda be, a: be.argmin(a, axis=1) * a * a, lambda a: a.argmin(1, keepdim=True) * a * a),
    "dot": Row(lambda be, a, b: be.dot(a, b), lambda a, b: a @ b, ((3, 4), (4, 2))),
    "batched_dot": Row(lambda be, a, b: be.batched_dot(a, b), lambda a, b: a @ b, ((2, 3, 4), (2, 4, 2))),
    "batched_dot, one for all": Row(lambda be, a, b: be.batched_dot(a, b), lambda a, b: a @ b, ((3, 4), (2, 4, 2))),
    "transpose": Row(lambda be, a: be.transpose(a * a), lambda a: (a * a).T),
    "transpose, axes": Row(
        lambda be, a: be.transpose(a * a, axes=(1, 2, 0)), lambda a: (a * a).permute(1, 2, 0), ((2, 3, 4),)
    ),
    "reshape": Row(lambda be, a: be.reshape(a * a, (2, 6)), lambda a: (a * a).reshape(2, 6)),
    "slice": Row(lambda be, a: (a * a)[1:, ::3], lambda a: (a * a)[1:, ::3]),
    "place": Row(
        lambda be, a: n("place", a * a, key=KEY, shape=(3, 4)),
        lambda a: a.new_zeros(3, 4).index_put((t().tensor([[1], [2]]), t().tensor([[0, 3]])), a * a),
        ((2, 2),),
    ),
    "concatenate": Row(
        lambda be, a, b: be.concatenate([a * a, b, a], axis=1), lambda a, b: t().cat([a * a, b, a], 1), ((3, 4), (3, 2))
    ),
    "broadcast": Row(lambda be, a: be.broadcast_to(a * a, (3, 4)), lambda a: (a * a).broadcast_to(3, 4), ((3, 1),)),
    "take": Row(lambda be, a: be.take(a * a, INDEX, axis=0), lambda a: (a * a)[LONG]),
    "put": Row(
        lambda be, a: n("put", a * a, INDEX, axis=1, extent=5),
        lambda a: a.new_zeros(3, 5).index_add(1, t().tensor(LONG), a * a),
    ),
    "onehot": Row(
        lambda be, a: be.onehot(INDEX, axis=0, extent=3) * a * a,
        lambda a: t().nn.functional.one_hot(t().tensor(LONG), 3).T * a * a,
    ),
    "unfold": Row(lambda be, a: be.unfold(a * a, **WINDOWS), lambda a: torch_unfold(a * a), ((24, 2),)),
    "fold": Row(lambda be, a: be.fold(a * a, **WINDOWS), lambda a: torch_fold(a * a), ((8, 6),)),
    "convolve": Row(
        lambda be, x, w: be.convolve(x, w, **WINDOWS),
        lambda x, w: torch_convolution(x, w).reshape(9, 2),
        ((24, 2), (8, 3)),
    ),
    "deconvolve": Row(
        lambda be, y, w: be.deconvolve(y, w, **WINDOWS),
        lambda y, w: torch_fold(w @ y.reshape(3, -1)),
        ((9, 2), (8, 3)),
    ),
    "correlate": Row(
        lambda be, x, y: be.correlate(x, y, **WINDOWS),
        lambda x, y: torch_unfold(x) @ y.reshape(3, -1).T,
        ((24, 2), (9, 2)),
    ),
    "stated": Row(
        lambda be, a: stated(a * a * a, [a], lambda e, y, a: [e * 3.0 * a * a]), lambda a: a**3
    ),
    "broadcast, row": Row(lambda be, a, b: a * b, lambda a, b: a * b, ((3, 4), (1, 4))),
    "broadcast, column on the left": Row(lambda be, a, b: a / b, lambda a, b: a / b, ((3, 1), (3, 4))),
    "broadcast, both": Row(lambda be, a, b: a**b, lambda a, b: a**b, ((3, 1), (1, 4))),
    "broadcast, one element": Row(lambda be, a, b: a * b * b, lambda a, b: a * b * b, ((3, 4), (1, 1))),
    "broadcast, new axes": Row(lambda be, a, b: a * b, lambda a, b: a * b, ((2, 3, 4), (1, 4))),
    "number and power": Row(lambda be, a: 2.0**a + a**3.0 + a**2 + a**1, lambda a: 2.0**a + a**3 + a**2 + a),
    "sig": Row(lambda be, a: be.sig(a), lambda a: a.sigmoid(), low=-2.0),
    "sig2": Row(lambda be, a: be.sig2(a), lambda a: (a * math.log(2)).sigmoid(), low=-2.0),
    "tanh2": Row(lambda be, a: be.tanh2(a), lambda a: (a * math.log(2)).tanh(), low=-2.0),
    "safelog": Row(lambda be, a: be.safelog(a), lambda a: a.log()),
    "clip": Row(lambda be, a: be.clip(a, 0.7, 1.5) * a, lambda a: a.clip(0.7, 1.5) * a),
    "std": Row(lambda be, a: be.std(a, axis=1), lambda a: a.std(1, correction=0, keepdim=True)),
    "var": Row(lambda be, a: be.var(a), lambda a: a.var(correction=0).reshape(1, 1)),
    "convolution": Row(
        lambda be, x, w: be.dot(be.transpose(w), be.unfold(x, **WINDOWS)), torch_convolution, ((24, 2), (8, 3))
    ),
    "largest of a window": Row(
        lambda be, x: pooled(be, x, be.max) * 2.0,
        lambda x: from_images(t().nn.functional.max_pool2d(torch_images(x), 2, (2, 1))) * 2.0,
        ((24, 2),),
        curved=False,
    ),
    "mean of a window": Row(
        lambda be, x: pooled(be, x * x, be.mean),
        lambda x: from_images(t().nn.functional.avg_pool2d(torch_images(x * x), 2, (2, 1))),
        ((24, 2),),
    ),
    "softmax": Row(lambda be, a: be.fprop_softmax(a, axis=0), lambda a: a.softmax(0), low=-2.0),
}  # fmt: skip


def test_every_operation_has_a_row_and_a_rule():
    """The table of derivatives is the list of operations, but for those of Programs; a new one must be tried here."""
    operations = {*ELEMENTWISE, *STRUCTURAL, *REDUCTIONS, "size", "stated"} - {"total", "total_square"}
    assert set(DERIVATIVES) == operations
    assert operations <= {name.partition(",")[0] for name in ROWS}


def value(be, tree):
    out = be.empty(tree.shape)
    out[:] = tree
    return out.get()


def first_derivatives(be, row, arrays, error):
    tensors = [be.array(a) for a in arrays]
    return [value(be, g) for g in gradients(row.tree(be, *tensors), tensors, be.array(error))]


def second_derivatives(be, row, arrays, error, weights):
    """Of the weighted sum of the first ones."""
    tensors = [be.array(a) for a in arrays]
    firsts = gradients(row.tree(be, *tensors), tensors, be.array(error))
    total = sum((be.sum(g * be.array(w)) for g, w in zip(firsts, weights, strict=True)), 0.0)
    return [value(be, g) for g in gradients(total, tensors)]


def finite_differences(function, arrays, step=1e-5):
    """Central differences of a number by every element; their error is about step**2 and 1e-16 / step."""
    result = []
    for k, array in enumerate(arrays):
        slopes = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[k][place] += sign * step
                ends.append(function(moved))
            slopes[place] = (ends[0] - ends[1]) / (2 * step)
        result.append(slopes)
    return result


def close(received, expected):
    """Tolerance: what central differences with a step of 1e-5 leave of float64."""
    for r, e in zip(received, expected, strict=True):
        np.testing.assert_allclose(r, e, rtol=2e-8, atol=2e-8)


def drawn(row, be):
    arrays = row.inputs()
    rng = np.random.RandomState(9)
    shape = row.tree(be, *map(be.array, arrays)).shape
    return arrays, rng.randn(*shape), [rng.randn(*a.shape) for a in arrays]


@pytest.mark.parametrize("name", ROWS)
def test_against_finite_differences(be, name):
    row = ROWS[name]
    arrays, error, weights = drawn(row, be)
    firsts = first_derivatives(be, row, arrays, error)
    assert [f.shape for f in firsts] == [a.shape for a in arrays]
    close(
        firsts,
        finite_differences(lambda xs: np.sum(value(be, row.tree(be, *map(be.array, xs))) * error), arrays),
    )

    def weighted(xs):
        return sum(np.sum(g * w) for g, w in zip(first_derivatives(be, row, xs, error), weights, strict=True))

    seconds = second_derivatives(be, row, arrays, error, weights)
    close(seconds, finite_differences(weighted, arrays))
    assert any(s.any() for s in seconds) == row.curved


@pytest.mark.parametrize("name", ROWS)
def test_against_pytorch(be, name):
    """Tolerance: float64, functions of both libraries within a few units in the last place."""
    torch = t()
    row = ROWS[name]
    arrays, error, weights = drawn(row, be)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    result = row.torch(*tensors)
    np.testing.assert_allclose(
        value(be, row.tree(be, *map(be.array, arrays)) + 0.0), result.detach(), rtol=1e-13, atol=1e-14
    )
    firsts = torch.autograd.grad(
        result, tensors, torch.tensor(error), create_graph=True, allow_unused=True, materialize_grads=True
    )
    for ours, theirs in zip(first_derivatives(be, row, arrays, error), firsts, strict=True):
        np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-12, atol=1e-13)
    if row.curved:
        total = sum((g * torch.tensor(w)).sum() for g, w in zip(firsts, weights, strict=True))
        expected = torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True)
        for ours, theirs in zip(second_derivatives(be, row, arrays, error, weights), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


SMOOTH = [op for op, rules in DERIVATIVES.items() if callable(rules) or any(rules)]


@pytest.mark.parametrize("op", SMOOTH)
def test_a_wrong_rule_shows(be, op, monkeypatch):
    """Negative control: with every rule of an operation off by a thousandth, its row above fails."""
    row, rules = ROWS[op], DERIVATIVES[op]

    def off(rule):
        return rule and (lambda *args, **attrs: rule(*args, **attrs) * 1.001)

    arrays, error, _ = drawn(row, be)
    expected = finite_differences(
        lambda xs: np.sum(value(be, row.tree(be, *map(be.array, xs))) * error), arrays
    )
    close(first_derivatives(be, row, arrays, error), expected)
    wrong = (lambda node: [off(r) for r in rules(node)]) if callable(rules) else [off(r) for r in rules]
    monkeypatch.setitem(DERIVATIVES, op, wrong)
    with pytest.raises(AssertionError):
        close(first_derivatives(be, row, arrays, error), expected)


def derivative(be, make, at):
    x = be.array(np.array(at, dtype=float).reshape(1, -1))
    return value(be, gradients(make(x), [x])[0]).tolist()[0]


def test_where_there_is_no_derivative(be):
    """What the module says of kinks; a rectifier is PyTorch's and neon's, the rest PyTorch's."""
    at = [-1.0, 0.0, 2.0]
    assert derivative(be, lambda x: be.maximum(x, 0.0), at) == [0, 0, 1]
    assert derivative(be, lambda x: be.maximum(x, 0.0) + 0.2 * be.minimum(0.0, x), at) == [0.2, 0.2, 1]
    assert derivative(be, lambda x: be.minimum(x, 2.0), at) == [1, 1, 1]
    assert derivative(be, lambda x: be.clip(x, -1.0, 2.0), [*at, 3.0]) == [0, 1, 1, 0]
    assert derivative(be, lambda x: be.maximum(x, be.zeros((1, 3))), at) == [0, 0.5, 1]
    assert derivative(be, lambda x: be.maximum(x, x), at) == [1, 1, 1]
    assert derivative(be, lambda x: be.max(x, axis=1), [2.0, 1.0, 2.0]) == [0.5, 0, 0.5]
    assert derivative(be, lambda x: be.min(x), [1.0, 1.0, 1.0, 4.0]) == [1 / 3, 1 / 3, 1 / 3, 0]
    assert derivative(be, abs, at) == [-1, 0, 1]
    assert derivative(be, lambda x: x**0.0, at) == [0, 0, 0]
    assert derivative(be, lambda x: x ** be.zeros((1, 3)), at) == [0, 0, 0]
    assert derivative(be, lambda x: be.zeros((1, 3)) ** x, [0.0, 1.0, 2.0]) == [0, 0, 0]
    assert derivative(be, lambda x: be.sig(x), [-1e3, 1e3]) == [0, 0], (
        "neon's own chain rule gives NaN on the left"
    )


def test_views_of_tensors(be):
    """W.T, W[1:] and W.reshape(...) are views; derivatives go through them, and through views of views."""
    w = be.array(np.arange(6.0).reshape(2, 3))
    view = w.T.T[1:, :].reshape(3, 1).T
    (by_w,) = gradients(be.sum(view * view + w[0, 0]), [w])
    expected = np.array([[3.0, 0.0, 0.0], [6.0, 8.0, 10.0]])
    np.testing.assert_array_equal(value(be, by_w), expected)
    (by_view,) = gradients(be.sum(view * view), [view])
    np.testing.assert_array_equal(value(be, by_view), view.get() * 2)
    by_all, by_row = gradients(
        be.sum(w[0, :] * w[0:1] + w[:, :]), [w[:, :], w[:1, :]]
    )  # other views of the same
    np.testing.assert_array_equal(value(be, by_all), [[1.0, 5.0, 9.0], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(value(be, by_row), [[0.0, 4.0, 8.0]])
    with pytest.raises(BackendError, match="is a view of another tensor, and the expression does not"):
        gradients(be.sum(w * w), [w.T])


def test_by_arrays_nodes_and_what_is_not_there(be):
    x, other, array = be.array([[1.0, 2.0]]), be.ones((3, 1)), np.array([[3.0, 5.0]])
    inner = x * array
    tree = be.sum(inner * inner)
    by_inner, by_x, by_array, none = gradients(tree, [inner, x, array, other])
    np.testing.assert_array_equal(value(be, by_inner), [[6.0, 20.0]])
    np.testing.assert_array_equal(value(be, by_x), [[18.0, 100.0]])
    np.testing.assert_array_equal(value(be, by_array), [[6.0, 40.0]])
    np.testing.assert_array_equal(value(be, none), np.zeros((3, 1)))
    np.testing.assert_array_equal(value(be, gradients(x, [x], 3.0)[0]), [[3.0, 3.0]])
    vector, unused = np.array([1.0, 2.0]), np.zeros(2)
    trees = (be.sum(be.multiply(vector, vector)), x * vector, be.max(vector))
    for tree, expected in zip(trees, ([2.0, 4.0], [1.0, 2.0], [0.0, 1.0]), strict=True):
        by_vector, zeros = gradients(tree, [vector, unused])
        assert by_vector.shape == zeros.shape == (2,)
        out = be.ones((3, 2))
        out[:] = by_vector + zeros
        np.testing.assert_array_equal(out.get(), [expected] * 3)


def test_errors(be):
    x = be.ones((2, 3))
    with pytest.raises(BackendError, match=r"the seed has the shape \(3, 2\), the output \(2, 3\)"):
        gradients(x * x, [x], be.ones((3, 2)))
    with pytest.raises(
        BackendError, match="'total' is for rules that run over all tensors; it has no derivative"
    ):
        gradients(Node("total", x), [x])
    with pytest.raises(BackendError, match="gave 2 derivatives for 1 operands"):
        gradients(stated(x * x, [x], lambda e, y, x: [e, e]), [x])


def test_a_stated_pass_is_taken_and_only_where_it_is_wanted(be):
    """Softmax with its cross-entropy: the derivative is y - t, exactly, and the targets are not asked for."""
    x, targets = be.array([[1.0, 900.0], [3.0, -900.0]]), be.array([[0.0, 1.0], [1.0, 0.0]])
    asked = []

    def backward(error, value, x, t):
        asked.append(value)
        return [error * (be.fprop_softmax(x, axis=0) - t), None]

    cost = -be.sum(targets * be.safelog(be.fprop_softmax(x, axis=0)), axis=0)
    tree = be.sum(stated(cost, [x, targets], backward))
    by_x, by_targets = gradients(tree, [x, targets])
    expected = value(be, be.fprop_softmax(x, axis=0) - targets)
    np.testing.assert_array_equal(value(be, by_x), expected)
    assert expected[0, 1] == 0.0
    np.testing.assert_array_equal(value(be, by_targets), np.zeros((2, 2)))
    assert len(asked) == 1
    assert gradients(tree, [be.ones((1, 1))])
    assert len(asked) == 1, "nothing that is asked for lies behind it"


def test_a_stated_pass_leaves_no_trace_in_a_program(be):
    """A rule that uses one (be.sig has one) is the Program of its value: nothing is compiled anew, nothing counted."""

    def rule(wrap):
        def update(param, grad):
            gate = 1.0 / (be.exp(-grad) + 1.0)
            param[:] = param - (stated(gate, [grad], None) if wrap else gate) * 0.5

        return update

    (with_it, numbers), (without, others) = (
        trace("rule", ["param", "grad"], rule(wrap)) for wrap in (True, False)
    )
    assert with_it is without
    assert numbers == others
    assert trace("sig", ["p"], lambda p: p.__setitem__(slice(None), be.sig(p)))[0].code[-1].op == "divide"
    assert slots_of(be.sig(Symbol("grad", 1))) == {1}


def test_nothing_is_multiplied_by_ones(be):
    x, w = be.ones((3, 2)), be.ones((2, 2))
    by_x, by_w = gradients(be.sum(x * x), [x])[0], gradients(be.sum(be.tanh(w)), [w])[0]
    assert repr(by_x).count("add") == 1
    assert "multiply" not in repr(by_x)
    assert "broadcast" not in repr(by_w)


@pytest.mark.parametrize(
    ("cuts", "joined"),
    [
        ([np.s_[:2], np.s_[2:3], np.s_[3:]], True),
        ([np.s_[3:], np.s_[:2], np.s_[2:3], np.s_[:2]], True),
        ([np.s_[:, :4], np.s_[:, 4:]], True),
        ([np.s_[:]], True),
        ([np.s_[:2], np.s_[3:]], False),  # a gap
        ([np.s_[:3], np.s_[2:]], False),  # twice the same row
        ([np.s_[::2], np.s_[1::2]], False),
        ([np.s_[:2, :3], np.s_[2:, 3:]], False),
    ],
)
def test_errors_of_parts_that_make_up_the_whole_are_put_together(be, cuts, joined):
    x = np.random.RandomState(1).normal(size=(5, 6))
    a = n("multiply", be.array(x), 1.0)
    (tree,) = gradients(sum(be.sum(float(k + 1) * a[cut] * a[cut]) for k, cut in enumerate(cuts)), [a])
    ops = {node.op for node in topological_order([tree])}
    assert ("place" not in ops) == joined
    found, expected = be.empty((5, 6)), np.zeros((5, 6))
    found[:] = tree
    for k, cut in enumerate(cuts):
        expected[cut] += 2.0 * (k + 1) * x[cut]
    np.testing.assert_allclose(found.get(), expected, rtol=1e-12)


def test_deep_and_shared_graphs(be):
    """10,000 operations in a row, and 2**50 ways through 50: each node is visited once, whatever leads to it."""
    x = be.array([[0.5, 1.0]])
    deep = x
    for k in range(10_000):
        deep = be.tanh(deep) if k % 1000 == 0 else deep + 0.001
    assert gradients(deep, [x])[0].shape == (1, 2)
    assert gradients(gradients(be.sum(deep * deep), [x])[0], [x])[0].shape == (1, 2)
    shared = x
    for _ in range(50):
        shared = shared + shared
    (by_x,) = gradients(shared, [x])
    np.testing.assert_array_equal(value(be, by_x), np.full((1, 2), 2.0**50))
    (again,) = gradients(be.sum(by_x * x * x), [x])
    np.testing.assert_array_equal(value(be, again), 2.0**51 * x.get())


def random_graph(rng, be, torch, leaves):
    """The same random expression in both libraries; every operation keeps values moderate."""
    pool = list(leaves)
    steps = [
        lambda a, b: (a[0] + b[0] * 0.5, a[1] + b[1] * 0.5),
        lambda a, b: (a[0] * be.tanh(b[0]), a[1] * b[1].tanh()),
        lambda a, b: (be.sig(a[0]) - b[0], a[1].sigmoid() - b[1]),
        lambda a, b: (a[0] / (b[0] * b[0] + 1.0), a[1] / (b[1] * b[1] + 1.0)),
        lambda a, b: (be.dot(a[0], be.transpose(b[0])) * 0.1, a[1] @ b[1].T * 0.1),
        lambda a, b: (a[0] - be.mean(b[0], axis=1), a[1] - b[1].mean(1, keepdim=True)),
        lambda a, b: (be.maximum(a[0], b[0]), torch.maximum(a[1], b[1])),
        lambda a, b: (be.concatenate([a[0][1:], b[0][:1]]), torch.cat([a[1][1:], b[1][:1]])),
        lambda a, b: (
            be.exp(-abs(a[0])) + be.sum(b[0], axis=0),
            (-a[1].abs()).exp() + b[1].sum(0, keepdim=True),
        ),
        lambda a, b: (be.reshape(be.transpose(a[0]), (4, 4)) * b[0], a[1].T.reshape(4, 4) * b[1]),
    ]
    for _ in range(25):
        a, b = pool[rng.randint(len(pool))], pool[rng.randint(len(pool))]
        pool.append(steps[rng.randint(len(steps))](a, b))
    return be.sum(be.tanh(pool[-1][0]) + pool[-3][0] * 0.01), (pool[-1][1].tanh() + pool[-3][1] * 0.01).sum()


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_against_pytorch(be, seed):
    """Tolerance: float64; some graphs add up terms a thousand times as large as their derivative."""
    torch = t()
    rng = np.random.RandomState(seed)
    arrays = [rng.randn(4, 4) for _ in range(3)]
    ours = [be.array(a) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    tree, total = random_graph(rng, be, torch, list(zip([x + 0.0 for x in ours], theirs, strict=True)))
    expected = torch.autograd.grad(total, theirs, allow_unused=True, materialize_grads=True)
    for g, e in zip(gradients(tree, ours), expected, strict=True):
        np.testing.assert_allclose(value(be, g), e, rtol=1e-9, atol=1e-11 * max(1.0, float(abs(e).max())))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ROWS)
def test_on_the_gpu(name):
    """The same trees on the device. Tolerance: float64, functions of two libraries, sums in two orders."""
    row, results = ROWS[name], []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, datatype=np.float64)
        arrays, error, weights = drawn(row, be)
        results.append(
            first_derivatives(be, row, arrays, error) + second_derivatives(be, row, arrays, error, weights)
        )
        cleanup_backend()
    for on_cpu, on_gpu in zip(*results, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-12, atol=1e-13)
