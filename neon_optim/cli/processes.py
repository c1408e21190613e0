"""A command that several processes run together: one of them talks, and an error of one ends all."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from neon_optim.errors import NeonOptimError

__all__ = ["all_processes", "as_one"]

_SECONDS = 10.0
"""That a process which has failed waits for others to end as well."""


def all_processes() -> Any:
    """The processes that run this command together. Where they cannot, the first one says so."""
    from neon_optim.distributed.launch import launched_rank
    from neon_optim.distributed.mpi import world

    try:
        return world()
    except NeonOptimError as error:
        if launched_rank() > 0:
            raise SystemExit(2) from error
        raise


@contextmanager
def as_one(comm: Any) -> Iterator[None]:
    """A block that all processes run. What the others write is left out; what fails for one is told by process 0.

    Arguments:
        comm: the processes.
    """
    if comm.size == 1:
        yield
        return
    from neon_optim.distributed.watch import watched

    if comm.rank:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)
    try:
        with watched(comm), comm.telling():
            yield
    except Exception as error:
        code = 2 if isinstance(error, NeonOptimError) else 1
        _leave_in_time(code)
        if comm.rank == 0:
            raise
        if code == 1 and not isinstance(error, MemoryError):
            traceback.print_exc(file=sys.__stderr__)
        raise SystemExit(code) from error


def _leave_in_time(code: int) -> None:
    """End this process after a while, also where MPI waits for one that does not answer: the launcher ends that."""
    timer = threading.Timer(_SECONDS, os._exit, [code])
    timer.daemon = True
    timer.start()
