"""Converts between our checkpoints, neon's, and safetensors files of names and arrays (PyTorch's state_dict)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from neon_optim.described.build import from_description
from neon_optim.errors import CheckpointError, NeonOptimError, printable, shown
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, file_header, sharded, training_state
from neon_optim.serialization.checkpoint.archive import Arrays, State
from neon_optim.serialization.checkpoint.checkpoint import restore
from neon_optim.serialization.checkpoint.evaluated import check_weights, evaluated_arrays
from neon_optim.serialization.checkpoint.file_kind import kind_of
from neon_optim.serialization.checkpoint.resharding import to_one_file, to_parts
from neon_optim.serialization.checkpoint.sharded import write_part
from neon_optim.serialization.checkpoint.share import share_out
from neon_optim.serialization.checkpoint.stored import read_checkpoint
from neon_optim.serialization.neon.neon_convert import from_neon, model_of_ours, to_neon
from neon_optim.serialization.neon.neon_pickle import read_neon_pickle
from neon_optim.serialization.neon.pickle_write import write_pickle_data
from neon_optim.stepping.parameters import NamedParameter, NamedParameters

FORMATS = ("checkpoint", "sharded", "neon", "torch")
MAX_BYTES = 1 << 34


def convert_checkpoint(
    source: durable.StrPath,
    target: durable.StrPath,
    *,
    to: str = "checkpoint",
    t: int | None = None,
    batches_per_epoch: int | None = None,
    saved_after_fit: bool = True,
    overwrite: bool = False,
    weights: str | None = None,
    parts: int | None = None,
) -> str:
    """Write what ``source`` holds to ``target`` in another format; what ``source`` is shows in its contents.

    Args:
        source: a checkpoint of ours, also the folder of a sharded one, a pickle of neon (gzip or not), or a safetensors
            file of another program.
        target: the new file.
        to: 'checkpoint', one file; 'sharded', a folder with ``parts`` parts; 'neon', a pickle that neon loads; or
            'torch', a safetensors file with the parameters alone, as ``layer.param``
            (``safetensors.torch.load_file`` gives a state_dict).
        t, batches_per_epoch: see :func:`neon_optim.serialization.neon.neon_convert.from_neon`.
        saved_after_fit: see :func:`neon_optim.serialization.read_neon_pickle`.
        overwrite: replace an existing ``target``.
        weights: for 'torch', where models are evaluated with other weights than the trained ones (EMA, Lookahead,
            ScheduleFree): 'evaluated', those that were validated (the default), or 'raw'.
        parts: for 'sharded', how many: any number of processes can load it.

    Returns:
        The path that was written.

    Raises:
        CheckpointError: ``source`` cannot be read, ``target`` exists, or one format cannot hold what the
        other does.
    """
    if to not in FORMATS:
        raise CheckpointError(f"to must be one of {', '.join(map(repr, FORMATS))}, received {shown(to)}")
    if weights is not None and to != "torch":
        raise CheckpointError(
            f"weights are chosen for to='torch' only, received {shown(weights)} for to={to!r}"
        )
    if (parts is None) == (to == "sharded"):
        raise CheckpointError(
            f"parts are given for to='sharded', and for that only, received {shown(parts)} for to={to!r}"
        )
    if not overwrite and os.path.lexists(target):
        raise CheckpointError(f"{os.fsdecode(target)!r} exists already; nothing was changed")
    kind = "sharded" if os.path.isdir(source) else kind_of(archive.read_head(source))
    if to == "sharded" and parts is not None and kind not in ("gzip", "pickle", "safetensors"):
        return to_parts(source, target, parts)
    if to == "checkpoint" and kind == "sharded":
        return to_one_file(source, target)
    arrays: Mapping[str, np.ndarray]
    if kind in ("gzip", "pickle"):
        neon = read_neon_pickle(source, saved_after_fit=saved_after_fit)
        arrays, state = from_neon(neon, t=t, batches_per_epoch=batches_per_epoch)
    elif kind == "safetensors":
        arrays, state = read_state_dict(source)
    else:
        contents = read_checkpoint(source)
        arrays, state = contents.arrays, contents.state
    if to == "sharded" and parts is not None:
        with sharded.begin(target, parts) as save:
            receipts = [write_part(save.ticket, k, share_out(arrays, k, parts)) for k in range(parts)]
            save.commit(receipts, state)
        return os.fsdecode(target)
    if to == "checkpoint":
        return archive.write(target, arrays, state)
    if to == "torch":
        return write_state_dict(target, arrays, state, repr(os.fsdecode(source)), weights or "evaluated")
    whole = archive.Contents(arrays, state, {}, file_header.FORMAT_VERSION)
    raw = write_pickle_data(to_neon(whole, repr(os.fsdecode(source))))
    with durable.replacing(target) as file:
        file.write(raw)
    return os.fsdecode(target)


def rebuild_neon(
    path: durable.StrPath,
    *,
    t: int | None = None,
    batches_per_epoch: int | None = None,
    saved_after_fit: bool = True,
) -> tuple[Any, Any]:
    """The model and the optimizer (or None) of a neon checkpoint: weights, states, random numbers, epoch.

    Arguments as for :func:`convert_checkpoint`. Needs a backend (:func:`neon_optim.gen_backend`).

    Raises:
        CheckpointError: the file cannot be read, or has layers that do not exist here.
    """
    neon = read_neon_pickle(path, saved_after_fit=saved_after_fit)
    arrays, state = from_neon(neon, t=t, batches_per_epoch=batches_per_epoch)
    name = os.fsdecode(path)
    found = training_state.parse(state, repr(name))
    try:
        model = model_of_ours(neon.model)
        optimizer = None if found.description is None else from_description(found.description, "optimizer")
        shape = tuple(map(int, np.atleast_1d(neon.train_input_shape)))
        model.initialize(SimpleNamespace(nin=int(np.prod(shape)), lshape=shape, name=name))
    except (NeonOptimError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name!r}: the model cannot be built: {printable(str(error))}") from error
    contents = archive.Contents(arrays, state, {}, file_header.FORMAT_VERSION)
    restore(contents, name, optimizer=optimizer, layers=model.layers_to_optimize, model=model)
    return model, optimizer


def read_state_dict(path: durable.StrPath) -> tuple[Arrays, State]:
    """Parameters of a safetensors file, ``layer.param`` named ``layer/param``; without optimizer, at epoch 0.

    Raises:
        CheckpointError: the file cannot be read, or holds what our format does not.
    """
    safetensors = _safetensors()
    raw = archive.read_head(path, MAX_BYTES)
    file = repr(os.fsdecode(path))
    try:
        tensors = safetensors.deserialize(raw)
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{file}: no safetensors file: {printable(str(error))}") from error
    named = NamedParameters()
    for name, tensor in tensors:
        dtype = tensor["dtype"]
        if dtype not in file_header.DTYPES:
            raise CheckpointError(f"{file}: tensor {name!r} has dtype {dtype}, which is not supported")
        entry = file_header.Entry(name, dtype, tuple(tensor["shape"]), len(tensor["data"]))
        array = file_header.as_array(np.frombuffer(tensor["data"], np.uint8).copy(), entry, file)
        layer, dot, param = name.rpartition(".")
        layer, param = (layer, param) if dot and layer else (name, "W")
        named.append(NamedParameter(layer, None, param, ((array, array), [])))
    arrays, state = training_state.capture(optimizer=None, layers=named)
    return arrays, {**state, "backend": None}


def write_state_dict(
    path: durable.StrPath,
    arrays: Mapping[str, np.ndarray],
    state: State,
    file: str = "the checkpoint",
    weights: str = "evaluated",
) -> str:
    """Write the parameters, and what layers keep beside them, as a safetensors file that names them ``layer.param``.

    Arguments:
        weights: see :func:`convert_checkpoint`.
    """
    safetensors = _safetensors()
    check_weights(weights)
    parsed = training_state.parse(state, file)
    names = [*parsed.parameters, *((parsed.model or {}).get("arrays") or ())]
    if weights == "evaluated":
        arrays = {**arrays, **evaluated_arrays(arrays, parsed, file)}
    found = {name.replace("/", "."): arrays[name] for name in names if name in arrays}
    if len(found) != len([name for name in names if name in arrays]):
        raise CheckpointError(f"{file}: two parameters would get the same name")
    with durable.replacing(path) as target:
        plain = {name: array.copy(order="C") for name, array in found.items()}
        target.write(safetensors.numpy.save(plain, metadata={"format": "pt"}))
    return os.fsdecode(path)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise CheckpointError(
            "files of names and arrays alone need the package safetensors: pip install 'neon_optim[convert]'"
        ) from None
    return safetensors
