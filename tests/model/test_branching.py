"""Pathways side by side: their names, what is saved of them, and what does not go together."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.errors import ArgumentError
from neon_optim.model import (
    Affine,
    ArrayIterator,
    Constant,
    Convolution,
    Dropout,
    Gaussian,
    Layer,
    Linear,
    MergeBroadcast,
    MergeSum,
    Model,
    Sequential,
    SkipNode,
    SumSquared,
    Tanh,
)
from neon_optim.optimizers import Adam, GradientDescentMomentum, MultiOptimizer

SMALL = Gaussian(scale=0.4)


def data(shape=(4,), nout=3):
    random = np.random.RandomState(1)
    X = random.normal(size=(16, int(np.prod(shape))))
    return ArrayIterator(X, random.normal(size=(16, nout)), make_onehot=False, lshape=shape)


def residual():
    inner = [Affine(4, SMALL, activation=Tanh()), Dropout(0.9), Linear(4, SMALL, name="last")]
    return Model([Linear(4, SMALL), MergeSum([inner, SkipNode()]), Linear(3, SMALL)])


def test_layers_within_have_names_numbers_and_optimizers_of_their_own(be):
    model = residual()
    optimizer = MultiOptimizer({"default": GradientDescentMomentum(0.1, 0.0), "last": Adam()})
    model.fit(data(), SumSquared(), optimizer, num_epochs=1)
    assert [layer.name for layer in model.layers_to_optimize] == ["Linear_0", "Affine_0", "last", "Linear_1"]
    assert [unit.name for unit in model.layers.units()][1] == "MergeSum_0"
    assert [len(layer.states) for layer in model.layers_to_optimize] == [0, 0, 2, 0]
    leaves = model.layers.leaves()
    assert [leaf.number for leaf in leaves] == list(range(len(leaves)))


def test_what_is_saved_is_nested_as_the_layers_are(be):
    model = residual()
    model.fit(data(), SumSquared(), Adam(), num_epochs=1)
    saved = model.serialize()["model"]["config"]["layers"]
    (inner, way_around) = saved[1]["config"]["layers"]
    assert saved[1]["type"].endswith(".MergeSum")
    assert [layer["type"].rpartition(".")[2] for layer in inner["config"]["layers"]] == [
        *("Linear", "Activation", "Dropout", "Linear"),
    ]
    np.testing.assert_array_equal(
        inner["config"]["layers"][3]["params"]["W"], model.layers_to_optimize[2].W.get()
    )
    assert way_around["config"]["layers"][0]["type"].endswith(".SkipNode")


def test_a_checkpoint_brings_pathways_back(be, tmp_path):
    model, again, optimizer = residual(), residual(), Adam()
    model.fit(data(), SumSquared(), optimizer, num_epochs=2)
    path = model.save_params(tmp_path / "m", optimizer)
    again.initialize(data())
    again.load_params(path)
    np.testing.assert_array_equal(model.get_outputs(data()), again.get_outputs(data()))
    assert again.get_counters()["layers"] == {"Dropout_0": {"draws": 4}}


def test_alphas_scale_what_is_handed_on_not_the_gradients_within(be64):
    def gradients(alphas):
        layers = [Linear(2, Constant(0.5)), MergeBroadcast([Linear(2, SMALL), SkipNode()], "depth", alphas)]
        be64.rng_reset()
        made = Sequential(layers)
        made.configure(3)
        made.init_params()
        y = made.fprop(be64.ones((3, 2)))
        made.bprop(be64.ones(y.shape))
        below, within = made.layers_to_optimize
        return below.dW.get(), within.dW.get()

    below, within = gradients(None)
    first, _ = gradients([1.0, 0.0])
    second, same = gradients([0.0, 1.0])
    np.testing.assert_array_equal(same, within)
    np.testing.assert_allclose(first + second, below, rtol=1e-12)


class PassesByHand(Layer):
    """A layer that is no algebra."""

    def fprop(self, inputs, inference=False):
        return inputs

    def bprop(self, error):
        return error


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: MergeSum([]), "layers must hold pathways, each of at least one layer"),
        (lambda: MergeSum([[], Linear(2, SMALL)]), "each of at least one layer"),
        (lambda: MergeSum([Linear(2, SMALL), Linear(3, SMALL)]), r"adds .* but they give \[\(2,\), \(3,\)\]"),
        (
            lambda: MergeSum([PassesByHand(), SkipNode()]),
            "stated as forward algebra alone, not PassesByHand_",
        ),
        (lambda: MergeBroadcast([Linear(2, SMALL)], "depth", alphas=[1, 2]), "must be 1 numbers"),
        (
            lambda: MergeBroadcast([Convolution([1, 1, 2], init=SMALL), Linear(2, SMALL)], "depth"),
            r"cannot put \[\(2, 2, 2\), \(2,\)\] together along 'depth'",
        ),
    ],
)
def test_what_does_not_go_together(be, layer, message):
    with pytest.raises(ArgumentError, match=message):
        Model([layer(), Linear(3, SMALL)]).initialize(data((1, 2, 2)))
