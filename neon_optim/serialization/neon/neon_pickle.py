"""Reads the checkpoints of Intel's neon (1.x and 2.x, Python 2 and 3, NumPy 1 and 2, plain or gzip)."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim.errors import CheckpointError, shown
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint.training_state import mersenne_twister
from neon_optim.serialization.neon.pickle_data import read_pickle_data

_NOT_DESCRIBED = ("params", "states", "container")
_NOT_TRAINED = ("gmean", "gvar")  # running statistics of BatchNorm: kept as parameters, without states


@dataclass(frozen=True)
class NeonLayer:
    """A layer of neon's that holds arrays.

    Attributes:
        name: its name in the model.
        type: neon's name of its class.
        params: arrays by name, in neon's order (``W``; ``beta``, ``gamma``, ``gmean``, ``gvar``; …).
        states: for each trained parameter its optimizer's arrays in neon's order, empty where none were
        saved.
    """

    name: str
    type: str
    params: dict[str, np.ndarray]
    states: dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class NeonCheckpoint:
    """What a checkpoint of neon holds.

    Attributes:
        neon_version: as neon wrote it.
        optimizer: description ``{'type': …, 'config': …}`` in neon's names, which our registry resolves; or
        None.
        cost: description of the cost; or None.
        model: description of the model, without arrays.
        layers: the layers with arrays, in order, out of all containers.
        epoch_index: number of finished epochs.
        stored_epoch_index: the number in the file.
        backend: type, compat_mode and rng_seed of neon's backend.
        rng_state: state for ``numpy.random.RandomState.set_state``; or None.
        train_input_shape: shape of one input sample.
    """

    neon_version: str
    optimizer: dict[str, Any] | None
    cost: dict[str, Any] | None
    model: dict[str, Any]
    layers: list[NeonLayer]
    epoch_index: int
    stored_epoch_index: int
    backend: dict[str, Any]
    rng_state: tuple | None
    train_input_shape: Any

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Every parameter as ``layer/param``, every state as ``layer/param/0``, ``layer/param/1``, …"""
        found: dict[str, np.ndarray] = {}
        for layer in self.layers:
            for param, array in layer.params.items():
                found[f"{layer.name}/{param}"] = array
                for number, state in enumerate(layer.states.get(param, [])):
                    found[f"{layer.name}/{param}/{number}"] = state
        return found


def read_neon_pickle(
    path: durable.StrPath, *, saved_after_fit: bool = True, max_bytes: int = 1 << 30
) -> NeonCheckpoint:
    """Read a checkpoint that neon's ``Model.save_params`` or its callback wrote. No code of the file is run.

    neon stores its epoch counter plus one. Its callback does so before it counts the epoch, so the stored
    number is right; ``save_params`` after ``fit`` does so behind the count, so it is one too many.

    Args:
        path: the file, gzip-compressed or not.
        saved_after_fit: True for a file of ``save_params`` after ``fit`` (1 is taken off), False for the
        callback's.
        max_bytes: size limit of the (unpacked) pickle.

    Raises:
        CheckpointError: not there, too large, damaged, not a checkpoint of neon, or it asks for anything but
        NumPy arrays.
    """
    file = repr(os.fsdecode(path))
    content = read_pickle_data(_read(path, file, max_bytes), file)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        kind = (
            f"a dict with the keys {sorted(map(str, content))[:8]}"
            if isinstance(content, dict)
            else shown(content)
        )
        raise CheckpointError(
            f"{file}: not a checkpoint of neon: a dict with the key 'model' is due, received {kind}"
        )
    stored = content.get("epoch_index", 0)
    if type(stored) is not int or stored < 0:
        raise CheckpointError(f"{file}: epoch_index must be an integer >= 0, received {shown(stored)}")
    backend = _mapping(content, "backend", file) or {}
    layers = list(_layers(content["model"], file))
    names = [layer.name for layer in layers]
    if len(set(names)) != len(names):
        raise CheckpointError(f"{file}: two layers have the same name: {shown(sorted(names))}")
    return NeonCheckpoint(
        neon_version=str(content.get("neon_version", "unknown")),
        optimizer=_mapping(content, "optimizer", file),
        cost=_mapping(content, "cost", file),
        model=_description(content["model"]),
        layers=layers,
        epoch_index=max(stored - 1, 0) if saved_after_fit else stored,
        stored_epoch_index=stored,
        backend={key: value for key, value in backend.items() if key != "rng_state"},
        rng_state=None
        if (rng := backend.get("rng_state")) is None
        else mersenne_twister(rng, f"{file}: rng_state"),
        train_input_shape=content.get("train_input_shape"),
    )


def _read(path: durable.StrPath, file: str, max_bytes: int) -> bytes:
    with durable.reading(path) as (fd, size), open(fd, "rb", closefd=False) as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            data = (
                gzip.GzipFile(fileobj=raw).read(max_bytes + 1)
                if compressed
                else raw.read(min(max_bytes, size) + 1)
            )
        except (EOFError, zlib.error) as error:
            raise CheckpointError(f"cannot read {file}: {error}") from error
    if len(data) > max_bytes:
        raise CheckpointError(f"{file}: larger than max_bytes={max_bytes:,}")
    return data


def _mapping(content: dict, key: str, file: str) -> dict[str, Any] | None:
    value = content.get(key)
    if value is not None and not isinstance(value, dict):
        raise CheckpointError(f"{file}: {key} must be a dict, received {shown(value)}")
    return value


def _description(node: Any) -> Any:
    """``node`` without arrays: what describes the model."""
    if isinstance(node, dict):
        return {key: _description(value) for key, value in node.items() if key not in _NOT_DESCRIBED}
    if isinstance(node, list | tuple):
        return [_description(value) for value in node]
    return node.tolist() if isinstance(node, np.ndarray) else node


def _layers(node: dict, file: str) -> Iterator[NeonLayer]:
    """The layers with arrays below ``node``; containers hold theirs in ``config['layers']``."""
    config = node.get("config")
    config = config if isinstance(config, dict) else {}
    params = node.get("params")
    if params:
        name = config.get("name")
        if not isinstance(name, str) or not name:
            raise CheckpointError(f"{file}: a layer of type {shown(node.get('type'))} has no name")
        where = f"{file}: layer {name!r}"
        arrays = {"W": params} if isinstance(params, np.ndarray) else params
        if not isinstance(arrays, dict) or not all(
            isinstance(array, np.ndarray) for array in arrays.values()
        ):
            raise CheckpointError(f"{where}: params must be arrays by name, received {shown(params)}")
        trained = [param for param in arrays if param not in _NOT_TRAINED]
        states = dict(zip(trained, _states(node.get("states"), len(trained), where), strict=True))
        for param, arrays_of_param in states.items():
            for array in arrays_of_param:
                if array.shape != arrays[param].shape:
                    raise CheckpointError(
                        f"{where}: a state of {param!r} has shape {array.shape}, the parameter {arrays[param].shape}"
                    )
        yield NeonLayer(name, str(node.get("type")), dict(arrays), states)
    inner = config.get("layers", [])
    for child in inner if isinstance(inner, list | tuple) else []:
        if isinstance(child, dict):
            yield from _layers(child, file)


def _states(states: Any, count: int, where: str) -> list[list[np.ndarray]]:
    """A list of arrays for each of ``count`` parameters; for several the file nests them, for one it does not."""
    if states is None or states == []:
        return [[] for _ in range(count)]
    if isinstance(states, list | tuple):
        nested = [list(states)] if all(isinstance(item, np.ndarray) for item in states) else list(states)
        if len(nested) == count and all(
            isinstance(each, list | tuple) and all(isinstance(array, np.ndarray) for array in each)
            for each in nested
        ):
            return [list(each) for each in nested]
    raise CheckpointError(f"{where}: states of {count} parameters are due, received {shown(states)}")
