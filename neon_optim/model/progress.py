"""What people see while a model is trained."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from neon_optim.model.callbacks import Callback
from neon_optim.model.training import Training

__all__ = ["PlainProgress", "ProgressBar", "progress"]


def progress(stream: TextIO | None = None) -> Callback:
    """A live bar where the output is a terminal, else plain lines.

    Arguments:
        stream: where to; default: standard output.
    """
    stream = stream or sys.stdout
    return ProgressBar(stream) if stream.isatty() else PlainProgress(stream)


class PlainProgress(Callback):
    """A line after each epoch, and within long ones every ten seconds.

    Arguments:
        stream: where to; default: standard output.
    """

    interval = 10.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout

    def on_train_begin(self, training: Training) -> None:
        """Start the clock."""
        self._begin = self._last = self._epoch_begin = time.monotonic()
        self._first_step = training.model.step

    def on_epoch_begin(self, training: Training) -> None:
        """Start the clock of the epoch."""
        self._epoch_begin = time.monotonic()

    def on_minibatch_end(self, training: Training) -> None:
        """Show where training stands, from time to time."""
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._last = now
            self.show_step(training)

    def show_step(self, training: Training) -> None:
        """A line within an epoch."""
        training.read_costs()
        self.print(
            f"{_epoch(training, training.model.epoch_index + 1)}  "
            f"batch {training.model.minibatch_index}/{training.nbatches}  cost {training.steps[-1][1]:.4f}  "
            f"lr {training.steps[-1][2]:.4g}{self._time_left(training)}"
        )

    def on_epoch_end(self, training: Training) -> None:
        """A line with what the epoch came to."""
        record = training.record
        now = self._last = time.monotonic()
        validated = "".join(
            f"  {key.replace('_', ' ')} {_value(key, value)}"
            for key, value in record.items()
            if key.startswith("valid")
        )
        self.print(
            f"{_epoch(training, record['epoch'])}  cost {record['train_cost']:.4f}{validated}"
            f"  lr {record['learning_rate']:.4g}  {now - self._epoch_begin:.2f} s{self._time_left(training)}"
        )

    def print(self, line: str) -> None:
        """Show a line."""
        self.stream.write(line + "\n")
        self.stream.flush()

    def _time_left(self, training: Training) -> str:
        done = training.model.step - self._first_step
        left = training.num_epochs * training.nbatches - training.model.step
        if not done or not left:
            return ""
        return f"  {_time((time.monotonic() - self._begin) / done * left)} left"


class ProgressBar(PlainProgress):
    """A live bar: epoch, batch, cost, learning rate, time left; above it a line for each epoch.

    Arguments:
        stream: a terminal; default: standard output.
    """

    interval = 0.1

    def on_train_begin(self, training: Training) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().on_train_begin(training)
        self._bar: Any = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("batch {task.fields[batch]}  cost {task.fields[cost]}  lr {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(file=self.stream),
            transient=True,
        )
        self._task = self._bar.add_task(
            _epoch(training, training.model.epoch_index + 1),
            total=training.num_epochs * training.nbatches,
            completed=training.model.step,
            batch=f"0/{training.nbatches}",
            cost="-",
            rate="-",
        )
        self._bar.start()

    def show_step(self, training: Training) -> None:
        """Move the bar."""
        training.read_costs()
        model = training.model
        self._bar.update(
            self._task,
            description=_epoch(training, model.epoch_index + 1),
            completed=model.step,
            batch=f"{model.minibatch_index}/{training.nbatches}",
            cost=f"{training.steps[-1][1]:.4f}",
            rate=f"{training.steps[-1][2]:.4g}",
        )

    def print(self, line: str) -> None:
        """Show a line above the bar."""
        self._bar.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, training: Training) -> None:
        """Take the bar away."""
        if hasattr(self, "_bar"):
            self._bar.stop()


def _epoch(training: Training, number: int) -> str:
    return f"epoch {number:{len(str(training.num_epochs))}}/{training.num_epochs}"


def _value(key: str, value: float) -> str:
    return f"{100 * value:.2f} %" if key.endswith("_error") else f"{value:.4f}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
