"""Nothing outlives who held it, and nothing grows with the number of steps."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from rows import ROWS

from neon_optim import gen_backend
from neon_optim.model import Affine, ArrayIterator, CrossEntropyMulti, GlorotUniform, Model, Softmax
from neon_optim.optimizers import EMA, SGD, Adam, Muon

each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(autouse=True, scope="module")
def only_what_is_new_is_collected():
    """Each test collects twice: what others have left need not be looked at each time."""
    gc.collect()
    gc.freeze()


def pairs(shapes=((2, 3), (3, 2), (4, 1))):
    rng = np.random.default_rng(0)
    return [((rng.normal(size=s), rng.normal(size=s)), []) for s in shapes]


def everything(parameters):
    """A weak reference to every array; of a tensor of ours, to it and to its memory."""
    things = [thing for (param, grad), states in parameters for thing in (param, grad, *states)]
    return [weakref.ref(thing) for thing in things]


def all_dead(references):
    gc.collect()
    return all(reference() is None for reference in references)


@each
def test_with_the_optimizer_goes_everything(row, engine):
    gen_backend("cpu", datatype=np.float64, batch_size=2, engine=engine)
    optimizer, parameters = row.make(**row.other), pairs()
    for _ in range(4):
        optimizer.optimize(parameters, 0)
    found = [*everything(parameters), weakref.ref(optimizer)]
    del parameters
    assert not all_dead(found)
    del optimizer
    assert all_dead(found)


@pytest.mark.gpu
@each
def test_with_the_optimizer_goes_everything_on_a_gpu(row):
    be = gen_backend("gpu", batch_size=2)
    optimizer = row.make(**row.other)
    parameters = [((be.array(p), be.array(g)), []) for (p, g), _ in pairs()]
    for _ in range(4):
        optimizer.optimize(parameters, 0)
    be.device.synchronize()
    found = [*everything(parameters), weakref.ref(optimizer)]
    del optimizer, parameters
    be.array([[1.0]]).get()  # whoever waits for the device has nothing left to wait for
    assert all_dead(found)


@each
def test_a_bound_optimizer_too(row, engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    parameters = pairs()
    bound = row.make(**row.other).bind([pair for pair, _ in parameters])
    for _ in range(4):
        bound.step()
    found = everything([parameter.value for parameter in bound.parameters()])
    del bound, parameters
    assert all_dead(found)


def test_a_model_that_was_fitted(engine):
    gen_backend("cpu", rng_seed=1, batch_size=8, engine=engine)
    data = ArrayIterator(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2, nclass=2)
    model = Model([Affine(2, GlorotUniform(), activation=Softmax())])
    optimizer = EMA(Adam(learning_rate=0.01))
    model.fit(data, CrossEntropyMulti(), optimizer, num_epochs=2)
    found = [*everything(model.get_params()), weakref.ref(model), weakref.ref(optimizer)]
    del model, data, optimizer
    assert all_dead(found)


def test_a_list_of_parameters_that_is_let_go_while_its_optimizer_goes_on():
    """At once, by counting references: a loop over many models must not wait for a collection."""
    gen_backend("cpu", engine="numpy")
    optimizer = SGD(0.1)
    gc.disable()
    try:
        found = []
        for _ in range(40):
            parameters = pairs()
            optimizer.optimize(parameters, 0)
            found += everything(parameters)
            del parameters
        assert sum(reference() is not None for reference in found) <= 16 * 6
    finally:
        gc.enable()


def memory_in_use():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.1),
        lambda: Adam(gradient_clip_norm=1.0),
        lambda: EMA(Adam(on_nonfinite="skip")),
        lambda: Muon(0.1, gradient_clip_norm=1.0),
    ],
    ids=["SGD", "Adam, clipped", "EMA", "Muon"],
)
def test_twenty_thousand_steps_with_new_gradients_leave_memory_flat(make, engine):
    gen_backend("cpu", batch_size=1, engine=engine)
    params = [np.ones((4, 4), np.float32) for _ in range(5)]
    states = [[] for _ in params]
    optimizer = make()

    def run(steps):
        for _ in range(steps):
            grads = [np.full((4, 4), 0.01, np.float32) for _ in params]
            optimizer.optimize([((p, g), s) for p, g, s in zip(params, grads, states, strict=True)], 0)

    run(2000)
    gc.collect()
    before = memory_in_use()
    run(20_000)
    gc.collect()
    assert memory_in_use() - before < 4 << 20, "200 bytes a step"
