"""What a manager's save is told, checked; and a save in parts that is under way in its folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.described.arguments import refuse
from neon_optim.serialization.checkpoint import sharded

__all__ = ["ManagedSave", "checked_metrics", "checked_step"]


class ManagedSave:
    """A save in parts that is under way in the folder of a manager; :meth:`CheckpointManager.begin` makes one.

    Attributes:
        path: the folder of the checkpoint.
        ticket: what :func:`~.sharded.write_part` needs, JSON values: for every process.
    """

    def __init__(
        self, save: sharded.Save, step: int, saved: Callable[[int, Mapping[str, Any]], None]
    ) -> None:
        self.path, self.ticket = save.path, save.ticket
        self._save, self._step, self._saved = save, step, saved

    def commit(
        self,
        receipts: Sequence[sharded.Receipt],
        state: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """Make the checkpoint valid, once every part is written; then delete those that need not be kept.

        Args:
            receipts: what :func:`~.sharded.write_part` has returned, of every part.
            state: the JSON value, as of ``training_state.capture``.
            metrics: as for :meth:`CheckpointManager.save`.

        Returns:
            The path of the folder.

        Raises:
            CheckpointError: as :meth:`neon_optim.serialization.checkpoint.sharded.Save.commit`.
        """
        state = {**state, "step": self._step, "metrics": checked_metrics(metrics)}
        self._save.commit(receipts, state)
        self._saved(self._step, state)
        return self.path


def checked_step(step: Any) -> int:
    """The number of a checkpoint."""
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or not 0 <= step < 10**18:
        refuse("CheckpointManager", "step", step, "must be an integer >= 0")
    return int(step)


def checked_metrics(metrics: Mapping[str, float] | None) -> dict[str, float | None]:
    """Numbers by name; None for what is not finite."""
    for key, value in (metrics or {}).items():
        if not isinstance(value, int | float | np.number | np.bool_):
            refuse("CheckpointManager", f"metrics[{key!r}]", value, "must be a number")
    numbers = {key: float(value) for key, value in (metrics or {}).items()}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}
