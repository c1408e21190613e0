"""neon's layers: what holds for each of them; a new one is a row of the table."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.initializers import Constant, Gaussian, Uniform
from neon_optim.compat.neon.layers import (
    LRN,
    Activation,
    Affine,
    BatchNorm,
    Bias,
    BinaryAffine,
    BranchNode,
    Conv,
    Convolution,
    DataTransform,
    Deconv,
    Dropout,
    Linear,
    MergeBroadcast,
    MergeMultistream,
    MergeSum,
    Pooling,
    Reshape,
    Sequential,
    SingleOutputTree,
    SkipNode,
    Tree,
)
from neon_optim.compat.neon.layers.container import DeltasTree
from neon_optim.compat.neon.layers.layer import Convolution_bias, Layer, ParameterLayer
from neon_optim.compat.neon.transforms import Logistic, Normalizer, Rectlin, Softmax, Tanh

FEATURES, IMAGES, VOLUMES, SEQUENCES = (6, 1), (2, 5, 6), (2, 3, 4, 5), (3, 4)
SMALL = Gaussian(scale=0.4)

ROWS = {
    "Linear": (FEATURES, lambda: [Linear(4, SMALL)]),
    "Linear, of images": (IMAGES, lambda: [Linear(4, SMALL)]),
    "Linear, of steps": (SEQUENCES, lambda: [Linear(4, SMALL), Linear(2, SMALL)]),
    "Affine": (FEATURES, lambda: [Affine(4, SMALL, bias=SMALL, activation=Tanh()), Affine(3, SMALL)]),
    "Affine, normalized": (FEATURES, lambda: [Affine(4, SMALL, batch_norm=True, activation=Tanh())]),
    "BinaryAffine": (FEATURES, lambda: [BinaryAffine(4, SMALL, batch_norm=True, activation=Tanh())]),
    "Activation": (FEATURES, lambda: [Linear(4, SMALL), Activation(Logistic()), Linear(3, SMALL)]),
    "Bias, of images": (IMAGES, lambda: [Convolution((2, 2, 3), init=SMALL), Bias(SMALL)]),
    "BatchNorm": (IMAGES, lambda: [BatchNorm(), Linear(3, SMALL)]),
    "Dropout": (FEATURES, lambda: [Linear(5, SMALL), Dropout(0.6), Linear(3, SMALL)]),
    "Conv": (IMAGES, lambda: [Conv((3, 2, 3), SMALL, bias=SMALL, activation=Tanh()), Linear(2, SMALL)]),
    "Conv, all settings": (
        IMAGES,
        lambda: [Conv((2, 3, 3), SMALL, {"str_h": 2}, {"pad_w": 2, "pad_h": 1}, 2), Linear(2, SMALL)],
    ),
    "Deconv": (IMAGES, lambda: [Deconv((2, 3, 2), SMALL, strides=2, padding=1, bias=SMALL)]),
    "Pooling": (IMAGES, lambda: [Convolution((1, 1, 3), init=SMALL), Pooling(2), Linear(2, SMALL)]),
    "Pooling, of everything": (IMAGES, lambda: [Convolution((1, 1, 3), init=SMALL), Pooling("all", "avg")]),
    "Pooling, padded": (
        IMAGES,
        lambda: [Convolution((1, 1, 3), init=SMALL), Pooling((3, 2), strides=2, padding=1)],
    ),
    "LRN": (IMAGES, lambda: [Convolution((2, 2, 4), init=SMALL), LRN(3, ascale=0.7, bpower=0.75)]),
    "Conv, of a depth": (
        VOLUMES,
        lambda: [
            Conv((2, 3, 2, 3), SMALL, {"str_d": 2, "str_h": 2}, {"pad_d": 1}, bias=SMALL, activation=Tanh()),
            Conv((1, 1, 2, 2), SMALL),
        ],
    ),
    "Pooling, of a depth": (
        VOLUMES,
        lambda: [Convolution((1, 1, 1, 3), init=SMALL), Pooling((2, 2, 2)), Pooling(2, "avg"), Linear(2, SMALL)],
    ),
    "Pooling, of channels": (
        IMAGES,
        lambda: [Convolution((2, 2, 4), init=SMALL), Pooling({"R": 1, "S": 1, "J": 2}), Linear(2, SMALL)],
    ),
    "Deconv, of a depth": (VOLUMES, lambda: [Deconv((2, 3, 2, 2), SMALL, {"str_d": 2, "str_h": 2})]),
    "LRN, of a depth": (VOLUMES, lambda: [Convolution((1, 2, 2, 4), init=SMALL), LRN(3)]),
    "Reshape": (SEQUENCES, lambda: [Linear(4, SMALL), Reshape((2, -1, 4)), Conv((2, 2, 3), SMALL)]),
    "SkipNode": (FEATURES, lambda: [Linear(4, SMALL), SkipNode(), Linear(3, SMALL)]),
    "MergeSum": (
        IMAGES,
        lambda: [
            Conv((1, 1, 3), SMALL),
            MergeSum([[Conv((3, 3, 3), SMALL, padding=1), Activation(Tanh()), Conv((1, 1, 3), SMALL)], SkipNode()]),
            Activation(Tanh()),
            Linear(2, SMALL),
        ],
    ),
    "MergeBroadcast": (
        IMAGES,
        lambda: [
            Conv((1, 1, 3), SMALL),
            MergeBroadcast(
                [[Conv((1, 1, 2), SMALL)], [Conv((3, 3, 2), SMALL, padding=1), Activation(Tanh())], SkipNode()],
                merge="depth",
            ),
            Linear(2, SMALL),
        ],
    ),
    "MergeBroadcast, first": (
        FEATURES,
        lambda: [MergeBroadcast([Affine(3, SMALL), Affine(2, SMALL, bias=SMALL)], "stack"), Linear(2, SMALL)],
    ),
    "MergeBroadcast, of steps": (
        SEQUENCES,
        lambda: [MergeBroadcast([Affine(3, SMALL), Affine(3, SMALL)], "recurrent"), Linear(2, SMALL)],
    ),
}  # fmt: skip
"""For each the shape of a sample, and layers."""

# Central differences in float64: rounding of about 1e-16 / STEP, truncation of about STEP²; values are of order 1.
STEP = 1e-5
TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}


@pytest.fixture(params=ROWS)
def row(request):
    gen_backend("cpu", rng_seed=3, batch_size=4, datatype=np.float64)
    yield ROWS[request.param]
    cleanup_backend()


@pytest.fixture
def be():
    yield gen_backend("cpu", rng_seed=3, batch_size=4)
    cleanup_backend()


def ready(layers, shape):
    """The layers in a row, with buffers; an error comes out at the front."""
    made = Sequential(layers)
    made.configure(shape)
    made.layers[0].prev_layer = True
    made.allocate()
    tree = DeltasTree()
    for layer in made.layers:
        layer.allocate_deltas(tree)
    tree.allocate_buffers()
    made.allocate_deltas(tree)
    return made


def inputs_for(shape, be):
    rows, steps = shape if len(shape) == 2 else (int(np.prod(shape)), 1)
    return be.array(np.random.RandomState(5).normal(size=(rows, steps * be.bsz)))


def outputs(made, x, state):
    """Those of training, with the same random numbers each time; the layers may change x."""
    made.be.rng_set_state(state)
    return made.fprop(x.copy())


@pytest.mark.parametrize("row", [row for row in ROWS if "Binary" not in row], indirect=True)
def test_derivatives_are_right(row):
    shape, layers = row
    made = ready(layers(), shape)
    x, state = inputs_for(shape, made.be), made.be.rng_get_state()
    weights = np.random.RandomState(6).normal(size=outputs(made, x, state).shape)
    deltas = made.bprop(made.be.array(weights))
    found = [] if made.layers[0].nest_deltas else [(x, deltas)]  # of pathways at the front nobody wants them
    for layer in made.layers_to_optimize:
        params = layer.get_params()
        found += [pair for pair, _ in (params if isinstance(params, list) else [params])]
    gradients = [(array.asnumpyarray().reshape(-1), grad.get().reshape(-1)) for array, grad in found]
    random = np.random.RandomState(7)
    for values, grad in gradients:
        for k in random.permutation(values.size)[:5]:
            before, sides = values[k], []
            for value in (before + STEP, before - STEP):
                values[k] = value
                sides.append((outputs(made, x, state).get() * weights).sum())
            values[k] = before
            np.testing.assert_allclose(grad[k], (sides[0] - sides[1]) / (2 * STEP), **TOLERANCE)


def test_a_description_with_weights_makes_the_same_again(row):
    shape, layers = row
    made = ready(layers(), shape)
    x = inputs_for(shape, made.be)
    for _ in range(2):
        made.fprop(x.copy())
    description = made.get_description(get_weights=True, keep_states=True)
    assert description["type"] == "neon.layers.container.Sequential"
    again = Sequential.gen_class(description["config"])
    again.load_weights(description)
    again.configure(shape)
    again.allocate()
    first, second = (one.fprop(x.copy(), inference=True).get() for one in (made, again))
    np.testing.assert_array_equal(first, second)
    assert made.nested_str() == again.nested_str()


def test_passes_can_be_captured_from_the_algebra(row):
    shape, layers = row
    made = ready(layers(), shape)
    x = inputs_for(shape, made.be)
    value = x
    for layer in made.layers:
        if layer.algebra is None:
            pytest.skip("no layer of ours does the work of this one")
        value = layer.algebra.forward(value, inference=True)
    found = made.be.empty(value.shape)
    found[:] = value
    np.testing.assert_array_equal(found.get(), made.fprop(x, inference=True).get())


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name", ["Conv, all settings", "Pooling, padded", "Deconv, of a depth", "LRN", "MergeSum"]
)
def test_a_gpu_gives_the_same(name):
    """In float32, whose sums and products have another order there: about 1e-6 of the largest."""
    shape, layers = ROWS[name]
    found = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, rng_seed=3, batch_size=4)
        made = ready(layers(), shape)
        y = made.fprop(inputs_for(shape, be))
        deltas = made.bprop(be.array(np.random.RandomState(6).normal(size=y.shape)))
        params = [layer.get_params() for layer in made.layers_to_optimize]
        rows = [row for each in params for row in (each if isinstance(each, list) else [each])]
        found.append([y.get(), deltas.get(), *[grad.get() for (_, grad), _ in rows]])
        cleanup_backend()
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-6 * np.abs(one).max())


# --- the protocol ---


def test_the_last_layer_that_owns_its_outputs_draws_first(be):
    be.rng_reset()
    expected = [be.rng.uniform(size=(3, 4)), be.rng.uniform(size=(4, 6))]
    be.rng_reset()
    made = ready([Affine(4, Uniform(), activation=Rectlin()), Affine(3, Uniform(), activation=Softmax())], 6)
    for layer, weights in zip(made.layers_to_optimize, reversed(expected), strict=True):
        np.testing.assert_array_equal(layer.W.get(), weights.astype(np.float32))


def test_bias_and_activation_work_in_the_memory_of_the_layer_before(be):
    made = ready(Affine(4, SMALL, bias=SMALL, activation=Tanh()), 6)
    y = made.fprop(inputs_for(FEATURES, be))
    assert y is made.layers[0].outputs
    assert [layer.outputs is y for layer in made.layers] == [True, True, True]
    assert [layer.classnm for layer in made.layers_to_optimize] == ["Linear", "Bias"]


def test_two_buffers_hold_the_deltas_by_turns(be):
    made = ready([Linear(4, SMALL) for _ in range(4)], 6)
    made.fprop(inputs_for(FEATURES, be))
    made.bprop(be.ones((4, 4)))
    first, *others = [layer.deltas.asnumpyarray() for layer in made.layers]
    assert [np.shares_memory(first, other) for other in others] == [False, True, False]


def test_deltas_take_alpha_and_beta(be):
    layer = ready([Linear(4, SMALL)], 6).layers[0]
    layer.fprop(inputs_for(FEATURES, be))
    error = be.ones((4, 4))
    alone = layer.bprop(error).get()
    layer.deltas.fill(1.0)
    both = layer.bprop(error, alpha=0.5, beta=2.0).get()
    np.testing.assert_allclose(both, alone * 0.5 + 2.0, rtol=1e-6)
    layer.outputs.fill(1.0)
    x = inputs_for(FEATURES, be)
    np.testing.assert_allclose(layer.fprop(x, beta=3.0).get() - 3.0, layer.W.get() @ x.get(), rtol=1e-4)


def test_fewer_samples_than_a_minibatch(be):
    layer = ready([Linear(4, SMALL)], 6).layers[0]
    x = inputs_for(FEATURES, be)
    layer.set_batch_size(3)
    layer.outputs.fill(7.0)
    y = layer.fprop(x).get()
    np.testing.assert_allclose(y[:, :3], layer.W.get() @ x.get()[:, :3], rtol=1e-5)
    assert (y[:, 3] == 7.0).all()


def test_gradients_add_up_where_that_was_allocated(be):
    layer = Linear(4, SMALL)
    layer.configure(6)
    with pytest.raises(BufferError, match="accumulate_updates=True"):
        layer.set_acc_on(True)
    layer.allocate(accumulate_updates=True)
    layer.fprop(inputs_for(FEATURES, be))
    error = be.ones((4, 4))
    layer.bprop(error)
    once = layer.dW.get()
    layer.set_acc_on(True)
    layer.bprop(error)
    np.testing.assert_array_equal(layer.dW.get(), once * 2)
    assert layer.algebra is None  # a captured pass would set the gradients
    layer.set_acc_on(False)
    layer.bprop(error)
    np.testing.assert_array_equal(layer.dW.get(), once)


def test_dropout_scales_outside_of_training_or_in_caffes_way_within(be):
    x = be.ones((6, 4))
    assert np.unique(ready([Dropout(0.5)], 6).fprop(x.copy(), inference=True).get()) == 0.5
    be.set_caffe_compat()
    made = ready([Dropout(0.5)], 6)
    assert set(np.unique(made.fprop(x.copy()).get())) == {0.0, 2.0}
    assert np.unique(made.fprop(x.copy(), inference=True).get()) == 1.0


def test_first_layers_that_change_the_data(be):
    made = ready([DataTransform(Normalizer(divisor=2.0)), Linear(1, Constant(1.0))], 6)
    assert made.fprop(be.ones((6, 4))).get().tolist() == [[3.0] * 4]
    with pytest.raises(ValueError, match="Activation cannot be the first layer"):
        Sequential([Activation(Tanh())])


def test_what_is_refused(be):
    with pytest.raises(ValueError, match=r"needs images \(C, H, W\), received samples of shape 10"):
        Convolution((3, 3, 8), init=SMALL).configure(10)
    with pytest.raises(ValueError, match=r"filters .* are larger than images of \(2, 3, 4, 5\)"):
        Convolution((4, 3, 3, 8), init=SMALL).configure((2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"do not go into \(7, -1\)"):
        Reshape((7, -1)).configure((4, 5))
    with pytest.raises(ValueError, match="merge must be 'recurrent', 'depth' or 'stack', received 'wide'"):
        MergeBroadcast([Linear(3, SMALL)], "wide")
    with pytest.raises(AttributeError, match="Batchnorm and bias"):
        Affine(3, SMALL, bias=SMALL, batch_norm=True)
    with pytest.raises(ValueError, match=r"first values have the shape \(2, 2\), the parameter has \(3, 6\)"):
        ready([Linear(3, np.ones((2, 2)))], 6)
    made = ready([Linear(3, SMALL)], 6)
    with pytest.raises(ValueError, match="has 1 layers, the weights are of 2"):
        made.load_weights({"config": {"layers": [{"type": "x"}, {"type": "y"}]}})


# --- pathways ---


def test_pathways_of_a_tree_meet_at_a_node(be):
    node, loss = BranchNode("fork"), be.ones((2, 4))
    trunk = [Linear(5, SMALL), node, Linear(3, SMALL), Linear(2, SMALL)]
    made = Tree([trunk, [node, Linear(2, SMALL)]], alphas=[1.0, 0.25])
    made.configure(6)
    made.allocate()
    made.allocate_deltas()
    x = inputs_for(FEATURES, be)
    _, second = made.fprop(x)
    weights = [layer.W.get() for layer in made.layers_to_optimize]
    np.testing.assert_allclose(second.get(), weights[3] @ (weights[0] @ x.get()), rtol=1e-4)
    made.bprop([loss, loss])
    expected = (weights[2] @ weights[1]).T @ loss.get() + 0.25 * (weights[3].T @ loss.get())
    np.testing.assert_allclose(node.deltas.get(), expected, rtol=1e-4)
    np.testing.assert_allclose(made.layers_to_optimize[0].dW.get(), expected @ x.get().T, rtol=1e-4)
    description = made.get_description(get_weights=True)
    again = Tree.gen_class(description["config"])
    assert again.layers[0].layers[1] is again.layers[1].layers[0] is node


def test_a_tree_with_one_output_outside_of_training(be):
    node = BranchNode()
    made = SingleOutputTree([[Linear(5, SMALL), node, Linear(2, SMALL)], [node, Linear(3, SMALL)]])
    made.configure(6)
    made.allocate()
    x = inputs_for(FEATURES, be)
    assert [y.shape for y in made.fprop(x)] == [(2, 4), (3, 4)]
    assert made.fprop(x, inference=True).shape == (2, 4)


def test_nodes_without_a_name_are_different_ones(be):
    assert BranchNode() is not BranchNode()
    named = BranchNode("one")
    assert BranchNode("one") is named


def test_pathways_with_inputs_of_their_own(be):
    made = Sequential(
        [MergeMultistream([Affine(3, SMALL), [Linear(2, SMALL)]], merge="stack"), Linear(1, SMALL)]
    )
    made.configure([(6, 1), (4, 1)])
    made.allocate()
    made.allocate_deltas()
    xs = [be.ones((6, 4)), be.ones((4, 4))]
    y = made.fprop(xs)
    made.bprop(be.ones(y.shape))
    one, two, top = (layer.W.get() for layer in made.layers_to_optimize)
    np.testing.assert_allclose(y.get()[:, 0], top @ np.concatenate([one.sum(1), two.sum(1)]), rtol=1e-4)
    np.testing.assert_allclose(made.layers_to_optimize[1].dW.get()[:, 0], 4 * top[0, 3:], rtol=1e-5)
    with pytest.raises(ValueError, match="needs a list of 2 shapes, received \\(6, 1\\)"):
        MergeMultistream([Linear(3, SMALL), Linear(2, SMALL)], "stack").configure((6, 1))


# --- files ---


def test_values_in_descriptions_are_what_was_given(be):
    config = Pooling((3, 2), strides={"str_h": 2}, name="p").get_description()["config"]
    assert config == {"fshape": (3, 2), "strides": {"str_h": 2}, "name": "p"}
    found = Conv((3, 3, 8), Gaussian(scale=0.5), bias=Constant(1.0), name="c")[0].get_description()
    assert found["type"] == "neon.layers.layer.Convolution_bias"
    assert found["config"]["init"] == {
        "type": "neon.initializers.initializer.Gaussian",
        "config": {"scale": 0.5},
    }


def test_old_files_have_a_convolution_and_its_bias_apart(be):
    made = ready([Conv((2, 2, 3), SMALL, bias=SMALL), Linear(2, SMALL)], IMAGES)
    new = made.get_description(get_weights=True)
    first, second = new["config"]["layers"]
    params = first["params"]
    bias = {"type": "neon.layers.layer.Bias", "config": {"init": first["config"].pop("bias")}}
    bias["params"] = {"W": params.pop("weight_bias")}
    old = {"config": {"layers": [first | {"type": "neon.layers.layer.Convolution"}, bias, second]}}
    again = ready([Conv((2, 2, 3), SMALL, bias=SMALL), Linear(2, SMALL)], IMAGES)
    again.load_weights(old, load_states=False)
    assert isinstance(again.layers[0], Convolution_bias)
    for one, two in zip(made.layers_to_optimize, again.layers_to_optimize, strict=True):
        np.testing.assert_array_equal(one.W.get(), two.W.get())
    np.testing.assert_array_equal(made.layers[0].weight_bias.get(), again.layers[0].weight_bias.get())


def test_states_of_the_optimizer_come_with_the_weights(be):
    made = ready([Linear(3, SMALL), BatchNorm(), Linear(2, SMALL)], 6)
    for layer in made.layers_to_optimize:
        params = layer.get_params()
        for (_, grad), states in params if isinstance(params, list) else [params]:
            states.append(be.array(np.random.RandomState(1).normal(size=grad.shape)))
    saved = made.get_description(get_weights=True, keep_states=True)
    again = ready([Linear(3, SMALL), BatchNorm(), Linear(2, SMALL)], 6)
    again.load_weights(saved)
    np.testing.assert_array_equal(again.layers[0].states[0].get(), made.layers[0].states[0].get())
    np.testing.assert_array_equal(again.layers[1].states[1][0].get(), made.layers[1].states[1][0].get())


# --- layers of yours ---


class GainOfUsers(ParameterLayer):
    """A layer as neon's users write them."""

    def __init__(self, init, name=None):
        super(GainOfUsers, self).__init__(init, name, "Disabled")  # noqa: UP008 (as they do)

    def configure(self, in_obj):
        super().configure(in_obj)
        self.out_shape = self.in_shape
        self.weight_shape = (self.in_shape[0], 1)
        return self

    def fprop(self, inputs, inference=False, beta=0.0):
        self.inputs = inputs
        self.outputs[:] = inputs * self.W
        return self.outputs

    def bprop(self, error, alpha=1.0, beta=0.0):
        self.dW[:] = self.be.sum(error * self.inputs, axis=1)
        if self.deltas:
            self.deltas[:] = alpha * error * self.W + beta * self.deltas
        return self.deltas


class DoubledLinear(Linear):
    """A layer that changes one of neon's."""

    def fprop(self, inputs, inference=False, beta=0.0):
        super().fprop(inputs, inference, beta)
        self.outputs[:] = self.outputs * 2.0
        return self.outputs


class DoubledSum(MergeSum):
    """A container that changes one of neon's."""

    def fprop(self, inputs, inference=False):
        super().fprop(inputs, inference)
        self.outputs[:] = self.outputs * 2.0
        return self.outputs


def test_layers_of_yours_run_between_neons(be):
    made = ready([Linear(5, SMALL), GainOfUsers(Constant(3.0)), Affine(2, SMALL, activation=Tanh())], 6)
    y = made.fprop(inputs_for(FEATURES, be))
    made.bprop(be.ones(y.shape))
    scale = made.layers[1]
    np.testing.assert_allclose(scale.outputs.get(), made.layers[0].outputs.get() * 3.0, rtol=1e-6)
    error = made.layers[2].W.get().T @ (1.0 - y.get() ** 2)
    np.testing.assert_allclose(scale.dW.get()[:, 0], (error * scale.inputs.get()).sum(1), rtol=1e-4)
    assert [layer.algebra is None for layer in made.layers] == [False, True, False, False]
    assert DoubledLinear(3, SMALL).algebra is None
    pathways = [[Linear(2, SMALL)], [Linear(2, SMALL)]]
    found = [ready([cls(pathways)], 6).layers[0].algebra for cls in (MergeSum, DoubledSum)]
    assert [each is None for each in found] == [False, True]


def test_a_layer_that_lacks_a_pass_says_so(be):
    with pytest.raises(NotImplementedError, match="Layer has no fprop"):
        Layer().fprop(None)
