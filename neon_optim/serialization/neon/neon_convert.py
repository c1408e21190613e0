"""neon's checkpoints ↔ ours: names of classes, arrays and state slots, and what either side does not keep."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

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
    TrainingState,
    capture,
    encode,
    mersenne_twister,
    named_rows,
    parse,
)
from neon_optim.serialization.neon.neon_layers import (
    ARGUMENTS,
    BRANCHING,
    MODULES,
    NOT_TRAINED,
    in_our_layers,
    leaves_of,
    our_place,
    with_arrays,
    with_fused_biases,
    written_from,
)
from neon_optim.serialization.neon.neon_pickle import NeonCheckpoint, NeonLayer
from neon_optim.stepping.parameters import NamedParameter, NamedParameters

_NEON_VERSION = "2.6.0"

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
    named = NamedParameters(row for layer in neon.layers for row in _rows(layer))
    owners = [rule.algorithm for _, rule in named_rows(optimizer, named) if rule is not None]
    if not owners and any(parameter.value[1] for parameter in named):
        raise CheckpointError("the file has states of an optimizer, and no optimizer")
    steps = _steps(owners, neon.epoch_index, t, batches_per_epoch)
    for owner in owners:
        owner.t = steps
    arrays, state = capture(optimizer=optimizer, layers=named, epoch=neon.epoch_index)
    running = {
        f"{layer.name}/{name}": layer.params[name]
        for layer in neon.layers
        for name in NOT_TRAINED
        if name in layer.params
    }
    arrays |= running
    more = {
        "backend": {
            "type": "cpu",
            "rng_seed": neon.backend.get("rng_seed"),
            "noise_seed": None,
            "rng": plain(neon.rng_state),
        },
        "model": {
            "description": _model_description(neon.model),
            "arrays": sorted(running),
            "starts_anew": True,
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
            "model": neon.model,
        },
    }
    return arrays, {**state, **encode(more)}


def _rows(layer: NeonLayer) -> Iterator[NamedParameter]:
    """The trained parameters of a layer, by our names."""
    for param, array in layer.params.items():
        if param not in NOT_TRAINED:
            place = our_place(layer.name, layer.type.rpartition(".")[2], param)
            yield NamedParameter(*place, ((array, array), layer.states.get(param, [])))
    if layer.type.endswith(".BiBNRNN") and "gmean" in layer.params:  # neon neither saves these nor loads them
        for param, first in (("beta", np.zeros_like), ("gamma", np.ones_like)):
            array = first(layer.params["gmean"])
            yield NamedParameter(layer.name, "BiBNRNN", param, ((array, array), []))


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


def model_of_ours(model: State) -> Any:
    """The model of a neon checkpoint as ours, untrained.

    Raises:
        NeonOptimError: it has layers that are none of ours.
    """
    return from_description({"type": "Model", "config": {"layers": in_our_layers(model)}}, "model")


def _model_description(model: State) -> State:
    """The description of our Model where all of its layers exist here, else neon's."""
    try:
        return dict(model_of_ours(model).get_description())
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
    extra = found.extra if isinstance(found.extra, dict) else {}
    description, renamed = _neon_model(found, extra, file)
    arrays = {_renamed(name, renamed): array for name, array in contents.arrays.items()}
    slots = {_renamed(name, renamed): record.slots for name, record in found.parameters.items()}
    model = with_arrays(description, arrays, slots)
    lost = set(slots) - set(written_from(model))
    _tell_of_norms(description, arrays, lost)
    if lost:
        raise CheckpointError(
            f"{file}: the model has no layers, or the file no array, for {shown(sorted(lost))}"
        )
    if found.description is None:
        model = _without_states(model)
    backend = found.backend or {}
    content: State = {
        "neon_version": extra.get("neon_version", _NEON_VERSION),
        "backend": {"type": "NervanaCPU", "compat_mode": "neon", "rng_seed": backend.get("rng_seed")},
        "model": model,
        "epoch_index": found.epoch + 1,
        "train_input_shape": extra.get("train_input_shape", _features_in(model)),
    }
    if backend.get("rng"):
        content["backend"]["rng_state"] = mersenne_twister(backend["rng"], file)
    if found.description is not None:
        content["optimizer"] = in_neons_names(found.description)
    if is_description(extra.get("cost")):
        content["cost"] = extra["cost"]
    return content


def _renamed(name: str, layers: Mapping[str, str]) -> str:
    layer, slash, rest = name.partition("/")
    return layers.get(layer, layer) + slash + rest


def _neon_model(found: TrainingState, extra: State, file: str) -> tuple[State, dict[str, str]]:
    """The description of the model in neon's names, and what layers of ours are called there that are called otherwise.

    It is the one that neon wrote, where the file came from there.
    """
    description = (found.model or {}).get("description")
    for given in (extra.get("model"), description):
        if not isinstance(given, dict) or not is_description(given):
            continue
        if str(given["type"]).startswith("neon.layers.container."):
            return dict(given), {}
    if not isinstance(description, dict):
        raise CheckpointError(f"{file} describes no model, which neon needs: save with model=")
    model = _build(description, "model")
    renamed: dict[str, str] = {}
    return _in_a_row(model.layers, renamed), renamed


def _in_a_row(sequential: Any, renamed: dict[str, str]) -> State:
    """The description of layers in a row in neon's names.

    Arguments:
        renamed: gets what layers are called there that are called otherwise here.
    """
    layers, names = with_fused_biases(list(_nodes(sequential.layers, renamed)))
    renamed |= names
    return {
        "type": "neon.layers.container.Sequential",
        "config": {"name": sequential.name, "layers": layers},
    }


def _nodes(layers: Any, renamed: dict[str, str]) -> Iterator[State]:
    """The descriptions of layers in neon's names: what is made of layers in a row is taken apart."""
    for layer in layers:
        inner = getattr(layer, "layers", None)
        if inner and type(layer).__name__ not in BRANCHING:
            yield from _nodes(inner, renamed)
            continue
        node = in_neons_names(layer.get_description(skip=["layers"]) if inner else layer.get_description())
        node["config"].setdefault("name", layer.name)
        if inner:
            node["config"]["layers"] = [_in_a_row(path, renamed) for path in inner]
        yield node


def _tell_of_norms(description: State, arrays: Arrays, lost: set[str]) -> None:
    """neon's BiBNRNN neither saves beta and gamma nor loads them: take them out of what must be written."""
    for name in [name for name in lost if name.rpartition("/")[2] in ("beta", "gamma")]:
        layer = name.rpartition("/")[0]
        if not any(_is_bibnrnn(node, layer) for node in leaves_of(description)):
            continue
        lost.discard(name)
        first = 0.0 if name.endswith("beta") else 1.0
        if name in arrays and (arrays[name] != first).any():
            message = f"neon's BiBNRNN begins with {first} in {name.rpartition('/')[2]} whenever it is loaded: {name}"
            warnings.warn(f"{message} is left out", CheckpointWarning, stacklevel=4)


def _is_bibnrnn(node: State, name: str) -> bool:
    return str(node["type"]).endswith(".BiBNRNN") and node["config"].get("name") == name


def _without_states(node: State) -> State:
    """Without what no optimizer has written."""
    kept = {key: value for key, value in node.items() if key != "states"}
    if "layers" in kept["config"]:
        kept["config"] = {
            **kept["config"],
            "layers": [_without_states(layer) for layer in kept["config"]["layers"]],
        }
    return kept


def _features_in(model: State) -> int | None:
    """The features of a sample, where the first layer tells: a Linear layer does."""
    first = next((layer for layer in leaves_of(model) if "params" in layer), None)
    if first is None or not str(first["type"]).endswith(".Linear"):
        return None
    return int(first["params"]["W"].shape[1])


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
    module = MODULES.get(name, MODULES.get(str(kind)))
    if name not in ARGUMENTS or module is None:
        raise CheckpointError(f"neon has no {name}, or none that this package writes")
    config = node.get("config")
    config = config if isinstance(config, dict) else {}
    unknown = sorted(set(config) - set(ARGUMENTS[name]))
    if unknown:
        message = f"neon's {name} does not take {printable(', '.join(unknown))}: left out"
        warnings.warn(message, CheckpointWarning, stacklevel=2)
    kept = {key: in_neons_names(value) for key, value in config.items() if key not in unknown}
    return {"type": f"{module}.{name}", "config": kept}
