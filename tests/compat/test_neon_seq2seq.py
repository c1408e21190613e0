"""neon's containers of encoders and decoders."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.initializers import Constant, Gaussian
from neon_optim.compat.neon.layers import GRU, LSTM, Affine, LookupTable, Recurrent, Seq2Seq, SkipThought
from neon_optim.compat.neon.transforms import Logistic, Softmax, Tanh

SMALL = Gaussian(scale=0.5)
GATES = {"activation": Tanh(), "gate_activation": Logistic(), "reset_cells": True}
STEP = 1e-5
# Central differences in float64: rounding of about 1e-16 / STEP, truncation of about STEP²; values are of order 1.
TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}
RANDOM = np.random.RandomState(4)


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=3, batch_size=2, datatype=np.float64)
    cleanup_backend()


def ready(made, shape):
    made.configure(shape)
    made.allocate()
    made.allocate_deltas()
    return made


def check_derivatives(made, inputs, error_of):
    """Of all parameters, against differences of Σ error × outputs; outputs and errors may be lists."""

    def value():
        outputs = made.fprop(inputs)
        each = outputs if isinstance(outputs, list) else [outputs]
        return sum((y.get() * e.get()).sum() for y, e in zip(each, errors, strict=True))

    outputs = made.fprop(inputs)
    errors = error_of(outputs)
    made.bprop(errors if isinstance(outputs, list) else errors[0])
    # Of what it begins with, the gradient of W_recur of an LSTM does not count, as in neon.
    layers = [layer for layer in made.layers_to_optimize if not isinstance(layer, LSTM) or layer.nin != 2]
    pairs = [layer.get_params()[0] for layer in layers]
    for (param, _), grad in zip(pairs, [grad.get() for _, grad in pairs], strict=True):
        values = param.asnumpyarray()
        for index in [tuple(RANDOM.randint(extent) for extent in values.shape) for _ in range(4)]:
            before, sides = values[index], []
            for changed in (before + STEP, before - STEP):
                values[index] = changed
                sides.append(value())
            values[index] = before
            np.testing.assert_allclose(grad[index], (sides[0] - sides[1]) / (2 * STEP), **TOLERANCE)


def random(be, *shape):
    return be.array(RANDOM.normal(size=shape))


@pytest.mark.parametrize(
    ("encoder", "decoder", "connections"),
    [
        ([GRU], [GRU], None),
        ([LSTM], [LSTM], None),
        ([Recurrent], [Recurrent], None),
        ([GRU, GRU], [GRU, GRU], None),
        ([GRU, GRU], [GRU, GRU], [1, 1]),
        ([GRU, GRU], [GRU, GRU], [0, None]),
    ],
)
def test_derivatives_are_right(be, encoder, decoder, connections):
    def layer(cls):
        settings = {key: GATES[key] for key in GATES if cls is not Recurrent or key != "gate_activation"}
        return cls(3, SMALL, **settings)

    made = Seq2Seq([[*map(layer, encoder)], [*map(layer, decoder), Affine(2, SMALL)]], connections)
    ready(made, (4, 3, 2, 5))
    inputs = random(be, 4, 3 * 2), random(be, 2, 5 * 2)
    check_derivatives(made, inputs, lambda y: [random(be, *y.shape)])


def words():
    return Seq2Seq(
        [
            [LookupTable(5, 3, SMALL), GRU(4, SMALL, **GATES)],
            [LookupTable(5, 3, SMALL), GRU(4, SMALL, **GATES), Affine(5, SMALL, activation=Softmax())],
        ],
        name="words",
    )


def test_in_inference_the_decoder_is_given_its_own_words(be):
    made = ready(words(), (3, 1, 4, 1))
    sentence = be.array(RANDOM.randint(5, size=(3, 2)))
    y = made.fprop(sentence, inference=True).get().reshape(5, 4, 2)
    chosen = np.vstack([np.zeros((1, 2)), y.argmax(axis=0)[:3]])
    trained = made.fprop((sentence, be.array(chosen))).get().reshape(5, 4, 2)
    np.testing.assert_allclose(trained, y, rtol=1e-12)
    made.bprop(random(be, 5, 4 * 2))


def test_a_description_with_weights_makes_the_same_again(be):
    made = ready(words(), (3, 1, 4, 1))
    description = made.get_description(get_weights=True)
    assert description["type"] == "neon.layers.container.Seq2Seq"
    again = Seq2Seq.gen_class(description["config"])
    again.load_weights(description)
    ready(again, (3, 1, 4, 1))
    sentence = be.array(RANDOM.randint(5, size=(3, 2)))
    first, second = (one.fprop(sentence, inference=True).get() for one in (made, again))
    np.testing.assert_array_equal(first, second)
    assert len(again.encoder.layers) == 2


def test_what_is_refused():
    with pytest.raises(
        ValueError, match="must be two, those of the encoder and those of the decoder, received 1"
    ):
        Seq2Seq([[GRU(3, SMALL, **GATES)]])
    with pytest.raises(
        ValueError, match="the encoder has 2 recurrent layers, the decoder 1; decoder_connections"
    ):
        Seq2Seq([[GRU(3, SMALL, **GATES), GRU(3, SMALL, **GATES)], [GRU(3, SMALL, **GATES)]])
    with pytest.raises(ValueError, match=r"shapes of both sequences, \(F, T, F, T\), received \(3, 4\)"):
        words().configure((3, 4))


def thought(**options):
    return SkipThought(
        5, 3, SMALL, 4, GRU, SMALL, Tanh(), Logistic(), init_ff=SMALL, init_const=Constant(0.0), **options
    )


def test_groups_of_a_skip_thought_are_as_one(be):
    made = ready(thought(), [(3, 1)] * 3)
    sentences = [be.array(RANDOM.randint(5, size=(3, 2))) for _ in range(3)]
    outputs = made.fprop(sentences)
    assert [y.shape for y in outputs] == [(5, 6), (5, 6)]
    made.bprop([random(be, 5, 6) for _ in range(2)])
    for group in (made.layers[:3], [made.layers[6], made.layers[9]], [made.layers[7], made.layers[10]]):
        assert len({layer.dW.get().tobytes() for layer in group}) == 1
    np.testing.assert_array_equal(made.affine_p[0].W.get(), made.affine_n[0].W.get())


def test_the_encoder_of_a_skip_thought_learns_from_both_decoders(be):
    made = ready(thought(), [(3, 1)] * 3)
    sentences = [be.array(RANDOM.randint(5, size=(3, 2))) for _ in range(3)]
    errors = [be.array(RANDOM.normal(size=(5, 6))) for _ in range(2)]
    for layer in made.layers:  # a softmax leaves its derivative to the cost
        if hasattr(layer, "transform"):
            layer.transform = Tanh()
    made.fprop(sentences)
    made.bprop(errors)
    grad, values, sides = made.encoder.dW.get(), made.encoder.W.asnumpyarray(), []
    before = values[1, 2]
    for changed in (before + STEP, before - STEP):
        values[1, 2] = changed
        sides.append(
            sum((y.get() * e.get()).sum() for y, e in zip(made.fprop(sentences), errors, strict=True))
        )
    values[1, 2] = before
    np.testing.assert_allclose(grad[1, 2], (sides[0] - sides[1]) / (2 * STEP), **TOLERANCE)


def test_a_skip_thought_comes_back_from_its_description(be):
    made = ready(thought(name="s"), [(3, 1)] * 3)
    description = made.get_description(get_weights=True)
    assert description["config"]["rec_layer"] == "neon.layers.recurrent.GRU"
    again = SkipThought.gen_class(description["config"])
    again.load_weights(description)
    np.testing.assert_array_equal(again.encoder.W.get(), made.encoder.W.get())
    assert again.rec_layer is GRU
