"""The range test: what it sees in costs, and what it sets on the way."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.errors import ArgumentError
from neon_optim.model import Affine, ArrayIterator, Constant, MeanSquared, Model
from neon_optim.model.range_test import _Growing, range_test
from neon_optim.optimizers import EMA, SGD, Adam, MultiOptimizer
from neon_optim.schedules import ExpSchedule


def made():
    gen_backend("cpu", rng_seed=1, batch_size=8, engine="numpy")
    x = np.linspace(-1, 1, 64).reshape(-1, 1)
    data = ArrayIterator(x, 2 * x, make_onehot=False, shuffle=True)
    return data, Model([Affine(1, Constant(0.0), Constant(0.0))])


def test_the_rate_that_learns_is_found():
    """With x² of mean 1/3 and the gradient of a square halved, descent goes fastest at 3 and diverges beyond 6."""
    data, model = made()
    found = range_test(model, data, MeanSquared(), SGD(learning_rate=0.1), 1e-4, 1e3, 100)
    assert found.rates[0] == pytest.approx(1e-4)
    assert len(found.rates) == len(found.costs) < 100, "it ends where training diverges"
    assert 0.05 < found.steepest < found.smallest < 10
    assert found.suggested == min(found.steepest, found.smallest / 10)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e7) / 99)


def test_rates_of_several_keep_their_ratio_and_schedules_are_left_out():
    data, model = made()
    model.initialize(data)
    slow, fast = Adam(learning_rate=0.001, schedule=ExpSchedule(0.5)), SGD(learning_rate=0.01)
    optimizer = EMA(MultiOptimizer({"default": slow, "*bias*": fast}), decay=0.9)
    hooks = _Growing(optimizer, 1e-3, 1.0, 4)
    hooks.bind(model)
    hooks._set(0.1)
    assert (slow.learning_rate, fast.learning_rate) == (0.1, 1.0)
    assert [algorithm.rate_at(5, 100) for algorithm in (slow, fast)] == [0.1, 1.0]


@pytest.mark.parametrize(
    ("costs", "steepest", "smallest"),
    [
        ([5, 5, 5, 4, 1, 0.5, 9], 4, 5),
        ([5, 1, 5, 5, 4, 2, 1.5, 1.4, 0.5, 1], 5, 8),
        ([1, 2, 3, 4], None, 0),
    ],
)
def test_what_costs_tell(costs, steepest, smallest):
    hooks = _Growing(SGD(learning_rate=0.1), 1.0, 10.0, len(costs))
    hooks._costs = costs
    found = hooks.found()
    assert found.steepest == (None if steepest is None else found.rates[steepest])
    assert found.smallest == found.rates[smallest]


def test_what_tells_nothing_is_an_error():
    data, model = made()
    with pytest.raises(ArgumentError, match="diverges at once, with a rate of 1e\\+20: begin lower"):
        range_test(model, data, MeanSquared(), SGD(learning_rate=0.1), 1e20, 1e30, 10)
