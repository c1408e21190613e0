"""A run that was trained: its model with the weights of one checkpoint, and what is done before and after it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from neon_optim.backends import gen_backend
from neon_optim.data.encoding import Classes, Encoding, encoding_from_json
from neon_optim.described.listing import first_of
from neon_optim.described.object import NervanaObject
from neon_optim.errors import CheckpointError, ConfigError, RunError, shown
from neon_optim.model.array_iterator import ArrayIterator
from neon_optim.model.model import Model
from neon_optim.serialization import dump_config, load_checkpoint, load_config
from neon_optim.serialization.checkpoint import training_state
from neon_optim.serialization.checkpoint.manager import CheckpointManager
from neon_optim.serialization.checkpoint.shard_index import holds_parts
from neon_optim.serialization.checkpoint.stored import read_state

__all__ = ["Run", "checkpoint_of", "load_run"]

_BATCH = 256
"""Samples that go through a model at a time where nothing says how many."""


class Run:
    """A trained model in use. :func:`load_run` makes one.

    Attributes:
        path: of the checkpoint.
        model: the model, with the weights that were validated.
        encoding: what is done with samples before the model, and with its outputs.
        config: all settings of the run.
        epoch, step: when the checkpoint was written.
        metrics: what was measured then.
    """

    def __init__(self, path: str):
        state = read_state(path)
        extra = training_state.decode(state.get("extra"))
        if not isinstance(extra, dict) or not isinstance(extra.get("config"), dict):
            raise CheckpointError(
                f"{path!r} does not say how its model is made: `neon-optim train` writes files that do"
            )
        self.path = path
        self.config: dict[str, Any] = extra["config"]
        self.epoch, self.step = int(state.get("epoch", 0)), int(state.get("step", 0))
        self.metrics: Mapping[str, float] = dict(state.get("metrics") or {})
        if extra.get("encoding") is None:
            raise CheckpointError(
                f"{path!r} does not say what its inputs are: it was written before checkpoints did"
            )
        self.encoding: Encoding = encoding_from_json(extra["encoding"])
        own = {key: value for key, value in self.config.items() if key != "dataset"}
        try:
            settings = load_config(dump_config(own)).settings
        except ConfigError as error:
            if extra.get("imports"):
                modules = " ".join(f"--import {name}" for name in extra["imports"])
                raise RunError(
                    f"{path}: {error}\nIt was trained with {modules}: import the same first"
                ) from error
            raise
        self.cost = settings.cost
        if NervanaObject.be is None:
            gen_backend("cpu", datatype=settings.datatype, batch_size=_BATCH)
        if not NervanaObject.be.bsz:
            NervanaObject.be.bsz = _BATCH
        self.model = Model(list(settings.layers))
        shape = self.encoding.shape
        self.model.initialize(
            SimpleNamespace(nin=int(np.prod(shape)), lshape=shape if len(shape) > 1 else None, name=path)
        )
        load_checkpoint(path, model=self.model)

    def __repr__(self) -> str:
        return f"<Run {self.path!r}, epoch {self.epoch}>"

    def outputs(self, data: Any) -> np.ndarray:
        """What the model gives for each sample, (samples, outputs): probabilities where its last layer makes them.

        Arguments:
            data: the name of a file, or what a program has: for a table a data frame, a mapping from names to columns,
                or an array with the columns in the order of training; else an array of samples.

        Raises:
            DataError: the data does not fit.
        """
        return self._outputs(self.encoding.inputs(data))

    def answers(self, data: Any) -> dict[str, np.ndarray]:
        """Columns by name: ``prediction`` and, for classes, ``probability_<class>``; of data as for :meth:`outputs`."""
        return self.encoding.target.answers(self.outputs(data))

    def predict(self, data: Any) -> np.ndarray:
        """The class, or the number, of each sample; of several numbers (samples, numbers)."""
        found = self.answers(data)
        return found["prediction"] if "prediction" in found else np.column_stack([*found.values()])

    def evaluate(self, data: Any) -> dict[str, float]:
        """How good the model is on data with targets: its cost and, for classes, the share of wrong predictions.

        For numbers the root of the mean squared error, and the mean absolute error, in their own units.
        """
        X, y = self.encoding.samples(data)
        target = self.encoding.target
        classes = isinstance(target, Classes)
        samples = ArrayIterator(
            X, y, nclass=target.nout if classes else None, make_onehot=classes, lshape=_lshape(X)
        )
        found = {"samples": float(len(X)), "cost": float(self.model.eval(samples, self.cost))}
        outputs = self._outputs(X)
        if classes:
            return {**found, "error": float(np.mean(outputs.argmax(axis=1) != y))}
        off = (outputs - y) * np.asarray(target.deviation)  # type: ignore[union-attr]
        return {
            **found,
            "root_mean_squared_error": float(np.sqrt(np.mean(off**2))),
            "mean_absolute_error": float(np.mean(np.abs(off))),
        }

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        return self.model.get_outputs(ArrayIterator(X, lshape=_lshape(X)))


def load_run(path: str | os.PathLike[str], which: str | int = "best") -> Run:
    """The model that a run has trained, ready to use.

    Arguments:
        path: the folder of a run, or a checkpoint of one.
        which: 'best' (as it was validated), 'last', or the step of a checkpoint in the folder.

    Without a backend, that of the CPU is set.

    Raises:
        RunError: there is no run, or no such checkpoint.
        CheckpointError: the file is damaged, or is of no run.
    """
    return Run(checkpoint_of(Path(path), which))


def checkpoint_of(path: Path, which: str | int = "best") -> str:
    """The path of a checkpoint of a run; see :func:`load_run`."""
    if path.is_file() or holds_parts(path):
        return str(path)
    if not path.is_dir():
        raise RunError(f"there is no run and no checkpoint {str(path)!r}")
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    manager = CheckpointManager(folder)
    steps = manager.steps()
    if not steps:
        raise RunError(f"there are no checkpoints in {str(folder)!r}: the run has not saved anything yet")
    if isinstance(which, int) and not isinstance(which, bool):
        if which not in steps:
            raise RunError(
                f"there is no checkpoint of step {which} in {str(folder)!r}; there are {first_of(steps)}"
            )
        return manager.path(which)
    if which not in ("best", "last"):
        raise RunError(f"which must be 'best', 'last' or a step, received {shown(which)}")
    latest = manager.latest()
    assert latest is not None
    if which == "last":
        return latest
    return CheckpointManager(folder, keep_best=_best_by(latest)).best() or latest


def history_of(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What a run began with, and settings that were changed on its way, by its last checkpoint."""
    try:
        state = read_state(checkpoint_of(Path(folder), "last"))
    except RunError:  # nothing is saved yet
        return []
    extra = training_state.decode(state.get("extra"))
    found = extra.get("history") if isinstance(extra, dict) else None
    return found if isinstance(found, list) else []


def chosen_by(folder: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Which metric says what the best checkpoint of a run is, and 'min' or 'max'; None: nothing is saved yet."""
    try:
        return _best_by(checkpoint_of(Path(folder), "last"))
    except RunError:
        return None


def _best_by(path: str) -> tuple[str, str] | None:
    """Which metric says what the best checkpoint of a run is, and 'min' or 'max'; by what a checkpoint says."""
    state = read_state(path)
    extra = training_state.decode(state.get("extra"))
    if isinstance(extra, dict) and isinstance(extra.get("best_by"), list):
        metric, mode = extra["best_by"]
        return metric, mode
    metrics = state.get("metrics") or {}  # of a checkpoint that does not say it
    return next(((name, "min") for name in ("valid_error", "valid_cost") if name in metrics), None)


def _lshape(X: np.ndarray) -> tuple[int, ...] | None:
    return X.shape[1:] if X.ndim > 2 else None
