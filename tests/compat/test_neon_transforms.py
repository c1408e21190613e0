"""neon's activation functions and costs: their values, and derivatives as neon's layers ask for them."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.backends.derivatives import gradients
from neon_optim.compat.neon import transforms
from neon_optim.compat.neon.transforms.cost import Cost
from neon_optim.compat.neon.transforms.transform import Transform
from neon_optim.errors import ArgumentError


@pytest.fixture
def be():
    return gen_backend("cpu", rng_seed=1, batch_size=4)


X = np.array([[-2.0, -0.5, 0.25, 3.0], [25.0, 1.0, -1.0, 0.5]], dtype=np.float32)


def softmax(x):
    power = np.exp(x - x.max(axis=0))
    return power / power.sum(axis=0)


FUNCTIONS = {  # by name: the object, the function, and the derivative in terms of the outputs
    "identity": (transforms.Identity, lambda x: x, lambda y: 1),
    "rectlin": (transforms.Rectlin, lambda x: np.maximum(x, 0), lambda y: y > 0),
    "leaky": (
        lambda: transforms.Rectlin(0.1),
        lambda x: np.where(x > 0, x, x * 0.1),
        lambda y: np.where(y > 0, 1, 0.1),
    ),
    "clipped": (transforms.Rectlinclip, lambda x: np.clip(x, 0, 20), lambda y: (y > 0) & (y < 20)),
    "explin": (
        transforms.Explin,
        lambda x: np.where(x > 0, x, np.exp(x) - 1),
        lambda y: np.where(y > 0, 1, y + 1),
    ),
    "normalizer": (transforms.Normalizer, lambda x: x / 128, lambda y: 1 / 128),
    "tanh": (transforms.Tanh, np.tanh, lambda y: 1 - y * y),
    "logistic": (transforms.Logistic, lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y)),
    "shortcut": (lambda: transforms.Logistic(shortcut=True), lambda x: 1 / (1 + np.exp(-x)), lambda y: 1),
    "softmax": (transforms.Softmax, softmax, lambda y: 1),
    "pixelwise": (lambda: transforms.PixelwiseSoftmax(2), softmax, lambda y: 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_derivatives_in_terms_of_the_outputs(be, name):
    make, function, derivative = FUNCTIONS[name]
    transform, x = make(), be.array(X)
    y, error, found = be.empty(X.shape), be.array(np.full(X.shape, 3.0)), be.empty(X.shape)
    y[:] = transform(x)
    np.testing.assert_allclose(y.get(), function(X), rtol=1e-5, atol=1e-6)
    found[:] = transform.bprop(y)
    expected = np.broadcast_to(derivative(y.get()), X.shape)
    np.testing.assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-6)
    value = transform.forward(x)
    if value is not x:
        found[:] = gradients(value, [x], error)[0]
        np.testing.assert_allclose(found.get(), 3.0 * expected, rtol=1e-5, atol=1e-5)


def test_the_sign_has_the_derivative_of_what_it_lets_through(be):
    sign, x, found = transforms.Sign(), be.array(X), be.empty(X.shape)
    found[:] = sign(x)
    assert (found.get() == np.where(X >= 0, 1, -1)).all()
    found[:] = sign.bprop(found)
    assert (found.get() == (np.abs(X) <= 1)).all()
    error = be.array(np.full(X.shape, 3.0))
    found[:] = gradients(sign.forward(x), [x], error)[0]
    assert (found.get() == 3.0 * (np.abs(X) <= 1)).all()


Y = np.array([[0.2, 0.7, 0.1, 0.4], [0.8, 0.3, 0.9, 0.6]], dtype=np.float32)
T = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]], dtype=np.float32)
LOG = np.log
BINARY = -(T * LOG(Y) + (1 - T) * LOG(1 - Y)).sum(axis=0)
MULTI = -(T * LOG(Y)).sum(axis=0)
FAR = 3.0 * Y - T
HINGE = np.maximum(1 - (2 * T - 1) * Y, 0)
COSTS = {  # by name: the object, outputs, the value, the derivative
    "binary": (lambda: transforms.CrossEntropyBinary(scale=2), Y, BINARY, 2 * (Y - T)),
    "multi": (lambda: transforms.CrossEntropyMulti(scale=2), Y, MULTI, 2 * (Y - T)),
    "bits": (lambda: transforms.CrossEntropyMulti(usebits=True), Y, MULTI / LOG(2), (Y - T) / LOG(2)),
    "sum": (transforms.SumSquared, Y, ((Y - T) ** 2).sum(axis=0) / 2, Y - T),
    "mean": (transforms.MeanSquared, Y, ((Y - T) ** 2).mean(axis=0) / 2, (Y - T) / 2),
    "smooth": (
        transforms.SmoothL1Loss,
        3.0 * Y,
        np.where(abs(FAR) < 1, FAR**2 / 2, abs(FAR) - 0.5).sum(axis=0),
        np.clip(FAR, -1, 1),
    ),
    "hinge": (transforms.SquareHingeLoss, Y, (HINGE**2).mean(axis=0), -(2 * T - 1) * HINGE),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs_and_their_derivatives(be, name):
    make, y, value, derivative = COSTS[name]
    cost, outputs, targets = make(), be.array(y), be.array(T)
    found, slopes = be.empty((1, 4)), be.empty(y.shape)
    found[:] = cost(outputs, targets)
    slopes[:] = cost.bprop(outputs, targets)
    np.testing.assert_allclose(found.get()[0], value, rtol=1e-5)
    np.testing.assert_allclose(slopes.get(), derivative, rtol=1e-5)


def test_cross_entropies_refuse_targets_of_another_shape(be):
    with pytest.raises(ArgumentError, match=r"outputs have the shape \(2, 4\), and targets \(3, 4\)"):
        transforms.CrossEntropyMulti()(be.array(Y), be.zeros((3, 4)))


def test_functions_of_ones_own(be):
    class Half(Transform):
        def __init__(self, name=None):
            super().__init__(name)
            self.func = lambda x: x / 2.0
            self.funcgrad = lambda x: 0.5

    class Distance(Cost):
        def __init__(self):
            self.func = lambda y, t: self.be.sum(self.be.absolute(y - t), axis=0)
            self.funcgrad = lambda y, t: self.be.sgn(y - t)

    x, found, costs = be.array(X), be.empty(X.shape), be.empty((1, 4))
    found[:] = Half()(x)
    assert (found.get() == X / 2).all()
    found[:] = gradients(Half().forward(x), [x], be.array(X))[0]
    assert (found.get() == X / 2).all()
    costs[:] = Distance()(be.array(Y), be.array(T))
    np.testing.assert_allclose(costs.get()[0], abs(Y - T).sum(axis=0), rtol=1e-6)
    with pytest.raises(NotImplementedError, match="neither a method bprop nor a function funcgrad"):
        type("Bare", (Transform,), {})().bprop(x)


def test_they_are_described_by_neons_names(be):
    assert transforms.Rectlin(0.1, "r").get_description() == {
        "type": "neon.transforms.activation.Rectlin",
        "config": {"slope": 0.1, "name": "r"},
    }
    assert transforms.CrossEntropyBinary().get_description() == {
        "type": "neon.transforms.cost.CrossEntropyBinary",
        "config": {},
    }


SENTENCES = ["the cat sat on the mat", "There is a <unk> here."]
REFERENCES = [
    ["a cat sat on the mat", "the cat is on a mat"],
    ["there is a dog here", "there is a <unk> here now"],
]


def test_bleu_counts_matching_runs_of_words():
    """By hand: of 11 words 9 match (a second "the" and <unk> do not), of 9 pairs 7, of 7 triples 4, of 5 fours 2."""
    metric = transforms.BLEUScore()
    score = metric(SENTENCES, REFERENCES)
    precisions = np.array([9 / 11, 7 / 9, 4 / 7, 2 / 5])
    expected = [100 * np.exp(LOG(precisions[:n]).mean()) for n in (1, 2, 3, 4)]
    np.testing.assert_allclose(metric.bleu_n, expected, rtol=1e-6)
    assert score == metric.bleu_n[-1]


def test_bleu_lowers_the_score_of_what_is_shorter_than_the_nearest_reference():
    metric = transforms.BLEUScore()
    metric(["a b"], [["a b c d e f g", "a b c"]], N=1, brevity_penalty=True)
    np.testing.assert_allclose(metric.bleu_n, [100 * np.exp(1 - 3 / 2)], rtol=1e-6)
