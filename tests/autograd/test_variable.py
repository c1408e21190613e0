"""Variables: every function against PyTorch, accumulation, what is constant, and training by them."""

from __future__ import annotations

import copy
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest

from neon_optim import NervanaObject, autograd, cleanup_backend, gen_backend
from neon_optim.autograd import (
    Variable,
    concat,
    cross_entropy,
    function,
    gradient,
    relu,
    softmax,
    tanh,
    where,
)
from neon_optim.backends.optree import stated
from neon_optim.errors import BackendError
from neon_optim.optimizers import GradientDescentMomentum

PAGE = (Path(__file__).parents[2] / "docs" / "autodiff.md").read_text(encoding="utf-8")
SCALATION = dict(
    re.findall(r"^\| `(\w+)` \| `(.*)` \|$", PAGE.partition("## ScalaTion's functions")[2], re.MULTILINE)
)


@pytest.fixture(params=["numpy", "numba"])
def be(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    yield gen_backend("cpu", datatype=np.float64, engine=request.param)
    cleanup_backend()


RNG = np.random.RandomState(3)
DATA = {
    name: RNG.uniform(0.3, 2.0, shape)
    for name, shape in {
        "v": (4, 6),
        "u": (4, 6),
        "m": (3, 5),
        "n": (5, 2),
        "p": (2, 3, 4),
        "q": (2, 4, 2),
    }.items()
}

# What PyTorch writes otherwise; whatever is not here it writes as we do.
IN_PYTORCH = {
    "Clip": lambda torch, x: x.v.clip(0.5, 1.5),
    "MaxScalar": lambda torch, x: x.v.clamp(min=1.0),
    "MinScalar": lambda torch, x: x.v.clamp(max=1.0),
    "LogBase": lambda torch, x: x.v.log10(),
    "Variance": lambda torch, x: x.v.var(correction=0),
    "Std": lambda torch, x: x.v.std(correction=0),
    "VarianceAlongAxis": lambda torch, x: x.v.var(1, correction=0),
    "StdAlongAxis": lambda torch, x: x.v.std(0, correction=0),
    "Concat": lambda torch, x: torch.cat([x.v, x.u]),
    "LeakyReLU": lambda torch, x: torch.nn.functional.leaky_relu(x.v - 1.0, 0.2),
    "ELU": lambda torch, x: torch.nn.functional.elu(x.v - 1.0),
    "GeLU": lambda torch, x: torch.nn.functional.gelu(x.v, approximate="tanh"),
    "Softmax": lambda torch, x: x.v.softmax(-1),
    "SSELoss": lambda torch, x: ((x.v - x.u) ** 2).sum(),
    "MSELoss": lambda torch, x: torch.nn.functional.mse_loss(x.v, x.u),
    "MAELoss": lambda torch, x: torch.nn.functional.l1_loss(x.v, x.u),
    "MeanAlongAxis": lambda torch, x: x.v.mean(0),
}


class Names:
    def __init__(self, values):
        vars(self).update(values)


@pytest.mark.parametrize("name", SCALATION)
def test_scalations_functions_against_pytorch(be, name):
    """Values and derivatives of each row of the table. Tolerance: float64, functions of two libraries."""
    torch = pytest.importorskip("torch")
    ours = {key: Variable(value) for key, value in DATA.items()}
    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in DATA.items()}
    result = eval(SCALATION[name], {**vars(autograd)}, ours)  # noqa: S307 (our own page)
    if name in IN_PYTORCH:
        expected = IN_PYTORCH[name](torch, Names(theirs))
    else:
        expected = eval(SCALATION[name], {**vars(torch), "abs": torch.abs}, theirs)  # noqa: S307
    np.testing.assert_allclose(result.numpy().ravel(), expected.detach().ravel(), rtol=1e-12)
    weights = np.random.RandomState(1).randn(*result.shape)
    (result * weights).backward()
    (expected.reshape(result.shape) * torch.tensor(weights)).sum().backward()
    for key, variable in ours.items():
        grad = theirs[key].grad
        if grad is None:
            assert variable.grad is None
        else:
            np.testing.assert_allclose(variable.grad.get(), grad, rtol=1e-11, atol=1e-13)


def test_the_table_has_all_functions():
    """ScalaTion's function classes, by name: what scalation.modeling.autograd had in 2025, but for its fused layers."""
    known = (
        "Abs Neg Floor Ceil Round Clip Sign Max Min MaxScalar MinScalar MaxValue MinValue Reciprocal Sqrt Log LogBase "
        "Exp Pow Add AddConstant Sub SubConstant Mul MulConstant Div DivConstant Sum Mean Variance Std sumAlongAxis "
        "MeanAlongAxis VarianceAlongAxis StdAlongAxis Dot MatMul BatchMatMul Transpose Permute Reshape Slice Concat "
        "Identity ReLU LeakyReLU ELU Tanh Sigmoid GeLU Softmax SSELoss MSELoss MAELoss"
    )
    assert set(SCALATION) == set(known.split())
    used = set(re.findall(r"[a-z_]+", " ".join(SCALATION.values())))
    ours = {name for name in autograd.__all__ if name not in ("Variable", "function", "gradient")}
    assert ours - used <= {"absolute", "matmul", "cross_entropy", "where"}, "each is in the table or below"


def test_functions_that_scalation_has_not(be):
    torch = pytest.importorskip("torch")
    x, targets = Variable(DATA["v"]), np.eye(6)[[2, 0, 5, 1]]
    cross_entropy(x, targets).backward()
    theirs = torch.tensor(DATA["v"], requires_grad=True)
    loss = torch.nn.functional.cross_entropy(theirs, torch.tensor(targets))
    loss.backward()
    np.testing.assert_allclose(x.grad.get(), theirs.grad, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(cross_entropy(x, targets).item(), loss.item(), rtol=1e-12)
    huge = Variable([[1e4, 0.0, -1e4]])
    cross_entropy(huge, [[0.0, 0.0, 1.0]]).backward()
    np.testing.assert_array_equal(huge.grad.get(), [[1.0, 0.0, -1.0]])
    soft, t = Variable(DATA["v"]), Variable(targets)
    cross_entropy(soft, t).backward()
    log_softmax = torch.tensor(DATA["v"]).log_softmax(1)
    np.testing.assert_allclose(t.grad.get(), -log_softmax / 4.0, rtol=1e-11)
    a, b = Variable([[1.0, 2.0]]), Variable([[5.0, 7.0]])
    where([[1.0, 0.0]], a, b * b).backward()
    np.testing.assert_array_equal(a.grad.get(), [[1.0, 0.0]])
    np.testing.assert_array_equal(b.grad.get(), [[0.0, 14.0]])
    np.testing.assert_array_equal(autograd.matmul(a, b.T).numpy(), (a @ b.T).numpy())
    np.testing.assert_array_equal(autograd.absolute(-a).numpy(), a.numpy())


def test_gradients_add_up_until_they_are_set_to_zero(be):
    w = Variable([[1.0, 2.0]])
    assert w.grad is None
    w.zero_grad()
    (w * w).backward()
    grad = w.grad
    (w * w).backward(np.array([[1.0, 10.0]]))
    assert w.grad is grad, "the same tensor: optimizers keep their plans"
    np.testing.assert_array_equal(grad.get(), [[4.0, 44.0]])
    w.zero_grad()
    np.testing.assert_array_equal(w.grad.get(), np.zeros((1, 2)))
    loss = (w**3).sum()
    loss.backward()
    loss.backward(2.0)
    np.testing.assert_array_equal(w.grad.get(), [[9.0, 36.0]])


def test_leaves_constants_and_what_is_kept(be):
    w, x = Variable([[2.0]], name="w"), be.array([[3.0]])
    inner = (w * x).retain_grad()
    other = inner + 1.0
    (inner * other).backward()
    assert other.grad is None
    np.testing.assert_array_equal(inner.grad.get(), [[13.0]])
    np.testing.assert_array_equal(w.grad.get(), [[39.0]])
    assert (w.is_leaf, inner.is_leaf) == (True, False)
    alone = inner.detach("alone")
    (alone * alone).backward()
    np.testing.assert_array_equal(alone.grad.get(), [[12.0]])
    np.testing.assert_array_equal(w.grad.get(), [[39.0]])
    assert (repr(w), repr(alone), repr(inner)) == (
        "Variable 'w'(1x1)",
        "Variable 'alone'(1x1)",
        "Variable(1x1)",
    )


def test_operators_with_arrays_and_numbers(be):
    v = Variable([[1.0, 4.0]])
    array = np.array([[2.0, 8.0]])
    for result, expected in (
        (array - v, [[1.0, 4.0]]),
        (array @ v.T, [[34.0]]),
        (array / v, [[2.0, 2.0]]),
        (3.0 - v, [[2.0, -1.0]]),
        (2.0**v, [[2.0, 16.0]]),
        (8.0 / v, [[8.0, 2.0]]),
        (1.0 + v * array, [[3.0, 33.0]]),
        (array * v, [[2.0, 32.0]]),
        (array + v, [[3.0, 12.0]]),
    ):
        assert isinstance(result, Variable)
        np.testing.assert_array_equal(result.numpy(), expected)
    array[:] = 0.0  # constants are copies
    product = v * array
    array[:] = 5.0
    product.backward()
    np.testing.assert_array_equal(v.grad.get(), [[0.0, 0.0]])
    with pytest.raises(TypeError, match="not iterable"):
        iter(v)
    assert len(v.T) == 2


def test_the_value_of_a_use_is_kept(be):
    """What was computed before a parameter changed is differentiated with the values of then."""
    w = Variable([[3.0]])
    squared = w * w
    loss = squared * squared
    w.data[:] = 100.0
    loss.backward()
    np.testing.assert_array_equal(w.grad.get(), [[2 * 9.0 * 200.0]])  # squared of then; w itself is read now


def test_types_of_values():
    be = gen_backend("cpu", datatype=np.float32)
    narrow, wide = (
        Variable(be.array([[1.0]], dtype=np.float16)),
        Variable(be.array([[2.0]], dtype=np.float64)),
    )
    assert (narrow + 1.0).data.dtype == np.float16
    assert (narrow + Variable([[1.0]])).data.dtype == np.float32
    product = narrow * wide
    assert product.data.dtype == np.float64
    product.backward()
    assert (narrow.grad.dtype, wide.grad.dtype) == (np.float16, np.float64)
    assert Variable([1.0, 2.0]).shape == (2, 1)


def test_errors():
    cleanup_backend()
    with pytest.raises(BackendError, match=r"no backend: call neon_optim.gen_backend\(\)"):
        Variable([[1.0]])
    be = gen_backend("cpu")
    w = Variable(be.ones((2, 3)))
    with pytest.raises(TypeError, match="variable of a variable"):
        Variable(w)
    with pytest.raises(BackendError, match=r"shape \(2, 3\) cannot have the shape \(3, 2\)"):
        (w * 2.0).backward(np.ones((3, 2)))
    with pytest.raises(BackendError, match=r"dot needs shapes .*\(2, 3\) and \(2, 3\)"):
        w @ w
    with pytest.raises(BackendError, match="relu needs a variable"):
        relu(2.0)


def test_derivatives_of_derivatives(be):
    torch = pytest.importorskip("torch")
    x = Variable(DATA["v"])
    theirs = torch.tensor(DATA["v"], requires_grad=True)
    (slope,) = gradient((tanh(x) * softmax(x)).sum(), [x])
    assert x.grad is None
    (slope * slope).sum().backward()
    (first,) = torch.autograd.grad((theirs.tanh() * theirs.softmax(-1)).sum(), theirs, create_graph=True)
    (first * first).sum().backward()
    np.testing.assert_allclose(slope.numpy(), first.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(x.grad.get(), theirs.grad, rtol=1e-11, atol=1e-13)


def test_functions_of_ones_own(be):
    calls = []

    @function
    def cube(be, x, scale=1.0):
        """Scaled cubes."""
        return stated(scale * x * x * x, [x], lambda e, y, x: [calls.append(1) or e * 3.0 * scale * x * x])

    assert str(inspect.signature(cube)) == "(x, scale=1.0)"
    x = Variable([[2.0]])
    y = cube(x, scale=2.0)
    y.backward()
    assert (y.item(), x.grad.get().item(), len(calls), cube.__doc__) == (16.0, 24.0, 1, "Scaled cubes.")


def test_long_chains(be):
    x = Variable([[0.5, 1.0]])
    y = x
    for _ in range(3_000):
        y = y * 1.0 + 0.001
    y.backward()
    np.testing.assert_array_equal(x.grad.get(), [[1.0, 1.0]])
    del y


def test_training_with_an_optimizer(be):
    """Steps of bound variables against momentum written in NumPy. Tolerance: float64, sums of eight terms."""
    w, b = Variable([[1.0], [-2.0]], "w"), Variable([[0.5]], "b")
    bound = GradientDescentMomentum(learning_rate=0.1, momentum_coef=0.9).bind([w, b])
    x, t = RNG.randn(8, 2), RNG.randn(8, 1)
    weights, bias, velocity = (
        np.array([[1.0], [-2.0]]),
        np.array([[0.5]]),
        [np.zeros((2, 1)), np.zeros((1, 1))],
    )
    for _ in range(5):
        bound.zero_grad()
        ((x @ w + b - t) ** 2).mean().backward()
        bound.step()
        error = 2.0 * (x @ weights + bias - t) / 8.0
        for k, (parameter, slope) in enumerate([(weights, x.T @ error), (bias, error.sum(keepdims=True))]):
            velocity[k] = 0.9 * velocity[k] - 0.1 * slope
            parameter += velocity[k]
    np.testing.assert_allclose(w.numpy(), weights, rtol=1e-12)
    np.testing.assert_allclose(b.numpy(), bias, rtol=1e-12)
    assert sorted(bound.state_dict()["state"]) == ["b/W", "w/W"]
    again = copy.deepcopy(w)
    again.data[:] = 0.0
    (again * 2.0).backward()
    np.testing.assert_allclose(w.numpy(), weights, rtol=1e-12)
    np.testing.assert_array_equal(again.grad.get() - w.grad.get(), [[2.0], [2.0]])


@pytest.mark.gpu
def test_variables_on_the_gpu():
    results = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, datatype=np.float64)
        m, n = Variable(DATA["m"]), Variable(DATA["n"])
        loss = cross_entropy(concat([tanh(m @ n), relu(m @ n)]), np.eye(2)[[0, 1, 1, 0, 0, 1]])
        loss.backward()
        assert NervanaObject.be is be
        results.append([loss.numpy(), m.grad.get(), n.grad.get()])
        cleanup_backend()
    for on_cpu, on_gpu in zip(*results, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-12)


def test_the_rectifier_and_gelu_at_their_known_values(be):
    assert relu(Variable([[-1.0, 0.0, 2.0]])).numpy().tolist() == [[0.0, 0.0, 2.0]]
    exact = 0.5 * (1.0 + math.erf(1.0 / math.sqrt(2.0)))
    assert abs(autograd.gelu(Variable([[1.0]])).item() - exact) < 3e-4  # the error of the tanh form
