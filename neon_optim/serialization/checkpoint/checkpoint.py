"""Saves and restores training state: arrays by name, step counters, random numbers, epoch, descriptions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from neon_optim.described.object import NervanaObject
from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import archive, training_state
from neon_optim.serialization.checkpoint.evaluated import check_weights, evaluated_arrays
from neon_optim.serialization.checkpoint.inspection import inspect_checkpoint
from neon_optim.serialization.checkpoint.matching import Matching
from neon_optim.serialization.checkpoint.stored import ArraysOnDemand, StoredArray, opened, read_checkpoint
from neon_optim.serialization.checkpoint.training_state import TrainingState

__all__ = ["Checkpoint", "inspect_checkpoint", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint(TrainingState):
    """What :func:`load_checkpoint` found and did.

    Attributes:
        path: the file, or the folder of a sharded checkpoint.
        arrays: every array by name: ``layer/param``, ``layer/param/slot``.
        format_version: that the file was written in.
        missing: names that the layers have and the file has not.
        unexpected: names that the file has and the layers have not.
        mismatched: names that both have, with what differs.
    """

    path: str
    arrays: Mapping[str, np.ndarray]
    format_version: int
    missing: list[str]
    unexpected: list[str]
    mismatched: dict[str, str]


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    optimizer: Any,
    layers: Any,
    epoch: int = 0,
    model: Any = None,
    extra: Any = None,
) -> str:
    """Write the training state to one file, which appears whole or not at all (docs/checkpoint-format.md).

    Several processes save a sharded checkpoint together: :func:`neon_optim.serialization.checkpoint.sharded.begin`.

    Args:
        path: the file; its folder must exist. An existing file is replaced.
        optimizer: whose description, counters and state arrays are saved. One of several processes (``Distributed``)
            saves a sharded checkpoint: all of them call this together.
        layers: as for ``optimizer.optimize``.
        epoch: epochs done.
        model: saved with its ``get_description()`` and, where it has them, ``get_counters()``: JSON values
            such as the position within the epoch, and ``get_arrays()``: what layers keep beside parameters.
        extra: JSON values that come back as ``.extra``.

    Returns:
        The path that was written.

    Raises:
        CheckpointError: the state does not fit the format or the file cannot be written; an existing file
        stays.

    Example:
        >>> import tempfile
        >>> from neon_optim import gen_backend
        >>> from neon_optim.optimizers import Adam
        >>> be = gen_backend("cpu", rng_seed=1, batch_size=1)
        >>> weights = ((np.ones((2, 2), "f4"), np.full((2, 2), 0.5, "f4")), [])
        >>> adam = Adam(learning_rate=0.1)
        >>> adam.optimize([weights], epoch=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_checkpoint(folder + "/a.safetensors", optimizer=adam, layers=[weights], extra="note")
        ...     found = load_checkpoint(path)
        >>> sorted(found.arrays), found.counters, found.extra
        (['parameter_0/W', 'parameter_0/W/m', 'parameter_0/W/v'], {'t': 1}, 'note')
    """
    if getattr(optimizer, "keeps_shares", False):
        saved: str = optimizer.save(path, layers=layers, epoch=epoch, model=model, extra=extra)
        return saved
    arrays, state = training_state.capture(
        optimizer=optimizer, layers=layers, epoch=epoch, model=model, extra=extra
    )
    return archive.write(path, training_state.held_whole(arrays), state)


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    optimizer: Any = None,
    layers: Any = None,
    model: Any = None,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
    reset_state: bool = False,
    weights: Literal["evaluated", "raw"] | None = None,
) -> Checkpoint:
    """Verify a checkpoint and restore, in place, what is given. With an error nothing has been changed.

    Arrays are matched by name. A dtype is never converted, but for the order of its bytes, and a shape never
    changed, but for the second axis of length 1 that tensors of vectors have. With ``optimizer``, the random numbers of
    its backend are restored too.

    An optimizer that says ``keeps_shares = True`` is one of several processes: of what it holds as a
    :class:`~neon_optim.serialization.checkpoint.share.Share` only that range is read. ``.arrays`` of the result are
    then read when they are asked for.

    Args:
        path: the file, or the folder of a sharded checkpoint.
        optimizer: gets its counters; its class must be the one that wrote the state. Hyper-parameters stay
        its own.
        layers: as for ``optimizer.optimize``: parameters and states are filled. Default:
        ``model.layers_to_optimize``.
        model: gets its counters through ``set_counters(counters)``, and the arrays that ``get_arrays()`` names, where
            it has those.
        strict: True: missing, unexpected and mismatched arrays are an error that lists them all; False: what
            fits is restored, and the returned object lists the rest.
        rename: patterns from the names of the file to those of the layers, ``{'old/*': 'new/*'}``; a name
            that several match takes the first.
        reset_state: restore the parameters only; the state starts fresh, under any optimizer.
        weights: what parameters get that are not evaluated as they are trained (EMA, Lookahead, ScheduleFree): 'raw',
            what was trained, to go on with; or 'evaluated', what was validated, without the state. Default: 'raw'
            with ``optimizer``, else 'evaluated'.

    Raises:
        CheckpointError: the file cannot be read or is damaged, or does not fit.
    """
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "layers": layers,
        "model": model,
        "strict": strict,
        "rename": rename,
        "reset_state": reset_state,
        "weights": weights,
    }
    name = os.fsdecode(path)
    if getattr(optimizer, "keeps_shares", False):
        arrays = ArraysOnDemand(stored := opened(path))
        if stored.format_version == archive.FORMAT_VERSION:
            contents = archive.Contents(arrays, stored.state, stored.dtypes, stored.format_version)
            return restore(contents, name, stored=stored.arrays, **options)
    return restore(read_checkpoint(path), name, **options)


def restore(
    contents: archive.Contents,
    path: str,
    *,
    optimizer: Any = None,
    layers: Any = None,
    model: Any = None,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
    reset_state: bool = False,
    weights: Literal["evaluated", "raw"] | None = None,
    stored: Mapping[str, StoredArray] | None = None,
) -> Checkpoint:
    """:func:`load_checkpoint` for contents that are in memory; ``path`` names them in errors.

    Arguments:
        stored: the arrays in their files, to be read by ranges.
    """
    file = repr(path)
    found = training_state.parse(contents.state, file)
    be = getattr(optimizer, "be", None) or NervanaObject.be
    if hasattr(be, "settle"):  # what is still under way must not overwrite what is restored
        be.settle()
    if layers is None and model is not None:
        layers = getattr(model, "layers_to_optimize", None)
    if weights is None:
        weights = "evaluated" if optimizer is None else "raw"
    check_weights(weights)
    if weights == "evaluated" and optimizer is not None and not reset_state:
        raise CheckpointError(
            "weights='evaluated' are not gone on with: leave optimizer out, or pass reset_state=True"
        )
    evaluates = weights == "evaluated" and layers is not None
    evaluated = evaluated_arrays(contents.arrays, found, file) if evaluates else {}
    matching = Matching(
        file, contents.arrays if stored is None else stored, found, rename or {}, reset_state, evaluated
    )
    if optimizer is not None and not reset_state:
        matching.check_optimizer(optimizer)
    if layers is not None:
        matching.match(optimizer, layers)
    if hasattr(model, "get_arrays"):
        matching.match_arrays_of(model, inference=optimizer is None or reset_state)
    if strict:
        matching.require_all()
    matching.apply(optimizer, model, getattr(optimizer, "be", None) or NervanaObject.be)
    return Checkpoint(
        **vars(found),
        path=path,
        arrays=contents.arrays,
        format_version=contents.format_version,
        missing=matching.missing,
        unexpected=matching.unexpected,
        mismatched=matching.mismatched,
    )
