"""What every callback of neon's is: hooks of training, which share an HDF5 file."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from neon_optim.compat.descriptions import NeonObject
from neon_optim.compat.neon.data.dataiterator import NervanaDataIterator

__all__ = ["Callback", "number"]


class Callback(NeonObject, kind="callback"):
    """Hooks of training; each does nothing here.

    ``callback_data`` is the HDF5 file that callbacks share: ``cost/train``, ``cost/loss``, ``metrics/…`` and others.

    Arguments:
        epoch_freq: call the hooks of every so many epochs; a list: of these; None: of none.
        minibatch_freq: the same for minibatches.
    """

    def __init__(self, epoch_freq: Any = 1, minibatch_freq: Any = 1):
        super().__init__()
        self.epoch_freq, self.minibatch_freq = epoch_freq, minibatch_freq
        self.costnm: str | None = None
        self._epoch_begun = (0, 0)

    def get_description(self, skip: Iterable[str] = (), **options: Any) -> dict[str, Any]:
        """The description; datasets by name, ``{'type': 'Data', 'name': …}``."""
        arguments = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        datasets = [name for name in arguments if isinstance(getattr(self, name, None), NervanaDataIterator)]
        found = super().get_description(skip=[*skip, *datasets])
        for name in datasets:
            found["config"][name] = {"type": "Data", "name": getattr(self, name).name}
        return found

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Before the first epoch, of ``epochs`` in all."""

    def on_train_end(self, callback_data: Any, model: Any) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Before the first minibatch of an epoch."""

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """After the last minibatch of an epoch."""

    def on_minibatch_begin(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Before a minibatch."""

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """After a minibatch."""

    def should_fire(self, callback_data: Any, model: Any, time: int, freq: Any) -> bool:
        """Whether a hook is due in an epoch or a minibatch, whose number is ``time``."""
        if type(freq) is int:
            return (time + 1) % freq == 0
        return isinstance(freq, list) and time in freq

    def _get_cached_epoch_loss(
        self, callback_data: Any, model: Any, epoch: int, label: str
    ) -> dict[str, Any] | None:
        """What :class:`LossCallback` found in an epoch: ``cost``, ``time``, and the name of the cost, ``costnm``."""
        if self.costnm is None:
            costfunc = getattr(model.cost, "costfunc", None)
            self.costnm = "Loss" if costfunc is None else f"{type(costfunc).__name__} Loss"
        if f"cost/{label}" not in callback_data:
            return None
        costs = callback_data[f"cost/{label}"]
        freq = costs.attrs["epoch_freq"]
        if (epoch + 1) % freq:
            return None
        at = epoch // freq
        return {"cost": costs[at], "time": callback_data[f"time/{label}"][at], "costnm": self.costnm}

    def _minibatches_before(self, callback_data: Any, epoch: int) -> int:
        """How many minibatches were done before an epoch."""
        if epoch == 0:
            return 0
        if self._epoch_begun[0] != epoch:
            self._epoch_begun = epoch, int(callback_data["time_markers/minibatch"][epoch - 1])
        return self._epoch_begun[1]


def number(cost: Any) -> float:
    """A cost, an array of (1, 1), as a number."""
    return float(np.asarray(cost).reshape(-1)[0])
