"""neon's callbacks that save the model."""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import Any

from neon_optim.compat.neon.callbacks.base import Callback
from neon_optim.compat.neon.util.persist import save_obj

_log = logging.getLogger(__name__)

__all__ = [
    "SaveBestStateCallback",
    "SerializeModelCallback",
]


class SerializeModelCallback(Callback):
    """Saves the model.

    Arguments:
        save_path: the file.
        epoch_freq: after every so many epochs.
        history: how many files are kept. Above 1 each has the number of its epoch behind its name, and ``save_path``
            is a symbolic link to the newest.
    """

    def __init__(self, save_path: Any, epoch_freq: Any = 1, history: Any = 1):
        super().__init__(epoch_freq=epoch_freq)
        self.save_path, self.history = save_path, history
        self.checkpoint_files: deque[str] = deque()

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Save."""
        if self.history > 1:
            self.save_history(epoch, model)
        else:
            save_obj(model.serialize(keep_states=True), self.save_path)

    def save_history(self, epoch: int, model: Any) -> None:
        """Save under the name of the epoch; the oldest file goes when there are more than ``history``."""
        stem, suffix = os.path.splitext(self.save_path)
        path = f"{stem}_{epoch}{suffix}"
        save_obj(model.serialize(keep_states=True), path)
        self.checkpoint_files.append(path)
        while len(self.checkpoint_files) > self.history:
            oldest = self.checkpoint_files.popleft()
            try:
                os.remove(oldest)
            except OSError as error:
                _log.warning("cannot remove %s: %s", oldest, error)
        try:
            if os.path.islink(self.save_path):
                os.remove(self.save_path)
            os.symlink(os.path.basename(path), self.save_path)
        except OSError as error:
            _log.warning("cannot make %s a link to %s: %s", self.save_path, path, error)


class SaveBestStateCallback(Callback):
    """Saves the model whenever :class:`LossCallback` has found a lower cost than before.

    Arguments:
        path: the file.
    """

    def __init__(self, path: Any):
        super().__init__(epoch_freq=1)
        self.path = self.best_path = path
        self.best_cost: float | None = None

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Save, if the cost is lower."""
        found = self._get_cached_epoch_loss(callback_data, model, epoch, "loss")
        if found and (self.best_cost is None or found["cost"] < self.best_cost):
            save_obj(model.serialize(keep_states=True), self.best_path)
            self.best_cost = found["cost"]
