"""neon's recurrent layers: its protocol, its names of what is within, and its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neon_optim import NervanaObject, model
from neon_optim.backends.derivatives import gradients
from neon_optim.compat.neon.backends import cleanup_backend
from neon_optim.compat.neon.backends.nervanacpu import NervanaCPU
from neon_optim.compat.neon.initializers import Constant, Gaussian, GlorotUniform
from neon_optim.compat.neon.layers import recurrent
from neon_optim.compat.neon.layers.container import DeltasTree
from neon_optim.compat.neon.transforms import Logistic, Tanh

GOLDEN = Path(__file__).parents[1] / "data" / "neon_recurrent.npz"
F, H, T, B = 3, 4, 5, 4


@pytest.fixture(autouse=True)
def be():
    NervanaObject.be = NervanaCPU(
        rng_seed=7, engine="numpy"
    )  # compiling takes longer than all that is done here
    NervanaObject.be.bsz = B
    yield NervanaObject.be
    cleanup_backend()


def made(name, init=None, **settings):
    if "LSTM" in name or name == "GRU":
        settings["gate_activation"] = Logistic()
    return getattr(recurrent, name)(H, init or GlorotUniform(), activation=Tanh(), **settings)


def ready(layer, shape=(F, T)):
    layer.configure(shape)
    layer.prev_layer = True  # so that it has deltas
    layer.allocate()
    tree = DeltasTree()
    layer.allocate_deltas(tree)
    tree.allocate_buffers()
    layer.set_deltas(tree)
    return layer


@pytest.mark.parametrize("name", ["Recurrent", "LSTM", "GRU", "BiRNN", "BiLSTM"])
def test_weights_are_those_of_neon_after_60_minibatches_that_go_on_from_each_other(be, name):
    """``neon_recurrent.npz`` is what Intel's neon 2.6 gave for these very lines."""
    random, layer = np.random.RandomState(3), ready(made(name))
    x, error = be.iobuf((F, T)), be.iobuf(layer.out_shape)
    target = be.array(random.randn(layer.out_shape[0], T * B) * 0.5)
    (W, dW), _ = layer.get_params()
    for _ in range(60):
        x[:] = random.randn(F, T * B)
        error[:] = layer.fprop(x) - target
        layer.bprop(error)
        W[:] = W - 0.05 / B * dW
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(W.get(), golden[name], rtol=0, atol=1e-6)


ROWS = {
    "Recurrent": {},
    "LSTM": {},
    "GRU": {},
    "BiRNN": {},
    "BiLSTM": {"split_inputs": True},
    "BiBNRNN": {},
    "BiRNN, split": {"split_inputs": True},
}


@pytest.mark.parametrize("row", ROWS)
def test_both_passes_are_those_of_the_layer_of_ours(be, row):
    name, nin = row.partition(",")[0], 4
    layer = ready(made(name, reset_cells=True, **ROWS[row]), (nin, T))
    settings = {"gate_activation": Logistic()} if "LSTM" in name or name == "GRU" else {}
    ours = getattr(model, name)(H, Constant(), activation=Tanh(), **settings, **ROWS[row])
    ours.in_shape = (nin, T)
    ours.configure(nin)
    ours.init_params()
    ours.W[:] = layer.W
    random = np.random.RandomState(0)
    for _ in range(4):  # captured after the second
        x, error = (be.array(random.normal(size=(rows, T * B))) for rows in (nin, layer.out_shape[0]))
        y, given = layer.fprop(x), error.get()
        params = layer.get_params()
        found = [
            layer.bprop(error),
            *[grad for (_, grad), _ in (params if isinstance(params, list) else [params])],
        ]
        value = ours.forward(x)
        wrt = [x, *[param for param, _ in ours.pairs()]]
        np.testing.assert_allclose(y.get(), _value(be, value), rtol=1e-5, atol=1e-6)
        for mine, tree in zip(found, gradients(value, wrt, be.array(given)), strict=True):
            np.testing.assert_allclose(mine.get(), _value(be, tree), rtol=1e-4, atol=1e-5)


def _value(be, tree):
    out = be.empty(tree.shape)
    out[:] = tree
    return out.get()


def test_what_is_within_an_lstm_stands_by_neons_names(be):
    layer = ready(made("LSTM"))
    x = be.array(np.random.RandomState(0).normal(size=(F, T * B)))
    y = layer.fprop(x)
    i, f, o, g = np.split(layer.ifog_buffer.get(), 4)
    c, c_act = layer.c_buffer.get(), layer.c_act_buffer.get()
    np.testing.assert_allclose(y.get(), o * c_act, rtol=1e-6)
    np.testing.assert_allclose(c_act, np.tanh(c), rtol=1e-5)
    np.testing.assert_allclose(c[:, B:], f[:, B:] * c[:, :-B] + i[:, B:] * g[:, B:], rtol=1e-4, atol=1e-6)
    assert np.array_equal(layer.final_state().get(), y.get()[:, -B:])
    assert np.array_equal(layer.h[2].get(), y.get()[:, 2 * B : 3 * B])
    layer.bprop(be.ones(y.shape))
    delta = layer.ifog_delta_buffer.get()
    np.testing.assert_allclose(layer.dW_input.get(), delta @ x.get().T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.db.get(), delta.sum(1, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.dW_recur.get(), delta[:, B:] @ y.get()[:, :-B].T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.deltas.get(), layer.W_input.get().T @ delta, rtol=1e-4, atol=1e-5)
    assert layer.W[:F].get().tobytes() == layer.W_input.get().tobytes()


def test_what_is_within_a_gru_stands_by_neons_names(be):
    layer = ready(made("GRU"))
    y = layer.fprop(be.array(np.random.RandomState(0).normal(size=(F, T * B)))).get()
    r, z, hcan = np.split(layer.rzhcan_buffer.get(), 3)
    before = np.hstack([np.zeros((H, B)), y[:, :-B]])
    np.testing.assert_allclose(layer.rh_prev_buffer.get(), r * before, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(y, (1 - z) * before + z * hcan, rtol=1e-4, atol=1e-6)
    assert np.array_equal(layer.Wrz_recur.get(), layer.W_recur.get()[: 2 * H])


def test_minibatches_go_on_while_their_inputs_are_in_the_same_tensor_and_in_inference_too(be):
    layer = ready(made("Recurrent"))
    x = be.ones((F, T * B))
    first = layer.fprop(x, inference=True).get()
    second = layer.fprop(x).get()
    assert not np.array_equal(second, first)
    assert np.array_equal(layer.fprop(be.ones((F, T * B))).get(), first)
    layer.reset_cells = True
    assert np.array_equal(layer.fprop(layer.x).get(), first)


@pytest.mark.parametrize("name", ["Recurrent", "LSTM", "GRU"])
def test_given_outputs_are_what_the_first_step_begins_with(be, name):
    layer = ready(made(name, reset_cells=True))
    random = np.random.RandomState(0)
    x, error = be.array(random.normal(size=(F, T * B))), random.normal(size=(H, T * B))
    start = random.normal(size=(H, B))

    def cost(given):
        return (layer.fprop(x, init_state=be.array(given)).get() * error).sum()

    cost(start)
    layer.bprop(be.array(error))
    found, step, measured = layer.get_final_hidden_error().get(), 1e-2, np.empty(start.shape)
    for index in np.ndindex(start.shape):
        moved = start.copy()
        moved[index] += step
        measured[index] = cost(moved)
        moved[index] -= 2 * step
        measured[index] = (measured[index] - cost(moved)) / (2 * step)
    np.testing.assert_allclose(found, measured, rtol=0.02, atol=0.02)
    with pytest.raises(ValueError, match=r"Expected: \(4, 4\), found: \(4, 2\)"):
        layer.fprop(x, init_state=be.ones((H, 2)))


@pytest.mark.parametrize("name", ["LSTM", "BiLSTM"])
def test_deltas_are_scaled_and_added_to_what_is_there(be, name):
    layer = ready(made(name, reset_cells=True))
    x = be.ones((F, T * B))
    layer.fprop(x)
    error = be.ones((layer.out_shape[0], T * B))
    plain = layer.bprop(error).get()
    layer.deltas.fill(1.0)
    np.testing.assert_allclose(layer.bprop(error, alpha=2.0, beta=3.0).get(), 2 * plain + 3, rtol=1e-5)


def test_sequences_and_errors_may_come_as_one_vector(be):
    layer = ready(made("LSTM", reset_cells=True))
    x, error = be.array(np.random.RandomState(0).normal(size=(F, T * B))), be.ones((H, T * B))
    y, deltas = layer.fprop(x).get(), layer.bprop(error).get()
    assert np.array_equal(layer.fprop(x.reshape(F * T, B)).get(), y)
    assert np.array_equal(layer.bprop(error.reshape(H * T, B)).get(), deltas)
    total = ready(recurrent.RecurrentSum())
    assert np.array_equal(total.fprop(x.reshape(F * T, B)).get(), total.fprop(x).get())


def test_a_first_layer_has_no_deltas(be):
    layer = made("LSTM")
    layer.configure((F, T))
    layer.allocate()
    layer.set_deltas(DeltasTree())
    error = layer.fprop(be.ones((F, T * B)))
    assert layer.bprop(error) is None
    assert layer.dW_input.get().any()


@pytest.mark.parametrize("name", ["Recurrent", "GRU", "BiLSTM", "BiBNRNN"])
def test_weights_are_saved_and_loaded(be, name):
    layer = ready(made(name))
    saved = layer.get_description(get_weights=True)
    assert saved["type"] == f"neon.layers.recurrent.{name}"
    assert saved["config"]["output_size"] == H
    other = made(name, Gaussian())
    other.load_weights(saved)
    x = be.array(np.random.RandomState(0).normal(size=(F, T * B)))
    assert np.array_equal(ready(other).fprop(x).get(), layer.fprop(x).get())
    wrong = made(name)
    wrong.load_weights(saved)
    with pytest.raises(ValueError, match="W has the shape"):
        ready(wrong, (F + 1, T))


def test_settings_may_change_between_minibatches(be):
    layer = ready(made("Recurrent", reset_cells=True))
    x = be.ones((F, T * B))
    for _ in range(3):
        before = layer.fprop(x).get()
    layer.activation = Logistic()
    assert not np.array_equal(layer.fprop(x).get(), before)
    assert (layer.fprop(x).get() > 0).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("RecurrentSum", np.sum), ("RecurrentMean", np.mean), ("RecurrentLast", lambda x, axis: x[:, -1])],
)
def test_layers_that_make_one_vector_of_a_sequence(be, name, expected):
    layer = ready(getattr(recurrent, name)())
    x = np.random.RandomState(0).normal(size=(F, T, B))
    y = layer.fprop(be.array(x.reshape(F, -1)))
    assert (layer.out_shape, layer.name) == ((F, 1), name)
    np.testing.assert_allclose(y.get(), expected(x, axis=1), rtol=1e-5, atol=1e-6)
    deltas = layer.bprop(be.ones((F, B))).get().reshape(F, T, B)
    weight = {"RecurrentSum": 1.0, "RecurrentMean": 1 / T}.get(name, 0.0)
    np.testing.assert_allclose(deltas[:, :-1], weight, rtol=1e-6)
    np.testing.assert_allclose(deltas[:, -1], weight or 1.0, rtol=1e-6)
    assert len(layer.deltas) == T


def test_both_directions_are_added_up(be):
    layer = ready(recurrent.BiSum(), (6, T))
    x = np.random.RandomState(0).normal(size=(6, T * B)).astype(np.float32)
    assert np.array_equal(layer.fprop(be.array(x)).get(), x[:3] + x[3:])
    error = be.array(x[:3])
    assert np.array_equal(layer.bprop(error).get(), np.vstack([x[:3], x[:3]]))


def test_deep_layers_are_lists(be):
    init = GlorotUniform()
    plain = recurrent.DeepBiRNN(H, init, activation=Tanh(), depth=2)
    assert [layer.split_inputs for layer in plain] == [False, True]
    summed = recurrent.DeepBiRNN(H, init, activation=Tanh(), depth=2, batch_norm=True, bi_sum=True)
    assert [type(layer).__name__ for layer in summed] == ["BiBNRNN", "BiSum"] * 2
    gates = {"activation": Tanh(), "gate_activation": Logistic()}
    assert [layer.split_inputs for layer in recurrent.DeepBiLSTM(H, init, **gates, depth=3)] == [
        False,
        True,
        True,
    ]
    with pytest.raises(ValueError, match="depth must be at least 1, received 0"):
        recurrent.DeepBiRNN(H, init, activation=Tanh(), depth=0)
