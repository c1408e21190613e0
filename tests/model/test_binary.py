"""Layers of binarized networks against the same in NumPy."""

from __future__ import annotations

import numpy as np

from neon_optim.model import BinaryLinear, Gaussian, ShiftBatchNorm

RANDOM = np.random.RandomState(2)


def ready(layer, nin):
    layer.configure(nin)
    layer.init_params()
    return layer


def test_the_signs_of_weights_multiply_and_the_weights_get_the_gradient_of_their_signs(be64):
    layer = ready(BinaryLinear(3, Gaussian()), 5)
    layer.W[0, 0] = 0.0
    x, error = RANDOM.normal(size=(5, 8)), RANDOM.normal(size=(3, 8))
    signs = np.where(layer.W.get() >= 0, 1.0, -1.0)
    np.testing.assert_allclose(layer.fprop(be64.array(x)).get(), signs @ x, rtol=1e-12)
    np.testing.assert_allclose(layer.bprop(be64.array(error)).get(), signs.T @ error, rtol=1e-12)
    np.testing.assert_allclose(layer.dW.get(), error @ x.T, rtol=1e-12)


def shift(a, b):
    with np.errstate(divide="ignore"):
        return a * np.sign(b) * 2.0 ** np.rint(np.log2(np.abs(b)))


def test_powers_of_two_take_the_place_of_factors(be64):
    layer = ready(ShiftBatchNorm(), 4)
    gamma = RANDOM.uniform(0.3, 3.0, size=(4, 1))
    layer.gamma.set(gamma)
    x, error = RANDOM.normal(1.0, 3.0, size=(4, 8)), RANDOM.normal(size=(4, 8))
    distance = x - x.mean(axis=1, keepdims=True)
    var = shift(distance, distance).mean(axis=1, keepdims=True)
    inverse = 1.0 / np.sqrt(var + 1e-6)
    xhat = shift(distance, inverse)
    np.testing.assert_allclose(layer.fprop(be64.array(x)).get(), shift(xhat, gamma), rtol=1e-12)
    by_gamma, by_beta = (xhat * error).sum(1, keepdims=True), error.sum(1, keepdims=True)
    expected = shift(shift(error - (shift(xhat, by_gamma) + by_beta) / 8, gamma), inverse)
    np.testing.assert_allclose(layer.bprop(be64.array(error)).get(), expected, rtol=1e-10)
    np.testing.assert_allclose(layer.grad_gamma.get(), by_gamma, rtol=1e-10)
    np.testing.assert_allclose(layer.gvar.get(), 0.01 * var, rtol=1e-10)
    seen = layer.fprop(be64.array(x), inference=True).get()
    plain = (x - layer.gmean.get()) / np.sqrt(layer.gvar.get() + 1e-6) * gamma
    np.testing.assert_allclose(seen, plain, rtol=1e-10)
