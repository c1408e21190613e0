"""A minibatch as one captured list of kernels: the same bits as layer by layer, and never out of date."""

from __future__ import annotations

import gc
import logging
import weakref

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.backends.cpu.compiled import lazy_loop
from neon_optim.model import (
    Activation,
    Affine,
    ArrayIterator,
    Bias,
    CrossEntropyBinary,
    CrossEntropyMulti,
    Dropout,
    Gaussian,
    Linear,
    Logistic,
    MeanSquared,
    Model,
    Rectlin,
    Softmax,
    Tanh,
)
from neon_optim.model.layer import Layer
from neon_optim.optimizers import Adam

SAMPLES = 8


@pytest.fixture(autouse=True)
def compiled_after_two_runs(monkeypatch):
    monkeypatch.setattr(lazy_loop, "COMPILED", 2)


def data(nout=3, n=2 * SAMPLES):
    random = np.random.RandomState(3)
    return ArrayIterator(random.normal(size=(n, 5)), random.randint(nout, size=n), nclass=nout)


def a_model(last=None, hidden=None):
    init = Gaussian(scale=0.5)
    inner = hidden or [
        Affine(6, init, init, activation=Rectlin(slope=0.1)),
        Dropout(0.7),
        Affine(4, init, init, activation=Tanh()),
    ]
    return Model([*inner, Affine(3, init, init, activation=last)])


def gradients_of(model):
    return [grad.get() for (_, grad), _ in model.get_params()]


def parameters_of(model):
    return [param.get() for (param, _), _ in model.get_params()]


def layer_by_layer(model, x, t, cost):
    y = model.fprop(x)
    total = float(model.be.zeros((1, 1), dtype=np.float64).copy_from(model.be.sum(cost(y, t))).get()[0, 0])
    model.bprop(t, y, cost)
    return total, gradients_of(model)


def captured(model, x, t, cost):
    total = model.be.empty((1, 1), dtype=np.float64)
    model.forward_backward(x, t, cost, total)
    return float(total.get()[0, 0]), gradients_of(model)


@pytest.fixture(params=["numpy", "numba", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    if request.param == "gpu":
        return gen_backend("gpu", rng_seed=1, batch_size=SAMPLES)
    return gen_backend("cpu", rng_seed=1, batch_size=SAMPLES, engine=request.param)


ENDS = {
    "folded softmax": (Softmax(), CrossEntropyMulti(scale=0.5)),
    "folded logistic": (Logistic(), CrossEntropyBinary()),
    "softmax, squares": (Softmax(), MeanSquared()),
    "none": (None, MeanSquared()),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_bits_are_those_of_layer_by_layer(be, end):
    last, cost = ENDS[end]
    model, dataset = a_model(last), data()
    model.initialize(dataset, cost)
    for epoch in range(3):  # more runs than it takes until loops are compiled
        for x, t in dataset.batches(epoch):
            draws = model.get_counters()
            one = layer_by_layer(model, x, t, cost)
            model.set_counters(draws)  # the same masks
            other = captured(model, x, t, cost)
            assert model._captured, "the model was not captured"
            assert one[0] == other[0]
            for mine, theirs in zip(one[1], other[1], strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_bits_are_those_of_layer_by_layer_in_every_type(engine, dtype):
    pytest.importorskip("ml_dtypes")
    gen_backend("cpu", rng_seed=1, batch_size=SAMPLES, engine=engine, datatype=dtype)
    model, dataset, cost = a_model(Softmax()), data(), CrossEntropyMulti()
    model.initialize(dataset, cost)
    for epoch in range(3):
        for x, t in dataset.batches(epoch):
            draws = model.get_counters()
            one = layer_by_layer(model, x, t, cost)
            model.set_counters(draws)
            other = captured(model, x, t, cost)
            assert one[0] == other[0]
            for mine, theirs in zip(one[1], other[1], strict=True):
                np.testing.assert_array_equal(mine, theirs)
            outputs = model.fprop(x, inference=True).get()
            np.testing.assert_array_equal(outputs, model.layers.fprop(x, inference=True).get())


def test_a_training_run_has_the_bits_of_layer_by_layer(be, monkeypatch):
    def train():
        gen = gen_backend(
            be.name,
            rng_seed=1,
            batch_size=SAMPLES,
            **({} if be.name == "gpu" else {"engine": be.engine.name}),
        )
        model, dataset = a_model(Softmax()), data(n=3 * SAMPLES - 2)  # a last minibatch that is smaller
        model.fit(dataset, CrossEntropyMulti(), Adam(), num_epochs=4)
        return gen, parameters_of(model), model.cost_sum

    _, one, _ = train()
    monkeypatch.setattr(Layer, "is_algebra", False)
    _, other, _ = train()
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


CHANGES = {
    "a slope": lambda model: setattr(model.layers.leaves()[2].transform, "slope", 0.9),
    "what dropout keeps": lambda model: setattr(model.layers.leaves()[3], "keep", 0.2),
    "another activation": lambda model: setattr(model.layers.leaves()[2], "transform", Tanh()),
    "other parameters": lambda model: model.layers.init_params(),
    "one parameter": lambda model: setattr(model.layers.leaves()[0], "W", model.be.ones((6, 5))),
    "the cost": lambda model: setattr(model, "cost", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(be, change):
    model, dataset, cost = a_model(Softmax()), data(), CrossEntropyMulti()
    model.initialize(dataset, cost)
    x, t = next(iter(dataset.batches()))
    before = captured(model, x, t, cost)
    model.fprop(x, inference=True)
    if change == "the cost":
        cost.scale = 3.0
    else:
        CHANGES[change](model)
    draws = model.get_counters()
    now = captured(model, x, t, cost)
    model.set_counters(draws)
    expected = layer_by_layer(model, x, t, cost)
    assert now[0] == expected[0]
    assert any((a != b).any() for a, b in zip(now[1], before[1], strict=True))
    for mine, theirs in zip(now[1], expected[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    outputs = model.fprop(x, inference=True).get()
    np.testing.assert_array_equal(outputs, model.layers.fprop(x, inference=True).get())


def test_another_cost_takes_the_place_of_the_one_before(be):
    """What was captured for a cost that is gone would keep its memory."""
    model, dataset = a_model(Softmax()), data()
    for epochs in range(1, 6):
        model.fit(dataset, CrossEntropyMulti(scale=float(epochs)), Adam(), num_epochs=epochs)
    assert len(model._captured) == 1
    x, t = next(iter(dataset.batches()))
    cost = CrossEntropyMulti(scale=7.0)
    draws = model.get_counters()
    now = captured(model, x, t, cost)
    model.set_counters(draws)
    expected = layer_by_layer(model, x, t, cost)
    assert now[0] == expected[0]
    for mine, theirs in zip(now[1], expected[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_outputs_outside_of_training(be):
    model, dataset = a_model(Softmax()), data(n=2 * SAMPLES - 3)
    model.initialize(dataset)
    for _ in range(4):
        for x, _ in dataset.batches():
            outputs = model.fprop(x, inference=True).get()
            np.testing.assert_array_equal(outputs, model.layers.fprop(x, inference=True).get())
    assert model.get_outputs(dataset).shape == (2 * SAMPLES - 3, 3)


class Doubled(Layer):
    """A layer of somebody who writes both passes."""

    def fprop(self, inputs, inference=False):
        outputs = self.buffer("outputs", self.nout, inputs.shape[1])
        outputs[:] = inputs * 2.0
        return outputs

    def bprop(self, error):
        deltas = self.buffer("deltas", self.nin, error.shape[1])
        deltas[:] = error * 2.0
        return deltas


class Squared(Layer):
    """A layer of somebody who states its forward algebra."""

    def forward(self, x, inference=False):
        return x * x


def test_a_layer_with_passes_of_its_own_runs_layer_by_layer_and_says_so(be, caplog):
    init = Gaussian(scale=0.5)
    with caplog.at_level(logging.INFO, logger="neon_optim"):
        model = Model(
            [Linear(4, init), Doubled(name="twice"), Bias(init), Linear(3, init), Activation(Softmax())]
        )
        model.fit(data(), CrossEntropyMulti(), Adam(), num_epochs=2)
    assert "twice" in caplog.text
    plain = Model([Linear(4, init), Bias(init), Linear(3, init), Activation(Softmax())])
    assert not plain._captured


def test_a_stated_layer_is_captured(be):
    init = Gaussian(scale=0.5)
    model, dataset, cost = Model([Linear(4, init), Squared(), Linear(3, init)]), data(), MeanSquared()
    model.initialize(dataset, cost)
    x, t = next(iter(dataset.batches()))
    one, other = layer_by_layer(model, x, t, cost), captured(model, x, t, cost)
    assert all(passes is not None for passes in model._captured.values())
    assert one[0] == other[0]
    for mine, theirs in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Idle(Layer):
    """States nothing."""


def test_a_layer_that_states_nothing_says_what_to_state(be):
    model = Model([Idle(), Linear(3, Gaussian())])
    with pytest.raises(
        NotImplementedError, match=r"Idle states neither forward\(\) nor fprop\(\) and bprop\(\)"
    ):
        model.fit(data(), MeanSquared(), Adam(), num_epochs=1)


def test_a_model_with_captured_passes_dies_with_its_memory():
    gen_backend("cpu", rng_seed=1, batch_size=SAMPLES)
    model, dataset = a_model(Softmax()), data()
    model.fit(dataset, CrossEntropyMulti(), Adam(), num_epochs=2)
    model.get_outputs(dataset)
    found = [weakref.ref(param) for (param, _), _ in model.get_params()]
    del model
    gc.collect()
    assert all(reference() is None for reference in found)
