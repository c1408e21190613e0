"""Images and sequences: shapes through a model, data in their layout, what does not fit, and models that learn."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.errors import ArgumentError, ConfigError, DataError
from neon_optim.model import (
    LSTM,
    Accuracy,
    Affine,
    ArrayIterator,
    BatchNorm,
    BiLSTM,
    BiRNN,
    Callback,
    Constant,
    Conv,
    Convolution,
    CrossEntropyMulti,
    Digits,
    Gaussian,
    GlorotUniform,
    Kaiming,
    Layer,
    Linear,
    Logistic,
    LookupTable,
    MeanSquared,
    Misclassification,
    Model,
    Pooling,
    Rectlin,
    Recurrent,
    RecurrentLast,
    Softmax,
    Tanh,
)
from neon_optim.optimizers import Adam
from neon_optim.serialization import load_config

GATES = {"activation": Tanh(), "gate_activation": Logistic()}


def shapes(layers, shape):
    model = Model(layers)
    model.layers.in_shape = shape
    model.layers.configure(shape[0] if len(shape) == 2 else int(np.prod(shape)))
    return [leaf.out_shape for leaf in model.layers.leaves()]


def test_shapes_of_lenet():
    layers = [
        Conv([5, 5, 6], Gaussian(), bias=Constant()),
        Pooling(2),
        Conv([5, 5, 16], Gaussian()),
        Pooling(2),
    ]
    found = shapes([*layers, Affine(120, Gaussian(), Constant()), Affine(10, Gaussian())], (1, 28, 28))
    assert found == [(6, 24, 24)] * 2 + [(6, 12, 12), (16, 8, 8), (16, 4, 4), (120,), (120,), (10,)]


def test_shapes_of_sequences():
    layers = [LookupTable(9, 5, Gaussian()), LSTM(7, Gaussian(), **GATES), Linear(4, Gaussian())]
    assert shapes([*layers, RecurrentLast(), Affine(3, Gaussian())], (6,)) == [
        (5, 6),
        (7, 6),
        (4, 6),
        (4,),
        (3,),
    ]


def test_a_layer_that_only_says_how_many_features_it_gives_stands_between_images(be):
    class Halves(Layer):
        def configure(self, nin):
            self.nin, self.nout = nin, nin // 2

        def fprop(self, inputs, inference=False):
            return inputs[: self.nout]

        def bprop(self, error):
            raise AssertionError("nothing before it learns")

    class Twice(Layer):
        def forward(self, x, inference=False):
            return 2.0 * x

    assert shapes([Twice(), Pooling(2), Halves()], (2, 4, 4)) == [(2, 4, 4), (2, 2, 2), (4,)]
    model = Model([Twice(), Halves(), Affine(2, Gaussian(), activation=Softmax())])
    data = ArrayIterator(np.ones((16, 32)), np.arange(16) % 2, lshape=(2, 4, 4))
    model.fit(data, CrossEntropyMulti(), Adam(), 1)
    assert model.step == 2


def test_sequences_lie_step_by_step(be):
    X = np.arange(8 * 2 * 3).reshape(8, 2, 3)
    data = ArrayIterator(X, np.arange(8) % 2, lshape=(2, 3))
    x, t = next(data.batches())
    assert (x.shape, t.shape, data.nin, data.nout) == ((2, 24), (2, 8), 2, 2)
    assert np.array_equal(x.get().reshape(2, 3, 8), X.transpose(1, 2, 0))


def test_targets_of_steps(be):
    X, y = np.random.RandomState(1).normal(size=(16, 2, 3)), np.arange(48).reshape(16, 3) % 4
    x, t = next(ArrayIterator(X, y, lshape=(2, 3)).batches())
    assert t.shape == (4, 24)
    assert np.array_equal(t.get().argmax(axis=0).reshape(3, 8), y[:8].T)
    data = ArrayIterator(X, 2.0 * X, make_onehot=False, lshape=(2, 3))
    x, t = next(data.batches())
    assert np.array_equal(t.get(), 2.0 * x.get())
    model = Model([Linear(2, GlorotUniform())])
    steady = Adam(learning_rate=1e-12)
    told = []

    class Told(Callback):
        def on_epoch_end(self, training):
            told.append(training.record["train_cost"])

    model.fit(data, MeanSquared(), steady, 1, [Told()])
    assert told == [pytest.approx(model.eval(data, MeanSquared()))]  # both are means over all steps
    model.fit(data, MeanSquared(), Adam(learning_rate=0.1), 60)
    assert model.eval(data, MeanSquared()) < 1e-3
    outputs = model.get_outputs(data)
    assert outputs.shape == (16, 2, 3)
    np.testing.assert_allclose(outputs, 2.0 * X, atol=0.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Convolution([3, 3, 8]), "init is missing; it must be an initializer"),
        (
            lambda: Convolution([3, 3], init=Constant()),
            r"fshape must be a list of 3 items .*, received \[3, 3\]",
        ),
        (lambda: Convolution([3, 3, 0], init=Constant()), r"fshape\[2\] must be an integer >= 1, received 0"),
        (
            lambda: Convolution([3, 3, 8], {"pad_h": 1}, init=Constant()),
            r"strides\['pad_h'\] is none of the keys str_h, str_w, received 1",
        ),
        (
            lambda: Convolution([3, 3, 8], 0, init=Constant()),
            "strides must be an integer >= 1, or a mapping of str_h",
        ),
        (
            lambda: Convolution([3, 3, 8], padding={"pad_w": -1}, init=Constant()),
            r"padding\['pad_w'\] must be",
        ),
        (lambda: Pooling(2, "median"), "op must be one of 'max', 'avg', received 'median'"),
        (lambda: Pooling(0), "fshape must be"),
        (lambda: BatchNorm(1.0), r"rho must be a number in \[0, 1\)"),
        (lambda: BatchNorm(eps=0.0), "eps must be a number > 0"),
        (
            lambda: Conv([3, 3, 8], Constant(), bias=Constant(), batch_norm=True),
            "bias must be None with batch_norm",
        ),
        (lambda: Recurrent(4, Constant()), "activation is missing; it must be an activation"),
        (lambda: LSTM(4, Constant(), activation=Tanh()), "gate_activation is missing"),
        (
            lambda: LookupTable(4, 2, Constant(), pad_idx=4),
            r"pad_idx must be below vocab_size \(4\), received 4",
        ),
    ],
)
def test_arguments_that_are_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (
            [Convolution([3, 3, 2], init=Constant())],
            (64,),
            r"needs images \(C, H, W\), .* shape \(64,\); .*lshape=",
        ),
        ([Pooling(2)], (8, 8), r"needs images .* received samples of shape \(8, 8\)"),
        (
            [Pooling(2), Convolution([5, 5, 2], init=Constant())],
            (1, 8, 8),
            r"needs images of \(5, 5\) pixels or more, received samples of shape \(1, 4, 4\); a smaller fshape",
        ),
        ([Pooling(2, padding=2)], (1, 8, 8), r"padding \(2, 2\) must be smaller than the windows \(2, 2\)"),
        ([Recurrent(2, Constant(), activation=Tanh())], (64,), r"needs sequences \(F, T\), .* shape \(64,\)"),
        ([RecurrentLast()], (1, 8, 8), "stands behind a recurrent layer"),
    ],
)
def test_shapes_that_do_not_fit(be, layers, shape, message):
    data = ArrayIterator(np.ones((8, 64)), np.arange(8) % 2, lshape=shape)
    with pytest.raises(ArgumentError, match=message):
        Model([*layers, Affine(2, Constant())]).initialize(data)


def test_steps_that_do_not_fit_the_targets(be):
    data = ArrayIterator(np.ones((8, 6)), np.arange(8) % 2, lshape=(2, 3))
    with pytest.raises(ArgumentError, match=r"gives 3 steps .* have 1; RecurrentLast"):
        Model([Linear(2, Constant())]).initialize(data, MeanSquared())


def test_data_whose_shape_does_not_fit():
    with pytest.raises(DataError, match=r"lshape=\(3, 3\) has 9 elements, but a sample has 8 features"):
        ArrayIterator(np.ones((4, 8)), np.arange(4), lshape=(3, 3))
    with pytest.raises(
        DataError, match="one class number for each sample, or for each of its 4 steps, received 3"
    ):
        ArrayIterator(np.ones((4, 8)), np.ones((4, 3)), lshape=(2, 4))


LENET = """
backend: cpu
epochs: 4
batchsize: 32
rng_seed: 1
dataset: {name: digits}
cost: CrossEntropyMulti
optimizer: {type: Adam, config: {learning_rate: 0.01}}
layers:
- type: Conv
  config: {fshape: [3, 3, 6], init: Kaiming, padding: {pad_h: 1, pad_w: 1}, bias: Constant, activation: Rectlin}
- {type: Pooling, config: {fshape: 2, op: max, strides: {str_h: 2, str_w: 2}}}
- {type: Conv, config: {fshape: [3, 3, 12], init: Kaiming, batch_norm: true, activation: Rectlin}}
- {type: Affine, config: {nout: 32, init: Kaiming, batch_norm: true, activation: Rectlin}}
- {type: Affine, config: {nout: 10, init: GlorotUniform, bias: Constant, activation: Softmax}}
"""


def test_a_lenet_in_yaml_learns_the_digits(tmp_path):
    path = tmp_path / "lenet.yaml"
    path.write_text(LENET)
    settings = load_config(path).settings
    gen_backend("cpu", rng_seed=1, batch_size=32)
    model = Model(settings.layers)
    model.fit(Digits().train_iter, settings.cost, settings.optimizer, 4)
    assert model.eval(Digits().valid_iter, Accuracy()) > 0.95


def test_a_mistake_in_yaml_is_told_with_its_place(tmp_path):
    path = tmp_path / "lenet.yaml"
    path.write_text(LENET.replace("str_w: 2", "str_x: 2"))
    with pytest.raises(
        ConfigError, match=r"lenet.yaml:12:\d+: .*strides\.str_x is none of the keys str_h, str_w"
    ):
        load_config(path)


def test_an_lstm_learns_what_stood_at_the_beginning():
    gen_backend("cpu", rng_seed=1, batch_size=32)
    random = np.random.RandomState(0)
    X = random.normal(size=(256, 2, 12))
    data = ArrayIterator(X, (X[:, 0, 0] > 0).astype(int), lshape=(2, 12), shuffle=True)
    lstm = LSTM(16, GlorotUniform(), **GATES, reset_cells=True)
    model = Model([lstm, RecurrentLast(), Affine(2, Kaiming(), Constant(), activation=Softmax())])
    model.fit(data, CrossEntropyMulti(), Adam(learning_rate=0.02), 25)
    assert model.eval(data, Misclassification()) < 0.05


def test_cells_go_on_from_one_minibatch_to_the_next_in_training_alone(be):
    data = ArrayIterator(np.ones((20, 3)), np.zeros(20), lshape=(1, 3), nclass=1)
    layer = Recurrent(2, Constant(0.25), activation=Tanh())
    model = Model([layer, RecurrentLast(), Affine(1, Constant(1.0))])
    model.initialize(data)
    x, _ = next(data.batches())
    first = model.fprop(x).get()
    assert not np.array_equal(model.fprop(x).get(), first)
    kept = layer.get_arrays()["h"].get()
    assert kept.any()
    assert np.array_equal(model.fprop(x, inference=True).get(), first)
    fewer = be.ones((1, 12))
    assert np.array_equal(model.fprop(fewer).get(), first[:, :4])
    assert np.array_equal(layer.get_arrays()["h"].get(), kept)


@pytest.mark.parametrize(("one", "two"), [(Recurrent, BiRNN), (LSTM, BiLSTM)], ids=["Recurrent", "LSTM"])
def test_two_directions_are_two_layers_of_which_one_is_given_the_steps_in_reverse(be, one, two):
    gates = {"activation": Tanh()} | ({} if one is Recurrent else {"gate_activation": Logistic()})

    def ready(cls):
        layer = cls(4, Gaussian(), **gates, reset_cells=True)
        layer.in_shape = (3, 5)
        layer.configure(3)
        layer.init_params()
        return layer

    forwards, backwards, both = ready(one), ready(one), ready(two)
    for k, layer in enumerate((forwards, backwards)):
        (mine,) = layer.weights(layer.W)
        for part, theirs in zip(mine, both.weights(both.W)[k], strict=True):
            part[:] = theirs
    x = np.random.RandomState(0).normal(size=(3, 5, 2))
    y = both.fprop(be.array(x.reshape(3, 10))).get()
    assert np.array_equal(y[:4], forwards.fprop(be.array(x.reshape(3, 10))).get())
    reverse = backwards.fprop(be.array(x[:, ::-1].reshape(3, 10))).get()
    assert np.array_equal(y[4:].reshape(4, 5, 2), reverse.reshape(4, 5, 2)[:, ::-1])


def test_rectified_maxima_of_equal_elements_give_their_gradient_once(be):
    layer = Pooling(2)
    layer.in_shape = (1, 2, 2)
    layer.configure(4)
    layer.fprop(be.zeros((4, 8)))
    assert np.array_equal(
        layer.bprop(be.ones((1, 8))).get(), np.repeat([[1.0], [0.0], [0.0], [0.0]], 8, axis=1)
    )


def test_running_statistics_are_missed_where_a_file_has_none(be, tmp_path):
    data = ArrayIterator(np.random.RandomState(0).normal(size=(16, 4)), np.arange(16) % 2)

    def model(**config):
        made = Model([Affine(2, Gaussian(), activation=Rectlin(), name="a", **config)])
        made.initialize(data)
        return made

    normalized = model(batch_norm=True)
    normalized.save_params(tmp_path / "with")
    with pytest.raises(Exception, match=r"not in the layers .*'a_bnorm/gmean'"):
        model().load_params(tmp_path / "with")
    model().save_params(tmp_path / "without")
    with pytest.raises(Exception, match=r"missing in the file .*'a_bnorm/gmean', 'a_bnorm/gvar'"):
        normalized.load_params(tmp_path / "without")


def test_kaiming_counts_the_inputs_of_a_filter(be):
    layer = Convolution([5, 5, 4], init=Kaiming())
    layer.in_shape = (80, 8, 8)
    layer.configure(80 * 64)
    layer.init_params()
    # 8,000 numbers: five standard errors are 4 % of the deviation.
    assert layer.W.get().std() == pytest.approx(np.sqrt(2 / 2000), rel=0.04)
