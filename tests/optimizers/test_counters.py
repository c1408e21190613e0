"""Counters from a file: what cannot be one is refused, and then nothing has been changed."""

import math

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.described.counters import check_counters, set_all_counters
from neon_optim.errors import CheckpointError, StateError
from neon_optim.optimizers import EMA, Adam, GradientAccumulation, MultiOptimizer, NAdam, ScheduleFreeAdamW
from neon_optim.schedules import Chain, Constant, Plateau
from neon_optim.serialization import load_checkpoint, save_checkpoint
from neon_optim.serialization.checkpoint import archive

NO_STEPS = [-1, 1.5, 3.0, 2**63, 2**70, math.nan, math.inf, True, None, "7", [7], {"t": 7}]


@pytest.mark.parametrize("t", NO_STEPS, ids=repr)
@pytest.mark.parametrize(
    "make",
    [Adam, NAdam, lambda: Adam(schedule=Plateau()), lambda: EMA(Adam())],
    ids=["Adam", "NAdam", "Plateau", "EMA"],
)
def test_a_step_count_is_an_integer_that_can_be_counted_on(make, t):
    optimizer = make()
    optimizer.t = 5
    before = optimizer.get_counters()
    with pytest.raises(StateError, match="counter 't' must be an integer from 0 to"):
        optimizer.set_counters({**before, "t": t})
    assert optimizer.get_counters() == before
    optimizer.set_counters({**before, "t": 2**63 - 1})
    assert optimizer.t == 2**63 - 1


@pytest.mark.parametrize("t", NO_STEPS[:6], ids=repr)
def test_a_file_with_such_a_step_count_is_refused(tmp_path, t):
    gen_backend("cpu")
    rows, optimizer = [((np.ones(3), np.ones(3)), [])], Adam()
    optimizer.optimize(rows, 0)
    contents = archive.read(save_checkpoint(tmp_path / "a", optimizer=optimizer, layers=rows))
    state = contents.state["optimizer"]
    damaged = {"$float": "nan"} if t != t else t
    path = archive.write(
        tmp_path / "b",
        contents.arrays,
        {**contents.state, "optimizer": {**state, "counters": {"t": damaged}}},
    )
    fresh, other = [((np.zeros(3), np.ones(3)), [])], Adam()
    with pytest.raises(CheckpointError, match=r"counters do not fit Adam: .*counter 't'"):
        load_checkpoint(path, optimizer=other, layers=fresh)
    assert (other.t, fresh[0][0][0].any(), fresh[0][1]) == (0, False, [])


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (NAdam(), "momentum_product"),
        (ScheduleFreeAdamW(), "weight_sum"),
        (GradientAccumulation(Adam(), 2), "samples"),
    ],
    ids=["NAdam", "ScheduleFree", "accumulation"],
)
def test_a_number_that_goes_from_step_to_step_stays_a_number(optimizer, name):
    before = optimizer.get_counters()
    for value in (math.nan, "1", None, True, [1.0]):
        with pytest.raises(StateError, match=f"counter '{name}' must be a number"):
            optimizer.set_counters({**before, name: value})
        assert optimizer.get_counters() == before
    optimizer.set_counters({**before, name: 2})
    assert type(getattr(optimizer, name)) is float


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("scale", bad) for bad in (math.nan, math.inf, -0.5, "1", None, [])),
        *(("best", bad) for bad in (math.nan, "1", True, {})),
        *((count, bad) for count in ("bad", "cooling") for bad in (-1, 1.0, 2**63, None, "x")),
    ],
)
def test_what_a_plateau_has_seen_is_checked(name, value):
    for best in (None, 0.25):
        plateau = Plateau()
        if best is not None:
            plateau.observe(best)
        before = plateau.get_counters()
        with pytest.raises(StateError, match=f"Plateau: counter '{name}'"):
            plateau.set_counters({**before, name: value})
        assert plateau.get_counters() == before


def test_a_plateau_may_have_seen_nothing_yet_on_either_side():
    seen, fresh = Plateau(), Plateau()
    seen.observe(0.5)
    before = seen.get_counters()
    seen.set_counters(fresh.get_counters())
    assert seen.get_counters() == fresh.get_counters()
    seen.set_counters(before)
    assert seen.get_counters() == before


@pytest.mark.parametrize(
    "counters", [None, 3, [], "t", {}, {"t": 1, "u": 2}, {"t": 1, "schedules": {}}], ids=repr
)
def test_other_counters_are_refused_whatever_they_are(counters):
    for optimizer in (Adam(), EMA(Adam()), MultiOptimizer({"default": Adam()}), Adam(schedule=Plateau())):
        before = optimizer.get_counters()
        with pytest.raises(StateError):
            optimizer.set_counters(counters)
        assert optimizer.get_counters() == before


def test_a_schedule_that_refuses_leaves_the_steps_alone():
    optimizer = Adam(schedule=Chain([Constant(0.5), Plateau()]))
    before = optimizer.get_counters()
    inner = {**before["schedules"]["schedule"]["1"], "bad": -1}
    with pytest.raises(StateError, match="'bad'"):
        optimizer.set_counters(
            {"t": 9, "schedules": {"schedule": {**before["schedules"]["schedule"], "1": inner}}}
        )
    assert optimizer.get_counters() == before


def test_nested_counters_are_looked_into_and_say_where():
    own = {"epoch": 1, "layers": {"drop": {"draws": 3}}}
    assert check_counters("Model", own, {"epoch": 2, "layers": {"drop": {"draws": 4}}})["layers"]["drop"] == {
        "draws": 4
    }
    with pytest.raises(StateError, match="Model: layers: drop: counter 'draws' must be an integer"):
        check_counters("Model", own, {"epoch": 2, "layers": {"drop": {"draws": -4}}})
    with pytest.raises(StateError, match=r"Model: layers: drop has the counters \['draws'\], received 3"):
        check_counters("Model", own, {"epoch": 2, "layers": {"drop": 3}})


@pytest.mark.parametrize("error", [StateError, KeyError, KeyboardInterrupt])
def test_an_error_of_any_kind_leaves_all_as_they_were(error):
    class Refusing(Adam):
        refuses = True

        def set_counters(self, counters):
            if counters["t"] == 7:
                raise error
            super().set_counters(counters)

    first, second = Adam(), Refusing()
    first.t, second.t = 1, 2
    with pytest.raises(error):
        set_all_counters([(first, {"t": 7}), (second, {"t": 7})])
    assert (first.t, second.t) == (1, 2)
