"""Stochastic rounding: its definition, the same bits on every engine, no bias."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neon_optim import gen_backend
from neon_optim.backends.contract import Rounding
from neon_optim.backends.optree import Symbol
from neon_optim.backends.program import linearize
from neon_optim.backends.rounding import round_stochastically, rounding_words, store_rounding
from neon_optim.optimizers import GradientDescentMomentum, Muon

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
STORAGE = {"float16": np.dtype(np.float16), "bfloat16": BFLOAT16, "float32": np.dtype(np.float32)}
MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23}
LOWEST = {"float16": -14, "bfloat16": -126, "float32": -126}


def defined(x, word, storage, bits):
    """The definition, in exact integer arithmetic."""
    kept = min(bits or 99, MANTISSA[storage])
    size = abs(x)
    exponent = max(math.frexp(size)[1] - 1, LOWEST[storage]) if size else LOWEST[storage]
    numerator, denominator = size.as_integer_ratio()
    shift = kept - exponent  # in units of the spacing: size * 2**shift
    numerator, denominator = (
        (numerator << shift, denominator) if shift >= 0 else (numerator, denominator << -shift)
    )
    low, rest = divmod(numerator, denominator)
    up = word < (rest << 32) // denominator
    return math.copysign((low + up) * 2.0**-shift, x)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("compute", [np.float32, np.float64])
@given(
    x=st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.floats(-(2.0**-13), 2.0**-13, width=32)
    | st.floats(-(2.0**-125), 2.0**-125, width=32),
    nudge=st.integers(0, 2**28),
    word=st.integers(0, 2**32 - 1),
    bits=st.integers(0, 12),
)
def test_every_value_is_rounded_as_defined(storage, compute, x, nudge, word, bits):
    x = compute(x)
    if compute is np.float64:
        x = (x.view(np.uint64) + np.uint64(nudge)).view(np.float64)  # bits that float32 does not have
    how = store_rounding(np.dtype(compute), STORAGE[storage], bits)
    if how is None:
        assert compute is np.float32
        assert storage == "float32"
        assert bits == 0
        return
    with np.errstate(all="ignore"):
        rounded = round_stochastically(np.array([x]), np.array([word], np.uint32), how)
    expected = np.array([defined(float(x), word, storage, bits)])
    with np.errstate(over="ignore"):
        expected = expected.astype(compute)
    assert rounded.tobytes() == expected.tobytes()


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan, 0.0, -0.0])
@pytest.mark.parametrize("storage", STORAGE)
def test_special_values_stay(storage, special):
    how = store_rounding(np.dtype(np.float64), STORAGE[storage], 0)
    x = np.full(8, special)
    rounded = round_stochastically(x, np.full(8, 2**32 - 1, np.uint32), how)
    np.testing.assert_array_equal(rounded, x)
    assert (np.signbit(rounded) == np.signbit(x)).all()


def store_with(engine, values, storage, rounding, first=()):
    """Run ``out <- values`` on an engine, after other rows."""
    be = gen_backend("cpu", engine=engine)
    rows = [*first, values]
    outs = [np.zeros(v.shape, storage) for v in rows]
    program, scalars = linearize("copy", ("out", "grad"), [(0, Symbol("grad", 1) * 1.0)])
    plan = be.plan([((out, v), []) for out, v in zip(outs, rows, strict=True)], ("out", "grad"))
    be.execute(program, plan, [scalars], rounding)
    return outs[-1]


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("compute", [np.float32, np.float64])
@pytest.mark.parametrize("bits", [0, 4])
def test_the_engines_store_the_same_bits(storage, compute, bits):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(70_001) * 10.0 ** rng.uniform(-9, 5, 70_001)
    values = np.append(values, [np.inf, -np.inf, np.nan, 0.0, -0.0]).astype(compute)
    rounding = Rounding(bits, seed=7, step=2**33 + 5, first_row=3)
    mine = store_with("numpy", values, STORAGE[storage], rounding, first=[values[:5]])
    theirs = store_with("numba", values, STORAGE[storage], rounding, first=[values[:5]])
    np.testing.assert_array_equal(mine.view(np.uint8), theirs.view(np.uint8))
    with np.errstate(over="ignore"):
        nearest = values.astype(STORAGE[storage])
    differs = (mine != nearest) & np.isfinite(values)
    assert differs.any() == (compute is np.float64 or storage != "float32" or bits > 0)


def test_the_words_are_those_of_the_definition():
    values = np.full(3000, 1.0 + 2.0**-9, np.float32)
    rounding = Rounding(0, seed=11, step=4, first_row=2)
    stored = store_with("numpy", values, BFLOAT16, rounding, first=[values[:9]])
    words = rounding_words(rounding, row=1, slot=0, start=0, stop=3000)
    expected = [defined(float(x), int(w), "bfloat16", 0) for x, w in zip(values, words, strict=True)]
    np.testing.assert_array_equal(stored.astype(np.float64), expected)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
@pytest.mark.parametrize("value", [1.1, -0.3333, 3e-6, 0.0017])
def test_the_mean_of_many_roundings_is_the_value(storage, value):
    n = 200_000
    values = np.full(n, value, np.float32)
    stored = store_with("numpy", values, STORAGE[storage], Rounding(0, seed=3, step=1)).astype(np.float64)
    low, high = stored.min(), stored.max()
    error = abs(stored.mean() - np.float64(np.float32(value)))
    assert low < value < high
    assert error < 5 * (high - low) / 2 / np.sqrt(n)  # five standard errors of a coin of any bias
    nearest = np.float64(np.float32(value).astype(STORAGE[storage]))
    assert error < abs(nearest - value)


def test_other_steps_seeds_rows_and_elements_have_other_words():
    base = rounding_words(Rounding(0, 1, 1), 0, 0, 0, 64)
    others = [
        rounding_words(Rounding(0, 2, 1), 0, 0, 0, 64),
        rounding_words(Rounding(0, 1, 2), 0, 0, 0, 64),
        rounding_words(Rounding(0, 1, 1), 1, 0, 0, 64),
        rounding_words(Rounding(0, 1, 1), 0, 1, 0, 64),
        rounding_words(Rounding(0, 1, 1), 0, 0, 64, 128),
    ]
    for other in others:
        assert (other != base).mean() > 0.9
    np.testing.assert_array_equal(rounding_words(Rounding(0, 1, 1, first_row=1), 0, 0, 0, 64), others[2])


def softmax_regression(dtype, stochastic_round, engine="numpy", optimizer=None, steps=700):
    """The loss after training on digits, with weights of the given type and gradients in float32."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs, wanted = (
        (digits.data[:300] / 16).astype(np.float32),
        np.eye(10, dtype=np.float32)[digits.target[:300]],
    )
    gen_backend("cpu", engine=engine, rng_seed=1, batch_size=len(inputs), stochastic_round=stochastic_round)
    weights, grad = np.zeros((64, 10), dtype), np.zeros((64, 10), np.float32)
    optimizer = optimizer or GradientDescentMomentum(0.05, 0.0, stochastic_round=stochastic_round)
    rows = [((weights, grad), [])]

    def probabilities():
        scores = inputs @ weights.astype(np.float32)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    for _ in range(steps):
        grad[...] = inputs.T @ (probabilities() - wanted)
        optimizer.optimize(rows, 0)
    return -np.log((probabilities() * wanted).sum(axis=1)).mean(), weights


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_digits_train_in_bfloat16_with_it_and_stall_without(engine):
    full, _ = softmax_regression(np.float32, False, engine)
    rounded, _ = softmax_regression(BFLOAT16, True, engine)
    stalled, _ = softmax_regression(BFLOAT16, False, engine)
    assert rounded == pytest.approx(full, rel=0.02)
    assert stalled > 1.2 * full


def test_a_run_is_repeated_by_its_seed_and_step():
    _, one = softmax_regression(BFLOAT16, True, steps=50)
    _, other = softmax_regression(BFLOAT16, True, "numba", steps=50)
    np.testing.assert_array_equal(one.view(np.uint16), other.view(np.uint16))


def test_rules_that_run_tensor_by_tensor_round_stochastically_too():
    start = np.ones((64, 64), BFLOAT16)
    grad = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    exact, rounded = start.astype(np.float32), [start.copy() for _ in range(2)]
    gen_backend("cpu", engine="numpy", rng_seed=1, batch_size=1)
    Muon(1e-3).optimize([((exact, grad), [])], 0)
    gen_backend("cpu", engine="numpy", rng_seed=1, batch_size=1, stochastic_round=True)
    Muon(1e-3).optimize([((param, grad.copy()), []) for param in rounded], 0)
    for param in rounded:
        assert len(np.unique(param)) > 1  # to nearest, every element would stay 1
        assert abs(param.astype(np.float64).mean() - exact.mean()) < 2e-4
    assert (rounded[0] != rounded[1]).any()
