"""A folder of checkpoints: which are kept, which is the newest, who may write."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from neon_optim.described.arguments import refuse
from neon_optim.errors import CheckpointError, CheckpointWarning, printable
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, sharded, training_state
from neon_optim.serialization.checkpoint.checkpoint import Checkpoint, load_checkpoint
from neon_optim.serialization.checkpoint.managed_save import ManagedSave, checked_metrics, checked_step
from neon_optim.serialization.checkpoint.step_files import StepFiles
from neon_optim.serialization.checkpoint.stored import read_state, verify_checkpoint

__all__ = ["CheckpointManager"]

_LOCK = ".lock"


class CheckpointManager:
    """Saves checkpoints as ``step-000000123.safetensors`` in a folder and deletes those that need not be kept.

    What several processes save together (:meth:`begin`) is a folder, ``step-000000123.sharded``, and as good as a file.

    The newest checkpoint is always kept; any other that one of the rules wants; all of them where no rule is
    given. Old ones are deleted only after the new one is durable. One manager at a time writes to a folder (a
    lock that ends with its process, however that ends); any number may read, and none of them ever sees half
    a file.

    Args:
        folder: created with the first save.
        keep_last: how many of the newest to keep.
        keep_every: keep every step that this number divides.
        keep_best: ``(metric, 'min' | 'max')``: keep the best by that metric of :meth:`save`.
        async_save: write in the background. :meth:`save` then waits only for a copy of the state (and for the
            write before it, where that still goes on); an error of a write surfaces at the next call; the end
            of the process waits.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> import tempfile
        >>> from neon_optim.optimizers import Adam
        >>> layers = [((np.ones((2, 2)), np.zeros((2, 2))), [])]
        >>> with tempfile.TemporaryDirectory() as folder, CheckpointManager(folder, keep_last=2) as manager:
        ...     for step in (10, 20, 30):
        ...         _ = manager.save(step, optimizer=Adam(), layers=layers)
        ...     manager.steps(), manager.restore().step
        ([20, 30], 30)
    """

    def __init__(
        self,
        folder: durable.StrPath,
        *,
        keep_last: int | None = None,
        keep_every: int | None = None,
        keep_best: tuple[str, str] | None = None,
        async_save: bool = False,
    ) -> None:
        for name, count in (("keep_last", keep_last), ("keep_every", keep_every)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                refuse("CheckpointManager", name, count, "must be an integer >= 1 or None")
        if keep_best is not None and not (
            isinstance(keep_best, tuple | list)
            and len(keep_best) == 2
            and isinstance(keep_best[0], str)
            and keep_best[1] in ("min", "max")
        ):
            refuse(
                "CheckpointManager",
                "keep_best",
                keep_best,
                "must be (metric, 'min'), (metric, 'max') or None",
            )
        self.folder = os.path.abspath(os.fsdecode(folder))
        self.keep_last = keep_last
        self.keep_every = keep_every
        self.keep_best = None if keep_best is None else (keep_best[0], keep_best[1])
        self.async_save = async_save
        self._files = StepFiles(self.folder)
        self._lock_fd: int | None = None
        self._damaged: set[int] = set()
        self._metrics: dict[int, dict[str, float | None]] = {}
        self._copies: dict[str, np.ndarray] = {}
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        _managers.add(self)

    # ---- writing

    def save(
        self,
        step: int,
        *,
        optimizer: Any,
        layers: Any,
        epoch: int = 0,
        model: Any = None,
        extra: Any = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """Save the training state as it is now; arguments as for ``save_checkpoint``.

        Args:
            step: number of the checkpoint, an integer >= 0; one that exists is replaced.
            metrics: numbers by name, for ``keep_best``; what is not finite counts as the worst.

        Returns:
            The path of the file; with ``async_save`` it is there after :meth:`wait`.

        Raises:
            CheckpointError: the file cannot be written, another process writes here, or a background write
            has failed.
        """
        arrays, state = training_state.capture(
            optimizer=optimizer, layers=layers, epoch=epoch, model=model, extra=extra
        )
        return self.write(step, training_state.held_whole(arrays), state, metrics=metrics)

    def write(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """:meth:`save` for arrays and JSON values that are there already."""
        step = checked_step(step)
        state = {**state, "step": step, "metrics": checked_metrics(metrics)}
        self.wait()
        self._lock()
        path = self._files.file(step)
        if self.async_save:
            copies = self._copied(arrays)
            self._thread = threading.Thread(
                target=self._write_behind, args=(step, copies, state), name=f"neon_optim-save-{step}"
            )
            self._thread.start()
        else:
            self._write(step, arrays, state)
        return path

    @contextlib.contextmanager
    def begin(self, step: int, parts: int) -> Iterator[ManagedSave]:
        """Begin to save a checkpoint in ``parts`` parts, one for each process, as :func:`~.sharded.begin` does.

        One process has the manager, and does this; the others get ``ticket``.

        Args:
            step: as for :meth:`save`.
            parts: 1 to 9,999.

        Raises:
            CheckpointError: the folder cannot be made, or another process writes here.

        Example:
            >>> import tempfile
            >>> from neon_optim.serialization.checkpoint.sharded import share_out, write_part
            >>> arrays = {"fc/W": np.ones((2, 2))}
            >>> with tempfile.TemporaryDirectory() as folder, CheckpointManager(folder) as manager:
            ...     with manager.begin(12, parts=2) as save:
            ...         receipts = [write_part(save.ticket, k, share_out(arrays, k, 2)) for k in range(2)]
            ...         path = save.commit(receipts, {"parameters": {}}, metrics={"error": 0.1})
            ...     os.path.basename(manager.latest()), manager.steps()
            ('step-000000012.sharded', [12])
        """
        step = checked_step(step)
        self.wait()
        self._lock()
        with sharded.begin(self._files.shards(step), parts) as save:
            yield ManagedSave(save, step, partial(self._saved, delete_other=self._files.delete_file))

    def _write(self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        archive.write(self._files.file(step), arrays, state)
        self._saved(step, state, delete_other=self._files.delete_shards)

    def _saved(self, step: int, state: Mapping[str, Any], *, delete_other: Callable[[int], None]) -> None:
        """A checkpoint is durable: what it stands for, and what is older, is deleted."""
        self._damaged.discard(step)
        self._metrics[step] = state["metrics"]
        self._delete(step, delete_other)
        self._delete_old(step)

    def _write_behind(self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        try:
            self._write(step, arrays, state)
        except BaseException as error:
            self._error = error

    def _copied(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copies of ``arrays``, in the memory of the last ones where it fits: new memory takes twice as long."""
        old, self._copies = self._copies, {}
        for name, array in arrays.items():
            copy = old.pop(name, None)
            if copy is None or copy.dtype != array.dtype or copy.shape != array.shape:
                copy = np.empty_like(array, order="C", subok=False)
            np.copyto(copy, array, casting="no")
            self._copies[name] = copy
        return self._copies

    def wait(self) -> None:
        """Wait until the background write is done.

        Raises:
            CheckpointError: it has failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait until the background write is done, and let others write to the folder."""
        try:
            self.wait()
        finally:
            self._unlock()

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- reading

    def path(self, step: int) -> str:
        """The file of a step, or the folder of a sharded checkpoint."""
        return self._files.path(step)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order; it may be damaged."""
        return self._files.steps()

    def latest(self) -> str | None:
        """The path of the newest checkpoint that is whole, verified to the last bit; None if there are no files.

        A damaged one is passed over with a CheckpointWarning that names it.

        Raises:
            CheckpointError: there are checkpoints, and every one is damaged.
        """
        self.wait()
        damaged = 0
        steps = self.steps()
        while steps:
            step = steps.pop()
            path, identity = self.path(step), self._files.identity(step)
            try:
                verify_checkpoint(path)
            except CheckpointError as error:
                now = self._files.identity(step)
                if now is None:  # deleted by its writer since we listed the folder
                    continue
                if now != identity:  # saved again while we read it
                    steps.append(step)
                    continue
                damaged += 1
                self._damaged.add(step)
                warnings.warn(
                    f"a damaged checkpoint is passed over: {error}", CheckpointWarning, stacklevel=2
                )
            else:
                return path
        if damaged:
            raise CheckpointError(f"no checkpoint in {self.folder!r} can be read: {damaged} are damaged")
        return None

    def best(self, by: tuple[str, str] | None = None) -> str | None:
        """The path of the best checkpoint; None if there is none.

        Arguments:
            by: ``(metric, 'min' | 'max')``; None: ``keep_best``.
        """
        self.wait()
        step = self._best(self.steps(), by or self.keep_best)
        return None if step is None else self.path(step)

    def restore(self, step: int | None = None, **options: Any) -> Checkpoint:
        """``load_checkpoint`` of a step, or of the newest checkpoint that is whole.

        Args:
            options: those of ``load_checkpoint``: optimizer, layers, model, strict, rename, reset_state,
            weights.

        Raises:
            CheckpointError: there is none, or it does not fit.
        """
        path = self.path(step) if step is not None else self.latest()
        if path is None:
            raise CheckpointError(f"there is no checkpoint in {self.folder!r}")
        return load_checkpoint(path, **options)

    # ---- what is kept

    def _delete_old(self, newest: int) -> None:
        if self.keep_last is None and self.keep_every is None and self.keep_best is None:
            return
        steps = self.steps()
        sound = [step for step in steps if step not in self._damaged]
        keep = {newest, steps[-1]} | self._damaged
        if self.keep_last is not None:
            keep |= set(sound[-self.keep_last :])
        if self.keep_every is not None:
            keep |= {step for step in sound if step % self.keep_every == 0}
        best = self._best(sound, self.keep_best)
        if best is not None:
            keep.add(best)
        for step in steps:
            if step not in keep:
                self._metrics.pop(step, None)
                self._delete(step, self._files.delete)

    def _delete(self, step: int, delete: Callable[[int], None]) -> None:
        try:
            delete(step)
        except OSError as error:
            message = f"an old checkpoint cannot be deleted: {self.path(step)!r}: {error.strerror}"
            warnings.warn(message, CheckpointWarning, stacklevel=2)

    def _best(self, steps: list[int], by: tuple[str, str] | None) -> int | None:
        if by is None:
            return None
        metric, mode = by
        sign = 1.0 if mode == "max" else -1.0
        scored = []
        for step in steps:
            value = self._metrics_of(step).get(metric)
            if isinstance(value, float):
                scored.append((sign * value, step))
        return max(scored)[1] if scored else None

    def _metrics_of(self, step: int) -> dict[str, float | None]:
        if step not in self._metrics:
            try:
                found = read_state(self.path(step)).get("metrics")
            except CheckpointError:
                found = None
            self._metrics[step] = found if isinstance(found, dict) else {}
        return self._metrics[step]

    # ---- one writer

    def _lock(self) -> None:
        if self._lock_fd is not None:
            return
        durable.make_folder(self.folder)
        path = os.path.join(self.folder, _LOCK)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise CheckpointError(f"cannot write to {self.folder!r}: {error.strerror}") from error
        if not durable.try_lock(fd):
            owner = printable(os.pread(fd, 100, 0).decode("ascii", "replace").strip()) or "unknown"
            os.close(fd)
            raise CheckpointError(
                f"{self.folder!r} is being written by another run (process {owner}): wait for its end, stop it, or "
                "choose another folder"
            )
        with contextlib.suppress(OSError):  # only for the message above
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
        self._lock_fd = fd
        self._closer = weakref.finalize(self, _close, fd)
        durable.remove_leftovers(self.folder)
        self._files.sweep()

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            self._lock_fd = None
            self._closer()


_managers: weakref.WeakSet[CheckpointManager] = weakref.WeakSet()


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)


def _leave_locks_to_the_parent() -> None:
    """In a forked process: its copies of our locks would outlive the process that owns them."""
    for manager in list(_managers):
        manager._unlock()


def _tell_lost_errors() -> None:
    """At the end of the process, when no call is left at which an error could surface."""
    for manager in list(_managers):
        try:
            manager.close()
        except BaseException as error:
            warnings.warn(f"the last checkpoint was not written: {error}", CheckpointWarning, stacklevel=1)


os.register_at_fork(after_in_child=_leave_locks_to_the_parent)
atexit.register(_tell_lost_errors)
