"""What happens beside training: hooks, validation, the metrics log, checkpoints."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from neon_optim.described.listing import first_of
from neon_optim.described.object import NervanaObject
from neon_optim.errors import CheckpointWarning, RunError
from neon_optim.model.parted import eval_together
from neon_optim.model.training import Training
from neon_optim.serialization.checkpoint.manager import CheckpointManager
from neon_optim.serialization.durable import replacing

__all__ = ["Callback", "Checkpoints", "CsvLog", "Hooks", "MetricsLog", "Validation"]


class Hooks:
    """What :class:`~neon_optim.model.training.Training` calls on its way; each does nothing here. ``training.model``
    says where training stands."""

    def on_train_begin(self, training: Training) -> None:
        """Before the first minibatch of this run, in whatever epoch that is."""

    def on_epoch_begin(self, training: Training) -> None:
        """Before the first minibatch of an epoch."""

    def on_minibatch_end(self, training: Training) -> None:
        """After each step."""

    def on_epoch_end(self, training: Training) -> None:
        """After an epoch; ``training.record`` describes it, and may be added to."""

    def on_checkpoint(self, training: Training) -> None:
        """Before the model is saved: put on disk what belongs to the steps so far."""

    def on_train_end(self, training: Training) -> None:
        """After the last minibatch of this run; ``training.stopped`` tells whether it was stopped."""


class Callback(Hooks, NervanaObject, kind="callback", abstract=True):
    """Hooks that a config can name, under ``callbacks``; the base of those of users.

    What one remembers from epoch to epoch it keeps in ``training.model.remembered``, under its name, as numbers: that
    is saved and restored with the model.

    >>> from neon_optim.model import Callback
    >>> class Notes(Callback):
    ...     '''Prints the cost of every so many epochs.'''
    ...     every: int = 1
    ...     def on_epoch_end(self, training):
    ...         if training.record["epoch"] % self.every == 0:
    ...             print(training.record["train_cost"])
    >>> Notes(every=5)
    Notes(every=5)
    """

    _named_by_class: ClassVar[bool] = True


class Validation(Hooks):
    """Evaluates metrics after each epoch and adds them to the record.

    Arguments:
        dataset: minibatches that are not trained on.
        metrics: by the name that they get in the record; metrics or costs. The first is what the optimizer observes
            (for a Plateau schedule).

    An optimizer that keeps other parameters for evaluation (an average) lends them for that time.
    """

    def __init__(self, dataset: Any, metrics: Mapping[str, Any]) -> None:
        self.dataset, self.metrics = dataset, dict(metrics)

    def on_epoch_end(self, training: Training) -> None:
        """Evaluate, and let the optimizer know."""
        model, optimizer = training.model, training.optimizer
        with optimizer.evaluation(model.layers_to_optimize):
            metrics, comm = list(self.metrics.values()), getattr(optimizer, "comm", None)
            if comm is not None and comm.size > 1:
                values = eval_together(model, self.dataset, metrics, comm)
            else:
                values = model.eval_all(self.dataset, metrics)
        training.record.update(zip(self.metrics, values, strict=True))
        optimizer.observe(values[0])


class MetricsLog(Hooks):
    """Writes a line of JSON for each step and for each epoch.

    Arguments:
        path: the file. Lines that it holds of steps after the model's present one are dropped first, so that a run that
            was interrupted and goes on leaves each line once.

    A step: ``{"step": 24, "epoch": 2, "cost": 0.61, "learning_rate": 0.003}``, its cost the mean over the minibatch.
    An epoch: ``{"epoch": 1, "step": 23, "train_cost": …, "learning_rate": …, "seconds": …}`` and what Validation adds.
    Epochs and steps count from 1.

    A line in between that cannot be read (after the power failed, or somebody's editor) is left out with a
    CheckpointWarning; those behind it stay.

    Raises:
        RunError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None
        self._last_step = 0
        self._begin = 0.0

    def on_train_begin(self, training: Training) -> None:
        """Open the file where the model stands."""
        model = training.model
        try:
            kept = _lines_until(self.path, model.step, model.epoch_index)
            with replacing(self.path) as file:
                file.write(kept)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from error
        self._last_step = model.step
        self._begin = time.monotonic()

    def on_epoch_begin(self, training: Training) -> None:
        """Start the clock."""
        self._begin = time.monotonic()

    def on_epoch_end(self, training: Training) -> None:
        """Write the lines of the epoch."""
        self._write_steps(training, training.record["epoch"])
        seconds = round(time.monotonic() - self._begin, 3)
        self._write({**training.record, "seconds": seconds})

    def on_checkpoint(self, training: Training) -> None:
        """Write what is pending, to the disk itself: the log is never behind a checkpoint."""
        training.read_costs()
        self._write_steps(training, training.model.epoch_index + 1)
        self._sync()

    def on_train_end(self, training: Training) -> None:
        """Close the file."""
        if self._file is not None:
            self._sync()
            self._file.close()
            self._file = None

    def _write_steps(self, training: Training, epoch: int) -> None:
        for step, cost, rate in training.steps:
            if step > self._last_step:
                self._write({"step": step, "epoch": epoch, "cost": cost, "learning_rate": rate})
                self._last_step = step

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            try:
                self._file.write(json.dumps(line) + "\n")
            except OSError as error:
                raise RunError(f"cannot write {self.path}: {error.strerror}") from error

    def _sync(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise RunError(f"cannot write {self.path}: {error.strerror}") from error


class CsvLog(Hooks):
    """Keeps a table of the epochs as CSV: a line of names, then a line for each epoch.

    Arguments:
        path: the file. Lines that it holds of epochs after the model's present ones are dropped first.

    Columns are what the record of an epoch has, ``epoch``, ``step``, ``train_cost``, ``learning_rate``, what Validation
    adds; where a run goes on with other metrics, all of them.

    Raises:
        RunError: the file cannot be written, or is no table of epochs.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._rows: list[dict[str, Any]] = []

    def on_train_begin(self, training: Training) -> None:
        """Take over the lines of epochs that are done."""
        try:
            with open(self.path, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            self._rows = [row for row in rows if int(row["epoch"]) <= training.model.epoch_index]
        except FileNotFoundError:
            self._rows = []
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"{self.path} is no table of epochs: move it away, or mend it: {error}") from error

    def on_epoch_end(self, training: Training) -> None:
        """Write the table, whole or not at all."""
        self._rows.append(dict(training.record))
        text = io.StringIO()
        writer = csv.DictWriter(text, dict.fromkeys(itertools.chain(*self._rows)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with replacing(self.path) as file:
            file.write(text.getvalue().encode())


def _lines_until(path: Path, step: int, epoch: int) -> bytes:
    """The lines of a log that belong to the steps and epochs done by then, without those that are damaged."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return b""
    kept, damaged = [], []
    for number, text in enumerate(lines, 1):
        done = _is_done(text, step, epoch)
        if done:
            kept.append(text + b"\n")
        elif done is None and number < len(lines):  # the last is empty, or was torn by a kill
            damaged.append(number)
    if damaged:
        warnings.warn(
            f"{path}: {'line' if len(damaged) == 1 else 'lines'} {first_of(damaged)} cannot be read as a step or an "
            f"epoch and {'is' if len(damaged) == 1 else 'are'} left out; all others are kept",
            CheckpointWarning,
            stacklevel=2,
        )
    return b"".join(kept)


def _is_done(text: bytes, step: int, epoch: int) -> bool | None:
    """Whether a line is of a step or an epoch that is done; None: it is of neither kind."""
    try:
        line = json.loads(text)
        if "train_cost" in line:
            return bool(line["epoch"] <= epoch)
        return bool(line["step"] <= step) if "cost" in line else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class Checkpoints(Hooks):
    """Saves the training state; to be the last in the list of callbacks.

    Arguments:
        manager: writes the files and keeps as many as it is told.
        every_epochs: save after each so many epochs.
        every_steps: save also after each so many minibatches; None: not within an epoch.
        extra: JSON values that are saved with each.

    The state is also saved where a run ends, for whatever reason but an error.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        every_epochs: int = 1,
        every_steps: int | None = None,
        extra: Any = None,
    ) -> None:
        self.manager, self.every_epochs, self.every_steps, self.extra = (
            manager,
            every_epochs,
            every_steps,
            extra,
        )
        self._saved: tuple[int, int] | None = None

    def on_minibatch_end(self, training: Training) -> None:
        """Save within an epoch; at its end :meth:`on_epoch_end` does."""
        model = training.model
        if (
            self.every_steps
            and model.step % self.every_steps == 0
            and model.minibatch_index < training.nbatches
        ):
            training.checkpoint()

    def on_epoch_end(self, training: Training) -> None:
        """Save after an epoch."""
        if self.every_epochs and training.model.epoch_index % self.every_epochs == 0:
            training.checkpoint()

    def on_checkpoint(self, training: Training) -> None:
        """Save, unless just this state has been saved already."""
        model = training.model
        position = model.step, model.epoch_index
        if self._saved == position:
            return
        validated = training.record if training.record.get("step") == model.step else {}
        self.manager.save(
            model.step,
            optimizer=training.optimizer,
            layers=model.layers_to_optimize,
            epoch=model.epoch_index,
            model=model,
            extra=self.extra,
            metrics={key: value for key, value in validated.items() if key.startswith("valid")},
        )
        self._saved = position
