"""neon's checkpoints ↔ ours: names of classes, arrays and state slots, and what either side does not keep."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from neon_optim.described import registry
from neon_optim.described.build import from_description, is_description
from neon_optim.described.values import plain
from neon_optim.errors import (
    CheckpointError,
    CheckpointWarning,
    NeonOptimError,
    RegistryError,
    printable,
    shown,
)
from neon_optim.serialization.checkpoint.archive import Arrays, Contents, State
from neon_optim.serialization.checkpoint.training_state import (
    capture,
    encode,
    mersenne_twister,
    named_rows,
    parse,
)
from neon_optim.serialization.neon.neon_pickle import NeonCheckpoint
from neon_optim.stepping.parameters import NamedParameter, NamedParameters

_NEON_VERSION = "2.6.0"
_MODULES = {
    "layer": "neon.layers.layer",
    "activation": "neon.transforms.activation",
    "cost": "neon.transforms.cost",
    "initializer": "neon.initializers.initializer",
    "optimizer": "neon.optimizers.optimizer",
    "schedule": "neon.optimizers.optimizer",
}
_CLIPPING = ("gradient_clip_norm", "gradient_clip_value", "param_clip_value")
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "Linear": ("nout", "init", "name"),
    "Bias": ("init", "name"),
    "Activation": ("transform", "name"),
    "Dropout": ("keep", "name"),
    "Rectlin": ("slope", "name"),
    "Logistic": ("shortcut", "name"),
    "Tanh": ("name",),
    "Softmax": ("axis", "epsilon", "name"),
    "Identity": ("name",),
    "Constant": ("val", "name"),
    "Uniform": ("low", "high", "name"),
    "Gaussian": ("loc", "scale", "name"),
    "GlorotUniform": ("name",),
    "Kaiming": ("local", "name"),
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


# ---- from neon


def from_neon(
    neon: NeonCheckpoint, *, t: int | None = None, batches_per_epoch: int | None = None
) -> tuple[Arrays, State]:
    """Arrays and state of a neon checkpoint, as :func:`.training_state.capture` gives those of a run.

    Args:
        neon: what ``read_neon_pickle`` found.
        t: number of steps that the optimizer has done, which neon did not save.
        batches_per_epoch: gives t where it is not known: this number times the epochs.

    Warns:
        CheckpointWarning: Adam needs t, and it is neither given nor computed: bias correction is taken as
        finished.

    Raises:
        CheckpointError: a class or an argument is unknown here, or the states are not those of the optimizer.
    """
    optimizer = None if neon.optimizer is None else _build(neon.optimizer, "optimizer")
    named = NamedParameters(
        NamedParameter(
            layer.name, layer.type.rpartition(".")[2], param, ((array, array), layer.states.get(param, []))
        )
        for layer in neon.layers
        for param, array in layer.params.items()
    )
    owners = [rule.algorithm for _, rule in named_rows(optimizer, named) if rule is not None]
    if not owners and any(states for *_, (_, states) in named):
        raise CheckpointError("the file has states of an optimizer, and no optimizer")
    steps = _steps(owners, neon.epoch_index, t, batches_per_epoch)
    for owner in owners:
        owner.t = steps
    arrays, state = capture(optimizer=optimizer, layers=named, epoch=neon.epoch_index)
    more = {
        "backend": {
            "type": "cpu",
            "rng_seed": neon.backend.get("rng_seed"),
            "noise_seed": None,
            "rng": plain(neon.rng_state),
        },
        "model": {
            "description": _model_description(neon.model),
            "counters": {
                "epoch": neon.epoch_index,
                "minibatch": 0,
                "step": steps,
                "cost_sum": 0.0,
                "layers": {name: {"draws": steps} for name in _dropouts(neon.model)},
            },
        },
        "extra": {
            "neon_version": neon.neon_version,
            "cost": neon.cost,
            "train_input_shape": neon.train_input_shape,
        },
    }
    return arrays, {**state, **encode(more)}


def _steps(owners: list[Any], epochs: int, t: int | None, batches_per_epoch: int | None) -> int:
    for name, value in (("t", t), ("batches_per_epoch", batches_per_epoch)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise CheckpointError(f"{name} must be an integer >= 0, received {shown(value)}")
    if t is not None:
        return t
    if batches_per_epoch is not None:
        return batches_per_epoch * epochs
    adams = [owner for owner in owners if type(owner).__name__ == "Adam"]
    if not adams or epochs == 0:
        return 0
    slowest = max(float(beta) for adam in adams for beta in (adam.beta_1, adam.beta_2))
    finished = math.ceil(math.log(1e-16) / math.log(slowest)) if 0 < slowest < 1 else 1
    warnings.warn(
        f"neon does not save the step count of Adam: t = {finished} is taken, at which its bias correction is over. "
        "Give t, or batches_per_epoch, for the exact one.",
        CheckpointWarning,
        stacklevel=4,
    )
    return finished


def _build(description: Mapping[str, Any], kind: str) -> Any:
    try:
        return from_description(description, kind)
    except NeonOptimError as error:
        raise CheckpointError(f"the {kind} of the file cannot be built: {printable(str(error))}") from error


def _model_description(model: State) -> State:
    """The description of our Model where all of its layers exist here, else neon's."""
    ours = {"type": "Model", "config": {"layers": model}}
    try:
        return from_description(ours, "model").get_description()
    except NeonOptimError:
        return model


def _dropouts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        config = node.get("config")
        if isinstance(config, dict) and str(node.get("type")).rsplit(".", 1)[-1] == "Dropout":
            yield str(config.get("name"))
        for value in node.values():
            yield from _dropouts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _dropouts(value)


# ---- to neon


def to_neon(contents: Contents, file: str) -> State:
    """The dict that neon's ``Model.save_params`` would have pickled after ``fit``.

    Raises:
        CheckpointError: the checkpoint has no model, or one that neon cannot have.

    Warns:
        CheckpointWarning: arguments that neon's class does not take are left out.
    """
    found = parse(contents.state, file)
    description = (found.model or {}).get("description")
    if not isinstance(description, dict):
        raise CheckpointError(f"{file} describes no model, which neon needs: save with model=")
    model = _build(description, "model")
    names = set(found.parameters)
    layers = []
    for leaf in model.layers.leaves():
        node = in_neons_names(leaf.get_description())
        node["config"].setdefault("name", leaf.name)
        path = f"{leaf.name}/W"
        if path in names and path in contents.arrays:
            names.remove(path)
            slots = [f"{path}/{slot}" for slot in found.parameters[path].slots]
            states = [contents.arrays[slot] for slot in slots if slot in contents.arrays]
            node |= {"params": {"W": contents.arrays[path]}, **({"states": states} if states else {})}
        layers.append(node)
    if names:
        raise CheckpointError(
            f"{file}: the model has no layers, or the file no array, for {shown(sorted(names))}"
        )
    backend = found.backend or {}
    weights = [layer["params"]["W"] for layer in layers if "params" in layer]
    extra = found.extra if isinstance(found.extra, dict) else {}
    content: State = {
        "neon_version": extra.get("neon_version", _NEON_VERSION),
        "backend": {"type": "NervanaCPU", "compat_mode": "neon", "rng_seed": backend.get("rng_seed")},
        "model": {
            "type": "neon.layers.container.Sequential",
            "config": {"name": model.layers.name, "layers": layers},
            "container": True,
        },
        "epoch_index": found.epoch + 1,
        "train_input_shape": extra.get("train_input_shape", weights[0].shape[1] if weights else None),
    }
    if backend.get("rng"):
        content["backend"]["rng_state"] = mersenne_twister(backend["rng"], file)
    if found.description is not None:
        content["optimizer"] = in_neons_names(found.description)
    if is_description(extra.get("cost")):
        content["cost"] = extra["cost"]
    return content


def in_neons_names(node: Any) -> Any:
    """A description with neon's class paths, and with the arguments that neon knows."""
    if isinstance(node, list):
        return [in_neons_names(item) for item in node]
    if not is_description(node):
        return {key: in_neons_names(item) for key, item in node.items()} if isinstance(node, dict) else node
    try:
        cls = registry.resolve(node["type"])
    except RegistryError:
        raise CheckpointError(f"neon has no {printable(node['type'])}") from None
    name, kind = cls.__name__, getattr(cls, "kind", None)
    if name not in _ARGUMENTS or kind not in _MODULES:
        raise CheckpointError(f"neon has no {name}, or none that this package writes")
    config = node.get("config")
    config = config if isinstance(config, dict) else {}
    unknown = sorted(set(config) - set(_ARGUMENTS[name]))
    if unknown:
        message = f"neon's {name} does not take {printable(', '.join(unknown))}: left out"
        warnings.warn(message, CheckpointWarning, stacklevel=2)
    kept = {key: in_neons_names(value) for key, value in config.items() if key not in unknown}
    return {"type": f"{_MODULES[kind]}.{name}", "config": kept}
