"""The classes of the model stack state their arguments as fields; those that write out an __init__ go on working."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described.arguments import Name, Positive, PositiveInt, constructor_arguments
from neon_optim.errors import ArgumentError, DataError
from neon_optim.model import (
    LSTM,
    Accuracy,
    Activation,
    Affine,
    ArrayIterator,
    BatchNorm,
    Bias,
    Constant,
    Conv,
    Convolution,
    CrossEntropyBinary,
    Dropout,
    GeneralizedCost,
    Linear,
    Logistic,
    LookupTable,
    Model,
    Pooling,
    Rectlin,
    Recurrent,
    Sequential,
    SumSquared,
    Tanh,
    Uniform,
)
from neon_optim.model.costs import Cost
from neon_optim.model.layer import Layer, ParameterLayer
from neon_optim.model.metrics import Metric
from neon_optim.optimizers import Adam


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
    affine = Affine(3, init, None, True, Rectlin(), "fc")
    assert [layer.name for layer in affine.leaves()] == ["fc", "fc_bnorm", "fc_Rectlin"]
    with pytest.raises(TypeError, match="batch_norm must be True or False, received Rectlin"):
        Affine(3, init, init, Rectlin())
    conv = Conv([3, 3, 8], init, 2, {"pad_h": 1}, {}, init, False, Rectlin(), "c")
    assert (conv.strides, conv.padding, conv.dilation, conv.bias) == (2, {"pad_h": 1}, {}, init)
    convolution = Convolution([3, 3, 8], 2, 1, 3, init, True, "c")
    assert (convolution.strides, convolution.padding, convolution.dilation, convolution.bsum) == (
        2,
        1,
        3,
        True,
    )
    assert (Pooling(2, "avg", 1, 1, "p").padding, BatchNorm(0.5, 0.1, "n").eps) == (1, 0.1)
    lstm = LSTM(4, init, None, Tanh(), Logistic(), True, "l")
    assert (type(lstm.gate_activation), lstm.reset_cells) == (Logistic, True)
    assert Recurrent(4, init, init, Tanh(), True, "r").init_inner is init
    assert LookupTable(5, 3, init, False, 1, "t").pad_idx == 1


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


@pytest.fixture
def data() -> Iterator[ArrayIterator]:
    gen_backend("cpu", engine="numpy", batch_size=4)
    yield ArrayIterator(np.ones((8, 3)), np.arange(8) % 2)
    cleanup_backend()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cost": "x"}, "fit: cost must be a cost, received 'x'"),
        ({"cost": SumSquared}, "fit: cost must be a cost, received <class"),
        ({"optimizer": "Adam"}, "fit: optimizer must be an optimizer, received 'Adam'"),
        ({"dataset": [1]}, "fit: dataset must be a dataset of minibatches, received [1]"),
        ({"num_epochs": 0}, "fit: num_epochs must be an integer >= 1, received 0"),
        (
            {"cost": "x", "optimizer": None},
            "fit: 2 bad arguments\n  cost must be a cost, received 'x'\n  opt",
        ),
    ],
)
def test_what_fit_is_given_is_checked(data: ArrayIterator, wrong: dict, message: str) -> None:
    given: dict = {"dataset": data, "cost": SumSquared(), "optimizer": Adam(), "num_epochs": 1, **wrong}
    with pytest.raises(ArgumentError) as caught:
        Model([Linear(2, Constant())]).fit(**given)
    assert str(caught.value).startswith(message)


def test_everything_that_does_not_go_together_is_told_at_once(data: ArrayIterator) -> None:
    gen_backend("cpu", engine="numpy", batch_size=20)
    last = Activation(Logistic(shortcut=True))
    model = Model([Linear(5, Constant()), last])
    with pytest.raises(ArgumentError) as caught:
        model.fit(data, SumSquared(), Adam(), 1)
    told = [(problem.argument, problem.subject) for problem in caught.value.problems]
    assert told == [("shortcut", last.transform), ("nout", model.layers.layers[0]), ("batchsize", None)]
    with pytest.raises(DataError, match=r"^the batch size \(20\) is above"):
        Model([Linear(2, Constant())]).fit(data, SumSquared(), Adam(), 1)


@pytest.mark.parametrize(
    ("labels", "received"), [(np.array(["a", "bc"]), "an array of <U2"), (["a", "bc"], "list")]
)
def test_labels_that_are_words_are_told_as_such(labels: Any, received: str) -> None:
    with pytest.raises(DataError, match=f"y must be an array of numbers, received {received}; np.unique"):
        ArrayIterator(np.ones((2, 3)), labels)
    with pytest.raises(DataError, match=f"X must be an array of numbers, received {received}$"):
        ArrayIterator(labels)
