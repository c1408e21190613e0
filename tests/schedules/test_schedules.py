"""Schedules: values of Optax and PyTorch, time in epochs and steps, state, errors."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neon_optim import gen_backend
from neon_optim.described.build import from_description
from neon_optim.errors import ArgumentError, StateError
from neon_optim.optimizers import SGD, AdamW
from neon_optim.schedules import (
    BaseSchedule,
    Chain,
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    Linear,
    OneCycle,
    Piecewise,
    Plateau,
    Polynomial,
    PowerSchedule,
    Schedule,
    Sequential,
    ShiftSchedule,
    StepSchedule,
    Warmup,
)
from neon_optim.schedules.schedule import value_at

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "torch_optax_manifest.json").read_text())["schedules"]["values"]
HELD_OUT = json.loads((DATA / "held_out.json").read_text())["schedules"]

# ours and, where Optax computes in float32, the tolerance for that
CASES = {
    "cosine_decay": (Cosine(80, end=0.1), 1e-12),
    "warmup_cosine": (Warmup(Cosine(90, end=0.01), 10), 1e-12),
    "exponential(": (Exponential(0.5, 10), 1e-12),
    "exponential_staircase": (Exponential(0.5, 10, staircase=True), 1e-12),
    "polynomial": (Polynomial(50, power=2, end=0.1), 1e-12),
    "linear": (Linear(60), 1e-12),
    "cosine_onecycle": (OneCycle(100), 1e-12),
    "cosine_warm_restarts": (CosineRestarts(10, growth=2, end=0.01), 1e-12),
}


@pytest.mark.parametrize("start", CASES)
def test_values_of_optax_and_pytorch(start):
    (expected,) = [values for name, values in GOLDEN.items() if name.startswith(start)]
    schedule, tolerance = CASES[start]
    got = [schedule.get_learning_rate(0.1, step) for step in range(len(expected))]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", HELD_OUT, ids=lambda case: case["name"])
def test_values_for_other_arguments(case):
    schedule = from_description({"type": case["type"], "config": case["config"]}, "schedule")
    got = []
    for time in range(len(case["values"])):
        got.append(schedule.get_learning_rate(0.1, time))
        if "metrics" in case:
            schedule.observe(case["metrics"][time])
    np.testing.assert_allclose(got, case["values"], rtol=0, atol=1e-12)


ALL = [
    Constant(0.3),
    Linear(10, end=0.1),
    Polynomial(10, power=2),
    Exponential(0.9, 3, staircase=True, end=0.2),
    Exponential(1.5, 3, end=4.0),
    Cosine(20, power=1.5),
    CosineRestarts(5, growth=1.5),
    CosineRestarts(5),
    OneCycle(30),
    Cyclic(3, fall=5, decay=0.8),
    Warmup(Cosine(20), 5, start=0.1),
    Sequential([Constant(), Linear(10), Constant(0.1)], [3, 20]),
    Chain([Linear(50, end=0.5), Piecewise([7], [1.0, 0.5])]),
    Piecewise([3, 9], [1.0, 0.5, 0.0], interpolate=True),
    Schedule([2, 6], 0.5),
]


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.classnm)
def test_a_schedule_is_a_function_of_time_alone(schedule):
    times = list(range(40))
    forwards = [schedule.get_learning_rate(0.1, t) for t in times]
    shuffled = random.Random(1).sample(times, len(times))
    assert {t: schedule.get_learning_rate(0.1, t) for t in shuffled} == dict(
        zip(times, forwards, strict=True)
    )
    assert all(np.isfinite(forwards))
    assert schedule.get_counters() == {}


@pytest.mark.parametrize("schedule", [*ALL, Plateau(factor=0.5)], ids=lambda s: s.classnm)
def test_a_description_gives_the_same_schedule(schedule):
    description = json.loads(json.dumps(schedule.get_description()))
    again = from_description(description)
    assert again.get_description() == description
    for time in range(30):
        assert again.get_learning_rate(0.1, time) == schedule.get_learning_rate(0.1, time)


@given(st.floats(1, 50), st.floats(1, 4), st.floats(0, 1e4))
def test_restarts_are_at_the_ends_of_the_cycles(length, growth, time):
    schedule = CosineRestarts(length, growth=growth)
    since, cycle = schedule._cycle(time)
    assert -1e-9 * max(time, 1) <= since <= cycle * (1 + 1e-9)
    assert 0.0 <= schedule.get_learning_rate(1.0, time) <= 1.0


def rates(schedule, per_epoch=4, epochs=3, **options):
    """The rate of every step of a short training."""
    gen_backend("cpu")
    optimizer = SGD(1.0, schedule=schedule, **options)
    bound = optimizer.bind([(np.zeros(1), np.ones(1))])
    found = []
    for epoch in range(epochs):
        for _ in range(per_epoch):
            found.append(optimizer.at(epoch).lr)
            bound.step(epoch)
    return found


def test_time_is_counted_in_epochs_or_in_steps():
    assert rates(Linear(4)) == [1.0] * 4 + [0.75] * 4 + [0.5] * 4
    assert rates(Linear(4, unit="step")) == [1.0, 0.75, 0.5, 0.25] + [0.0] * 8


def test_a_warm_up_by_steps_goes_with_a_schedule_by_epochs():
    assert rates(Warmup(Piecewise([1, 2], [1.0, 0.5, 0.25]), 2, unit="step")) == (
        [0.0, 0.5, 1.0, 1.0] + [0.5] * 4 + [0.25] * 4
    )


def test_every_number_may_be_a_schedule():
    gen_backend("cpu")
    optimizer = from_description(
        {
            "type": "AdamW",
            "config": {
                "beta_1": {
                    "type": "Linear",
                    "config": {"length": 10, "start": 0.9, "end": 0.99, "unit": "step"},
                },
                "wdecay": {"type": "Constant", "config": {"value": 0.5}},
                "learning_rate": {"type": "Piecewise", "config": {"boundaries": [1], "values": [0.5, 0.1]}},
            },
        }
    )
    now = optimizer.at(0)
    assert (now.beta_1, now.wdecay, now.lr) == (0.9, 0.5, 0.5)
    optimizer.t = 5
    now = optimizer.at(1)
    assert (round(now.beta_1, 12), now.lr) == (0.945, 0.1)
    assert optimizer.get_description()["config"]["beta_1"]["type"].endswith("Linear")


def test_a_limit_may_be_a_schedule_too():
    gen_backend("cpu")
    w, dw = np.zeros(1), np.full(1, 8.0)
    bound = SGD(1.0, gradient_clip_norm=Piecewise([1, 2], [4.0, 0.0, 1.0], unit="step")).bind([(w, dw)])
    found = []
    for _ in range(3):
        before = w[0]
        bound.step()
        found.append(before - w[0])
    assert found == [4.0, 8.0, 1.0]


def test_a_schedule_that_leaves_the_range_is_an_error_that_says_when():
    optimizer = AdamW(beta_1=Linear(10, start=0.9, end=1.1))
    with pytest.raises(ArgumentError, match=r"beta_1 must be .*received 1.0.*from Linear, epoch 5, step 0"):
        optimizer.at(5)
    with pytest.raises(ArgumentError, match=r"schedule must be a number >= 0.*received -"):
        SGD(0.1, schedule=Linear(1, end=-1.0)).at(3)


def test_plateau_is_part_of_the_training_state():
    def trained():
        return SGD(1.0, schedule=Chain([Constant(0.5), Plateau(factor=0.1, patience=0)]))

    optimizer = trained()
    for metric in (1.0, 0.5, 0.5):
        optimizer.observe(metric)
    state = json.loads(json.dumps(optimizer.get_counters()))
    again = trained()
    again.set_counters(state)
    assert again.at(0).lr == optimizer.at(0).lr == pytest.approx(0.05)
    for each in (optimizer, again):
        each.observe(0.5)
    assert again.get_counters() == optimizer.get_counters()
    with pytest.raises(StateError, match="schedules"):
        SGD(1.0).set_counters(state)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ArgumentError, match="boundaries must rise"):
        Piecewise([5, 3], [1.0, 0.5, 0.1])
    with pytest.raises(ArgumentError, match="boundaries must hold 1 times"):
        Sequential([Constant(), Linear(3)], [1, 2])
    with pytest.raises(ArgumentError, match="must count time in epochs"):
        Sequential([Constant(), Linear(3, unit="step")], [1])
    with pytest.raises(ArgumentError, match="unit must be one of 'epoch', 'step', received 'batch'"):
        Linear(3, unit="batch")
    with pytest.raises(ArgumentError, match="metric must be a number, received 'low'"):
        Plateau().observe("low")


def test_a_power_beyond_all_floats_is_infinite_and_the_optimizer_says_when():
    for schedule in (PowerSchedule(1, 2), Exponential(2.0), Schedule(1, 2), Cyclic(1, low=0.5, decay=4)):
        optimizer = SGD(0.1, schedule=schedule)
        assert np.isfinite(optimizer.at(1000).lr)
        assert schedule.get_learning_rate(0.1, 1999) == np.inf
        with pytest.raises(ArgumentError, match=rf"must be .*inf.*from {schedule.classnm}, epoch 1999"):
            optimizer.at(1999)
    assert Exponential(2.0, end=8.0).get_learning_rate(0.1, 5000) == 0.8


def test_a_shift_beyond_all_floats_gives_zero():
    assert ShiftSchedule(1).get_learning_rate(1.0, 1023) == 2.0**-1023
    for epoch in (1075, 5000, 10**18, 10**400):
        assert ShiftSchedule(1).get_learning_rate(1.0, epoch) == 0.0
    assert ShiftSchedule(1, 1024).get_learning_rate(0.1, 1) == 0.1 / 2.0**1023 / 2.0


@pytest.mark.parametrize("epoch", [10**9, 10**18, 10**400])
def test_a_huge_epoch_is_no_work(epoch):
    assert PowerSchedule(1, 2).get_learning_rate(0.1, epoch) == np.inf
    assert PowerSchedule(1, 0.5).get_learning_rate(0.1, epoch) == 0.0
    assert PowerSchedule(1, 1).get_learning_rate(0.1, epoch) == 0.1
    assert Schedule(1, 3).get_learning_rate(0.1, epoch) == np.inf


@pytest.mark.parametrize("base", [BaseSchedule, object])
@pytest.mark.parametrize("value", [None, "0.1", [0.1], {}])
def test_a_schedule_that_gives_no_number_is_named(base, value):
    class Broken(base):
        def get_learning_rate(self, learning_rate, epoch):
            return value

    for schedule in (Broken(), Chain([Broken()]), Warmup(Broken(), 3)):
        with pytest.raises(
            ArgumentError, match=r"Broken.get_learning_rate must return a number, received .* at [25]"
        ):
            value_at(schedule, 0.1, 5, 0)


def test_an_overflow_within_a_schedule_is_named():
    class Steep(BaseSchedule):
        def get_learning_rate(self, learning_rate, epoch):
            return learning_rate * 2.0**epoch

    with pytest.raises(ArgumentError, match="Steep: its value at 2000 is beyond the range of floats"):
        SGD(0.1, schedule=Steep()).at(2000)


def test_setting_an_argument_is_checked():
    schedule = Sequential([Constant(), Linear(3)], (1,))
    assert schedule.boundaries == [1]
    schedule.boundaries = (2.5,)
    assert schedule.boundaries == [2.5]
    assert schedule.get_learning_rate(0.1, 2) == 0.1
    with pytest.raises(ArgumentError, match="boundaries must hold 1 times"):
        schedule.boundaries = [1, 2]
    with pytest.raises(ArgumentError, match="must count time in steps"):
        schedule.unit = "step"
    assert (schedule.boundaries, schedule.unit) == ([2.5], "epoch")
    steps = StepSchedule(np.array([2, 6]), (0.6, 0.4))
    assert type(steps.step_config[0]) is int
    with pytest.raises(ArgumentError, match="change must hold one rate for each of the 2 epochs"):
        steps.change = [1.0]
    with pytest.raises(AttributeError, match=r"Cosine has no attribute 'lenght'; did you mean 'length'\?"):
        Cosine(3).lenght = 5
    with pytest.raises(TypeError, match=r"T_max is no argument of Cosine.*did you mean 'length'\?"):
        Cosine(T_max=5)
