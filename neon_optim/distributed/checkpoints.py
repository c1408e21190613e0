"""Checkpoints that processes write together, each its share, and the folder of them that one of the processes has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from neon_optim.distributed.communicator import Communicator
from neon_optim.serialization.checkpoint import sharded, training_state
from neon_optim.serialization.checkpoint.manager import CheckpointManager

__all__ = ["SharedManager", "save_together"]


def save_together(
    comm: Communicator,
    begin: Callable[[], AbstractContextManager[Any]],
    optimizer: Any,
    state: Mapping[str, Any],
    **options: Any,
) -> str:
    """Save the training state, a part from each process; all of them call it. What fails for one fails for all.

    Arguments:
        begin: begins to save; called by process 0 alone.
        state: the other arguments of :func:`neon_optim.serialization.checkpoint.training_state.capture`.
        options: for ``commit``.

    Returns the path.
    """
    path = None
    with ExitStack() as stack:
        with comm.agreeing():
            arrays, values = training_state.capture(optimizer=optimizer, **state)
            save = stack.enter_context(begin()) if comm.rank == 0 else None
        ticket = comm.broadcast(save and save.ticket)
        receipt = None
        with comm.agreeing():
            shares = sharded.share_out(arrays, comm.rank, comm.size)
            receipt = sharded.write_part(ticket, comm.rank, shares)
        receipts = comm.gather(receipt)
        with comm.agreeing():
            if save is not None:
                path = save.commit(receipts, values, **options)
    return str(comm.broadcast(path))


class SharedManager:
    """A folder of checkpoints for several processes: process 0 has its CheckpointManager, all call the methods.

    Arguments:
        comm: the processes.
        manager: that of process 0; None on the others.
    """

    def __init__(self, comm: Communicator, manager: CheckpointManager | None) -> None:
        self._comm, self._manager = comm, manager
        kept = manager and [manager.keep_last, manager.keep_every, manager.keep_best]
        self.keep_last, self.keep_every, best = comm.broadcast(kept)
        self.keep_best = None if best is None else tuple(best)

    def save(
        self, step: int, *, optimizer: Any, metrics: Mapping[str, float] | None = None, **state: Any
    ) -> str:
        """Save the training state; see :meth:`CheckpointManager.save`."""
        manager, comm = self._manager, self._comm
        if comm.size == 1 and manager is not None:
            return manager.save(step, optimizer=optimizer, metrics=metrics, **state)
        begin = partial(manager.begin, step, parts=comm.size) if manager is not None else _nobody
        return save_together(comm, begin, optimizer, state, metrics=metrics)

    def latest(self) -> str | None:
        """See :meth:`CheckpointManager.latest`."""
        return self._of_first(lambda manager: manager.latest())

    def best(self, by: tuple[str, str] | None = None) -> str | None:
        """See :meth:`CheckpointManager.best`."""
        return self._of_first(lambda manager: manager.best(by))

    def _of_first(self, ask: Callable[[CheckpointManager], str | None]) -> str | None:
        answer = None
        with self._comm.agreeing():
            if self._manager is not None:
                answer = ask(self._manager)
        found: str | None = self._comm.broadcast(answer)
        return found


def _nobody() -> AbstractContextManager[Any]:
    raise AssertionError("process 0 begins")
