"""The rows of docs/neon-differences.md: every test that it names exists, and those that have no other home are here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.errors import ArgumentError
from neon_optim.optimizers import (
    Adam,
    GradientDescentMomentum,
    MultiOptimizer,
    PolySchedule,
    PowerSchedule,
    Schedule,
    StepSchedule,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _backend():
    gen_backend("cpu", batch_size=1, engine="numpy")
    yield
    cleanup_backend()


def parameter(value=1.0, grad=1.0):
    return ((np.full((2, 1), value), np.full((2, 1), grad)), [])


def test_every_test_named_in_the_list_exists():
    text = (ROOT / "docs/neon-differences.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_momentum_zero_clips_the_parameter():
    row = parameter(value=3.0, grad=1.0)
    GradientDescentMomentum(0.5, 0.0, param_clip_value=2.0).optimize([row], 0)
    assert np.all(row[0][0] == 2.0)


def test_nesterov_needs_momentum():
    with pytest.raises(ArgumentError, match="momentum"):
        GradientDescentMomentum(0.1, 0.0, nesterov=True)


def test_step_schedule_gives_the_same_rate_after_a_restart():
    assert StepSchedule([2, 6], [0.6, 0.4]).get_learning_rate(0.1, 7) == 0.4  # asked for epoch 7 only
    schedule = StepSchedule([2, 6], [0.6, 0.4])
    assert [schedule.get_learning_rate(0.1, epoch) for epoch in (7, 0, 3, 2)] == [0.4, 0.1, 0.6, 0.6]


def test_poly_schedule_falls_along_its_polynomial_and_stays_at_zero():
    schedule = PolySchedule(10, 2)
    expected = [0.1 * (1 - epoch / 10) ** 2 for epoch in range(11)] + [0.0]
    assert [schedule.get_learning_rate(0.1, epoch) for epoch in (*range(11), 25)] == pytest.approx(expected)


@pytest.mark.parametrize("kind", [tuple, np.array])
def test_epochs_may_be_a_tuple_or_an_array(kind):
    assert Schedule(kind([2, 4]), 0.5).get_learning_rate(1.0, 4) == 0.25
    assert StepSchedule(kind([2]), kind([0.3])).get_learning_rate(1.0, 2) == 0.3


def test_schedule_takes_neons_three_forms():
    assert (
        Schedule(2, 0.5).get_learning_rate(1.0, 5) == PowerSchedule(2, 0.5).get_learning_rate(1.0, 5) == 0.25
    )
    assert Schedule([2], [0.3]).get_learning_rate(1.0, 5) == 0.3


def test_no_schedule_is_shared_by_default():
    one, other = GradientDescentMomentum(0.1, 0.9), GradientDescentMomentum(0.1, 0.9)
    assert one.schedule is not other.schedule


def test_the_printed_form_of_adam():
    """epsilon_hat=False: theta - alpha m_hat / (sqrt(v_hat) + epsilon), with beta_2 where neon's page says beta_1."""
    row, grads = parameter(), [0.5, -0.2, 0.9]
    optimizer = Adam(learning_rate=0.1, epsilon=0.01, epsilon_hat=False)
    theta, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        row[0][1][:] = g
        optimizer.optimize([row], 0)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 0.01)
    np.testing.assert_allclose(row[0][0], theta, rtol=1e-12)
    other = parameter()
    Adam(learning_rate=0.1, epsilon=0.01).optimize([other], 0)
    first = parameter(grad=1.0)
    Adam(learning_rate=0.1, epsilon=0.01, epsilon_hat=False).optimize([first], 0)
    assert abs(other[0][0] - first[0][0]).max() > 0.01  # neon's own form is another one


def test_multi_optimizer_keeps_no_list():
    """neon finds the mapping by the id() of a list: a new list at the same address gets the wrong layers."""

    class Layer:
        def __init__(self, name):
            self.name, self.row = name, parameter()

        def get_params(self):
            return self.row

    fast, slow = Layer("fast"), Layer("slow")
    multi = MultiOptimizer(
        {"default": GradientDescentMomentum(0.1, 0.0), "fast": GradientDescentMomentum(1.0, 0.0)}
    )
    for layer in [fast, slow] * 5:
        multi.optimize([layer], 0)  # the list is freed each time
    np.testing.assert_allclose(fast.row[0][0], 1.0 - 5 * 1.0)
    np.testing.assert_allclose(slow.row[0][0], 1.0 - 5 * 0.1)
