"""neon's layers and ours: what each is called, what it takes, and where its arrays stand in neon's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from neon_optim.serialization.checkpoint.archive import State

__all__ = [
    "ARGUMENTS",
    "BRANCHING",
    "MODULES",
    "NOT_TRAINED",
    "in_our_layers",
    "leaves_of",
    "our_place",
    "with_arrays",
    "with_fused_biases",
    "written_from",
]

NOT_TRAINED = ("gmean", "gvar")
"""Running statistics: neon keeps them beside the parameters, without states of an optimizer."""

_CLIPPING = ("gradient_clip_norm", "gradient_clip_value", "param_clip_value")
_CONVOLUTION = ("fshape", "strides", "padding", "dilation", "init", "bsum", "name")
_RECURRENT = ("output_size", "init", "init_inner", "activation", "reset_cells", "name")
_GATED = (*_RECURRENT, "gate_activation")

BRANCHING = ("MergeSum", "MergeBroadcast")
"""Layers with pathways in them, each a Sequential."""

MODULES = {
    "layer": "neon.layers.layer",
    "activation": "neon.transforms.activation",
    "cost": "neon.transforms.cost",
    "initializer": "neon.initializers.initializer",
    "optimizer": "neon.optimizers.optimizer",
    "schedule": "neon.optimizers.optimizer",
    **dict.fromkeys(
        (
            *("Recurrent", "LSTM", "GRU", "BiRNN", "BiLSTM", "BiBNRNN", "BiSum"),
            *("RecurrentSum", "RecurrentMean", "RecurrentLast"),
        ),
        "neon.layers.recurrent",
    ),
    **dict.fromkeys(BRANCHING, "neon.layers.container"),
}
"""neon's module of a class, by its name or else by what it is."""

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "Linear": ("nout", "init", "name"),
    "Bias": ("init", "name"),
    "Activation": ("transform", "name"),
    "Dropout": ("keep", "name"),
    "Convolution": _CONVOLUTION,
    "Deconvolution": _CONVOLUTION,
    "Pooling": ("fshape", "op", "strides", "padding", "name"),
    "BatchNorm": ("rho", "eps", "name"),
    "LRN": ("depth", "alpha", "beta", "ascale", "bpower", "name"),
    "LookupTable": ("vocab_size", "embedding_dim", "init", "update", "pad_idx", "name"),
    "Reshape": ("reshape", "name"),
    "Recurrent": _RECURRENT,
    "LSTM": _GATED,
    "GRU": _GATED,
    "BiRNN": (*_RECURRENT, "split_inputs"),
    "BiLSTM": (*_GATED, "split_inputs"),
    "BiBNRNN": (*_RECURRENT, "split_inputs"),
    "BiSum": ("name",),
    "RecurrentSum": ("name",),
    "RecurrentMean": ("name",),
    "RecurrentLast": ("name",),
    "SkipNode": ("name",),
    "MergeSum": ("name",),
    "MergeBroadcast": ("merge", "alphas", "name"),
    "Rectlin": ("slope", "name"),
    "Rectlinclip": ("slope", "xcut", "name"),
    "Explin": ("alpha", "name"),
    "Normalizer": ("divisor", "name"),
    "Logistic": ("shortcut", "name"),
    "Tanh": ("name",),
    "Softmax": ("axis", "epsilon", "name"),
    "Identity": ("name",),
    "Constant": ("val", "name"),
    "Uniform": ("low", "high", "name"),
    "Gaussian": ("loc", "scale", "name"),
    "GlorotUniform": ("name",),
    "Xavier": ("name",),
    "Kaiming": ("name",),
    "GradientDescentMomentum": (
        *("learning_rate", "momentum_coef", "stochastic_round", "wdecay", "name", "schedule", "nesterov"),
        *_CLIPPING,
    ),
    "RMSProp": ("stochastic_round", "decay_rate", "learning_rate", "epsilon", "name", "schedule", *_CLIPPING),
    "Adagrad": ("stochastic_round", "learning_rate", "epsilon", "name", *_CLIPPING),
    "Adadelta": ("stochastic_round", "decay", "epsilon", "param_clip_value", "name"),
    "Adam": ("stochastic_round", "learning_rate", "beta_1", "beta_2", "epsilon", "name", *_CLIPPING),
    "ShiftAdaMax": ("stochastic_round", "learning_rate", "beta_1", "beta_2", "epsilon", "schedule", "name"),
    "MultiOptimizer": ("optimizer_mapping", "name"),
    "Schedule": ("step_config", "change"),
    "StepSchedule": ("step_config", "change"),
    "PowerSchedule": ("step_config", "change"),
    "ExpSchedule": ("decay",),
    "PolySchedule": ("total_epochs", "power"),
    "ShiftSchedule": ("interval", "shift_size"),
}
"""The classes that neon has too, with the arguments that it knows."""


class _Kept(NamedTuple):
    """What neon's file has of a layer's arrays.

    Attributes:
        params: their names, in neon's order.
        nested: whether there is a list of states for each; else one list for the only one that is trained.
    """

    params: tuple[str, ...]
    nested: bool


_KEPT = {
    "BatchNorm": _Kept(("beta", "gamma", *NOT_TRAINED), True),
    "Convolution_bias": _Kept(("W", "weight_bias"), True),
    "BiBNRNN": _Kept(("W", *NOT_TRAINED), False),
}
_ONE = _Kept(("W",), False)


def _class_of(node: Mapping[str, Any]) -> str:
    return str(node.get("type")).rpartition(".")[2]


def leaves_of(node: Mapping[str, Any]) -> Iterator[Any]:
    """The layers in a description, those of inner containers included."""
    inner = _inner(node)
    if inner is None:
        yield node
    for child in inner or ():
        yield from leaves_of(child)


def _inner(node: Mapping[str, Any]) -> list[Any] | None:
    """The layers in a container; None for a layer."""
    inner = node["config"].get("layers") if isinstance(node.get("config"), dict) else None
    return list(inner) if isinstance(inner, (list, tuple)) else None


def our_place(layer: str, layer_class: str, param: str) -> tuple[str, str, str]:
    """(layer, class of the layer, parameter) of ours for a parameter of neon's.

    neon's Convolution_bias is a Convolution and a Bias here.

    >>> our_place("conv", "Convolution_bias", "weight_bias")
    ('conv_bias', 'Bias', 'W')
    """
    if layer_class != "Convolution_bias":
        return layer, layer_class, param
    return (f"{layer}_bias", "Bias", "W") if param == "weight_bias" else (layer, "Convolution", param)


def in_our_layers(node: Any) -> Any:
    """The description of a model of neon's as one of layers of ours, where we have them."""
    if isinstance(node, list):
        return [layer for item in node for layer in _layers(item)]
    config = {key: value for key, value in node["config"].items() if key not in ("bsum", "parallelism")}
    if "layers" in config:
        config["layers"] = in_our_layers(config["layers"])
    for name in ("init", "init_inner", "bias"):
        init = config.get(name)
        if isinstance(init, dict) and _class_of(init) in (
            "Kaiming",
            "Xavier",
        ):  # ours know what the inputs are
            settings = init.get("config") or {}
            config[name] = {**init, "config": {k: v for k, v in settings.items() if k != "local"}}
    return {**node, "config": config}


def _layers(node: Any) -> Iterator[Any]:
    if not isinstance(node, dict) or not isinstance(node.get("config"), dict):
        yield node
        return
    ours = in_our_layers(node)
    if _class_of(node) != "Convolution_bias":
        yield ours
        return
    bias = ours["config"].pop("bias", None)
    name = str(ours["config"].get("name"))
    yield {**ours, "type": f"{MODULES['layer']}.Convolution"}
    yield {"type": f"{MODULES['layer']}.Bias", "config": {"name": f"{name}_bias", "init": bias}}


def with_fused_biases(layers: Sequence[State]) -> tuple[list[State], dict[str, str]]:
    """Layers of neon's with each Bias behind a Convolution made part of it, as neon has it and wants it in its files.

    Returns the layers, and the names of such a Bias: ours, and the one that its parameter has by :func:`our_place`.
    """
    fused: list[State] = []
    names = {}
    for node in layers:
        if _class_of(node) == "Bias" and fused and _class_of(fused[-1]) == "Convolution":
            convolution = fused.pop()
            config = {**convolution["config"], "bias": node["config"].get("init")}
            fused.append({"type": f"{MODULES['layer']}.Convolution_bias", "config": config})
            names[str(node["config"]["name"])] = f"{config['name']}_bias"
        else:
            fused.append(node)
    return fused, names


def _kept(node: Mapping[str, Any]) -> tuple[_Kept, dict[str, str]]:
    """What neon's file has of a layer, and for each of its parameters the name in our checkpoints."""
    layer_class = _class_of(node)
    kept = _KEPT.get(layer_class, _ONE)
    paths = {}
    for param in kept.params:
        layer, _, own = our_place(str(node["config"].get("name")), layer_class, param)
        paths[param] = f"{layer}/{own}"
    return kept, paths


def written_from(model: Mapping[str, Any]) -> list[str]:
    """The names in our checkpoints of what stands in a model with arrays."""
    written = []
    for node in leaves_of(model):
        paths = _kept(node)[1]
        written += [paths[param] for param in node.get("params", ())]
    return written


def with_arrays(node: Any, arrays: Mapping[str, np.ndarray], slots: Mapping[str, Sequence[str]]) -> State:
    """A description of neon's with the arrays of its layers, as neon's files have them.

    Arguments:
        node: the description of a layer or of a container.
        arrays: those of a checkpoint of ours.
        slots: for each parameter of it the names of its states.
    """
    node = {**node, "config": dict(node["config"])}
    inner = _inner(node)
    if inner is not None:
        node["config"]["layers"] = [with_arrays(child, arrays, slots) for child in inner]
        node["container"] = True
        return node
    kept, paths = _kept(node)
    params = {param: arrays[path] for param, path in paths.items() if path in arrays}
    if not params:
        return node
    states = [
        [arrays[f"{path}/{slot}"] for slot in slots.get(path, ()) if f"{path}/{slot}" in arrays]
        for param, path in paths.items()
        if param not in NOT_TRAINED
    ]
    return {**node, "params": params, "states": states if kept.nested else states[0]}
