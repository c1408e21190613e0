"""neon's callbacks that show how training goes: a line that is written again and again, and the log."""

from __future__ import annotations

import logging
import math
import sys
from timeit import default_timer
from typing import Any

import numpy as np

from neon_optim.compat.neon.callbacks.base import Callback, number

_log = logging.getLogger(__name__)

__all__ = [
    "ProgressBarCallback",
    "TrainLoggerCallback",
    "get_progress_string",
]


_BAR = 20


def get_progress_string(
    tag: str, epoch: int, minibatch: int, nbatches: int, cost: Any, time: float, blockchar: str = "\u2588"
) -> str:
    """The line that shows how far an epoch is.

    >>> get_progress_string("Train", 2, 5, 10, 0.25, 1.5, blockchar="#")
    'Epoch 2   [Train |##########          |    5/10   batches, 0.25 cost, 1.50s]'
    """
    bar = f"{blockchar * int(minibatch / nbatches * _BAR):<{_BAR}}"
    if isinstance(cost, np.ndarray):
        costs = f"({', '.join([f'{one:.2f}' for one in cost])}) costs"
    else:
        costs = f"{cost:.2f} cost"
    return f"Epoch {epoch:<3} [{tag} |{bar}| {minibatch:4}/{nbatches:<4} batches, {costs}, {time:.2f}s]"


class ProgressBarCallback(Callback):
    """Shows how far an epoch is, on a line that is written again and again.

    Arguments:
        epoch_freq: in every so many epochs.
        minibatch_freq: after every so many minibatches.
        update_thresh_s: no sooner than after so many seconds.
    """

    def __init__(self, epoch_freq: Any = 1, minibatch_freq: Any = 1, update_thresh_s: Any = 0.1):
        super().__init__(epoch_freq=epoch_freq, minibatch_freq=minibatch_freq)
        self.update_thresh_s = update_thresh_s
        self._shown = 0

    def on_epoch_begin(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Start the clock."""
        self.start_epoch = self.last_update = default_timer()
        self.nbatches = model.nbatches

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Show, unless that was done a moment ago."""
        now, done = default_timer(), minibatch + 1
        if now - self.last_update <= self.update_thresh_s and done != self.nbatches:
            return
        self.last_update = now
        kept = "cost/train" if "cost/train" in callback_data else "multicost/train"
        cost = math.nan
        if kept in callback_data:
            cost = callback_data[kept][self._minibatches_before(callback_data, epoch) + minibatch]
        line = get_progress_string("Train", epoch, done, self.nbatches, cost, now - self.start_epoch)
        sys.stdout.write("\r" + " " * self._shown + "\r" + line)
        sys.stdout.flush()
        self._shown = len(line)

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Show what was evaluated, and go to the next line."""
        found = self._get_cached_epoch_loss(callback_data, model, epoch, "loss")
        if found:
            sys.stdout.write(f" [{found['costnm']} {found['cost']:.2f}, {found['time']:.2f}s]")
        sys.stdout.write("\n")
        sys.stdout.flush()


class TrainLoggerCallback(Callback):
    """Logs how training goes.

    Arguments:
        epoch_freq: after every so many epochs.
        minibatch_freq: after every so many minibatches; None: after epochs alone.
    """

    def __init__(self, epoch_freq: Any = 1, minibatch_freq: Any = None):
        super().__init__(epoch_freq=epoch_freq, minibatch_freq=minibatch_freq)

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Log the model."""
        _log.info("Model:\n%s", model)

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Log the cost of a minibatch."""
        cost = callback_data["cost/train"][self._minibatches_before(callback_data, epoch) + minibatch]
        _log.info("epoch %d, minibatch %d: train cost %f", epoch, minibatch, cost)

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Log the cost of an epoch, and what was evaluated."""
        found = self._get_cached_epoch_loss(callback_data, model, epoch, "loss")
        evaluated = f", evaluated {found['cost']:f}" if found else ""
        _log.info("epoch %d: train cost %f%s", epoch, number(model.total_cost), evaluated)
