"""Parameters of unusual shapes, memory and values, for rules that look at whole tensors above all."""

from __future__ import annotations

import numpy as np
import pytest
from rows import ROWS

from neon_optim import gen_backend
from neon_optim.errors import StateError
from neon_optim.optimizers import LAMB, LARS, SGD, Adafactor, AdamW, Muon, ScheduleFreeAdamW

each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each
def test_empty_and_single_and_many_axes(row, engine):
    gen_backend("cpu", engine=engine)
    shapes = [(0, 3), (3, 0), (), (1,), (5,), (2, 3, 2, 2)]
    pairs = [(np.full(s, 0.5, np.float32), np.full(s, 0.25, np.float32)) for s in shapes]
    bound = row.make().bind(pairs)
    for _ in range(3):
        bound.step()
    for (param, _), shape in zip(pairs, shapes, strict=True):
        assert param.shape == shape
        assert (param < 0.5).all()
        assert np.isfinite(param).all()


@each
def test_views_of_other_memory_are_updated_in_place(row, engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    rng = np.random.default_rng(1)
    start, grad = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    plain = [start.copy(), grad.copy()]
    base = np.zeros((4, 12))
    view = base[:, ::2].T
    view[:] = start
    odd = [view, np.asfortranarray(grad)]
    for pair in (plain, odd):
        bound = row.make(**row.other).bind([tuple(pair)])
        for _ in range(4):
            bound.step()
    tolerance = 1e-12 if row.name in ("Muon", "Adafactor", "MultiOptimizer", "Lookahead") else 0
    np.testing.assert_allclose(view, plain[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(base[:, 1::2], 0.0)


@pytest.mark.parametrize("make", [lambda: LAMB(0.1), lambda: LARS(0.1)], ids=["LAMB", "LARS"])
def test_parameters_or_gradients_of_norm_zero_take_the_plain_step(make, engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    zero, grad = np.zeros((2, 2)), np.full((2, 2), 0.5)
    still, none = np.ones((2, 2)), np.zeros((2, 2))
    make().bind([(zero, grad), (still, none)]).step()
    step = 0.1 if make().classnm == "LAMB" else 0.05
    np.testing.assert_allclose(zero, -step, rtol=1e-5)
    np.testing.assert_array_equal(still, 1.0)


def test_trust_ratios_are_taken_tensor_by_tensor(engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    small, large = np.full((2, 2), 0.1), np.full((2, 2), 10.0)
    grads = [np.full((2, 2), 3.0), np.full((2, 2), 3.0)]
    LARS(1.0, momentum_coef=0.0, trust_coefficient=0.5).bind([(small, grads[0]), (large, grads[1])]).step()
    np.testing.assert_allclose(small, 0.05, rtol=1e-12)
    np.testing.assert_allclose(large, 5.0, rtol=1e-12)


def test_muon_brings_every_direction_to_one_length(engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    rng = np.random.default_rng(3)
    for shape in ((4, 9), (9, 4), (5, 5)):
        w, dw = np.zeros(shape), rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1, size=(shape[0], 1))
        Muon(1.0, wdecay=0.0, ns_steps=30, ns_coefficients=(1.5, -0.5, 0.0)).bind([(w, dw)]).step()
        left, _, right = np.linalg.svd(dw, full_matrices=False)
        np.testing.assert_allclose(w, -np.sqrt(max(1, shape[0] / shape[1])) * left @ right, atol=1e-6)


def test_adafactor_of_a_vector_is_that_of_a_column_and_keeps_next_to_nothing(engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    rng = np.random.default_rng(3)
    start, grads = rng.normal(size=7), rng.normal(size=(4, 7))
    found = []
    for shape in ((7,), (7, 1)):
        w, dw = start.reshape(shape).copy(), np.zeros(shape)
        bound = Adafactor(0.1).bind([(w, dw)])
        for grad in grads:
            dw[:] = grad.reshape(shape)
            bound.step()
        found.append(w.ravel())
    np.testing.assert_array_equal(*found)
    states = Adafactor().bind([(np.ones((30, 20)), np.ones((30, 20)))])
    states.step()
    assert [s.shape for s in states.parameters()[0].value[1]] == [(30, 1), (1, 20)]


def test_states_of_the_wrong_shape_are_refused_for_rules_with_shapes_of_their_own(engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    w, dw = np.ones((3, 4)), np.ones((3, 4))
    with pytest.raises(StateError, match=r"column has shape \(1, 3\), \(1, 4\) is needed"):
        Adafactor().optimize([((w, dw), [np.zeros((3, 1)), np.zeros((1, 3))])], 0)
    np.testing.assert_array_equal(w, 1.0)


def test_schedule_free_follows_its_authors_recursion(engine):
    """y and z as in their code: lerp towards z, then the step, with the rate warmed up and weighted."""
    gen_backend("cpu", datatype=np.float64, engine=engine)
    arguments = {
        "beta_1": 0.8,
        "beta_2": 0.95,
        "warmup_steps": 4,
        "r": 0.5,
        "weight_lr_power": 1.5,
        "wdecay": 0.1,
    }
    rng = np.random.default_rng(3)
    w, dw = np.ones(5), np.zeros(5)
    bound = ScheduleFreeAdamW(0.05, **arguments).bind([(w, dw)])
    y, z, v, lr_max, weight_sum = np.ones(5), np.ones(5), np.zeros(5), 0.0, 0.0
    for k in range(10):
        dw[:] = rng.normal(size=5)
        bound.step()
        lr = 0.05 * min(1.0, (k + 1) / 4)
        lr_max = max(lr_max, lr)
        weight = (k + 1) ** 0.5 * lr_max**1.5
        weight_sum += weight
        share = weight / weight_sum
        v = 0.95 * v + 0.05 * dw**2
        normalized = dw / (np.sqrt(v / (1 - 0.95 ** (k + 1))) + 1e-8) + 0.1 * y
        y = y + share * (z - y) + lr * (0.8 * (1 - share) - 1) * normalized
        z = z - lr * normalized
        np.testing.assert_allclose(w, y, rtol=1e-12)


def test_a_rate_of_zero_changes_nothing_but_the_state(engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    for optimizer in (SGD(0.1, momentum_coef=0.9), AdamW(0.1, wdecay=0.5), ScheduleFreeAdamW(0.1)):
        w, dw = np.ones(3), np.ones(3)
        bound = optimizer.bind([(w, dw)])
        bound.learning_rate = 0
        bound.step()
        np.testing.assert_array_equal(w, 1.0)
        assert optimizer.t == 1
