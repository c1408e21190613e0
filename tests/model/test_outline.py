"""What a model takes, found out without making it, is what it takes when it is made."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import NervanaObject, cleanup_backend, gen_backend
from neon_optim.backends import flow
from neon_optim.backends.cpu.outline import OutlineBackend
from neon_optim.errors import ArgumentError
from neon_optim.model import (
    LSTM,
    Affine,
    ArrayIterator,
    Conv,
    CrossEntropyMulti,
    Dropout,
    Kaiming,
    Model,
    Pooling,
    Rectlin,
    RecurrentLast,
    Softmax,
    Tanh,
)
from neon_optim.model.activations import Logistic
from neon_optim.model.outline import DataOutline, Outline
from neon_optim.model.training import Training
from neon_optim.optimizers import EMA, Adafactor, Adam, GradientDescentMomentum, MultiOptimizer, Muon


@pytest.fixture(autouse=True)
def no_backend():
    cleanup_backend()
    yield
    cleanup_backend()


def images():
    rng = np.random.RandomState(0)
    return ArrayIterator(rng.randn(40, 64), rng.randint(0, 3, 40), nclass=3, lshape=(1, 8, 8))


def sequences():
    rng = np.random.RandomState(0)
    return ArrayIterator(rng.randn(40, 5, 6), rng.randint(0, 3, 40), nclass=3, lshape=(5, 6))


def convolutional():
    conv = Conv([3, 3, 4], Kaiming(), padding=1, batch_norm=True, activation=Rectlin())
    return [conv, Pooling(2), Dropout(0.5), Affine(3, Kaiming(), activation=Softmax())]


def recurrent():
    lstm = LSTM(7, Kaiming(), activation=Tanh(), gate_activation=Logistic())
    return [lstm, RecurrentLast(), Affine(3, Kaiming(), activation=Softmax())]


CASES = {
    "images": (images, convolutional, lambda: Adam(amsgrad=True)),
    "sequences": (sequences, recurrent, lambda: EMA(GradientDescentMomentum(0.1, 0.9))),
    "matrices": (images, convolutional, lambda: MultiOptimizer({"default": Adam(), "Affine*": Adafactor()})),
    "16 bits": (images, convolutional, lambda: MultiOptimizer({"default": Adam(), "*/W": Muon()})),
}


@pytest.mark.parametrize("case", CASES)
def test_memory_is_that_of_the_model_when_it_is_made(monkeypatch, case):
    data, layers, optimizer = (make() for make in CASES[case])
    datatype = "float16" if case == "16 bits" else "float32"
    model, cost = Model(layers), CrossEntropyMulti()
    outline = Outline(model, DataOutline(data), cost, optimizer, 16, datatype)
    memory = outline.memory
    assert NervanaObject.be is None

    planned = []
    plan = flow.FlowPlan.__init__
    monkeypatch.setattr(
        flow.FlowPlan, "__init__", lambda self, *given: (plan(self, *given), planned.append(self.size))[0]
    )
    gen_backend("cpu", batch_size=16, datatype=datatype, engine="numpy")
    training = Training(model, data, cost, optimizer, 1)
    x, t = next(iter(data.batches()))
    training._step((x, t))
    rows = model.parameters()
    assert [one.path for one in outline.parameters] == [row.path for row in rows]
    assert [one.shape for one in outline.parameters] == [row.value[0][0].shape for row in rows]
    assert sum(layer.parameters for layer in outline.layers) == sum(row.value[0][0].size for row in rows)
    for k, counted in ((0, memory.parameters), (1, memory.gradients)):
        assert counted == sum(row.value[0][k].asnumpyarray().nbytes for row in rows)
    assert memory.states == sum(state.asnumpyarray().nbytes for row in rows for state in row.value[1])
    masks = sum(
        tensor.asnumpyarray().nbytes for leaf in model.layers.leaves() for tensor in leaf._buffers.values()
    )
    tensors = x.asnumpyarray().nbytes + t.asnumpyarray().nbytes + masks + 8
    assert memory.minibatch == pytest.approx(max(planned) + tensors, rel=1e-3)
    assert memory.total == sum(memory)
    assert memory.others >= sum(array.asnumpyarray().nbytes for array in model.layers.get_arrays().values())


def test_layers_have_the_shapes_that_come_out_of_them():
    data = images()
    outline = Outline(Model(convolutional()), data, CrossEntropyMulti(), Adam(), 64)
    assert outline.batch_size == 40
    assert outline.in_shape == (1, 8, 8)
    assert [(layer.classnm, layer.out_shape, layer.parameters) for layer in outline.layers] == [
        ("Convolution", (4, 8, 8), 36),
        ("BatchNorm", (4, 8, 8), 8),
        ("Activation", (4, 8, 8), 0),
        ("Pooling", (4, 4, 4), 0),
        ("Dropout", (4, 4, 4), 0),
        ("Linear", (3,), 192),
        ("Activation", (3,), 0),
    ]


def test_a_model_of_any_size_is_outlined_at_once():
    layers = [Affine(10**7, Kaiming()), Affine(10**6, Kaiming()), Affine(3, Kaiming(), activation=Softmax())]
    outline = Outline(Model(layers), images(), CrossEntropyMulti(), Adam(), 16)
    assert outline.memory.parameters == 4 * (64 * 10**7 + 10**13 + 3 * 10**6)
    with pytest.raises(MemoryError, match="more than a program can address"):
        Outline(Model([Affine(10**40, Kaiming())]), images(), None, Adam(), 16)


def test_what_the_optimizer_refuses_is_refused():
    optimizer = MultiOptimizer({"default": Adam(), "Aff*": Adam(), "*/W": Adam()})
    with pytest.raises(ArgumentError, match="both match"):
        Outline(Model(convolutional()), images(), CrossEntropyMulti(), optimizer, 16)
    assert NervanaObject.be is None


def test_tensors_of_an_outline_hold_nothing_and_take_nothing():
    be = OutlineBackend(batch_size=4)
    tensor = be.array(np.ones((3, 4)))
    tensor[:] = tensor * 2.0 + 1.0
    tensor.fill(3.0)
    tensor.copy_from(be.ones((3, 4)))
    assert not tensor.get().any()
    assert be.nbytes == 2 * 48
    assert be.rng.normal(0.0, 1.0, (10**6, 10**6)).shape == (10**6, 10**6)
    assert be.rng.uniform(size=(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
