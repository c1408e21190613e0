"""neon's initializers draw what neon draws from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.compat.neon import initializers
from neon_optim.errors import ArgumentError

SHAPE = (3, 4)
MADE = {  # by name: the object, and what neon draws
    "constant": (lambda: initializers.Constant(0.5), lambda rng: np.full(SHAPE, 0.5)),
    "uniform": (lambda: initializers.Uniform(-1, 2), lambda rng: rng.uniform(-1, 2, SHAPE)),
    "gaussian": (lambda: initializers.Gaussian(1, 2), lambda rng: rng.normal(1, 2, SHAPE)),
    "glorot": (initializers.GlorotUniform, lambda rng: rng.uniform(-1, 1, SHAPE) * np.sqrt(6 / 7)),
    "xavier": (initializers.Xavier, lambda rng: rng.uniform(-1, 1, SHAPE)),
    "xavier of a dense layer": (
        lambda: initializers.Xavier(False),
        lambda rng: rng.uniform(-1, 1, SHAPE) * np.sqrt(0.75),
    ),
    "kaiming": (initializers.Kaiming, lambda rng: rng.normal(0, np.sqrt(2 / 3), SHAPE)),
    "kaiming of a dense layer": (
        lambda: initializers.Kaiming(False),
        lambda rng: rng.normal(0, np.sqrt(0.5), SHAPE),
    ),
    "identity": (initializers.IdentityInit, lambda rng: np.eye(*SHAPE)),
}


@pytest.mark.parametrize("name", MADE)
def test_first_values(name):
    make, drawn = MADE[name]
    be = gen_backend("cpu", rng_seed=3, batch_size=4)
    param = be.zeros(SHAPE)
    make().fill(param)
    np.testing.assert_allclose(param.get(), drawn(np.random.RandomState(3)), rtol=1e-6, atol=1e-7)


def test_given_values_are_set_and_described():
    be = gen_backend("cpu", batch_size=4)
    param, values = be.zeros(SHAPE), np.arange(12, dtype=np.float32).reshape(SHAPE)
    for given in (values, be.array(values)):
        param.fill(0)
        made = initializers.Array(given)
        made.fill(param)
        assert (param.get() == values).all()
        described = made.get_description()
        assert described["type"] == "neon.initializers.initializer.Array"
        assert (initializers.Array.gen_class(described["config"]).val == values).all()
    with pytest.raises(ArgumentError, match=r"val has the shape \(3, 4\), and what is to be filled \(4, 3\)"):
        initializers.Array(be.array(values)).fill(be.zeros((4, 3)))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_orthonormal_rows_or_columns(shape):
    be = gen_backend("cpu", batch_size=4)
    np.random.seed(5)
    param = be.zeros(shape)
    initializers.Orthonormal(scale=2.0).fill(param)
    found = param.get() if shape[0] < shape[1] else param.get().T
    np.testing.assert_allclose(found @ found.T, 4.0 * np.eye(3), atol=1e-5)
