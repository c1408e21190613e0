"""neon's optimizers by neon's paths."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.compat.descriptions import built
from neon_optim.compat.neon import optimizers
from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.optimizers import optimizer as by_module


@pytest.fixture
def be():
    yield gen_backend("cpu", batch_size=2)
    cleanup_backend()


class Layer:
    def __init__(self, be, name):
        self.name = name
        self.param = be.ones((2, 2))
        self.states = []

    def get_params(self):
        return (self.param, self.param.backend.ones((2, 2))), self.states


class Linear(Layer):
    pass


def test_the_module_has_neons_names():
    for name in by_module.__all__:
        assert getattr(optimizers, name) is getattr(by_module, name)
    with pytest.raises(TypeError, match="stochastic_round"):
        by_module.Adam(0.01)


def test_the_layers_of_each_optimizer_are_shown(be):
    default, dense, named = by_module.RMSProp(), by_module.Adam(), by_module.Adagrad()
    multi = optimizers.MultiOptimizer({"default": default, "Linear": dense, "last": named})
    first, second, third = Linear(be, "first"), Layer(be, "second"), Linear(be, "last")
    multi.optimize([first, second, third], epoch=0)
    assert multi.map_list == {default: [second], dense: [first], named: [third]}
    assert all(np.all(layer.param.get() < 1) for layer in (first, second, third))
    multi._reset_mapping({"default": default})
    assert multi.map_list == {default: [first, second, third]}


def test_a_description_by_neons_path_gives_the_object_again():
    multi = by_module.MultiOptimizer({"default": by_module.Adam(learning_rate=0.5)})
    description = multi.get_description()
    assert description["type"] == "neon.optimizers.optimizer.MultiOptimizer"
    again = built(description)
    assert type(again) is by_module.MultiOptimizer
    assert again.optimizer_mapping["default"].learning_rate == 0.5
