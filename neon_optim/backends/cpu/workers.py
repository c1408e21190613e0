"""Helper threads: they join the caller in work that is claimed task by task.

Kernels release the interpreter lock while they run, so plain threads are enough; unlike Numba's own thread pools they
may be used from several threads at once, and a forked process starts its own.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

__all__ = ["run_together", "thread_count"]


class _Job:
    """One call of :func:`run_together`."""

    def __init__(self, work: Callable[[], None]):
        self._work = work
        self._lock = threading.Lock()
        self._open = True
        self._running = 0
        self._left: SimpleQueue[BaseException | None] = SimpleQueue()

    def help(self) -> None:
        """Run the work, unless the caller has already finished all of it."""
        with self._lock:
            if not self._open:
                return
            self._running += 1
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as caught:
            error = caught
        self._left.put(error)

    def finish(self) -> None:
        """Let no more helpers in and wait for those that are at work."""
        with self._lock:
            self._open = False
        errors = [self._left.get() for _ in range(self._running)]
        for error in errors:
            if error is not None:
                raise error


_jobs: SimpleQueue[_Job] = SimpleQueue()
_helpers: list[threading.Thread] = []
_left_free: int | None = None
_growing = threading.Lock()

_FEW = 8
"""Helpers that are worth telling one by one where to run."""


def _serve(jobs: SimpleQueue[_Job]) -> None:
    while True:
        jobs.get().help()


def _need(count: int) -> None:
    """Have so many helpers, or as many as the system gives."""
    global _left_free
    with _growing:
        while len(_helpers) < count:
            helper = threading.Thread(target=_serve, args=(_jobs,), name="neon_optim", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # at a limit, or at the end of the process: the caller does all by itself
                return
            _helpers.append(helper)
            _left_free = None


def _leave_processor() -> None:
    """Keep the helpers off the processor that this thread runs on.

    Threads of a BLAS or OpenMP library spin for milliseconds after their work. The system takes their processors for
    busy ones and puts a helper where its caller runs, so that the two take turns instead of working together. (Among
    many processors it finds a free one.)
    """
    global _left_free
    if _current_processor is None or len(_helpers) > _FEW:
        return
    here = _current_processor()
    if here == _left_free:
        return
    others = os.sched_getaffinity(0) - {here}
    if here < 0 or not others:
        return
    _left_free = here
    for helper in _helpers:
        try:
            os.sched_setaffinity(helper.native_id or 0, others)
        except OSError:  # the processors of this process have just changed
            return


def _find_current_processor() -> Callable[[], int] | None:
    """The C library's function that tells where the calling thread runs; None where threads cannot be placed."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    function: Callable[[], int] | None = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return function


_current_processor = _find_current_processor()


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _jobs, _helpers, _left_free, _growing
    _jobs, _helpers, _left_free, _growing = SimpleQueue(), [], None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def run_together(work: Callable[[], None], threads: int) -> None:
    """Call ``work`` in this thread and in up to ``threads - 1`` helpers; return when all calls have returned.

    ``work`` claims tasks until none is left: a helper that comes late finds nothing to do, and one that does not come
    at all is not waited for.
    """
    if threads <= 1:
        work()
        return
    _need(threads - 1)
    _leave_processor()
    job = _Job(work)
    for _ in range(threads - 1):
        _jobs.put(job)
    try:
        work()
    finally:
        job.finish()


def thread_count() -> int:
    """What numba.set_num_threads() set, else $NUMBA_NUM_THREADS, else the processors that this process may use."""
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    if getattr(
        parallel, "_is_initialized", False
    ):  # else nobody has set it, and asking would start Numba's threads
        return int(parallel.get_num_threads())
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
