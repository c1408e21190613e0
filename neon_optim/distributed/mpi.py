"""Processes that MPI connects, through mpi4py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from neon_optim.distributed.communicator import Alone, Communicator, Pending
from neon_optim.distributed.launch import launched_size
from neon_optim.errors import DistributedError

__all__ = ["MPICommunicator", "communicator_for", "world"]

_DATA, _FAILURE = 1, 2
"""Tags of messages."""

_world: list[Communicator] = []


class MPICommunicator(Communicator):
    """The processes of a communicator of mpi4py's, on a duplicate of it: no message mixes with others.

    Arguments:
        comm: the communicator.
    """

    def __init__(self, comm: Any, timeout: float = 300.0) -> None:
        super().__init__(timeout)
        self._mpi = _import_mpi()
        self._comm = comm.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self._words: list[Any] = []
        self.introduce()

    def _start_sending(self, data: np.ndarray, process: int) -> Any:
        return self._comm.Isend([data, self._mpi.BYTE], process, _DATA)

    def _start_receiving(self, into: np.ndarray, process: int) -> Any:
        return self._comm.Irecv([into, self._mpi.BYTE], process, _DATA)

    def _are_done(self, requests: Sequence[Any]) -> bool:
        return bool(self._mpi.Request.Testall(requests))

    def _send_words(self, words: str) -> None:
        data = np.frombuffer(words.encode(), np.uint8)
        for process in range(self.size):
            if process != self.rank:
                self._words.append((self._comm.Isend([data, self._mpi.BYTE], process, _FAILURE), data))

    def _words_of_failure(self) -> tuple[int, str] | None:
        status = self._mpi.Status()
        if not self._comm.Iprobe(tag=_FAILURE, status=status):
            return None
        data = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
        self._comm.Recv([data, self._mpi.BYTE], status.Get_source(), _FAILURE)
        return status.Get_source(), data.tobytes().decode()

    def gather_numbers(self, numbers: Sequence[float] | np.ndarray) -> np.ndarray:
        """See :meth:`Communicator.gather_numbers`; by MPI's own way for it."""
        own = np.asarray(numbers, np.float64)
        found = np.empty((self.size, own.size))
        if own.size:
            self.wait([Pending(self.rank, self._comm.Iallgather(own, found))])
        return found


def world() -> Communicator:
    """All processes that were started together; MPI is started for them, and for a process by itself it is not.

    Raises:
        DistributedError: they were started as many, and mpi4py is missing, or MPI does not know the others.
    """
    if not _world:
        size = launched_size()
        if size == 1:
            return Alone()
        mpi = _import_mpi()
        found = int(mpi.COMM_WORLD.Get_size())
        if size not in (-1, found):
            raise DistributedError(
                f"{size} processes were started together, but MPI knows {found}: the launcher and the MPI of mpi4py do "
                "not go together. Use the mpiexec of that MPI; under Slurm: srun --mpi=pmi2, or --mpi=pmix"
            )
        _world.append(Alone() if found == 1 else MPICommunicator(mpi.COMM_WORLD))
        if found > 1:
            _end_all_with_one(_world[0])
    return _world[0]


def communicator_for(comm: Any) -> Communicator:
    """A communicator of ours for what somebody gave: one of ours, one of mpi4py's, or None for all processes."""
    if comm is None:
        return world()
    if isinstance(comm, Communicator):
        return comm
    if not (hasattr(comm, "Isend") and hasattr(comm, "Dup")):
        raise DistributedError(f"comm must be a communicator of mpi4py's, or None, received {comm!r:.60}")
    return Alone() if comm.Get_size() == 1 else MPICommunicator(comm)


def _end_all_with_one(comm: Communicator) -> None:
    """Let an error that nobody catches, in one process, end all: they would wait for it."""
    show = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        show(kind, error, trace)
        if isinstance(error, KeyboardInterrupt) or _import_mpi().Is_finalized():
            return
        print(f"Error: {comm.name_of(comm.rank)} has ended with {kind.__name__}", file=sys.stderr, flush=True)
        _import_mpi().COMM_WORLD.Abort(1)

    sys.excepthook = end


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise DistributedError(
            f"several processes need mpi4py and an MPI, which could not be imported ({error}): "
            "pip install 'neon_optim[mpi]'"
        ) from error
    return MPI
