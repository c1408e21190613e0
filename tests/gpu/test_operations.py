"""Every operation of a Program gives the CPU's bits on any operands."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.optree import ELEMENTWISE, Node, Symbol
from neon_optim.backends.program import linearize

pytestmark = pytest.mark.gpu

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    np.inf,
    -np.inf,
    np.nan,
    1e-40,
    -1e-40,
    3e38,
    2.0**0.5,
    1e-320,
]


def operands(dtype, count=3):
    """Every pair of special values, then random bits."""
    with np.errstate(over="ignore"):
        special = np.array(SPECIAL).astype(dtype)
    rng = np.random.RandomState(1)
    bits = rng.randint(0, 256, (count, 4000 * np.dtype(dtype).itemsize)).astype(np.uint8).view(dtype)
    pairs = np.stack(np.meshgrid(special, special, special[::-1])[:count]).reshape(count, -1)
    near = (rng.randn(count, 4000) * 3).astype(dtype)
    return np.concatenate([pairs, bits, near], axis=1)


def run(backend, values, expression, dtype):
    """One Program with one slot for each operand and one for the result."""
    be = gen_backend(
        backend, datatype=dtype, **({"engine": "numpy", "deterministic": True} if backend == "cpu" else {})
    )
    names = ["param", "grad", "c"]
    symbols = [Symbol(name, index) for index, name in enumerate(names)]
    program, scalars = linearize("operation", names, [(0, expression(*symbols))])
    tensors = [be.array(row, dtype=dtype) for row in values]
    plan = be.plan([((tensors[0], tensors[1]), tensors[2:])], names)
    be.execute(program, plan, [scalars])
    result = tensors[0].get().reshape(-1)
    cleanup_backend()
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_same_bits(op, dtype):
    values = operands(dtype)

    def expression(a, b, c):
        return Node(op, *[a, b, c][: ELEMENTWISE[op]])

    expected, received = (run(backend, values, expression, dtype) for backend in ("cpu", "gpu"))
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(received), ~number)
    assert expected[number].tobytes() == received[number].tobytes()


def test_scalar_code_between_stages_runs_in_float64():
    """Values of rank SET and ROW that depend on reductions: the norm, a mean of each tensor, a maximum."""

    def rule(param, grad, c):
        norm = Node("sqrt", Node("total_square", grad))
        mean = Node("sum", param) / Node("size", param)
        largest = Node("amax", Node("absolute", c))
        return (param - mean) / norm + grad / Node("maximum", largest, 0.1)

    for dtype in ("float32", "float64"):
        values = np.random.RandomState(3).standard_cauchy((3, 70_001)).astype(dtype)
        expected, received = (run(backend, values, rule, dtype) for backend in ("cpu", "gpu"))
        assert expected.tobytes() == received.tobytes()
