"""exp, log, tanh and their like as all engines share them: their errors, their special cases, their bits."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.elementary import ELEMENTARY, elementary
from neon_optim.backends.formula import formula, select
from neon_optim.backends.numpy_formula import SHARED_FUNCTIONS, NumpyFormula
from neon_optim.backends.optree import Node, Symbol
from neon_optim.backends.program import linearize

WIDER = {"float32": np.float64, "float64": np.longdouble}
CASES = [(op, real) for op in ELEMENTARY for real in WIDER]
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    3.0,
    -3.0,
    2.5,
    7.0,
    -7.0,
    1e10,
    -1e10,
    16777215.0,
    -16777217.0,
]
SPECIAL += [np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, -1e-40, 3e38, -3e38, 5e-324, 1e308, -1e308]
BORDERS = {
    "exp": [88.722839, 88.72284, -87.33655, -103.972084, -104.0, 709.782712893384, 709.7827128933841, -745.1332],
    "exp2": [128.0, 127.99999, -126.0, -149.0, -149.5, -150.0, -151.0, 1024.0, 1023.9999, -1074.0, -1075.0, 2e9],
    "tanh": [math.sqrt(0.5), -math.sqrt(0.5), 9.0, 9.02, 10.0, 11.0, 19.06, 20.0, 1e-20, -1e-20],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_backend_left():
    yield
    cleanup_backend()


def operands(op, real, count=100_000):
    """Random bits, numbers of every usual size and near 1, every pair of special values; the same on any machine."""
    rng = np.random.default_rng(7)
    dtype = np.dtype(real)
    bits = rng.integers(0, 256, (2, count * dtype.itemsize), np.uint8).view(dtype)
    near = np.ldexp(rng.integers(-(2**50), 2**50, (2, count)) * 1.0, rng.integers(-56, -42, (2, count)))
    around_one = 1 + np.ldexp(
        rng.integers(-(2**50), 2**50, (2, count)) * 1.0, rng.integers(-70, -51, (2, count))
    )
    with np.errstate(over="ignore"):
        special = np.array([*SPECIAL, *BORDERS.get(op, [])]).astype(dtype)
    pairs = np.stack(np.meshgrid(special, special)).reshape(2, -1)
    near, around_one = near.astype(dtype), around_one.astype(dtype)
    return np.concatenate([bits, near, np.abs(near), around_one, pairs], axis=1)[: len(parameters(op, real))]


def parameters(op, real):
    return elementary(op, real).parameters


def shared(op, values):
    out = np.empty_like(values[0])
    with np.errstate(all="ignore"):
        SHARED_FUNCTIONS[op](*values, out=out)
    return out


def exact(op, values):
    """The function in a wider type."""
    with np.errstate(all="ignore"):
        wide = [v.astype(WIDER[values.dtype.name]) for v in values]
        return np.power(*wide) if op == "power" else getattr(np, op)(*wide)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="no type wider than float64 to compare with")
@pytest.mark.parametrize(("op", "real"), CASES)
def test_errors_and_special_cases(op, real):
    """Below 1 ulp, as it was for all 2**32 arguments of float32; C's results where they are no usual numbers."""
    values = operands(op, real)
    wide, got = exact(op, values), shared(op, values)
    with np.errstate(all="ignore"):
        expected = wide.astype(real)
        usual = np.isfinite(expected)
        np.testing.assert_array_equal(got[~usual], expected[~usual])
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))
        ulp = np.spacing(np.abs(expected[usual])).astype(wide.dtype)
        errors = np.abs(got[usual] - wide[usual]) / ulp
    assert errors.max() < (0.5001 if (op, real) == ("power", "float32") else 0.95)
    assert errors.max() > 0.49, "control: an error of half an ulp is seen"


@pytest.mark.parametrize("real", WIDER)
def test_powers_that_are_known_exactly(real):
    bases = np.arange(1, 4097, dtype=real)
    tenths = bases * np.dtype(real).type(0.1)
    np.testing.assert_array_equal(
        shared("power", np.stack([tenths, np.full_like(bases, 2)])), tenths * tenths
    )
    for exponent in (1.0, 2.0, 3.0, -1.0, 0.5):
        got = shared("power", np.stack([bases, np.full_like(bases, exponent)]))
        expected = bases.astype(np.longdouble) ** exponent
        exact = expected.astype(real) == expected  # the others may be an ulp off
        assert exact.any()
        np.testing.assert_array_equal(got[exact], expected[exact])


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="no type wider than float64 to compare with")
def test_powers_of_any_size():
    """An exponent multiplies the error of a logarithm; the largest is that near overflow and underflow."""
    rng = np.random.default_rng(2)
    bases = np.concatenate(
        [rng.uniform(0.5, 2, 100_000), 1 + rng.uniform(-1, 1, 100_000) * 2.0 ** rng.integers(-50, -4)]
    )
    exponents = rng.uniform(-1020, 1020, bases.size) / np.log2(bases)
    got = shared("power", np.stack([bases, exponents]))
    expected = np.power(bases.astype(np.longdouble), exponents.astype(np.longdouble))
    assert (np.abs(got - expected) / np.spacing(expected.astype(np.float64))).max() < 0.95


DIGESTS = {
    ("exp", "float32"): "540756b2823e43ec",
    ("exp", "float64"): "e78ca663af7c56a1",
    ("exp2", "float32"): "52eef784e6af1f0a",
    ("exp2", "float64"): "e00135838aef1dab",
    ("log", "float32"): "4053434c1c0deaed",
    ("log", "float64"): "9e4433443b6e6c52",
    ("log2", "float32"): "ebacf0f7e26b1b09",
    ("log2", "float64"): "a28bd613afb4f0af",
    ("tanh", "float32"): "c035ff6345f313f6",
    ("tanh", "float64"): "1a96dcc276ad7cac",
    ("power", "float32"): "39b35e34e52cd995",
    ("power", "float64"): "caa182e9e0e98cfa",
}


@pytest.mark.parametrize(("op", "real"), CASES)
def test_bits_are_those_of_every_processor(op, real):
    """A definition that changes changes the results of all runs that were made with deterministic=True."""
    got = shared(op, operands(op, real))
    got[np.isnan(got)] = np.nan
    assert hashlib.sha256(got.tobytes()).hexdigest()[:16] == DIGESTS[op, real]


@pytest.mark.parametrize(("op", "real"), CASES)
def test_both_engines_give_the_same_bits(op, real):
    values = operands(op, real, 20_000)
    names = ("param", "grad", "other")
    symbols = [Symbol(name, k) for k, name in enumerate(names)]
    results = []
    for engine in ("numpy", "numba"):
        be = gen_backend("cpu", engine=engine, deterministic=True)
        program, scalars = linearize(op, names, [(0, Node(op, *symbols[1 : 1 + len(values)]))])
        out = np.zeros_like(values[0])
        be.execute(program, be.plan([((out, values[0].copy()), [values[-1].copy()])], names), [scalars])
        out[np.isnan(out)] = np.nan
        results.append(out)
    assert results[0].tobytes() == results[1].tobytes()
    got = shared(op, values)
    got[np.isnan(got)] = np.nan
    assert results[0].tobytes() == got.tobytes()


@pytest.mark.parametrize("op", ["exp", "log2"])
def test_numbers_of_a_step_follow_the_definition_too(op):
    values = np.array([[0.7, 3.3, 41.0]])
    for value, expected in zip(values[0], shared(op, values), strict=True):
        be = gen_backend("cpu", engine="numpy")
        out = np.zeros(1)
        program, scalars = linearize(op, ("param", "grad"), [(0, Node(op, float(value)))])
        be.execute(program, be.plan([((out, np.zeros(1)), [])], ("param", "grad")), [scalars])
        assert out[0] == expected


@pytest.mark.parametrize("shape", [(), (1,), (5, 7), (40_000,)])
def test_any_layout(shape):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape)
    expected = np.exp(x)
    out = np.empty(shape)
    SHARED_FUNCTIONS["exp"](x, out)
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    if shape == (5, 7):
        wide = np.zeros((7, 10))
        SHARED_FUNCTIONS["exp"](x, wide.T[::2])
        np.testing.assert_array_equal(wide.T[::2], out)
        assert not wide.T[1::2].any()
        SHARED_FUNCTIONS["exp"](x[:, :1], out)
        np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], shape))
    in_place = x.copy()
    SHARED_FUNCTIONS["exp"](in_place, in_place)
    np.testing.assert_allclose(in_place, expected, rtol=1e-15)


def test_a_number_among_the_operands():
    x = np.linspace(0.1, 3, 50, dtype=np.float32)
    out = np.empty_like(x)
    SHARED_FUNCTIONS["power"](x, np.float32(1.5), out)
    np.testing.assert_array_equal(out, shared("power", np.stack([x, np.full_like(x, 1.5)])))


def test_scratch_of_a_formula_is_given_away_only_after_its_last_reader():
    """Views of bits keep the memory that they look at; a selection reads what it may overwrite."""

    def mixed(x, y):
        bits = x.bits()
        doubled = x + x
        sign = (bits >> 63).real()
        chosen = select(y < 0.0, doubled, doubled * y)
        return chosen + (bits.real() - sign)

    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 100))
    out = np.empty(100)
    NumpyFormula(formula("mixed", mixed, "float64", "float64"))(x, y, out=out)
    sign = (x.view(np.uint64) >> np.uint64(63)).view(np.float64)
    np.testing.assert_array_equal(out, np.where(y < 0, x + x, (x + x) * y) + (x - sign))
