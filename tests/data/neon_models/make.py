"""Made the files beside this one, by Intel's neon 2.6 (Python 3.11, NumPy 2.4): run in a process that has it.

Each is what ``Model.save_params`` writes after two epochs of two minibatches. ``outputs.npz`` has for each model inputs
``<name>/x`` and the outputs ``<name>/y`` of the model that neon makes of its file.
"""

import logging
from pathlib import Path

import neon
import numpy as np
from neon.backends import gen_backend
from neon.initializers import Constant, Gaussian, GlorotUniform, Kaiming, Uniform, Xavier
from neon.layers import (
    GRU,
    LRN,
    LSTM,
    Activation,
    Affine,
    Bias,
    BiLSTM,
    BiRNN,
    Conv,
    Deconv,
    Dropout,
    GeneralizedCost,
    Linear,
    LookupTable,
    MergeBroadcast,
    MergeSum,
    Pooling,
    Recurrent,
    RecurrentLast,
    RecurrentMean,
    RecurrentSum,
    Sequential,
    SkipNode,
)
from neon.layers.recurrent import BiBNRNN, BiSum
from neon.models import Model
from neon.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    GradientDescentMomentum,
    MultiOptimizer,
    RMSProp,
    Schedule,
    ShiftAdaMax,
    ShiftSchedule,
)
from neon.transforms import CrossEntropyMulti, Explin, Logistic, Normalizer, Rectlin, Softmax, Tanh

HERE = Path(__file__).parent
SAMPLES, CLASSES, WORDS = 4, 3, 9


def normal():
    return Gaussian(0, 0.3)


def momentum():
    return GradientDescentMomentum(0.1, 0.9)


def adam():
    return Adam(learning_rate=0.01)


def top():
    return Affine(CLASSES, init=normal(), bias=Constant(0.1), activation=Softmax())


def hidden(**settings):
    return Affine(5, init=normal(), **{"activation": Rectlin(), **settings})


def recurrent(**settings):
    return {"init": normal(), "activation": Tanh(), **settings}


def gated(**settings):
    return recurrent(gate_activation=Logistic(), **settings)


MODELS = {  # name: (shape of a sample, layers, optimizer)
    "mlp_momentum": (6, lambda: [hidden(bias=Constant(0.0)), top()], momentum),
    "mlp_adam": (
        6,
        lambda: [
            Affine(5, init=Uniform(-0.3, 0.3), activation=Tanh()),
            Affine(CLASSES, init=GlorotUniform(), activation=Logistic(shortcut=True)),
        ],
        adam,
    ),
    "mlp_rmsprop": (
        6,
        lambda: [Affine(5, init=Kaiming(local=False), activation=Rectlin(slope=0.1)), top()],
        lambda: RMSProp(gradient_clip_value=1.0, schedule=Schedule([1], 0.5)),
    ),
    "mlp_adagrad": (6, lambda: [Affine(5, init=Xavier(), activation=Explin()), top()], Adagrad),
    "mlp_adadelta": (
        6,
        lambda: [Linear(5, init=normal()), Bias(Constant(0.1)), Activation(Normalizer(divisor=2.0)), top()],
        Adadelta,
    ),
    "mlp_multi": (
        6,
        lambda: [hidden(bias=Constant(0.0)), top()],
        lambda: MultiOptimizer({"default": momentum(), "Bias": RMSProp()}),
    ),
    "mlp_dropout": (6, lambda: [hidden(), Dropout(0.7), top()], momentum),
    "mlp_batch_norm": (6, lambda: [hidden(batch_norm=True), top()], momentum),
    "mlp_shift": (6, lambda: [hidden(), top()], lambda: ShiftAdaMax(schedule=ShiftSchedule(2, 1))),
    "conv": (
        (2, 5, 4),
        lambda: [
            Conv((3, 2, 3), init=normal(), bias=Constant(0.1), padding=1, activation=Rectlin()),
            Pooling(2),
            top(),
        ],
        adam,
    ),
    "conv_batch_norm": (
        (2, 6, 6),
        lambda: [
            Conv(
                (3, 3, 3),
                init=normal(),
                batch_norm=True,
                strides={"str_h": 1, "str_w": 2},
                padding={"pad_h": 1, "pad_w": 0},
                activation=Rectlin(),
            ),
            Pooling("all", op="avg"),
            top(),
        ],
        momentum,
    ),
    "deconv": (
        (1, 6, 6),
        lambda: [
            Conv((3, 3, 2), init=normal(), strides=2, activation=Rectlin()),
            LRN(3, ascale=0.01, bpower=0.75),
            Deconv((3, 3, 1), init=normal(), strides=2, activation=Logistic()),
            top(),
        ],
        momentum,
    ),
    "lookup_lstm": (
        5,
        lambda: [
            LookupTable(vocab_size=WORDS, embedding_dim=4, init=normal(), pad_idx=0),
            LSTM(3, **gated(reset_cells=True)),
            RecurrentSum(),
            top(),
        ],
        RMSProp,
    ),
    "gru": ((4, 5), lambda: [GRU(3, **gated()), RecurrentLast(), top()], momentum),
    "recurrent": ((4, 5), lambda: [Recurrent(3, **recurrent()), RecurrentMean(), top()], adam),
    "bidirectional": (
        (4, 5),
        lambda: [
            Recurrent(3, **recurrent()),
            BiLSTM(2, **gated(reset_cells=True)),
            BiRNN(2, **recurrent(split_inputs=True)),
            BiSum(),
            RecurrentSum(),
            top(),
        ],
        momentum,
    ),
    "normalized_rnn": (
        (4, 5),
        lambda: [Recurrent(3, **recurrent()), BiBNRNN(2, **recurrent()), RecurrentMean(), top()],
        momentum,
    ),
    "branches": (
        6,
        lambda: [
            hidden(name="trunk"),
            MergeBroadcast(
                [
                    [Affine(3, init=normal(), activation=Tanh(), name="left")],
                    Sequential([Affine(2, init=normal(), name="right")]),
                ],
                merge="stack",
            ),
            top(),
        ],
        momentum,
    ),
    "residual": (
        (2, 4, 4),
        lambda: [
            Conv((3, 3, 2), padding=1, init=normal(), activation=Rectlin()),
            MergeSum([[Conv((3, 3, 2), padding=1, init=normal(), batch_norm=True)], [SkipNode()]]),
            Activation(Rectlin()),
            top(),
        ],
        momentum,
    ),
}


class Data:
    """Two minibatches of random samples."""

    nbatches, ndata = 2, 2 * SAMPLES

    def __init__(self, be, name):
        self.be, self.shape = be, MODELS[name][0]
        self.words = name.startswith("lookup")
        sequences = isinstance(self.shape, tuple) and len(self.shape) == 2
        rows, steps = self.shape if sequences else (int(np.prod(self.shape)), 1)
        random = np.random.RandomState(3)
        size = (rows, steps * SAMPLES)
        draw = (
            (lambda: random.randint(0, WORDS, size)) if self.words else (lambda: random.standard_normal(size))
        )
        self.inputs = [draw().astype(np.float32) for _ in range(2)]
        self.targets = [np.eye(CLASSES)[random.randint(0, CLASSES, SAMPLES)].T for _ in range(2)]

    def tensor(self, inputs):
        return self.be.array(inputs, dtype=np.int32 if self.words else np.float32)

    def __iter__(self):
        for inputs, targets in zip(self.inputs, self.targets):  # noqa: B905
            yield self.tensor(inputs), self.be.array(targets)

    def reset(self):
        pass


class NoCallbacks:
    def __getattr__(self, name):
        return lambda *args: None


def main():
    neon.logger.setLevel(logging.CRITICAL)
    outputs = {}
    for name, (_, layers, optimizer) in MODELS.items():
        be = gen_backend("cpu", batch_size=SAMPLES, rng_seed=7)
        data, cost = Data(be, name), GeneralizedCost(CrossEntropyMulti())
        model = Model(layers())
        model.fit(data, cost=cost, optimizer=optimizer(), num_epochs=2, callbacks=NoCallbacks())
        file = HERE / f"{name}.p"
        model.save_params(str(file))
        loaded = Model(str(file))
        loaded.initialize(data, cost)
        outputs[f"{name}/x"] = data.inputs[0]
        outputs[f"{name}/y"] = loaded.fprop(data.tensor(data.inputs[0]), inference=True).get()
    np.savez_compressed(HERE / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
