"""Steps that the device refuses. The host learns of it late, as of real hardware: the emulator delays its work."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest
from cudasim import session

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.optree import Node, Symbol
from neon_optim.backends.program import linearize
from neon_optim.errors import NonFiniteError
from neon_optim.optimizers import Adam, GradientDescentMomentum, MultiOptimizer, Muon, RMSProp
from neon_optim.serialization import load_checkpoint, save_checkpoint
from neon_optim.stepping.passes import refuse

pytestmark = pytest.mark.gpu

RNG = np.random.RandomState(0)
GUARDED = {"on_nonfinite": "raise"}


@pytest.fixture
def be():
    yield gen_backend("gpu", rng_seed=1)
    with contextlib.suppress(NonFiniteError):
        cleanup_backend()


@pytest.fixture
def late(be, emulator):
    """Nothing is done before the host waits."""
    with session.delayed(1000):
        yield


class Layer:
    def __init__(self, be, name, shape=(8, 6), dtype=None):
        self.name = name
        self.param, self.grad = (be.array(RNG.randn(*shape), dtype) for _ in range(2))
        self.states = []

    def get_params(self):
        return ((self.param, self.grad), self.states)

    def spoil(self):
        bad = self.grad.get()
        bad[1, 2] = np.nan
        self.grad.set(bad)

    def contents(self):
        return [t.get() for t in (self.param, *self.states)]


def assert_same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


# --- what happens to the steps after the refused one ---


OTHERS = {
    "with a guard": lambda: RMSProp(learning_rate=0.1, gradient_clip_norm=1.0),
    "without": lambda: GradientDescentMomentum(0.1, 0.9),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_later_steps_of_other_optimizers_are_neither_stored_nor_counted(be, late, kind):
    one, two = Layer(be, "one"), Layer(be, "two")
    refused, other = Adam(**GUARDED), OTHERS[kind]()
    for _ in range(2):
        refused.optimize([one], 0)
        other.optimize([two], 0)
    kept = one.contents(), two.contents()
    one.spoil()
    for _ in range(3):
        refused.optimize([one], 0)
        other.optimize([two], 0)
    assert (refused.t, other.t) == (5, 5), "the device has not said anything yet"
    with pytest.raises(NonFiniteError, match="layer 'one'"):
        two.param.get()
    assert (refused.t, other.t) == (2, 2)
    assert_same(kept[0] + kept[1], one.contents() + two.contents())
    one.grad.set(np.ones((8, 6)))
    refused.optimize([one], 0)
    other.optimize([two], 0)
    assert (refused.t, other.t) == (3, 3)
    assert (one.param.get() != kept[0][0]).any()
    assert (two.param.get() != kept[1][0]).any()


def test_earlier_steps_stay_stored_and_counted(be, late):
    one, two = Layer(be, "one"), Layer(be, "two")
    refused, other = Adam(**GUARDED), Adam(**GUARDED)
    one.spoil()
    other.optimize([two], 0)
    other.optimize([two], 0)
    refused.optimize([one], 0)
    other.optimize([two], 0)
    with pytest.raises(NonFiniteError):
        one.param.get()
    assert (refused.t, other.t) == (0, 2)


def test_the_optimizers_inside_another_are_put_back(be, late):
    layers = [Layer(be, name) for name in ("one", "two")]
    inside = Adam(**GUARDED), RMSProp(**GUARDED)
    optimizer = MultiOptimizer({"default": inside[0], "two": inside[1]})
    optimizer.optimize(layers, 0)
    layers[1].spoil()

    def steps_and_a_look():
        for _ in range(3):
            optimizer.optimize(layers, 0)
        layers[0].param.get()

    with pytest.raises(NonFiniteError, match="layer 'two'"):
        steps_and_a_look()
    assert [one.t for one in inside] == [1, 1]


@pytest.mark.parametrize("skips", [False, True])
def test_a_step_after_a_refused_one_that_needs_an_answer_hears_of_the_refusal(be, late, skips):
    """Also where the answer would be that its own gradients are fine: nothing of it was stored."""
    one, two = Layer(be, "one"), Layer(be, "two")
    refused, other = Adam(**GUARDED), Adam(on_nonfinite="skip" if skips else "raise")
    one.spoil()
    before = two.contents()
    refused.optimize([one], 0)

    def step_and_look():
        other.optimize([two], 0)
        two.param.get()

    with pytest.raises(NonFiniteError, match="layer 'one'"):
        step_and_look()
    assert other.t == 0
    assert_same(before, two.contents()[:1])


# --- who is told, and what ---


def test_the_message_names_the_gradients_that_were_bad_not_those_that_are(be, late):
    layers = [Layer(be, name) for name in ("one", "two", "three")]
    optimizer = Adam(**GUARDED)
    layers[1].spoil()
    optimizer.optimize(layers, 0)
    layers[1].grad.set(np.ones((8, 6)))
    layers[2].grad.set(np.full((8, 6), np.nan))
    with pytest.raises(NonFiniteError, match="layer 'two'") as error:
        layers[0].param.get()
    assert "three" not in str(error.value)


def test_reading_an_empty_tensor_does_not_swallow_a_refusal(be, late):
    one, empty = Layer(be, "one"), be.empty((0, 3))
    one.spoil()
    optimizer = Adam(**GUARDED)
    optimizer.optimize([one], 0)

    def look():
        empty.get()
        one.param.get()

    with pytest.raises(NonFiniteError, match="layer 'one'"):
        look()
    assert optimizer.t == 0


def test_closing_waits_and_tells(be, late):
    one = Layer(be, "one")
    one.spoil()
    optimizer = Adam(**GUARDED)
    optimizer.optimize([one], 0)
    with pytest.raises(NonFiniteError, match="layer 'one'"):
        cleanup_backend()
    assert optimizer.t == 0
    assert be.device.closed
    be.close()


def test_a_refusal_that_nobody_asked_about_stops_nothing_else(be, late):
    """As after an interrupt between the launch and the question."""
    param, grad = be.array(np.ones((3, 3))), be.array(np.full((3, 3), np.nan))
    symbols = [Symbol("param", 0), Symbol("grad", 1)]
    program, scalars = linearize(
        "rule", ["param", "grad"], [(0, symbols[0] + symbols[1])], Node("total", symbols[1])
    )
    be.execute(program, be.plan([((param, grad), [])], ["param", "grad"]), [scalars])
    one = Layer(be, "one")
    optimizer = Adam(**GUARDED)
    before = one.param.get()
    optimizer.optimize([one], 0)
    assert (one.param.get() != before).any()
    assert optimizer.t == 1
    np.testing.assert_array_equal(param.get(), 1)


def test_an_outcome_that_is_known_tells_at_once(be, late):
    param, grad = be.array(np.ones((3, 3))), be.array(np.full((3, 3), np.nan))
    symbols = [Symbol("param", 0), Symbol("grad", 1)]
    program, scalars = linearize(
        "rule", ["param", "grad"], [(0, symbols[0] + symbols[1])], Node("total", symbols[1])
    )
    plan, told = be.plan([((param, grad), [])], ["param", "grad"]), []
    outcome = be.execute(program, plan, [scalars])
    assert not outcome.stored
    outcome.when_refused(Adam(), told.append)
    assert told == [None]
    grad.set(np.ones((3, 3)))
    assert be.execute(program, plan, [scalars]).stored
    assert told == [None]


def test_rows_that_were_not_finite_are_named_over_all_parts():
    class Part:
        def __init__(self, words, grads):
            self.parameters = [((None, grad), []) for grad in grads]
            self.describe = lambda index: f"{words} {index}"
            self.rule = type("rule", (), {"on_nonfinite": "raise"})

    parts = [Part("a", [1.0, 2.0]), Part("b", [np.nan, 4.0])]
    with pytest.raises(NonFiniteError, match=r"\(a 1; b 1\)"):
        refuse(parts, [1, 3])
    with pytest.raises(NonFiniteError, match=r"\(b 0: 1 of 1 elements\)"):
        refuse(parts)


# --- what is kept meanwhile ---


def test_gradients_go_when_their_step_is_done(be, prompt):
    param, states, optimizer = be.array(np.ones((5, 4))), [], Adam(**GUARDED)
    alive = []
    for _ in range(50):
        grad = be.array(RNG.randn(5, 4))
        optimizer.optimize([((param, grad), states)], 0)
        alive.append(weakref.ref(grad))
        del grad
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 2
    assert len(be.engine._refusals._expected) <= 1


def test_what_a_device_has_not_done_is_remembered(be, emulator):
    one, optimizer = Layer(be, "one"), Adam(**GUARDED)
    with session.delayed(1000):
        for _ in range(20):
            optimizer.optimize([one], 0)
        assert len(be.engine._refusals._expected) == 20
        one.param.get()
        assert not be.engine._refusals._expected


# --- interrupts ---


@pytest.mark.parametrize("exception", [KeyboardInterrupt, MemoryError])
def test_an_exception_between_the_launches_of_two_groups_leaves_the_norm_right(be, exception):
    """The blocks of all groups together count up to the last one, which joins their sums."""

    def layers():
        rng = np.random.RandomState(4)
        rows = [((be.array(rng.randn(40, 30), d), be.array(rng.randn(40, 30), d)), []) for d in ("f4", "f8")]
        return rows, Adam(learning_rate=0.1, gradient_clip_norm=0.5)

    rows, optimizer = layers()
    optimizer.optimize(rows, 0)
    (together,) = optimizer._bindings._latest._passes._known.values()
    (launches,) = [
        launches
        for scratch in together._plan.table.scratch.values()
        for (stage, *_), launches in scratch.launches.items()
        if stage == 0
    ]
    assert len(launches) == 2

    def interrupted(*_):
        raise exception

    kept = launches[1]
    launches[1] = (interrupted, *kept[1:])
    with pytest.raises(exception):
        optimizer.optimize(rows, 0)
    assert optimizer.t == 1
    launches[1] = kept
    expected, other = layers()
    other.optimize(expected, 0)
    for these in (rows, expected):
        these[1][0][1].set(np.full((40, 30), 3.0))
    for _ in range(2):
        optimizer.optimize(rows, 0)
        other.optimize(expected, 0)
    for mine, theirs in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(mine[0][0].get(), theirs[0][0].get())


# --- what is done at once comes after what may still be refused ---


def test_a_rule_that_runs_tensor_by_tensor_waits_for_what_may_be_refused(be, late):
    one, two = Layer(be, "one"), Layer(be, "two")
    refused, other = Adam(**GUARDED), Muon(0.1)
    one.spoil()
    before = two.contents()
    refused.optimize([one], 0)
    with pytest.raises(NonFiniteError, match="one"):
        other.optimize([two], 0)
    assert_same(two.contents()[:1], before[:1])
    assert (refused.t, other.t) == (0, 0)


def test_what_is_restored_is_not_overwritten_by_a_refusal(be, late, tmp_path):
    layer, optimizer = Layer(be, "one"), Adam(**GUARDED)
    for _ in range(3):
        optimizer.optimize([layer], 0)
    path = save_checkpoint(tmp_path / "c.safetensors", optimizer=optimizer, layers=[layer])
    layer.spoil()
    optimizer.optimize([layer], 0)
    with pytest.raises(NonFiniteError, match="one"):
        load_checkpoint(path, optimizer=optimizer, layers=[layer])
    load_checkpoint(path, optimizer=optimizer, layers=[layer])
    be.settle()
    assert optimizer.t == 3
