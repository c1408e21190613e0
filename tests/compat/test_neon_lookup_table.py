"""neon's LookupTable: vectors of numbers, and where their errors go."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.initializers import Gaussian
from neon_optim.compat.neon.layers import LookupTable
from neon_optim.compat.neon.layers.container import DeltasTree

WORDS = np.array([[3, 0], [1, 3], [3, 4]], np.int32)  # three words, two samples


@pytest.fixture
def be():
    yield gen_backend("cpu", batch_size=2, rng_seed=1)
    cleanup_backend()


def ready(**settings):
    layer = LookupTable(5, 4, Gaussian(), **settings)
    layer.configure(3)
    layer.allocate()
    layer.set_deltas(DeltasTree())
    return layer


def test_columns_are_the_vectors_of_the_words(be):
    layer = ready()
    y = layer.fprop(be.array(WORDS, dtype=np.int32))
    assert (layer.out_shape, y.shape, layer.inputs.shape) == ((4, 3), (4, 6), (1, 6))
    assert np.array_equal(y.get(), layer.W.get()[WORDS.ravel()].T)
    error = np.random.RandomState(0).normal(size=(4, 6)).astype(np.float32)
    assert layer.bprop(be.array(error)) is None
    expected = np.zeros((5, 4))
    np.add.at(expected, WORDS.ravel(), error.T)
    np.testing.assert_allclose(layer.dW.get(), expected, rtol=1e-6)
    assert layer.get_description()["config"].keys() == {"vocab_size", "embedding_dim", "init", "name"}


def test_no_word_has_a_vector_of_zeros_that_is_not_learned(be):
    layer = ready(pad_idx=3)
    y = layer.fprop(be.array(WORDS, dtype=np.int32)).get()
    assert not y[:, WORDS.ravel() == 3].any()
    assert y[:, WORDS.ravel() != 3].all()
    layer.bprop(be.ones((4, 6)))
    assert layer.dW.get()[:, 0].tolist() == [1, 1, 0, 0, 1]


def test_without_update_nothing_is_learned(be):
    layer = ready(update=False)
    layer.fprop(be.array(WORDS, dtype=np.int32))
    layer.bprop(be.ones((4, 6)))
    assert not layer.dW.get().any()
