"""What a step promises: all of it happens or nothing does, and messages say where the mistake is."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from neon_optim import NervanaObject, cleanup_backend, gen_backend
from neon_optim.errors import ArgumentError, BackendError, NonFiniteError, StateError
from neon_optim.optimizers import SGD, Adam, GradientDescentMomentum, MultiOptimizer, RMSProp, Schedule


class Dense:
    def __init__(self, name, *params):
        self.name = name
        self._params = list(params)

    def get_params(self):
        return self._params


def pair(shape=(3, 2), value=1.0, grad=0.5, dtype=np.float32):
    return (np.full(shape, value, dtype), np.full(shape, grad, dtype)), []


@pytest.fixture(autouse=True)
def be(engine):
    return gen_backend("cpu", rng_seed=1, batch_size=1, engine=engine)


def test_no_backend_says_what_to_call():
    cleanup_backend()
    with pytest.raises(BackendError, match="gen_backend"):
        Adam().optimize([pair()], 0)


def test_the_first_argument_of_neons_optimizers_is_no_rate():
    with pytest.raises(TypeError, match=r"stochastic_round.*learning_rate=0.01"):
        Adam(0.01)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: ((p[0][0], p[0][1][:, :1]), p[1]),
        lambda p: ((p[0][0].astype(int), p[0][1]), p[1]),
        lambda p: ((p[0][0], p[0][0]), p[1]),
        lambda p: (p[0], [np.zeros((3, 2), np.float32)]),
        lambda p: (p[0], [np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)]),
        lambda p: (p[0], [np.zeros((3, 2), np.float32), "v"]),
    ],
    ids=["grad shape", "integers", "overlap", "too few states", "state shape", "no array"],
)
def test_bad_arrays_are_an_error_that_names_the_layer_and_change_nothing(spoil):
    good, bad = pair(), pair()
    bad = spoil(bad)
    states_before = list(bad[1])
    optimizer = Adam(name="my_adam")
    with pytest.raises(StateError, match=r"layer 'second', parameter 'W'.*my_adam.*Adam|optimizer"):
        optimizer.optimize([Dense("first", good), Dense("second", bad)], 0)
    np.testing.assert_array_equal(good[0][0], 1.0)
    assert good[1] == []
    assert len(bad[1]) == len(states_before)
    assert optimizer.t == 0


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([[([1.0, 2.0], np.ones(2)), []]], r"layer_list\[0\].*received 1.0"),
        ([Dense("a", 5)], r"layer_list\[0\] \(Dense\).get_params\(\)\[0\].*received 5"),
        (np.ones(3), "layer_list must hold layers"),
        ("layers", "received 'layers'"),
    ],
)
def test_what_is_no_layer_is_an_error_that_says_where_it_stands(layers, message):
    with pytest.raises(StateError, match=message):
        Adam().optimize(layers, 0)


def test_read_only_parameters_are_refused():
    tensor = pair()
    tensor[0][0].flags.writeable = False
    with pytest.raises(StateError, match="read-only"):
        Adam().optimize([tensor], 0)


class Shared:
    """An object of another library that shares its memory, with a dtype that is not NumPy's."""

    dtype = "library.float32"

    def __init__(self, array):
        self.array = array
        self.shape = array.shape

    @property
    def __array_interface__(self):
        return self.array.__array_interface__


def test_objects_that_share_their_memory_are_updated_in_place():
    (param, grad), states = pair()
    (same_param, same_grad), same_states = pair()
    Adam().optimize([((Shared(param), Shared(grad)), states)], 0)
    Adam().optimize([((same_param, same_grad), same_states)], 0)
    np.testing.assert_array_equal(param, same_param)
    assert states[0].dtype == np.float32


def test_state_of_another_optimizer_is_refused_with_the_way_out():
    tensor = pair()
    Adam().optimize([tensor], 0)
    with pytest.raises(StateError, match=r"2 arrays.*keeps 1 \(velocity\).*state.clear"):
        GradientDescentMomentum(0.1, 0.9).optimize([tensor], 0)


def test_filled_states_of_the_right_kind_are_taken_as_they_are():
    tensor = pair()
    m, v = np.full((3, 2), 0.25, np.float32), np.full((3, 2), 0.5, np.float32)
    tensor[1].extend([m, v])
    Adam(beta_1=0.5).optimize([tensor], 0)
    np.testing.assert_array_equal(m, np.float32(0.375))
    assert tensor[1][0] is m


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite(bad, clip):
    def prepared():
        tensors = [pair(), pair((4, 1))]
        tensors[1][0][1][2] = bad
        return tensors

    for policy in ("raise", None) if clip else ("raise",):
        tensors, optimizer = prepared(), Adam(on_nonfinite=policy, gradient_clip_norm=clip)
        with pytest.raises(NonFiniteError, match=r"layer 'out'.*1 of 4 elements"):
            optimizer.optimize([Dense("in", tensors[0]), Dense("out", tensors[1])], 0)
        assert optimizer.t == 0
        np.testing.assert_array_equal(tensors[0][0][0], 1.0)

    tensors, optimizer = prepared(), Adam(on_nonfinite="skip", gradient_clip_norm=clip)
    optimizer.optimize(tensors, 0)
    assert optimizer.t == 0
    np.testing.assert_array_equal(tensors[0][0][0], 1.0)

    tensors, optimizer = prepared(), Adam(on_nonfinite="ignore", gradient_clip_norm=clip)
    optimizer.optimize(tensors, 0)
    assert optimizer.t == 1
    assert np.isnan(tensors[1][0][0]).any()


def test_one_bad_gradient_stops_every_optimizer_of_a_multi_optimizer():
    multi = MultiOptimizer(
        {"default": Adam(on_nonfinite="raise"), "out": RMSProp(gradient_clip_norm=1.0, on_nonfinite="raise")}
    )
    first, out = pair(), pair()
    out[0][1][0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="layer 'out'"):
        multi.optimize([Dense("in", first), Dense("out", out)], 0)
    np.testing.assert_array_equal(first[0][0], 1.0)
    assert first[1] == []


def test_norm_clipping_is_over_all_tensors_and_both_ways_agree():
    tensors = [pair((2, 2), grad=3.0), pair((4, 1), grad=4.0)]
    optimizer = GradientDescentMomentum(1.0, 0.0, gradient_clip_norm=5.0)
    norm = np.sqrt(4 * 9 + 4 * 16)
    assert optimizer.clip_gradient_norm(tensors, 5.0) == 5.0 / norm
    assert optimizer.clip_gradient_norm(tensors, 50.0) == 1.0
    assert optimizer.clip_gradient_norm(tensors, None) == optimizer.clip_gradient_norm(tensors, 0) == 1.0
    with pytest.raises(ArgumentError, match="clip_norm must be a number >= 0, received -1"):
        optimizer.clip_gradient_norm(tensors, -1)
    optimizer.optimize(tensors, 0)
    np.testing.assert_allclose(tensors[0][0][0], 1.0 - 3.0 * 5.0 / norm, rtol=1e-6)


def test_clip_value(be):
    out = be.empty((1, 3))
    out[:] = Adam().clip_value(be.array([[-3.0, 0.5, 3.0]]), 2.0)
    np.testing.assert_array_equal(out.get(), [[-2.0, 0.5, 2.0]])
    tensor = be.ones((1, 1))
    assert Adam().clip_value(tensor, None) is tensor
    assert Adam().clip_value(tensor, 0) is tensor


def test_the_batch_size_divides_the_gradient(be):
    one, many = pair(), pair()
    GradientDescentMomentum(0.5, 0.0).optimize([one], 0)
    be.bsz = 4
    GradientDescentMomentum(2.0, 0.0).optimize([many], 0)
    np.testing.assert_array_equal(one[0][0], many[0][0])


def test_replaced_and_added_arrays_are_noticed():
    tensors = [pair()]
    layers = [Dense("a", *tensors)]
    optimizer = GradientDescentMomentum(1.0, 0.0)
    optimizer.optimize(layers, 0)
    fresh = pair(value=7.0)
    layers[0]._params[0] = fresh
    optimizer.optimize(layers, 0)
    np.testing.assert_array_equal(tensors[0][0][0], 0.5)
    np.testing.assert_array_equal(fresh[0][0], 6.5)
    layers.append(Dense("b", pair(value=9.0)))
    optimizer.optimize(layers, 0)
    np.testing.assert_array_equal(layers[1]._params[0][0][0], 8.5)


@pytest.mark.parametrize("between", ["emptied", "set"])
def test_of_equal_lists_of_states_the_one_that_was_given_is_filled(between):
    """Lists are compared without looking at each object; two that are empty are equal, and are not the same."""
    optimizer = GradientDescentMomentum(0.1, 0.9) if between == "emptied" else SGD(0.1)
    (w, dw), states = pair()
    for _ in range(3):
        optimizer.optimize([((w, dw), states)], 0)
    states.clear()
    if between == "set":
        optimizer.momentum_coef = 0.9
    others = []
    optimizer.optimize([((w, dw), others)], 0)
    assert (len(states), len(others)) == (0, 1)
    velocity = others[0]
    optimizer.optimize([((w, dw), others)], 0)
    assert others[0] is velocity


def test_other_arrays_of_one_equal_element_are_other_parameters():
    optimizer = SGD(0.5)
    one, other = (((np.ones(1), np.ones(1)), []) for _ in range(2))
    rows = [one]
    for _ in range(2):
        optimizer.optimize(rows, 0)
    one[0][0][:] = 1.0
    optimizer.optimize([other], 0)
    assert (one[0][0], other[0][0]) == (1.0, 0.5)


def test_lists_that_come_and_go_do_not_pile_up():
    optimizer = GradientDescentMomentum(1.0, 0.0)
    gone = []
    for length in range(1, 100):
        tensors = [pair() for _ in range(length)]
        gone.append(weakref.ref(tensors[0][0][0]))
        optimizer.optimize(tensors, 0)
    assert gone[0]() is None


def test_a_schedule_sets_the_rate_of_each_epoch():
    tensor = pair(grad=1.0)
    optimizer = GradientDescentMomentum(0.5, 0.0, schedule=Schedule([1], 0.5))
    optimizer.optimize([tensor], 0)
    np.testing.assert_array_equal(tensor[0][0], 0.5)
    optimizer.optimize([tensor], epoch=1)
    np.testing.assert_array_equal(tensor[0][0], 0.25)


def test_an_optimizer_without_a_schedule_has_a_constant_one_of_its_own():
    one, other = Adam(), Adam()
    assert one.schedule.get_learning_rate(0.5, 7) == 0.5
    assert one.schedule is not other.schedule
    assert "schedule" not in one.get_description()["config"]
    given = Adam(schedule=Schedule()).get_description()["config"]["schedule"]
    assert given["config"] == {}


def test_a_new_rate_needs_no_new_program(be):
    from neon_optim.backends import program

    tensor, optimizer = pair(), Adam()
    optimizer.optimize([tensor], 0)
    known = len(program._interned)
    optimizer.learning_rate, optimizer.beta_1 = 0.5, 0.3
    optimizer.optimize([tensor], 0)
    assert len(program._interned) == known


def test_what_a_rule_may_not_do():
    class Indexing(Adam):
        def update(self, now, param, grad, m, v):
            param[0] = grad

    class InPlace(Adam):
        def update(self, now, param, grad, m, v):
            param -= grad

    class Branching(Adam):
        def update(self, now, param, grad, m, v):
            param[:] = grad if grad > 0 else m

    class Shapes(Adam):
        def update(self, now, param, grad, m, v):
            param[:] = param / param.shape[0]

    for rule, message in [
        (Indexing, r"param\[:\] ="),
        (InPlace, "in-place"),
        (Branching, "truth value"),
        (Shapes, "per_tensor"),
    ]:
        with pytest.raises((TypeError, AttributeError), match=message):
            rule().optimize([pair()], 0)


def test_neons_multi_optimizer_routes_by_name_then_class():
    multi = MultiOptimizer(
        {
            "default": GradientDescentMomentum(1.0, 0.0),
            "Dense": GradientDescentMomentum(2.0, 0.0),
            "special": GradientDescentMomentum(4.0, 0.0),
        }
    )
    layers = [Dense("a", pair()), Dense("special", pair()), pair()]
    multi.optimize(layers, 0)
    values = [layers[0]._params[0][0][0], layers[1]._params[0][0][0], layers[2][0][0]]
    assert [float(v[0, 0]) for v in values] == [0.0, -1.0, 0.5]
    with pytest.raises(ArgumentError, match="'default'"):
        MultiOptimizer({"Dense": Adam()})


def test_layers_may_come_in_any_order_and_number_between_steps():
    """neon's MultiOptimizer kept its mapping by the id() of a list that may be gone."""
    multi = MultiOptimizer(
        {"default": GradientDescentMomentum(1.0, 0.0), "b": GradientDescentMomentum(2.0, 0.0)}
    )
    a, b = pair(), pair()
    multi.optimize([Dense("a", a), Dense("b", b)], 0)
    multi.optimize([Dense("b", b), Dense("a", a)], 0)
    np.testing.assert_array_equal(a[0][0], 0.0)
    np.testing.assert_array_equal(b[0][0], -1.0)


def test_counters_are_the_state_beside_the_arrays():
    optimizer, tensor = Adam(), pair()
    optimizer.optimize([tensor], 0)
    assert optimizer.get_counters()["t"] == 1
    other = Adam()
    other.set_counters(optimizer.get_counters())
    assert other.t == 1


def test_current_backend_is_shared_by_all_objects(be):
    assert Adam().be is NervanaObject.be is be


def test_a_parameter_that_stands_twice_is_named_at_both_places():
    twice, other = pair(), pair()
    with pytest.raises(StateError, match=r"'parameter_2'.*shares memory with.*'parameter_0'"):
        Adam().optimize([twice, other, (twice[0], [])], 0)
    with pytest.raises(StateError, match=r"'c'.*shares memory with.*'a'"):
        Adam().optimize([Dense("a", twice), Dense("b", other), Dense("c", (twice[0], []))], 0)


def test_an_array_with_a_mask_is_refused():
    masked = np.ma.masked_array(np.ones(3, np.float32), [True, False, False])
    with pytest.raises(StateError, match=r"has a mask.*filled"):
        Adam().optimize([((masked, np.ones(3, np.float32)), [])], 0)


def test_another_batch_size_or_a_clip_that_ends_compiles_nothing_new(be):
    """Numbers never decide the form of a rule: neither a last minibatch of one sample, nor a bound that comes to 0."""
    from neon_optim.backends import program

    be.bsz = 32
    falling = Schedule([1], 0.0)
    optimizer = Adam(gradient_clip_norm=falling, gradient_clip_value=falling, param_clip_value=falling)
    tensor = pair(grad=3.0)
    optimizer.optimize([tensor], 0)
    known = len(program._interned)
    compiled = sum(len(p.compiled) for p in program._interned.values())
    optimizer.step([tensor], 0, batch_size=1)
    optimizer.optimize([tensor], 1)
    assert len(program._interned) == known
    assert sum(len(p.compiled) for p in program._interned.values()) == compiled


def test_a_bound_that_has_come_to_0_is_off(be):
    bounded, free = pair(grad=3.0), pair(grad=3.0)
    off = Schedule([0], 0.0)
    options = {"gradient_clip_norm": off, "gradient_clip_value": off, "param_clip_value": off}
    for _ in range(3):
        Adam(learning_rate=0.5, **options).optimize([bounded], 0)
        Adam(learning_rate=0.5).optimize([free], 0)
    np.testing.assert_array_equal(bounded[0][0], free[0][0])


def test_a_flag_of_a_step_decides_what_the_rule_looks_like(be):
    class TakesTurns(GradientDescentMomentum):
        """Goes down at odd steps, up at even ones."""

        traced = []

        def prepare(self, now):
            return {**super().prepare(now), "up": now.t % 2 == 0}

        def update(self, now, param, grad, *states):
            self.traced.append(now.up)
            param[:] = param + now.lr * grad if now.up else param - now.lr * grad

    tensor, optimizer = pair(grad=1.0), TakesTurns(0.5, 0.0)
    found = []
    for _ in range(5):
        optimizer.optimize([tensor], 0)
        found.append(float(tensor[0][0][0, 0]))
    assert found == [0.5, 1.0, 0.5, 1.0, 0.5]
    assert TakesTurns.traced == [False, True], "once for each"


def test_a_rule_is_traced_once_whatever_numbers_are_set(be):
    class Counted(Adam):
        traced = 0

        def update(self, now, param, grad, *states):
            Counted.traced += 1
            super().update(now, param, grad, *states)

    tensor, optimizer = pair(), Counted(schedule=Schedule([2], 0.5))
    for epoch in range(5):
        optimizer.optimize([tensor], epoch)
    assert Counted.traced == 1
    for rate in (0.1, 0.2, 0.3):
        optimizer.learning_rate = optimizer.beta_1 = rate
        optimizer.optimize([tensor], 5)
    assert Counted.traced == 2, "once more, to see that numbers make no difference"
    optimizer.wdecay = 0.1  # there was none: another rule
    optimizer.optimize([tensor], 6)
    optimizer.maximize = True
    optimizer.optimize([tensor], 6)
    assert Counted.traced == 4


def test_a_rule_that_reads_numbers_from_its_object_is_an_error_when_they_change(be):
    class Stale(Adam):
        def update(self, now, param, grad, m, v):
            param[:] = param - (1.0 - self.learning_rate) * grad

    tensor, optimizer = pair(), Stale()
    optimizer.optimize([tensor], 0)
    optimizer.learning_rate = 0.5
    before = tensor[0][0].copy()
    with pytest.raises(TypeError, match=r"Stale: .*write now.learning_rate, not self.learning_rate"):
        optimizer.optimize([tensor], 0)
    np.testing.assert_array_equal(tensor[0][0], before)


def test_what_an_optimizer_does_not_have_is_not_set():
    optimizer = Adam()
    with pytest.raises(AttributeError, match=r"no attribute 'lr'; did you mean 'learning_rate'"):
        optimizer.lr = 5
    for bad in (-5, float("nan"), "fast"):
        with pytest.raises(ArgumentError, match="learning_rate must be"):
            optimizer.learning_rate = bad
    assert optimizer.learning_rate == 0.001
    optimizer.schedule.change = 0.5
    assert optimizer.schedule.change == 0.5


def test_a_gradient_whose_square_overflows_rests_its_element_unless_it_is_clipped():
    for clip, rests in ((None, True), (1e3, False)):
        tensor, optimizer = pair((2, 1), grad=1.0), Adam(learning_rate=0.1, gradient_clip_value=clip)
        tensor[0][1][0] = 3e38
        optimizer.optimize([tensor], 0)
        tensor[0][1][0] = 1.0
        before = tensor[0][0].copy()
        optimizer.optimize([tensor], 0)
        assert np.isfinite(tensor[0][0]).all()
        assert (tensor[0][0][0] == before[0]) == rests
        assert tensor[0][0][1] != before[1]
