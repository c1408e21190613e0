"""Wrappers: their algebra against plain NumPy, composition, state, evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_optim import gen_backend
from neon_optim.described.build import from_description
from neon_optim.errors import NonFiniteError, StateError
from neon_optim.optimizers import (
    EMA,
    SGD,
    Adafactor,
    Adam,
    AdamW,
    GradientAccumulation,
    Lookahead,
    MultiOptimizer,
    Muon,
    NAdam,
    ScheduleFreeAdamW,
)
from neon_optim.schedules import Linear

GRADS = np.random.default_rng(0).normal(size=(24, 3, 4))


@pytest.fixture(autouse=True)
def be(engine):
    return gen_backend("cpu", datatype=np.float64, batch_size=1, engine=engine)


def trajectory(optimizer, grads=GRADS):
    """The parameter after each step."""
    w, dw = np.ones((3, 4)), np.zeros((3, 4))
    bound = optimizer.bind([(w, dw)])
    found = []
    for grad in grads:
        dw[:] = grad
        bound.step()
        found.append(w.copy())
    return np.array(found), bound


def test_ema_is_the_average_of_what_the_inner_optimizer_does():
    plain, _ = trajectory(AdamW(0.1))
    averaged, bound = trajectory(EMA(AdamW(0.1), decay=0.9))
    np.testing.assert_array_equal(averaged, plain)
    expected = np.ones((3, 4))
    for w in plain:
        expected = 0.9 * expected + (1.0 - 0.9) * w
    with bound.evaluation():
        np.testing.assert_allclose(bound.parameters()[0].value[0][0], expected, rtol=1e-14)
    np.testing.assert_array_equal(bound.parameters()[0].value[0][0], plain[-1])


def test_lookahead_goes_back_part_of_the_way():
    got, _ = trajectory(Lookahead(SGD(0.1), every=3, alpha=0.25))
    fast = slow = np.ones((3, 4))
    for step, grad in enumerate(GRADS, 1):
        fast = fast - 0.1 * grad
        if step % 3 == 0:
            fast = slow = slow + 0.25 * (fast - slow)
        np.testing.assert_allclose(got[step - 1], fast, rtol=1e-13)


@pytest.mark.parametrize(
    "inner",
    [
        AdamW(0.1),
        NAdam(0.1),
        SGD(0.1, gradient_clip_norm=1.0, momentum_coef=0.9),
        Muon(0.1),
        Adafactor(0.1),
        Adafactor(0.1, gradient_clip_norm=1.0),
        Muon(0.1, on_nonfinite="raise"),
    ],
    ids=lambda o: o.classnm,
)
def test_accumulation_is_a_step_with_the_mean_gradient(inner):
    description = inner.get_description()
    got, _ = trajectory(GradientAccumulation(from_description(description), every=4))
    means = GRADS.reshape(6, 4, 3, 4).mean(axis=1)
    expected, _ = trajectory(from_description(description), means)
    np.testing.assert_allclose(got[3::4], expected, rtol=1e-12)
    np.testing.assert_array_equal(got[0], 1.0)
    for step in range(4, 24):
        if step % 4 != 3:
            np.testing.assert_array_equal(got[step], got[step - 1])


def test_accumulation_is_a_mean_over_samples_where_batches_differ(be):
    w, dw, state = np.ones((3, 4)), np.zeros((3, 4)), []
    optimizer = GradientAccumulation(SGD(0.1, gradient_clip_norm=0.5), every=3)
    sizes = (8, 8, 2)
    for grad, size in zip(GRADS, sizes, strict=False):
        be.bsz = size
        dw[:] = grad
        optimizer.optimize([((w, dw), state)], 0)
    mean = GRADS[:3].sum(axis=0) / sum(sizes)
    mean *= 0.5 / max(0.5, np.linalg.norm(mean))
    np.testing.assert_allclose(w, 1.0 - 0.1 * mean, rtol=1e-13)


def test_accumulation_within_accumulation_multiplies():
    nested = GradientAccumulation(GradientAccumulation(SGD(0.1, gradient_clip_norm=1.0), 3), 2)
    plain = GradientAccumulation(SGD(0.1, gradient_clip_norm=1.0), 6)
    np.testing.assert_allclose(trajectory(nested)[0], trajectory(plain)[0], rtol=1e-13)


def test_accumulation_of_one_step_is_no_accumulation():
    np.testing.assert_array_equal(
        trajectory(GradientAccumulation(AdamW(0.1), every=1))[0], trajectory(AdamW(0.1))[0]
    )


def test_schedules_inside_count_the_steps_of_the_inner_optimizer():
    optimizer = GradientAccumulation(SGD(1.0, schedule=Linear(4, unit="step")), every=2)
    trajectory(optimizer, GRADS[:7])
    assert optimizer.t == 7
    assert optimizer.optimizer.t == 3
    assert optimizer.optimizer.at(0).lr == 0.25


COMPOSED = [
    lambda: EMA(Lookahead(GradientAccumulation(AdamW(0.1), 2), every=3), decay=0.9),
    lambda: GradientAccumulation(EMA(Lookahead(AdamW(0.1), every=2), decay=0.9), 3),
    lambda: EMA(EMA(SGD(0.1, momentum_coef=0.9), decay=0.9), decay=0.5),
    lambda: EMA(MultiOptimizer({"default": AdamW(0.1), "p1": SGD(0.1, momentum_coef=0.9)}), decay=0.9),
    lambda: MultiOptimizer({"default": EMA(NAdam(0.1)), "p1": Lookahead(Muon(0.1), every=2)}),
    lambda: GradientAccumulation(ScheduleFreeAdamW(0.1), 2),
]


def run(optimizer, tensors, steps):
    for step in steps:
        for k, ((_, dw), _) in enumerate(tensors.values()):
            dw[:] = GRADS[step] * (k + 1)
        optimizer.optimize(layers(tensors), epoch=0)


def layers(tensors):
    class Layer:
        def __init__(self, name, value):
            self.name, self.value = name, value

        def get_params(self):
            return self.value

    return [Layer(name, value) for name, value in tensors.items()]


def fresh():
    return {f"p{k}": ((np.full((3, 4), 1.0 + k), np.zeros((3, 4))), []) for k in range(2)}


@pytest.mark.parametrize("make", COMPOSED)
def test_composed_ones_resume_exactly_and_describe_themselves(make):
    whole, first = fresh(), fresh()
    reference = make()
    run(reference, whole, range(12))
    for stop in (1, 4, 7):
        first = fresh()
        before = make()
        run(before, first, range(stop))
        description = json.loads(json.dumps(before.get_description()))
        again = from_description(description)
        assert again.get_description() == description
        again.set_counters(json.loads(json.dumps(before.get_counters())))
        copied = {
            name: ((p.copy(), g.copy()), [s.copy() for s in states])
            for name, ((p, g), states) in first.items()
        }
        run(again, copied, range(stop, 12))
        for name in whole:
            np.testing.assert_array_equal(copied[name][0][0], whole[name][0][0])
            for a, b in zip(copied[name][1], whole[name][1], strict=True):
                np.testing.assert_array_equal(a.get(), b.get())


@pytest.mark.parametrize("make", COMPOSED)
def test_each_state_has_a_name_of_its_own(make):
    optimizer, tensors = make(), fresh()
    run(optimizer, tensors, range(4))
    for parameter, owner in optimizer.named_parameters(layers(tensors)):
        assert len(owner.slots) == len(set(owner.slots)) == len(parameter.value[1])


def test_ema_over_accumulation_moves_only_where_parameters_do():
    averaged, bound = trajectory(EMA(GradientAccumulation(SGD(0.1), 4), decay=0.5))
    expected = np.ones((3, 4))
    for w in averaged[3::4]:
        expected = 0.5 * expected + 0.5 * w
    with bound.evaluation():
        np.testing.assert_allclose(bound.parameters()[0].value[0][0], expected, rtol=1e-13)


def test_schedule_free_is_evaluated_at_its_average():
    w, dw = np.ones((3, 4)), np.zeros((3, 4))
    optimizer = ScheduleFreeAdamW(0.1, beta_1=0.8)
    bound = optimizer.bind([(w, dw)])
    z, x, v, weights = np.ones((3, 4)), np.ones((3, 4)), np.zeros((3, 4)), 0.0
    for t, grad in enumerate(GRADS, 1):
        dw[:] = grad
        bound.step()
        v = 0.999 * v + 0.001 * grad**2
        z = z - 0.1 * grad / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        weights += 0.01
        x = x + 0.01 / weights * (z - x)
    y = w.copy()
    with bound.evaluation():
        np.testing.assert_allclose(w, x, rtol=1e-11)
        with pytest.raises(StateError, match="no step while"):
            bound.step()
    np.testing.assert_array_equal(w, y)


@pytest.mark.parametrize("options", [{"on_nonfinite": "raise"}, {"gradient_clip_norm": 1.0}])
def test_a_bad_gradient_is_refused_while_gathering_and_nothing_changes(options):
    optimizer = GradientAccumulation(SGD(0.1, **options), 3)
    w, dw = np.ones((3, 4)), np.ones((3, 4))
    bound = optimizer.bind([(w, dw)])
    bound.step()
    kept = bound.state_dict()
    dw[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="1 of 12 elements"):
        bound.step()
    np.testing.assert_equal(bound.state_dict(), kept)


@pytest.mark.filterwarnings("ignore::neon_optim.errors.PrecisionWarning")
def test_options_are_those_of_the_inner_optimizer():
    optimizer = EMA(Adam(learning_rate=0.1, gradient_clip_norm=2.0, state_dtype="float16"))
    assert optimizer.gradient_clip_norm == 2.0
    _, bound = trajectory(optimizer)
    assert {state.dtype for state in bound.parameters()[0].value[1]} == {np.dtype(np.float16)}
    bound.learning_rate = 0.5
    assert optimizer.optimizer.learning_rate == bound.learning_rate == 0.5


BASES = st.sampled_from(
    [
        {"type": "AdamW", "config": {"learning_rate": 0.1, "no_decay": ["p1"]}},
        {"type": "NAdam", "config": {"learning_rate": 0.1, "gradient_clip_norm": 2.0}},
        {"type": "Muon", "config": {"learning_rate": 0.1}},
        {"type": "ScheduleFreeAdamW", "config": {"learning_rate": 0.1}},
    ]
)


def wrapped(inner):
    return st.one_of(
        st.builds(
            lambda o, d: {"type": "EMA", "config": {"optimizer": o, "decay": d}}, inner, st.floats(0, 0.99)
        ),
        st.builds(
            lambda o, k: {"type": "Lookahead", "config": {"optimizer": o, "every": k}},
            inner,
            st.integers(1, 4),
        ),
        st.builds(
            lambda o, k: {"type": "GradientAccumulation", "config": {"optimizer": o, "every": k}},
            inner,
            st.integers(1, 4),
        ),
        st.builds(
            lambda o, other: {
                "type": "MultiOptimizer",
                "config": {"optimizer_mapping": {"default": o, "p1": other}},
            },
            inner,
            BASES,
        ),
    )


@settings(max_examples=40, deadline=None)
@given(description=st.recursive(BASES, wrapped, max_leaves=3), stop=st.integers(0, 8))
def test_whatever_is_put_around_what_it_resumes_exactly(description, stop):
    gen_backend("cpu", datatype=np.float64, batch_size=1, engine="numpy")
    whole, first = fresh(), fresh()
    run(from_description(description), whole, range(9))
    before = from_description(description)
    run(before, first, range(stop))
    again = from_description(json.loads(json.dumps(before.get_description())))
    again.set_counters(json.loads(json.dumps(before.get_counters())))
    run(again, first, range(stop, 9))
    for name in whole:
        for mine, theirs in zip(
            first[name][0][:1] + tuple(first[name][1]),
            whole[name][0][:1] + tuple(whole[name][1]),
            strict=True,
        ):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    with again.evaluation(layers(first)):
        assert all(np.isfinite(value[0][0]).all() for value in first.values())
