"""Names, shapes, Dropout, and what layers refuse."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.errors import ArgumentError, BackendError
from neon_optim.model import (
    Activation,
    Affine,
    Bias,
    Constant,
    Dropout,
    Gaussian,
    GlorotUniform,
    Kaiming,
    Linear,
    Model,
    Rectlin,
    Sequential,
    Uniform,
    Xavier,
)


def names(layers):
    return [leaf.name for leaf in Sequential(layers).leaves()]


def test_layers_without_a_name_are_numbered_within_the_model():
    layers = lambda: [Linear(3, Constant()), Bias(Constant()), Linear(3, Constant())]  # noqa: E731
    assert names(layers()) == ["Linear_0", "Bias_0", "Linear_1"]
    assert names(layers()) == ["Linear_0", "Bias_0", "Linear_1"]  # whatever was made before


def test_numbers_pass_over_names_that_are_given():
    assert names([Linear(3, Constant(), name="Linear_0"), Linear(3, Constant())]) == ["Linear_0", "Linear_1"]


def test_affine_names_its_layers_after_itself():
    layers = [Affine(3, Constant(), Constant(), activation=Rectlin()) for _ in range(2)]
    assert names(layers)[:3] == ["Affine_0", "Affine_0_bias", "Affine_0_Rectlin"]
    assert names(layers)[3] == "Affine_1"


def test_containers_are_numbered_as_one():
    assert names([Sequential([Linear(1, Constant())]), Linear(1, Constant())]) == ["Linear_0", "Linear_1"]


def test_what_a_container_refuses():
    layer = Linear(3, Constant())
    for layers, message in [
        ([], "at least one layer"),
        ([layer, layer], "the same layer twice"),
        ([layer, Constant()], r"layers\[1\] must be a layer, received Constant"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            Sequential(layers)


def test_constructor_arguments_are_checked():
    for make, message in [
        (lambda: Linear(0, Constant()), "nout must be an integer >= 1"),
        (lambda: Linear(3, 0.5), "init must be an initializer"),
        (lambda: Dropout(0.0), r"keep must be a number in \(0, 1\]"),
        (lambda: Activation(Constant()), "transform must be an activation"),
        (lambda: Uniform(1.0, 0.0), "high must be at least low"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            make()


def test_shapes(be):
    model = Model([Affine(4, Constant(), Constant()), Linear(2, Constant())])
    model.layers.configure(3)
    model.layers.init_params()
    shapes = [layer.W.shape for layer in model.layers_to_optimize]
    assert shapes == [(4, 3), (4, 1), (2, 4)]


def test_without_a_backend_or_parameters_the_error_says_what_to_call(be):
    layer = Linear(2, Constant())
    with pytest.raises(ArgumentError, match=r"call model.initialize\(dataset\)"):
        layer.get_params()
    cleanup_backend()
    layer.configure(2)
    with pytest.raises(BackendError, match="gen_backend"):
        layer.init_params()


@pytest.mark.parametrize(
    ("init", "mean", "deviation"),
    [
        (Constant(0.25), 0.25, 0.0),
        (Uniform(-1.0, 3.0), 1.0, 4 / np.sqrt(12)),
        (Gaussian(0.5, 2.0), 0.5, 2.0),
        (GlorotUniform(), 0.0, np.sqrt(6 / 500) / np.sqrt(3)),
        (Kaiming(), 0.0, np.sqrt(2 / 200)),
        (Xavier(), 0.0, np.sqrt(1 / 200)),
    ],
)
def test_initializers_have_their_mean_and_deviation(be, init, mean, deviation):
    param = be.empty((300, 200))
    init.fill(param)
    values = param.get().astype(np.float64)
    # 60,000 numbers: five standard errors are about 2 % of the deviation.
    assert values.mean() == pytest.approx(mean, abs=0.02 * deviation + 1e-7)
    assert values.std() == pytest.approx(deviation, rel=0.02, abs=1e-7)


def test_dropout_drops_in_training_and_scales_at_inference(be):
    layer = Dropout(keep=0.75)
    layer.configure(500)
    x = be.ones((500, 8))
    trained = layer.fprop(x).get()
    assert set(np.unique(trained)) == {0.0, 1.0}
    assert trained.mean() == pytest.approx(0.75, abs=0.03)  # 4 standard errors
    assert np.all(layer.fprop(x, inference=True).get() == 0.75)
    assert np.all(layer.bprop(x).get() == trained)


def test_masks_differ_between_steps_and_layers_and_return_with_the_counter(be):
    first, second = Dropout(), Dropout()
    Sequential([first, second]).configure(100)
    x = be.ones((100, 8))
    masks = [first.fprop(x).get(), first.fprop(x).get(), second.fprop(x).get()]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    first.set_counters({"draws": 0})
    assert np.array_equal(first.fprop(x).get(), masks[0])


def test_inference_draws_no_mask(be):
    layer = Dropout()
    layer.configure(4)
    layer.fprop(be.ones((4, 2)), inference=True)
    assert layer.get_counters() == {"draws": 0}
