"""A network that neon trained: our layers give neon's outputs, gradients and next step.

tests/data/neon_mnist_mlp* was written by neon 2.6.0 (CPU backend, float32). The matrix products of one BLAS differ from
those of another in the last bits, hence the tolerance; with the one that neon used the bits are equal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described.build import from_description
from neon_optim.model import ArrayIterator, Model
from neon_optim.serialization import read_neon_pickle

DATA = Path(__file__).parent.parent / "data"
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def restored():
    """(model, cost, optimizer, dataset, what neon computed) where neon's checkpoint stands."""
    file = read_neon_pickle(DATA / "neon_mnist_mlp.p")
    expected = np.load(DATA / "neon_mnist_mlp_outputs.npz")
    be = gen_backend("cpu", batch_size=len(expected["labels"]), engine="numpy")
    description = {key: file.model[key] for key in ("type", "config")}
    model, cost, optimizer = (from_description(d) for d in (description, file.cost, file.optimizer))
    model = Model(model)
    data = ArrayIterator(expected["x"], expected["labels"], nclass=10)
    model.initialize(data, cost)
    for layer, stored in zip(model.layers_to_optimize, file.layers, strict=True):
        layer.W.set(stored.params["W"])
        layer.states.extend(be.array(state) for state in stored.states["W"])
    yield model, cost, optimizer, data, expected
    cleanup_backend()


def test_outputs_gradients_and_a_step(restored):
    model, cost, optimizer, data, expected = restored
    assert [layer.name for layer in model.layers_to_optimize] == list(expected["layer_names"])
    np.testing.assert_allclose(model.get_outputs(data), expected["outputs"], **TOLERANCE)
    ((x, t),) = data.batches()
    model.bprop(t, model.fprop(x), cost)
    optimizer.optimize(model.layers_to_optimize, epoch=12)
    for k, layer in enumerate(model.layers_to_optimize):
        np.testing.assert_allclose(layer.dW.get(), expected[f"dW{k}"], **TOLERANCE)
        np.testing.assert_allclose(layer.W.get(), expected[f"W{k}_after"], **TOLERANCE)
