"""What people see while a model is trained."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

from neon_optim.model.callbacks import Hooks
from neon_optim.model.training import Training

__all__ = ["PatientStream", "PlainProgress", "ProgressBar", "progress"]

#: Terminals without a cursor that can be moved.
_DUMB = ("dumb", "unknown")


class PatientStream:
    """A text stream that may fail at any time (its reader has gone, the disk is full) without an error.

    Arguments:
        stream: what is written to; None: nothing.
        failed: called once, with the error, at the first failure; nothing is written after it.
    """

    def __init__(self, stream: Any, failed: Callable[[Exception], None] | None = None) -> None:
        self._stream, self._failed = stream, failed

    def write(self, text: str) -> int:
        """Write, as long as the stream takes it."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush, as long as the stream takes it."""
        self._try("flush")

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # it is closed
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, method: str, *arguments: str) -> None:
        if self._stream is None:
            return
        try:
            getattr(self._stream, method)(*arguments)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._stream, failed = None, self._failed
            if failed is not None:
                failed(error)


def progress(stream: Any = None) -> Hooks:
    """A live bar where the output is a terminal, else plain lines.

    Arguments:
        stream: where to; default: standard output.
    """
    stream = PatientStream(sys.stdout) if stream is None else stream
    live = stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB
    return ProgressBar(stream) if live else PlainProgress(stream)


class PlainProgress(Hooks):
    """A line after each epoch, and within long ones every ten seconds.

    No line is wider than a terminal: what is least important is left out. An output that takes no more lines does not
    end training.

    Arguments:
        stream: where to; default: standard output.
    """

    interval = 10.0

    def __init__(self, stream: TextIO | PatientStream | None = None) -> None:
        stream = sys.stdout if stream is None else stream
        self.stream = stream if isinstance(stream, PatientStream) else PatientStream(stream)
        self._widths: dict[str, int] = {}
        self._left_out: dict[tuple[str, int], int] = {}
        self._latest: dict[str, str] = {}

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
        epoch = _epoch(training, training.model.epoch_index + 1)
        self.print(self._fit("step", {"epoch": epoch, **self._step(training)}))

    def on_epoch_end(self, training: Training) -> None:
        """A line with what the epoch came to."""
        self._last = time.monotonic()
        self.print(self._fit("epoch", self._epoch(training)))

    def print(self, line: str) -> None:
        """Show a line."""
        self.stream.write(line + "\n")
        self.stream.flush()

    def width(self) -> int | None:
        """The columns of the terminal; None where the output is none."""
        return shutil.get_terminal_size().columns if self.stream.isatty() else None

    def _step(self, training: Training) -> dict[str, str]:
        """What is shown within an epoch."""
        at = f"{training.model.minibatch_index:{len(str(training.nbatches))}}/{training.nbatches}"
        if training.steps:
            _, cost, rate = training.steps[-1]
            self._latest = {"cost": f"cost {cost:.4f}", "rate": f"lr {rate:.4g}"}
        return {"batch": f"batch {at}", **self._latest, "left": self._time_left(training)}

    def _epoch(self, training: Training) -> dict[str, str]:
        """What is shown of an epoch that is done, each number as wide as the widest so far."""
        record = training.record
        seconds = time.monotonic() - self._epoch_begin
        return {
            "epoch": _epoch(training, record["epoch"]),
            "cost": f"cost {self._aligned('cost', _value('train_cost', record['train_cost']))}",
            **{
                key: f"{key.replace('_', ' ')} {self._aligned(key, _value(key, value))}"
                for key, value in record.items()
                if key.startswith("valid")
            },
            "rate": f"lr {self._aligned('rate', format(record['learning_rate'], '.4g'), left=True)}",
            "seconds": f"{self._aligned('seconds', format(seconds, '.2f'))} s",
            "left": self._time_left(training),
        }

    def _aligned(self, key: str, value: str, left: bool = False) -> str:
        width = self._widths[key] = max(len(value), self._widths.get(key, 0))
        return value.ljust(width) if left else value.rjust(width)

    def _fit(self, kind: str, shown: dict[str, str], width: int | None = None) -> str:
        """The line of what is shown, without what it has no room for (and had none before, so that columns stay)."""
        width = self.width() if width is None else width
        parts = {key: text for key, text in shown.items() if text}
        if width is None:
            return "  ".join(parts.values()).rstrip()
        validated = [key for key in parts if key.startswith("valid")]
        order = ["left", "seconds", *validated[:-1], "batch", "rate", "cost", *validated[-1:]]
        count = self._left_out.get((kind, width), 0)
        while True:
            line = "  ".join(text for key, text in parts.items() if key not in order[:count]).rstrip()
            if len(line) <= width or count == len(order):
                self._left_out[kind, width] = count
                return line[:width]
            count += 1

    def _time_left(self, training: Training) -> str:
        done = training.model.step - self._first_step
        left = training.num_epochs * training.nbatches - training.model.step
        if not done or left <= 0:
            return ""
        return f"{_time((time.monotonic() - self._begin) / done * left)} left"


class ProgressBar(PlainProgress):
    """A live bar: epoch, batch, cost, learning rate, time left; above it a line for each epoch.

    Arguments:
        stream: a terminal; default: standard output.
    """

    interval = 0.03
    bar_widths = 10, 40

    def on_train_begin(self, training: Training) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().on_train_begin(training)
        self._console = Console(file=cast(TextIO, self.stream), markup=False, emoji=False, highlight=False)
        self._column = BarColumn()
        self._bar: Any = Progress(
            TextColumn("{task.description}", markup=False),
            self._column,
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            transient=True,
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=training.num_epochs * training.nbatches, text="")
        self._update(training)
        self._bar.start()

    def on_epoch_begin(self, training: Training) -> None:
        """Show the epoch, however short it is."""
        super().on_epoch_begin(training)
        self._update(training)

    def on_epoch_end(self, training: Training) -> None:
        """A line above the bar; the clock of the bar goes on."""
        last = self._last
        super().on_epoch_end(training)
        self._last = last

    def show_step(self, training: Training) -> None:
        """Move the bar."""
        training.read_costs()
        self._update(training)

    def width(self) -> int | None:
        """The columns of the terminal."""
        return self._console.width

    def print(self, line: str) -> None:
        """Show a line above the bar."""
        self._bar.console.print(line, soft_wrap=True)

    def on_train_end(self, training: Training) -> None:
        """Take the bar away."""
        if hasattr(self, "_bar"):
            self._bar.stop()

    def _update(self, training: Training) -> None:
        """Say on the bar where training stands, in one line."""
        model = training.model
        epoch = _epoch(training, min(model.epoch_index + 1, training.num_epochs))
        narrowest, widest = self.bar_widths
        room = (
            self._console.width - len(epoch) - 2 - len("^C")
        )  # which a wrapped line would not be erased with
        text = self._fit("step", self._step(training), max(0, room - narrowest))
        self._column.bar_width = max(1, min(widest, room - len(text)))
        self._bar.update(self._task, description=epoch, completed=model.step, text=text)

    def _epoch(self, training: Training) -> dict[str, str]:
        """Without the time left: the bar has it."""
        return {**super()._epoch(training), "left": ""}


def _epoch(training: Training, number: int) -> str:
    return f"epoch {number:{len(str(training.num_epochs))}}/{training.num_epochs}"


def _value(key: str, value: float) -> str:
    return f"{100 * value:5.2f} %" if key.endswith("_error") else f"{value:.4f}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
