"""Every gradient of every layer, activation and cost equals the slope that finite differences measure (float64)."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.errors import ArgumentError
from neon_optim.model import (
    Activation,
    Affine,
    Bias,
    CrossEntropyBinary,
    CrossEntropyMulti,
    Dropout,
    Explin,
    Gaussian,
    GeneralizedCost,
    Identity,
    Linear,
    Logistic,
    MeanSquared,
    Model,
    Normalizer,
    Rectlin,
    Rectlinclip,
    Sequential,
    Softmax,
    SumSquared,
    Tanh,
)
from neon_optim.model.array_iterator import ArrayIterator

STEP = 1e-6
# Central differences in float64: rounding of about 1e-16 / STEP, truncation of about STEP²; costs are of order 1 to 10.
TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}

HIDDEN = {
    "rectlin": [Rectlin()],
    "leaky": [Rectlin(slope=0.1)],
    "logistic": [Logistic()],
    "tanh": [Tanh()],
    "softmax": [Softmax()],
    "identity": [Identity()],
    "exponential": [Explin(0.5)],
    "cut": [Rectlinclip(0.1, xcut=0.3)],
    "divided": [Normalizer(2.0)],
    "two in a row": [Tanh(), Logistic()],
}
ENDS = {
    "logistic, binary cross-entropy": (Logistic(), CrossEntropyBinary()),
    "shortcut": (Logistic(shortcut=True), CrossEntropyBinary(scale=2.0)),
    "softmax, cross-entropy": (Softmax(), CrossEntropyMulti(scale=0.5)),
    "neon's wrapper": (Softmax(), GeneralizedCost(CrossEntropyMulti())),
    "softmax, binary cross-entropy": (Softmax(), CrossEntropyBinary()),
    "logistic, cross-entropy": (Logistic(), CrossEntropyMulti()),
    "softmax, squares": (Softmax(), MeanSquared()),
    "tanh, squares": (Tanh(), SumSquared()),
    "identity, squares": (Identity(), MeanSquared()),
}


def data_for(nout, samples=8):
    random = np.random.RandomState(3)
    labels = random.randint(nout, size=samples)
    return ArrayIterator(random.normal(size=(samples, 5)), labels, nclass=nout)


def total_cost(model, cost, x, t):
    return float(np.sum(np.asarray(model.be.zeros((1, t.shape[1])).copy_from(cost(model.fprop(x), t)).get())))


def check_gradients(model, cost, data):
    model.initialize(data, cost)
    x, t = next(data.batches())
    y = model.fprop(x)
    model.bprop(t, y, cost)
    for layer in model.layers_to_optimize:
        measured = np.empty(layer.W.shape)
        values = layer.W.asnumpyarray()
        for index in np.ndindex(values.shape):
            kept = values[index]
            costs = []
            for value in (kept + STEP, kept - STEP):
                values[index] = value
                costs.append(total_cost(model, cost, x, t))
            values[index] = kept
            measured[index] = (costs[0] - costs[1]) / (2 * STEP)
        np.testing.assert_allclose(layer.dW.get(), measured, **TOLERANCE, err_msg=layer.name)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_activations(be64, hidden):
    layers = [Linear(4, Gaussian()), Bias(Gaussian())]
    layers += [Activation(transform) for transform in HIDDEN[hidden]]
    layers += [Affine(3, Gaussian(), Gaussian(), activation=Logistic())]
    check_gradients(Model(layers), CrossEntropyBinary(), data_for(3))


@pytest.mark.parametrize("end", ENDS)
def test_pairs_of_last_activation_and_cost(be64, end):
    transform, cost = ENDS[end]
    layers = [
        Affine(4, Gaussian(), activation=Tanh()),
        Affine(3, Gaussian(), Gaussian(), activation=transform),
    ]
    check_gradients(Model(layers), cost, data_for(3))


def test_no_activation_at_the_end_and_none_that_learns_at_the_beginning(be64):
    check_gradients(Model([Activation(Tanh()), Linear(3, Gaussian())]), SumSquared(), data_for(3))


def test_nested_containers(be64):
    inner = Sequential([Linear(4, Gaussian()), Sequential([Activation(Tanh()), Bias(Gaussian())])])
    check_gradients(Model([inner, Linear(2, Gaussian())]), SumSquared(), data_for(2))


def test_dropout(be64):
    """The mask of a step is repeated by setting the counter back."""
    dropout = Dropout(keep=0.7)
    forward = dropout.fprop

    def same_mask(inputs, inference=False):
        dropout.set_counters({"draws": 4})
        return forward(inputs, inference)

    dropout.fprop = same_mask
    model = Model([Linear(6, Gaussian()), dropout, Affine(3, Gaussian(), activation=Softmax())])
    check_gradients(model, CrossEntropyMulti(), data_for(3))
    assert 0 < dropout.mask.get().mean() < 1


def test_the_check_itself_finds_a_wrong_gradient(be64):
    class Wrong(SumSquared):
        def bprop(self, y, t):
            return 1.001 * (y - t)

    with pytest.raises(AssertionError):
        check_gradients(Model([Linear(2, Gaussian())]), Wrong(), data_for(2))


def test_a_shortcut_needs_the_cost_that_folds_it(be64):
    model = Model([Affine(3, Gaussian(), activation=Logistic(shortcut=True))])
    with pytest.raises(
        ArgumentError, match=r"Logistic\(shortcut=True\) .* but MeanSquared folds in no activation"
    ):
        model.initialize(data_for(3), MeanSquared())
    with pytest.raises(ArgumentError, match="CrossEntropyMulti folds in Softmax only"):
        model.initialize(data_for(3), CrossEntropyMulti())
