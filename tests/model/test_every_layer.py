"""What holds for every layer that is stated as algebra; a new one is a row of the table."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from stopping import StopAt

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described.build import from_description
from neon_optim.model import (
    GRU,
    LRN,
    LSTM,
    Activation,
    Affine,
    ArrayIterator,
    BatchNorm,
    Bias,
    BiBNRNN,
    BiLSTM,
    BinaryLinear,
    BiRNN,
    BiSum,
    Conv,
    Convolution,
    CrossEntropyMulti,
    Deconv,
    Deconvolution,
    DeepBiLSTM,
    DeepBiRNN,
    Dropout,
    Gaussian,
    Linear,
    Logistic,
    LookupTable,
    MergeBroadcast,
    MergeSum,
    Model,
    Pooling,
    Recurrent,
    RecurrentLast,
    RecurrentMean,
    RecurrentSum,
    Reshape,
    ShiftBatchNorm,
    SkipNode,
    Softmax,
    Tanh,
    Validation,
)
from neon_optim.optimizers import Adam
from neon_optim.serialization import dump_config

IMAGES, SEQUENCES, WORDS = (2, 5, 6), (3, 4), (4,)
FEATURES = (6,)
SMALL = Gaussian(scale=0.4)
GATES = {"activation": Tanh(), "gate_activation": Logistic()}

ROWS = {
    "Linear": (IMAGES, lambda: [Linear(4, SMALL)]),
    "Linear, of steps": (SEQUENCES, lambda: [Linear(4, SMALL), RecurrentSum()]),
    "Bias": (IMAGES, lambda: [Bias(SMALL)]),
    "Bias, of steps": (SEQUENCES, lambda: [Bias(SMALL), RecurrentSum()]),
    "Dropout": (IMAGES, lambda: [Linear(6, SMALL), Dropout(0.7)]),
    "Dropout, of steps": (SEQUENCES, lambda: [Linear(6, SMALL), Dropout(0.7), RecurrentSum()]),
    "Convolution": (IMAGES, lambda: [Convolution([3, 2, 3], init=SMALL)]),
    "Convolution, all settings": (
        IMAGES,
        lambda: [Convolution([2, 3, 3], {"str_h": 2}, {"pad_w": 2, "pad_h": 1}, 2, SMALL)],
    ),
    "two Convolutions": (
        IMAGES,
        lambda: [
            Convolution([2, 2, 3], padding=1, init=SMALL),
            Convolution([3, 3, 2], strides=2, init=SMALL),
        ],
    ),
    "Deconvolution": (IMAGES, lambda: [Deconvolution([3, 2, 3], init=SMALL)]),
    "Deconvolution, all settings": (
        IMAGES,
        lambda: [
            Convolution([1, 1, 2], init=SMALL),
            Deconvolution([2, 3, 2], {"str_h": 3, "str_w": 2}, {"pad_h": 1}, 2, SMALL),
        ],
    ),
    "Deconv": (IMAGES, lambda: [Deconv([2, 2, 3], SMALL, 2, 1, bias=SMALL, activation=Tanh())]),
    "LRN": (IMAGES, lambda: [Convolution([2, 2, 4], init=SMALL), LRN(3, ascale=0.7, bpower=0.75)]),
    "LRN, more than all channels": (IMAGES, lambda: [Bias(SMALL), LRN(7)]),
    "Pooling, side by side": (IMAGES, lambda: [Convolution([2, 1, 3], init=SMALL), Pooling(2)]),
    "Pooling, overlapping": (
        IMAGES,
        lambda: [Convolution([1, 1, 3], init=SMALL), Pooling([3, 2], strides=1)],
    ),
    "Pooling, with a rest": (IMAGES, lambda: [Convolution([1, 1, 3], init=SMALL), Pooling(2)]),
    "Pooling, beyond the border": (
        IMAGES,
        lambda: [Convolution([1, 1, 3], init=SMALL), Pooling(3, strides=2, padding={"pad_h": 1, "pad_w": 2})],
    ),
    "Pooling, everything": (IMAGES, lambda: [Convolution([2, 2, 3], init=SMALL), Pooling("all", "avg")]),
    "Pooling, mean": (
        IMAGES,
        lambda: [Convolution([1, 1, 3], init=SMALL), Pooling(3, "avg", strides=2, padding=1)],
    ),
    "Reshape, to images": (
        SEQUENCES,
        lambda: [Linear(4, SMALL), Reshape((2, -1, 4)), Conv([2, 2, 3], SMALL)],
    ),
    "Reshape, to sequences": (
        IMAGES,
        lambda: [Bias(SMALL), Reshape((-1, 5)), Linear(4, SMALL), RecurrentSum()],
    ),
    "MergeSum": (
        IMAGES,
        lambda: [
            Convolution([1, 1, 3], init=SMALL),
            MergeSum(
                [
                    [Conv([3, 3, 3], SMALL, padding=1, batch_norm=True, activation=Tanh()), Dropout(0.7)],
                    SkipNode(),
                ]
            ),
        ],
    ),
    "MergeSum, first and last": (FEATURES, lambda: [MergeSum([Linear(3, SMALL), [Affine(3, SMALL, SMALL)]])]),
    "MergeBroadcast": (
        IMAGES,
        lambda: [
            Bias(SMALL),
            MergeBroadcast(
                [Conv([1, 1, 2], SMALL), [Conv([3, 3, 3], SMALL, padding=1, activation=Tanh())], SkipNode()],
                merge="depth",
            ),
            Pooling(2),
        ],
    ),
    "MergeBroadcast, within another": (
        IMAGES,
        lambda: [
            MergeBroadcast(
                [[Linear(3, SMALL), MergeSum([SkipNode(), Linear(3, SMALL)])], Affine(2, SMALL, SMALL)],
                merge="stack",
            )
        ],
    ),
    "MergeBroadcast, of steps": (
        SEQUENCES,
        lambda: [
            MergeBroadcast([Linear(3, SMALL), BiRNN(2, SMALL, activation=Tanh())], "depth"),
            RecurrentSum(),
        ],
    ),
    "MergeBroadcast, of more steps": (
        SEQUENCES,
        lambda: [
            Linear(3, SMALL),
            MergeBroadcast([SkipNode(), LSTM(3, SMALL, **GATES)], "recurrent"),
            RecurrentSum(),
        ],
    ),
    "BatchNorm": (IMAGES, lambda: [Linear(4, SMALL), BatchNorm(), Activation(Tanh())]),
    "BatchNorm, of channels": (IMAGES, lambda: [Convolution([2, 2, 3], init=SMALL), BatchNorm(0.5, 0.01)]),
    "BatchNorm, of steps": (SEQUENCES, lambda: [BatchNorm(), RecurrentSum()]),
    "BinaryLinear, ShiftBatchNorm": (
        IMAGES,
        lambda: [BinaryLinear(4, SMALL), ShiftBatchNorm(), Activation(Tanh())],
    ),
    "Affine": (IMAGES, lambda: [Affine(5, SMALL, batch_norm=True, activation=Tanh())]),
    "Conv": (IMAGES, lambda: [Conv([3, 3, 4], SMALL, padding=1, bias=SMALL, activation=Tanh())]),
    "Conv, normalized": (IMAGES, lambda: [Conv([3, 3, 4], SMALL, 2, batch_norm=True, activation=Tanh())]),
    "Recurrent": (
        SEQUENCES,
        lambda: [Recurrent(4, SMALL, activation=Tanh(), reset_cells=True), RecurrentLast()],
    ),
    "Recurrent, going on": (SEQUENCES, lambda: [Recurrent(4, SMALL, activation=Tanh()), RecurrentMean()]),
    "LSTM": (SEQUENCES, lambda: [LSTM(4, SMALL, **GATES, reset_cells=True), RecurrentLast()]),
    "LSTM, going on": (SEQUENCES, lambda: [LSTM(4, SMALL, Gaussian(), **GATES), RecurrentMean()]),
    "two LSTMs": (SEQUENCES, lambda: [LSTM(4, SMALL, **GATES), LSTM(3, SMALL, **GATES), RecurrentSum()]),
    "LSTM, one step": ((3, 1), lambda: [LSTM(4, SMALL, **GATES, reset_cells=True), RecurrentLast()]),
    "GRU": (SEQUENCES, lambda: [GRU(4, SMALL, **GATES, reset_cells=True), RecurrentLast()]),
    "GRU, going on": (SEQUENCES, lambda: [GRU(4, SMALL, Gaussian(), **GATES), RecurrentSum()]),
    "BiRNN": (
        SEQUENCES,
        lambda: [BiRNN(2, SMALL, activation=Tanh(), reset_cells=True), RecurrentLast()],
    ),
    "BiRNN, going on": (SEQUENCES, lambda: [BiRNN(2, SMALL, Gaussian(), Tanh()), RecurrentMean()]),
    "BiLSTM": (SEQUENCES, lambda: [BiLSTM(2, SMALL, **GATES, reset_cells=True), RecurrentLast()]),
    "BiLSTM, going on": (SEQUENCES, lambda: [BiLSTM(2, SMALL, Gaussian(), **GATES), RecurrentMean()]),
    "BiBNRNN, going on": (SEQUENCES, lambda: [BiBNRNN(2, SMALL, activation=Tanh()), RecurrentSum()]),
    "BiSum": (SEQUENCES, lambda: [BiLSTM(2, SMALL, **GATES), BiSum(), RecurrentMean()]),
    "DeepBiRNN": (
        SEQUENCES,
        lambda: [DeepBiRNN(2, SMALL, activation=Tanh(), depth=2, reset_cells=True), RecurrentSum()],
    ),
    "DeepBiRNN, normalized, of sums": (
        SEQUENCES,
        lambda: [
            DeepBiRNN(2, SMALL, activation=Tanh(), depth=2, batch_norm=True, bi_sum=True),
            RecurrentSum(),
        ],
    ),
    "DeepBiLSTM": (SEQUENCES, lambda: [DeepBiLSTM(1, SMALL, **GATES, depth=2), RecurrentLast()]),
    "LookupTable": (WORDS, lambda: [LookupTable(5, 3, SMALL), RecurrentSum()]),
    "LookupTable, with padding": (
        WORDS,
        lambda: [LookupTable(5, 3, SMALL, pad_idx=1), GRU(3, SMALL, **GATES), RecurrentLast()],
    ),
    "LookupTable, frozen": (WORDS, lambda: [LookupTable(5, 3, SMALL, update=False), RecurrentSum()]),
}
"""For each the shape of a sample, and layers that come before a softmax."""

ENGINES = ["numpy", "numba", pytest.param("gpu", marks=pytest.mark.gpu)]
STEP = 1e-6
# Central differences in float64: rounding of about 1e-16 / STEP, truncation of about STEP²; costs are of order 10.
TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}


@pytest.fixture(autouse=True)
def _cleanup():
    yield
    cleanup_backend()


def start(engine="numpy", dtype=np.float32):
    device = {"backend": "gpu"} if engine == "gpu" else {"backend": "cpu", "engine": engine}
    return gen_backend(rng_seed=1, batch_size=8, datatype=dtype, **device)


def data_for(shape, samples=20):
    random = np.random.RandomState(3)
    size = (samples, int(np.prod(shape)))
    X = random.randint(5, size=size) if shape == WORDS else random.normal(size=size)
    return ArrayIterator(X, random.randint(3, size=samples), nclass=3, lshape=shape, shuffle=True, seed=1)


def parts(row):
    shape, layers = ROWS[row]
    return data_for(shape), Model([*layers(), Affine(3, SMALL, SMALL, activation=Softmax())])


def layer_by_layer(model, x, t, cost, total):
    y = model.fprop(x)
    total[:] = model.be.sum(cost(y, t))
    model.bprop(t, y, cost)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "Binary" not in row]
)  # theirs are stated to be others
def test_gradients_are_those_of_finite_differences(row):
    be = start(dtype=np.float64)
    data, model = parts(row)
    cost, total = CrossEntropyMulti(), be.zeros((1, 1))
    model.initialize(data, cost)
    for array in model.get_arrays().values():
        array.set(np.random.RandomState(4).uniform(0.1, 0.9, array.shape))
    kept = {name: array.get() for name, array in model.get_arrays().items()}
    counters = model.get_counters()
    x, t = next(data.batches())

    def run():
        model.set_counters(counters)  # the same masks
        for name, array in model.get_arrays().items():
            array.set(kept[name])
        model.forward_backward(x, t, cost, total)
        return float(total.get()[0, 0])

    run()
    pairs = [(leaf.name, *pair) for leaf in model.layers_to_optimize for pair in leaf.pairs()]
    for name, param, found in [(name, param, grad.get()) for name, param, grad in pairs]:
        values, measured = param.asnumpyarray(), np.empty(param.shape)
        if "frozen" in row and name == "LookupTable_0":
            assert not found.any()
            continue
        for index in np.ndindex(values.shape):
            before, costs = values[index], []
            for value in (before + STEP, before - STEP):
                values[index] = value
                costs.append(run())
            values[index] = before
            measured[index] = (costs[0] - costs[1]) / (2 * STEP)
        if "padding" in row and name == "LookupTable_0":
            measured[1] = 0.0  # that vector stays 0
        np.testing.assert_allclose(found, measured, **TOLERANCE, err_msg=f"{name}: {param.name}")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", ROWS)
def test_captured_passes_have_the_bits_of_those_layer_by_layer(row, engine):
    be = start(engine)
    data, model = parts(row)
    cost = CrossEntropyMulti()
    found, counters = [], model.get_counters()
    for run in (model.forward_backward, lambda *args: layer_by_layer(model, *args)):
        be.rng_reset()
        model._initialized = None
        model.initialize(data, cost)
        model.set_counters(counters)  # the same masks
        seen, total = [], be.zeros((1, 1), dtype=np.float64)
        for x, t in data.batches(0):  # the last is smaller
            run(x, t, cost, total)
            pairs = [pair for pair, _ in model.get_params()]
            arrays = [grad for _, grad in pairs] + [*model.get_arrays().values(), total]
            seen += [array.get().tobytes() for array in arrays]
            for param, grad in pairs:
                param[:] = param - 0.05 * grad
        x, _ = next(data.batches(1))
        captured = model.fprop(x, inference=True).get()
        assert np.array_equal(captured, model.layers.fprop(x, inference=True).get())
        found.append([*seen, captured.tobytes()])
    assert found[0] == found[1]


@pytest.mark.parametrize("row", ROWS)
def test_a_stopped_run_goes_on_with_the_same_bits(row, tmp_path):
    def train(stop=99, restore=None):
        start()
        data, model = parts(row)
        model.initialize(data, CrossEntropyMulti())
        adam = Adam(learning_rate=0.02)
        if restore:
            model.load_params(restore, adam)
        validation = Validation(data, {"valid_cost": CrossEntropyMulti()})
        model.fit(data, CrossEntropyMulti(), adam, 3, [validation, StopAt(stop)])
        model.save_params(tmp_path / f"{stop}", adam)
        arrays = [array for (param, _), states in model.get_params() for array in (param, *states)]
        arrays += model.get_arrays().values()
        return [array.get().tobytes() for array in arrays], model.get_counters(), adam.get_counters()

    whole = train()
    for step in (4, 6):  # within an epoch, and at the end of one
        stopped = train(step)
        assert stopped[0] != whole[0]
        assert train(restore=tmp_path / f"{step}") == whole


@pytest.mark.parametrize("row", ROWS)
def test_a_description_rebuilds_the_model_by_way_of_yaml(row):
    start()
    data, model = parts(row)
    description = model.get_description()
    again = from_description(yaml.safe_load(dump_config(description)), "model")
    assert again.get_description() == description
    outputs = []
    for each in (model, again):
        each.be.rng_reset()
        outputs.append(each.get_outputs(data))
    assert np.array_equal(*outputs)
    names = [leaf.name for leaf in again.layers.leaves()]
    assert names == [leaf.name for leaf in model.layers.leaves()]
    assert len(set(names)) == len(names)
