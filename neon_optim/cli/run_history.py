"""What a run is beside its settings: what it began with, and settings that were changed on its way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from neon_optim.cli.same_settings import ChangedSetting
from neon_optim.described.listing import first_of
from neon_optim.errors import CheckpointError, RunError
from neon_optim.runs.run import checkpoint_of
from neon_optim.serialization import load_checkpoint
from neon_optim.serialization.checkpoint.training_state import backend_state, restore_backend

__all__ = ["begin_from", "changes_made", "history_lines"]

_FIXED = ("rng_seed", "datatype")
_BETWEEN_EPOCHS = ("batchsize", "dataset")


def begin_from(
    source: str, model: Any, optimizer: Any, with_state: bool, partly: bool
) -> tuple[dict[str, Any], list[str]]:
    """Give a new model the weights of a checkpoint, and an optimizer its state too; the model stands at its beginning.

    Arguments:
        source: a checkpoint, or the folder of a run, whose best one is taken.
        with_state: with the state of the optimizer and its step counters, and weights as they were trained; else the
            weights that were validated.
        partly: take what fits by name and shape.

    Returns:
        An entry for the history of the run; in words, what was not taken.

    Raises:
        CheckpointError: it cannot be read, or does not fit.
        RunError: there is none.
    """
    path = checkpoint_of(Path(os.path.expanduser(source)))
    random = backend_state(model.be)
    try:
        found = load_checkpoint(
            path,
            optimizer=optimizer if with_state else None,
            layers=model.layers_to_optimize,
            model=SimpleNamespace(get_arrays=model.get_arrays),  # its counters stay
            strict=not partly,
        )
    except CheckpointError as error:
        text, line, advice = str(error).rpartition("\n")
        if advice.startswith("rename="):
            error = CheckpointError(f"{text}{line}--init-partly takes what fits")
        raise CheckpointError(f"--init-from: {error}") from error
    if random is not None:
        restore_backend(model.be, random, path)
    taken = {"init_from": path, "step": 0, "with_state": with_state, "its_step": found.step}
    left_out = {
        "not in the file": found.missing,
        "not in the model": found.unexpected,
        "of another shape": [str(name) for name in found.mismatched],
    }
    return taken, [f"{what}: {first_of(names)}" for what, names in left_out.items() if names]


def changes_made(
    differing: Sequence[ChangedSetting], asked: Iterable[str], model: Any
) -> dict[str, Any] | None:
    """An entry for the history of a run that goes on with other settings; None where none is another.

    Arguments:
        differing: settings of the run, and those it goes on with.
        asked: paths of what was asked to be changed.
        model: says where the run stands.

    Raises:
        RunError: a setting cannot be changed on the way, or not within an epoch.
    """
    roots = {path.partition(".")[0].partition("[")[0] for path in asked}
    if fixed := sorted(roots & {*_FIXED}):
        raise RunError(f"--change: {', '.join(fixed)} cannot be changed: what the run holds was made with it")
    if not differing:
        return None
    if model.minibatch_index and (late := sorted(roots & {*_BETWEEN_EPOCHS})):
        raise RunError(
            f"--change: {', '.join(late)} can be changed between epochs alone, and the run stands "
            f"{model.minibatch_index} minibatches into one: resume it without the change until that is done"
        )
    changed = {one.path: [one.stored, one.given] for one in differing}
    return {"changed": changed, "step": model.step, "epoch": model.epoch_index}


def history_lines(history: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The history of a run, in words."""
    for entry in history:
        if "init_from" in entry:
            state = " and the state" if entry["with_state"] else ""
            yield f"began with the weights{state} of {entry['init_from']} (--init-from)"
        for path, (before, after) in entry.get("changed", {}).items():
            yield f"from step {entry['step']} on: {path} {after}, {before} before (--change)"
