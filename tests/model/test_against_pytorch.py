"""Layers against PyTorch's, in value and gradients (float64)."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.backends.derivatives import gradients
from neon_optim.model import (
    GRU,
    LRN,
    LSTM,
    BatchNorm,
    Convolution,
    Deconvolution,
    Gaussian,
    Logistic,
    LookupTable,
    Pooling,
    Recurrent,
    Tanh,
)

torch = pytest.importorskip("torch")
F = torch.nn.functional

# Sums of up to some hundred terms in another order, in float64.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
RANDOM = np.random.RandomState(5)


def ready(layer, shape):
    layer.in_shape = shape
    layer.configure(shape[0] if len(shape) == 2 else int(np.prod(shape)))
    layer.init_params()
    return layer


def compare(be, layer, x, theirs, parameters, laid_out=lambda a: a):
    """Value and gradients of a layer, for inputs x as its tensors have them.

    Arguments:
        theirs: the outputs as PyTorch computes them, of x and the parameters, which are PyTorch's tensors.
        laid_out: brings what it gives into the layout of our tensors.
    """
    given = be.array(x)
    value = layer.forward(given)
    error = RANDOM.normal(size=value.shape)
    wrt = [given, *[param for param, _ in layer.pairs()]]
    trees = gradients(value, wrt, be.array(error))
    found = []
    for tree in (value, *trees):
        out = be.empty(tree.shape)
        out[:] = tree
        found.append(out.get())
    inputs = torch.tensor(x, requires_grad=True)
    weights = [torch.tensor(param.get(), requires_grad=True) for param, _ in layer.pairs()]
    outputs = laid_out(theirs(inputs, *weights))
    outputs.backward(torch.tensor(error))
    expected = [outputs.detach(), inputs.grad, *[w.grad for w in weights]]
    for ours, theirs_, what in zip(found, expected, ["outputs", "inputs", *parameters], strict=True):
        np.testing.assert_allclose(ours, theirs_.numpy(), **TOLERANCE, err_msg=what)


def as_images(x, shape):
    return x.reshape(*shape, -1).permute(3, 0, 1, 2)


def as_features(y):
    return y.permute(1, 2, 3, 0).reshape(-1, y.shape[0])


@pytest.mark.parametrize(
    "settings",
    [{}, {"strides": 2}, {"padding": 2, "strides": {"str_w": 3}}, {"dilation": 2, "padding": {"pad_h": 1}}],
    ids=str,
)
def test_convolution(be64, settings):
    shape, (r, s, k) = (3, 8, 7), (3, 2, 4)
    layer = ready(Convolution([r, s, k], init=Gaussian(), **settings), shape)
    stride, padding, dilation = (layer.windows[name] for name in ("strides", "padding", "dilation"))

    def theirs(x, W):
        filters = W.reshape(3, r, s, k).permute(3, 0, 1, 2)
        return F.conv2d(as_images(x, shape), filters, None, stride, padding, dilation)

    compare(be64, layer, RANDOM.normal(size=(3 * 8 * 7, 5)), theirs, "W", as_features)


@pytest.mark.parametrize(
    "settings",
    [{}, {"strides": 2}, {"padding": 1, "strides": {"str_w": 3}}, {"dilation": 2, "padding": {"pad_h": 1}}],
    ids=str,
)
def test_deconvolution(be64, settings):
    shape, (r, s, c) = (3, 4, 5), (3, 2, 4)
    layer = ready(Deconvolution([r, s, c], init=Gaussian(), **settings), shape)
    stride, padding, dilation = (layer.windows[name] for name in ("strides", "padding", "dilation"))

    def theirs(x, W):
        filters = W.reshape(c, r, s, 3).permute(3, 0, 1, 2)
        return F.conv_transpose2d(as_images(x, shape), filters, None, stride, padding, 0, 1, dilation)

    compare(be64, layer, RANDOM.normal(size=(60, 5)), theirs, "W", as_features)


@pytest.mark.parametrize("depth", [1, 3, 5, 9])
def test_local_response_normalization(be64, depth):
    shape = (4, 3, 2)
    layer = ready(LRN(depth, ascale=0.5, bpower=0.75), shape)

    def theirs(x):
        return F.local_response_norm(as_images(x, shape), depth, alpha=0.5, beta=0.75, k=1.0)

    compare(be64, layer, RANDOM.normal(size=(24, 5)), theirs, "", as_features)


@pytest.mark.parametrize("op", ["max", "avg"])
@pytest.mark.parametrize(
    ("fshape", "strides", "padding"),
    [(2, None, 0), (3, 1, 1), ([3, 2], {"str_h": 2, "str_w": 1}, {"pad_h": 1}), (3, 3, 0)],
)
def test_pooling(be64, op, fshape, strides, padding):
    """Of many equal elements, too: PyTorch's gradient of a maximum goes to the first, as ours."""
    shape = (2, 8, 6)
    layer = ready(Pooling(fshape, op, strides, padding), shape)
    window, stride, around = (layer.windows[name] for name in ("window", "strides", "padding"))

    def theirs(x):
        images = as_images(x, shape)
        if op == "max":
            return F.max_pool2d(images, window, stride, around)
        return F.avg_pool2d(images, window, stride, around, count_include_pad=False)

    compare(be64, layer, RANDOM.normal(size=(96, 4)), theirs, "", as_features)
    compare(be64, layer, -RANDOM.randint(3, size=(96, 4)).astype(float), theirs, "", as_features)


@pytest.mark.parametrize("shape", [(6,), (3, 4, 5), (3, 4)])
def test_batch_norm(be64, shape):
    layer = ready(BatchNorm(eps=0.01), shape)
    layer.gamma.set(RANDOM.normal(size=layer.gamma.shape))
    layer.beta.set(RANDOM.normal(size=layer.beta.shape))
    x = RANDOM.normal(2.0, 3.0, size=(layer.nin, 8))

    def theirs(x, beta, gamma):
        wide = x.reshape(shape[0], -1).T
        y = F.batch_norm(wide, None, None, gamma[:, 0], beta[:, 0], training=True, eps=0.01)
        return y.T.reshape(x.shape)

    compare(be64, layer, x, theirs, ["beta", "gamma"])


def test_running_statistics(be64):
    layer = ready(BatchNorm(rho=0.75, eps=0.01), (3, 2, 2))
    ours = torch.nn.BatchNorm2d(3, eps=0.01, momentum=0.25, dtype=torch.float64)
    ours.running_mean.zero_()
    ours.running_var.zero_()
    for _ in range(3):
        x = RANDOM.normal(2.0, 3.0, size=(12, 8))
        layer.fprop(be64.array(x))
        ours(as_images(torch.tensor(x), (3, 2, 2)))
    np.testing.assert_allclose(layer.gmean.get()[:, 0], ours.running_mean, **TOLERANCE)
    of_sample = (
        32 / 31
    )  # PyTorch's running variance is that of a sample, neon's and ours that of the population
    np.testing.assert_allclose(layer.gvar.get()[:, 0] * of_sample, ours.running_var, **TOLERANCE)
    x = RANDOM.normal(size=(12, 8))
    ours.running_var /= of_sample
    expected = as_features(ours.eval()(as_images(torch.tensor(x), (3, 2, 2)))).detach()
    np.testing.assert_allclose(layer.fprop(be64.array(x), inference=True).get(), expected, **TOLERANCE)


def parts_of(W, nin, nout):
    wide = W.shape[1]
    return W[:nin].reshape(wide, nin), W[nin:-1].reshape(wide, nout), W[-1]


def as_sequence(x, length):
    return x.reshape(x.shape[0], length, -1).permute(1, 2, 0)


def as_columns(y):
    return y.permute(2, 0, 1).reshape(y.shape[2], -1)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_recurrent_and_lstm(be64, kind, length):
    nin, nout, n = 3, 4, 8
    gates = {"activation": Tanh(), "reset_cells": True}
    if kind == "LSTM":
        gates["gate_activation"] = Logistic()
    layer = ready({"RNN": Recurrent, "LSTM": LSTM}[kind](nout, Gaussian(), **gates), (nin, length))
    layer.W.set(RANDOM.normal(size=layer.W.shape))
    order = {"RNN": [0], "LSTM": [0, 1, 3, 2]}[kind]  # PyTorch's i, f, g, o

    def theirs(x, W):
        ordered = [
            torch.cat([part.reshape(layer.gates, nout, -1)[k] for k in order])
            for part in parts_of(W, nin, nout)
        ]
        weights = [
            ordered[0],
            ordered[1],
            ordered[2][:, 0],
            torch.zeros(layer.gates * nout, dtype=torch.float64),
        ]
        state = torch.zeros(1, n, nout, dtype=torch.float64)
        if kind == "RNN":
            return torch._VF.rnn_tanh(
                as_sequence(x, length), state, weights, True, 1, 0.0, True, False, False
            )[0]
        states = (state, state)
        return torch._VF.lstm(as_sequence(x, length), states, weights, True, 1, 0.0, True, False, False)[0]

    compare(be64, layer, RANDOM.normal(size=(nin, length * n)), theirs, "W", as_columns)


@pytest.mark.parametrize("length", [1, 4])
def test_gru(be64, length):
    """PyTorch multiplies by r behind the weights, neon before them, so this is written out."""
    nin, nout, n = 3, 4, 8
    settings = {"activation": Tanh(), "gate_activation": Logistic(), "reset_cells": True}
    layer = ready(GRU(nout, Gaussian(), Gaussian(), **settings), (nin, length))
    layer.W.set(RANDOM.normal(size=layer.W.shape))

    def theirs(x, W):
        (Wr, Wz, Wc), (Ur, Uz, Uc), (br, bz, bc) = (
            part.reshape(3, nout, -1) for part in parts_of(W, nin, nout)
        )
        h, outputs = torch.zeros(nout, n, dtype=torch.float64), []
        for t in range(length):
            of_step = x[:, t * n : (t + 1) * n]
            r = torch.sigmoid(Wr @ of_step + Ur @ h + br)
            z = torch.sigmoid(Wz @ of_step + Uz @ h + bz)
            h = (1 - z) * h + z * torch.tanh(Wc @ of_step + Uc @ (r * h) + bc)
            outputs.append(h)
        return torch.cat(outputs, 1)

    compare(be64, layer, RANDOM.normal(size=(nin, length * n)), theirs, "W")


def test_lookup_table(be64):
    layer = ready(LookupTable(7, 3, Gaussian()), (4,))
    x = RANDOM.randint(7, size=(4, 5)).astype(float)

    def theirs(x, W):
        return F.embedding(x.detach().long().reshape(-1), W).T + 0.0 * x.sum()

    compare(be64, layer, x, theirs, "W")
