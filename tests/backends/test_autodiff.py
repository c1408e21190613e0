"""neon's Autodiff: its methods, its buffers, and the way its batch normalization uses it."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends import Autodiff
from neon_optim.errors import BackendError

RNG = np.random.RandomState(4)
X, GAMMA, BETA, ERROR = RNG.randn(5, 16), RNG.rand(5, 1) + 0.5, RNG.randn(5, 1), RNG.randn(5, 16)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    yield gen_backend(request.param, datatype=np.float64)
    cleanup_backend()


def normalized(be, x, gamma, beta):
    return (x - be.mean(x, axis=1)) / be.sqrt(be.var(x, axis=1) + 1e-6) * gamma + beta


def known_derivatives():
    """Ioffe and Szegedy, Batch normalization, 2015, section 3."""
    mean, variance = X.mean(1, keepdims=True), X.var(1, keepdims=True) + 1e-6
    hat, scaled = (X - mean) / np.sqrt(variance), ERROR * GAMMA
    by_variance = (scaled * (X - mean)).sum(1, keepdims=True) * -0.5 * variance**-1.5
    by_mean = -scaled.sum(1, keepdims=True) / np.sqrt(variance)
    by_x = scaled / np.sqrt(variance) + by_variance * 2 * (X - mean) / 16 + by_mean / 16
    return by_x, (ERROR * hat).sum(1, keepdims=True), ERROR.sum(1, keepdims=True)


def test_the_methods_agree(be):
    """Tolerance: float64, sums of 16 terms in two orders."""
    tensors = [be.array(a) for a in (X, GAMMA, BETA)]
    ad = Autodiff(normalized(be, *tensors), be, next_error=be.array(ERROR))
    trees, arrays = ad.get_grad_op_tree(tensors), ad.get_grad_asnumpyarray(tensors)
    for tree, tensor, array, expected in zip(
        trees, ad.get_grad_tensor(tensors), arrays, known_derivatives(), strict=True
    ):
        assert tree.shape == array.shape
        assert tensor.get().tobytes() == array.tobytes()
        np.testing.assert_allclose(array, expected, rtol=1e-10, atol=1e-12)


def test_the_error_may_be_overwritten(be):
    """As neon's BatchNormAutodiff does: the gradient by the inputs goes where the error came from."""
    tensors = [be.array(a) for a in (X, GAMMA, BETA)]
    deltas, by_gamma, by_beta = be.array(ERROR), be.empty((5, 1)), be.empty((5, 1))
    Autodiff(normalized(be, *tensors), be, next_error=deltas).back_prop_grad(
        tensors, [deltas, by_gamma, by_beta]
    )
    for received, expected in zip((deltas, by_gamma, by_beta), known_derivatives(), strict=True):
        np.testing.assert_allclose(received.get(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(tensors[0].get(), X)


def test_without_an_error_and_without_a_tensor(be):
    w, other = be.array([[1.0, 2.0]]), be.ones((3, 1))
    by_w, none = Autodiff(w * w, be).get_grad_asnumpyarray([w, other])
    np.testing.assert_array_equal(by_w, [[2.0, 4.0]])
    np.testing.assert_array_equal(none, np.zeros((3, 1)))
    np.testing.assert_array_equal(Autodiff(w, be).get_grad_asnumpyarray([w])[0], [[1.0, 1.0]])
    np.testing.assert_array_equal(Autodiff(3.0, be).get_grad_asnumpyarray([w])[0], [[0.0, 0.0]])


def test_equal_operands_of_a_maximum_share_the_derivative(be):
    a, b = be.array([[1.0, 2.0, 3.0]]), be.array([[2.0, 2.0, 2.0]])
    by_a, by_b = Autodiff(be.maximum(a, b), be).get_grad_asnumpyarray([a, b])
    np.testing.assert_array_equal(by_a, [[0.0, 0.5, 1.0]])
    np.testing.assert_array_equal(by_a + by_b, np.ones((1, 3)))


def test_errors(be):
    w = be.ones((2, 3))
    with pytest.raises(BackendError, match=r"shape of the op-tree, \(2, 3\), received \(3, 2\)"):
        Autodiff(w * w, be, next_error=be.ones((3, 2)))
    ad = Autodiff(w * w, be)
    with pytest.raises(BackendError, match="1 tensors need as many gradients, received 2"):
        ad.back_prop_grad([w], [be.ones((2, 3)), be.ones((2, 3))])
    with pytest.raises(BackendError, match="its gradient needs another tensor"):
        ad.back_prop_grad([w], [w])
    ad.cleanup()
    with pytest.raises(BackendError, match="was cleaned up"):
        ad.get_grad_tensor([w])
