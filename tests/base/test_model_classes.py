"""The classes of the model stack state their arguments as fields; those that write out an __init__ go on working."""

from __future__ import annotations

from typing import Any

import pytest

from neon_optim.described.arguments import Name, Positive, PositiveInt, constructor_arguments
from neon_optim.errors import ArgumentError
from neon_optim.model import (
    Accuracy,
    Activation,
    Affine,
    Bias,
    Constant,
    CrossEntropyBinary,
    Dropout,
    GeneralizedCost,
    Linear,
    Logistic,
    Model,
    Rectlin,
    Sequential,
    SumSquared,
    Uniform,
)
from neon_optim.model.costs import Cost
from neon_optim.model.layer import Layer, ParameterLayer
from neon_optim.model.metrics import Metric


class Scaling(ParameterLayer):
    """As written before there were fields."""

    factor: float

    def __init__(self, factor: Positive, init: Any, name: Name = None) -> None:
        super().__init__(init, name)
        self.factor = factor

    @property
    def weight_shape(self) -> tuple[int, int]:
        return 1, 1

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        return inputs

    def bprop(self, error: Any) -> Any:
        return error


class Passing(Layer):
    def __init__(self, name: Name = None) -> None:
        super().__init__(name)

    fprop = bprop = Scaling.fprop


class Hinge(Cost):
    def __init__(self, margin: Positive = 1.0, name: Name = None) -> None:
        super().__init__(name)
        self.margin = margin

    __call__ = bprop = SumSquared.__call__


class TopK(Metric):
    k: PositiveInt = 5

    __call__ = SumSquared.__call__


def test_positions_are_neons() -> None:
    init = Constant(0.5, "half")
    assert (init.val, init.name) == (0.5, "half")
    linear = Linear(3, init, "top")
    assert (linear.nout, linear.init, linear.name) == (3, init, "top")
    assert Bias(init, "b").name == "b"
    assert Activation(Rectlin(0.1), "a").transform.slope == 0.1
    assert (Dropout(0.25, "d").keep, Logistic("l", True).shortcut) == (0.25, True)
    affine = Affine(3, init, init, activation=Rectlin(), name="fc")
    assert [layer.name for layer in affine.leaves()] == ["fc", "fc_bias", "fc_Rectlin"]
    with pytest.raises(TypeError, match="takes at most 3 positional"):
        Affine(3, init, init, Rectlin())


def test_layers_that_write_out_their_init_work_as_before() -> None:
    layer = Scaling(2.0, Constant(), "s")
    assert (layer.factor, layer.name, layer.automatic_name, layer.states) == (2.0, "s", False, [])
    assert list(constructor_arguments(Scaling)) == ["factor", "init", "name"]
    assert layer.get_description()["config"]["factor"] == 2.0
    assert Passing("p").name == "p"
    stack = Sequential([Passing(), Scaling(1.0, Constant()), Passing()])
    assert [leaf.name for leaf in stack.leaves()] == ["Passing_0", "Scaling_0", "Passing_1"]


def test_costs_and_metrics_are_named_by_their_class() -> None:
    assert (SumSquared().name, Accuracy().name, TopK(3).name) == ("SumSquared", "Accuracy", "TopK")
    assert (Hinge().name, Hinge(2.0, "h").name) == ("Hinge", "h")
    assert list(constructor_arguments(SumSquared)) == list(constructor_arguments(Accuracy)) == []
    assert SumSquared().get_description()["config"] == {}
    with pytest.raises(TypeError, match="name is no argument of SumSquared"):
        SumSquared(name="mine")
    assert GeneralizedCost(CrossEntropyBinary()).folds is Logistic


def test_setting_an_argument_is_checked() -> None:
    dropout, uniform = Dropout(), Uniform(0.0, 1.0)
    with pytest.raises(ArgumentError, match=r"Dropout: keep must be a number in \(0, 1\], received 2"):
        dropout.keep = 2
    with pytest.raises(ArgumentError, match=r"Uniform: high must be at least low \(0.0\), received -1"):
        uniform.high = -1
    assert (dropout.keep, uniform.high) == (0.5, 1.0)
    stack = Sequential([Linear(2, Constant())])
    with pytest.raises(ArgumentError, match="layers must hold at least one layer"):
        stack.layers = []
    stack.layers = (Linear(3, Constant()), Linear(4, Constant()))
    assert [layer.name for layer in stack.layers] == ["Linear_0", "Linear_1"]


def test_the_layers_of_a_model_are_a_sequential() -> None:
    model = Model([Linear(2, Constant())])
    assert isinstance(model.layers, Sequential)
    model.layers = [Linear(3, Constant())]
    assert isinstance(model.layers, Sequential)
    assert Model(model.layers).layers is model.layers
    assert Model(Linear(2, Constant()), "m").name == "m"
    again = Model.gen_class(model.get_description()["config"])
    assert again.get_description() == model.get_description()
