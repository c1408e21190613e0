"""Bytes into a file that a crash cannot tear.

A new file is written beside the old one and takes its name in one step, after its bytes are on the disk:
whoever reads the name sees the old file or the new one, whole, whatever happens in between (a kill, a full
disk, a power cut).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from neon_optim.errors import CheckpointError

StrPath = str | os.PathLike[str]
T = TypeVar("T")

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.(tmp|old)", re.DOTALL)
_EINTR_RETRIES = 100
_HINTS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EACCES: "no permission: check the owner and the mode of the folder",
    errno.EPERM: "no permission: check the owner and the mode of the folder",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOENT: "its folder does not exist: create it first",
    errno.ENAMETOOLONG: "choose a shorter file name",
    errno.ELOOP: "its symbolic links lead in a circle",
}


class NewFile:
    """A file being written; :func:`replacing` names it. Short and interrupted writes are continued."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: Any) -> None:
        """Append ``data``, any C-contiguous buffer; it is not copied."""
        view = memoryview(data)
        if view.nbytes == 0:
            return
        view = view.cast("B")
        while view.nbytes:
            written = _uninterrupted(os.write, self._fd, view)
            if written <= 0:
                raise OSError(errno.EIO, "the system took no bytes")
            view = view[written:]

    def sync(self) -> None:
        """Send what was written so far to the disk. The end of :func:`replacing` does so too."""
        _uninterrupted(os.fsync, self._fd)

    def seek(self, position: int) -> None:
        """Let the next write start at ``position`` bytes."""
        os.lseek(self._fd, position, os.SEEK_SET)


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[NewFile]:
    """Write a file that appears under ``path`` only when the block ends without an error, and then durably.

    A symbolic link is followed and stays. An existing file hands its mode on, a new one gets the umask's. If
    anything fails, the last fsync of the folder included, the old file stands again and nothing else is left
    behind.

    Raises:
        CheckpointError: for whatever the operating system refuses; names ``path``.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder, "note.txt")
        ...     with replacing(target) as file:
        ...         file.write(b"all or ")
        ...         file.write(b"nothing")
        ...     target.read_text()
        'all or nothing'
    """
    with _errors_name(path):
        target = os.path.realpath(path)
        folder, name = os.path.split(target)
        old_mode = _mode_of(target)
        remove_leftovers(folder, name)
        with contextlib.ExitStack() as stack:
            folder_fd = _uninterrupted(os.open, folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(_close, folder_fd)
            temporary, fd = _create(folder, name)
            stack.callback(_close, fd)  # open until the end: its lock says that the file has an owner
            try:
                yield NewFile(fd)
                if old_mode is not None:
                    _uninterrupted(os.fchmod, fd, old_mode)
                _uninterrupted(os.fsync, fd)
                _publish(temporary, target, folder_fd, replaces=old_mode is not None)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise


@contextlib.contextmanager
def reading(path: StrPath) -> Iterator[tuple[int, int]]:
    """Descriptor and size of a regular file; if another takes its name, this one is still read whole.

    Raises:
        CheckpointError: for whatever the operating system refuses; names ``path``.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hang us
    except (OSError, ValueError) as error:  # a ValueError: a null character in the name
        raise _unreadable(path, error) from error
    try:
        _check_regular(os.fstat(fd))
        yield fd, os.fstat(fd).st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(fd)


def _unreadable(path: StrPath, error: Exception) -> CheckpointError:
    reason = getattr(error, "strerror", None) or error
    return CheckpointError(f"cannot read {os.fsdecode(path)!r}: {reason}")


def make_folder(path: StrPath) -> None:
    """Create a folder, and those above it, durably; one that exists is left as it is.

    Raises:
        CheckpointError: it cannot be created, or there is a file in its place.
    """
    with _errors_name(path):
        missing = []
        folder = os.path.realpath(path)
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process was faster; a file fails below
                os.mkdir(folder)
            parent = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sync_folder(parent)
            finally:
                os.close(parent)
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def remove_leftovers(folder: StrPath, name: str | None = None) -> list[str]:
    """Delete what killed writers left in ``folder``, for the file ``name`` or any; files being written stay.

    Returns:
        The names that were deleted.
    """
    removed: list[str] = []
    try:
        names = os.listdir(folder)
    except OSError:
        return removed
    for entry in names:
        match = _UNFINISHED.fullmatch(entry)
        if match is None or (name is not None and match["name"] != name):
            continue
        leftover = os.path.join(folder, entry)
        with contextlib.suppress(OSError):  # owned by a live writer, already gone, or not ours to delete
            fd = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(leftover)
                removed.append(entry)
            finally:
                os.close(fd)
    return removed


def try_lock(fd: int) -> bool:
    """Lock an open file or folder until it is closed, or its process ends; False: another process has the lock.

    On a file system without locks everybody gets it: nothing can be promised there.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _mode_of(target: str) -> int | None:
    """Permission bits of the file to be replaced, None where there is none."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    _check_regular(found)  # to replace a device or a pipe by a file is never what was meant
    return stat.S_IMODE(found.st_mode)


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _create(folder: str, name: str) -> tuple[str, int]:
    """A new, locked, empty file beside the target: its path and descriptor."""
    while True:
        path = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = _uninterrupted(os.open, path, flags, 0o666)
        except FileExistsError:
            continue
        if try_lock(fd) and os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)  # taken for a leftover before it was locked: take another


def _publish(temporary: str, target: str, folder_fd: int, *, replaces: bool) -> None:
    """Name the finished file; if the folder cannot be made durable, put the old one back.

    Without that, an error could mean either file, and a caller that was told "nothing was changed" would find the
    new one.
    """
    backup: str | None = None
    if replaces:
        backup = temporary[: -len("tmp")] + "old"
        try:
            os.link(target, backup)
        except OSError:  # no hard links here: if the folder's fsync fails the new file stays, which is whole
            backup = None
    try:
        _uninterrupted(os.replace, temporary, target)
        try:
            _sync_folder(folder_fd)
        except BaseException:
            if backup is not None:
                os.replace(backup, target)
            elif not replaces:
                os.unlink(target)
            raise
    finally:
        if backup is not None:
            with contextlib.suppress(OSError):
                os.unlink(backup)


def _sync_folder(folder_fd: int) -> None:
    try:
        _uninterrupted(os.fsync, folder_fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems whose folders know no fsync
            raise


def _uninterrupted(call: Callable[..., T], *arguments: Any) -> T:
    """``call``, repeated when a signal interrupts it."""
    for _ in range(_EINTR_RETRIES):
        try:
            return call(*arguments)
        except InterruptedError:
            continue
    return call(*arguments)


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):  # the data are synced by then, or given up
        os.close(fd)


@contextlib.contextmanager
def _errors_name(path: StrPath) -> Iterator[None]:
    if "\0" in os.fsdecode(path):
        raise CheckpointError(f"cannot save {os.fspath(path)!r}: a file name cannot contain a null character")
    try:
        yield
    except OSError as error:
        raise CheckpointError(_message(path, error)) from error


def _message(path: StrPath, error: OSError) -> str:
    hint = _HINTS.get(error.errno or 0)
    reason = error.strerror or str(error)
    return (
        f"cannot save {os.fspath(path)!r}: {reason}{f' ({hint})' if hint else ''}. "
        "Nothing was changed: a file that stood there before is still there."
    )
