"""The list of a model's parameters: the same one while layers hold the same tensors and lists, else another."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.model import ArrayIterator, Gaussian, Linear, MeanSquared, Model
from neon_optim.optimizers import Adam, MultiOptimizer, RMSProp, Schedule


@pytest.fixture
def model(be):
    be.bsz = 4
    made = Model([Linear(3, Gaussian(), name="first"), Linear(2, Gaussian(), name="last")])
    made.initialize(DATA)
    return made


DATA = ArrayIterator(np.linspace(-1, 1, 12).reshape(4, 3), np.ones((4, 2)), make_onehot=False)


def test_it_is_kept(model):
    kept = model.parameters()
    assert [parameter.path for parameter in kept] == ["first/W", "last/W"]
    model.fit(DATA, MeanSquared(), Adam(), num_epochs=2)
    assert model.parameters() is kept


def another_tensor(model):
    layer = model.layers.leaves()[1]
    layer.W = model.be.array(layer.W.get(), name="W")


def another_list_of_states(model):
    model.layers.leaves()[0].states = []  # which equals the one before


def another_layer(model):
    added = Linear(2, Gaussian(), name="added")
    added.configure(2)
    added.init_params()
    model.layers.layers.append(added)


def other_layers(model):
    model.layers = Model([*model.layers.layers]).layers


@pytest.mark.parametrize("change", [another_tensor, another_list_of_states, another_layer, other_layers])
def test_a_change_is_noticed(model, change):
    kept = model.parameters()
    change(model)
    now = model.parameters()
    assert now is not kept
    assert now is model.parameters()
    for parameter, layer in zip(now, model.layers_to_optimize, strict=True):
        assert parameter.value[0][0] is layer.W
        assert parameter.value[1] is layer.states


def test_what_takes_the_place_of_a_parameter_is_trained(model):
    model.fit(DATA, MeanSquared(), RMSProp(), num_epochs=1)
    another_tensor(model)
    weights = model.layers.leaves()[1].W
    before = weights.get()
    model.fit(DATA, MeanSquared(), RMSProp(), num_epochs=2)
    assert (weights.get() != before).all()


def test_a_step_gives_its_numbers(model):
    model.forward_backward(*next(iter(DATA.batches())), MeanSquared(), model.be.zeros((1, 1), np.float64))
    one = Adam(learning_rate=0.5, schedule=Schedule([1], 0.5))
    assert [one.step(model.parameters(), epoch).lr for epoch in range(2)] == [0.5, 0.25]
    several = MultiOptimizer({"default": Adam(learning_rate=0.25), "last": Adam(learning_rate=0.125)})
    assert several.step(model.parameters(), 0).lr == 0.25
    assert several.step([], 0).lr == 0.25
    assert one.step([], 0).lr == 0.5
