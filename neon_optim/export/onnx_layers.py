"""The ONNX form of each layer and of each activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim import model
from neon_optim.described.listing import first_of
from neon_optim.errors import RunError
from neon_optim.export.onnx_graph import OnnxGraph

__all__ = ["append_layers", "onnx_form"]

Form = Callable[[OnnxGraph, Any, str], str]
_FORMS: dict[type, Form] = {}


def onnx_form(*classes: type) -> Callable[[Form], Form]:
    """Decorator: the ONNX form of some classes of layers or activations, of those alone and of none derived from them.

    The function is given the graph, the layer and the name of its input, samples × the layer's ``in_shape``; it returns
    the name of its output, samples × ``out_shape``. An activation is given None for the shape: it keeps any.

    >>> from neon_optim.export import onnx_form
    >>> from neon_optim.model import Layer
    >>> class Doubled(Layer):
    ...     def forward(self, x, inference=False):
    ...         return x * 2.0
    >>> @onnx_form(Doubled)
    ... def doubled(graph, layer, x):
    ...     return graph.add("Add", x, x)
    """

    def remember(form: Form) -> Form:
        _FORMS.update(dict.fromkeys(classes, form))
        return form

    return remember


def append_layers(graph: OnnxGraph, layers: Any, x: str) -> str:
    """Add what a row of layers does outside of training; the name of its outputs.

    Raises:
        RunError: some layers have no form in ONNX.
    """
    stages = layers.stages()
    missing = [f"{stage.name} ({stage.classnm})" for stage in stages if type(stage) not in _FORMS]
    missing += [
        f"{stage.name} (Activation of {stage.transform.classnm})"
        for stage in stages
        if type(stage) is model.Activation and type(stage.transform) not in _FORMS
    ]
    if missing:
        known = ", ".join(sorted(cls.__name__ for cls in _FORMS if issubclass(cls, model.Layer)))
        raise RunError(
            f"layers without a form in ONNX: {first_of(missing)}. Those that have one are {known}; "
            "neon_optim.export.onnx_form gives one to a layer of your own"
        )
    for stage in stages:
        x = _FORMS[type(stage)](graph, stage, x)
    return x


def _flat(graph: OnnxGraph, layer: Any, x: str) -> str:
    """Images as features; features and sequences as they are."""
    return graph.reshape(x, (layer.nin,)) if len(layer.in_shape) == 3 else x


def _by_channel(array: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array of (channels, 1) that meets samples of a shape."""
    return np.asarray(array.get()).reshape(-1, *[1] * (len(shape) - 1))


# --- layers ---


@onnx_form(model.Linear)
def _linear(graph: OnnxGraph, layer: Any, x: str) -> str:
    W = layer.W.get()
    if len(layer.in_shape) == 2:
        return graph.add("MatMul", graph.constant(W, layer.name), x)
    return graph.add("MatMul", _flat(graph, layer, x), graph.constant(W.T, layer.name))


@onnx_form(model.Bias)
def _bias(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.add("Add", x, graph.constant(_by_channel(layer.W, layer.in_shape), layer.name))


@onnx_form(model.Activation)
def _activation(graph: OnnxGraph, layer: Any, x: str) -> str:
    form = _FORMS[type(layer.transform)]
    if type(layer.transform) is not model.Softmax or len(layer.in_shape) < 3:
        return form(graph, layer.transform, x)
    return graph.reshape(form(graph, layer.transform, _flat(graph, layer, x)), layer.out_shape)


@onnx_form(model.Dropout)
def _dropout(graph: OnnxGraph, layer: Any, x: str) -> str:
    return x if layer.keep == 1 else graph.add("Mul", x, graph.constant(layer.keep, "keep"))


@onnx_form(model.Reshape)
def _reshape(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.reshape(x, layer.out_shape)


@onnx_form(model.BatchNorm)
def _batch_norm(graph: OnnxGraph, layer: Any, x: str) -> str:
    arrays = {"gamma": layer.gamma, "beta": layer.beta, "gmean": layer.gmean, "gvar": layer.gvar}
    constants = [
        graph.constant(array.get().ravel(), f"{layer.name}/{name}") for name, array in arrays.items()
    ]
    return graph.add("BatchNormalization", x, *constants, epsilon=float(layer.eps))


def _window(layer: Any) -> dict[str, Any]:
    of = layer.windows
    return {
        "kernel_shape": list(of["window"]),
        "strides": list(of["strides"]),
        "pads": [*of["padding"]] * 2,
    }


@onnx_form(model.Convolution)
def _convolution(graph: OnnxGraph, layer: Any, x: str) -> str:
    rows, columns, count = layer.fshape
    W = graph.constant(layer.W.get().T.reshape(count, -1, rows, columns), layer.name)
    return graph.add("Conv", x, W, dilations=list(layer.windows["dilation"]), **_window(layer))


@onnx_form(model.Deconvolution)
def _deconvolution(graph: OnnxGraph, layer: Any, x: str) -> str:
    rows, columns, count = layer.fshape
    W = graph.constant(layer.W.get().T.reshape(-1, count, rows, columns), layer.name)
    return graph.add("ConvTranspose", x, W, dilations=list(layer.windows["dilation"]), **_window(layer))


@onnx_form(model.Pooling)
def _pooling(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.add("MaxPool" if layer.op == "max" else "AveragePool", x, **_window(layer))


@onnx_form(model.LRN)
def _lrn(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.add("LRN", x, size=layer.depth, alpha=float(layer.ascale), beta=float(layer.bpower))


@onnx_form(model.LookupTable)
def _lookup_table(graph: OnnxGraph, layer: Any, x: str) -> str:
    W = np.array(layer.W.get())
    if layer.pad_idx is not None:
        W[layer.pad_idx] = 0.0
    vectors = graph.add("Gather", graph.constant(W, layer.name), graph.cast(x, np.int64), axis=0)
    return graph.add("Transpose", vectors, perm=[0, 2, 1])


@onnx_form(model.RecurrentLast)
def _last(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.add("Gather", x, graph.constant(np.int64(layer.in_shape[1] - 1), "last"), axis=2)


@onnx_form(model.RecurrentSum)
def _sum(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.add("ReduceSum", x, graph.constant(np.array([2]), "steps"), keepdims=0)


@onnx_form(model.RecurrentMean)
def _mean(graph: OnnxGraph, layer: Any, x: str) -> str:
    return graph.add("ReduceMean", x, axes=[2], keepdims=0)


@onnx_form(model.Recurrent, model.BiRNN)
def _recurrent(graph: OnnxGraph, layer: Any, x: str) -> str:
    return _steps(graph, layer, x, "RNN", [0], ["activation"])


@onnx_form(model.LSTM, model.BiLSTM)
def _lstm(graph: OnnxGraph, layer: Any, x: str) -> str:
    order = [0, 2, 1, 3]  # i, o, f, g
    return _steps(graph, layer, x, "LSTM", order, ["gate_activation", "activation", "activation"])


@onnx_form(model.GRU)
def _gru(graph: OnnxGraph, layer: Any, x: str) -> str:
    """Here z weighs what is new, there what stays: 1 - z, which for a Logistic is that of the opposite number."""
    if type(layer.gate_activation) is not model.Logistic:
        raise RunError(
            f"{layer.name} (GRU): gates of ONNX that do the same are Logistic, not {layer.gate_activation.classnm}"
        )
    return _steps(graph, layer, x, "GRU", [1, 0, 2], ["gate_activation", "activation"], signs=(-1, 1, 1))


def _steps(
    graph: OnnxGraph,
    layer: Any,
    x: str,
    operation: str,
    order: list[int],
    activations: list[str],
    signs: tuple[int, ...] = (),
) -> str:
    """A recurrent layer.

    Arguments:
        order: our number of each of its gates, in the order of ONNX.
        activations: the settings that say its activations, in the order of ONNX.
        signs: what each of its gates is multiplied by.
    """
    if getattr(layer, "split_inputs", False):
        raise RunError(f"{layer.name} ({layer.classnm}): ONNX has no form of split_inputs")
    size, directions = layer.output_size, len(layer.directions)

    def gates(part: Any) -> np.ndarray:
        blocks = np.split(np.asarray(part.get(), np.float32), layer.gates)
        return np.concatenate([blocks[k] * (signs[place] if signs else 1) for place, k in enumerate(order)])

    weights = layer.weights(layer.W)
    W, R, b = (np.stack([gates(getattr(one, part)) for one in weights]) for part in ("input", "recur", "b"))
    B = np.concatenate([b[:, :, 0], np.zeros_like(b[:, :, 0])], axis=1)
    constants = [
        graph.constant(array, f"{layer.name}/{name}") for array, name in ((W, "W"), (R, "R"), (B, "B"))
    ]
    found = [_rnn_activation(layer, getattr(layer, setting)) for setting in activations]
    names, alphas, betas = zip(*found * directions, strict=True)
    values = graph.add(
        operation,
        graph.add("Transpose", x, perm=[2, 0, 1]),
        *constants,
        hidden_size=size,
        direction="bidirectional" if directions == 2 else "forward",
        activations=list(names),
        activation_alpha=list(alphas),
        activation_beta=list(betas),
    )
    return graph.reshape(graph.add("Transpose", values, perm=[2, 1, 3, 0]), layer.out_shape)


def _rnn_activation(layer: Any, transform: Any) -> tuple[str, float, float]:
    """The name of an activation within a recurrent layer, with its two numbers."""
    kind = type(transform)
    if kind is model.Rectlin:
        return ("LeakyRelu", float(transform.slope), 0.0) if transform.slope else ("Relu", 0.0, 0.0)
    if kind is model.Explin:
        return "Elu", float(transform.alpha), 0.0
    if kind is model.Identity:
        return "Affine", 1.0, 0.0
    if kind is model.Normalizer:
        return "Affine", 1.0 / transform.divisor, 0.0
    names: dict[type, str] = {model.Logistic: "Sigmoid", model.Tanh: "Tanh"}
    if kind not in names:
        raise RunError(
            f"{layer.name} ({layer.classnm}): ONNX has no recurrent layer with {transform.classnm}"
        )
    return names[kind], 0.0, 0.0


# --- activations ---


@onnx_form(model.Identity)
def _identity(graph: OnnxGraph, transform: Any, x: str) -> str:
    return x


@onnx_form(model.Rectlin)
def _rectlin(graph: OnnxGraph, transform: Any, x: str) -> str:
    slope = float(transform.slope)
    return graph.add("LeakyRelu", x, alpha=slope) if slope else graph.add("Relu", x)


@onnx_form(model.Rectlinclip)
def _rectlinclip(graph: OnnxGraph, transform: Any, x: str) -> str:
    line = _rectlin(graph, transform, x)
    return graph.add("Min", line, graph.constant(transform.xcut, "xcut"))


@onnx_form(model.Explin)
def _explin(graph: OnnxGraph, transform: Any, x: str) -> str:
    return graph.add("Elu", x, alpha=float(transform.alpha))


@onnx_form(model.Normalizer)
def _normalizer(graph: OnnxGraph, transform: Any, x: str) -> str:
    return graph.add("Div", x, graph.constant(transform.divisor, "divisor"))


@onnx_form(model.Logistic)
def _logistic(graph: OnnxGraph, transform: Any, x: str) -> str:
    return graph.add("Sigmoid", x)


@onnx_form(model.Tanh)
def _tanh(graph: OnnxGraph, transform: Any, x: str) -> str:
    return graph.add("Tanh", x)


@onnx_form(model.Softmax)
def _softmax(graph: OnnxGraph, transform: Any, x: str) -> str:
    return graph.add("Softmax", x, axis=1)
