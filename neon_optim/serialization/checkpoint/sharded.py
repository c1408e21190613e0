"""Writes sharded checkpoints: each process its part, at the same time; the index, written last, makes them valid.

What goes from process to process are JSON values: a ticket from the one that leads to all, a receipt from each back.
How they travel is the caller's business.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from neon_optim.errors import CheckpointError, shown
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint import archive, file_header, shard_index
from neon_optim.serialization.checkpoint.file_kind import HEAD_BYTES
from neon_optim.serialization.checkpoint.shard_index import Index, PartRecord, Range
from neon_optim.serialization.checkpoint.share import Share, share_out
from neon_optim.serialization.checkpoint.training_state import to_host

__all__ = ["Save", "begin", "delete", "share_out", "sweep", "write_part"]

Ticket = dict[str, Any]
Receipt = dict[str, Any]


class Save:
    """A save under way, at the process that leads it; :func:`begin` makes one.

    Attributes:
        path: the folder.
        ticket: what :func:`write_part` needs, JSON values: for every process.
        committed: whether the checkpoint is valid.
    """

    def __init__(self, path: str, parts: int) -> None:
        self.path, self.parts = path, parts
        self.committed = False
        self._save = secrets.token_hex(8)
        self.ticket: Ticket = {"path": path, "save": self._save, "parts": parts}

    def commit(self, receipts: Sequence[Receipt], state: Mapping[str, Any]) -> str:
        """Make the checkpoint valid, once every part is written; the one that was here before is replaced.

        Args:
            receipts: what :func:`write_part` has returned, of every part.
            state: a dict of JSON values, as for :func:`neon_optim.serialization.checkpoint.archive.write`.

        Returns:
            The path of the folder.

        Raises:
            CheckpointError: a part is missing, the parts do not hold every element of every array once, or the index
                cannot be written. What was here before is still valid.
        """
        index = self._index(receipts, state)
        for number in range(self.parts):
            self._check_part(index, number)
        shard_index.write_index(self.path, index)
        self.committed = True
        with contextlib.suppress(OSError):
            _remove_parts(self.path, lambda save: save != self._save)
        return self.path

    def _index(self, receipts: Sequence[Receipt], state: Mapping[str, Any]) -> Index:
        by_part = {receipt["part"]: receipt for receipt in receipts if receipt["save"] == self._save}
        if len(receipts) != self.parts or by_part.keys() != set(range(self.parts)):
            raise CheckpointError(
                f"a save in {self.parts} parts needs a receipt of each, received those of "
                f"{shown([receipt['part'] for receipt in receipts])}"
            )
        declared: dict[str, tuple[str, list[int]]] = {}
        for number, receipt in sorted(by_part.items()):
            for name, dtype, shape in receipt["arrays"]:
                if declared.setdefault(name, (dtype, shape)) != (dtype, shape):
                    raise CheckpointError(
                        f"array {name!r} is {dtype} {shape} in part {number}, "
                        f"{declared[name][0]} {declared[name][1]} in one before it"
                    )
        names = sorted(declared)
        place = {name: number for number, name in enumerate(names)}
        parts = []
        for _, receipt in sorted(by_part.items()):
            own = [place[name] for name, _, _ in receipt["arrays"]]
            ranges = tuple(Range(own[k], start, stop) for k, start, stop in receipt["ranges"])
            parts.append(PartRecord(receipt["nbytes"], receipt["sha256"], ranges))
        arrays = tuple(file_header.entry_of(name, *declared[name], repr(self.path)) for name in names)
        return Index(self._save, arrays, tuple(parts), dict(state))

    def _check_part(self, index: Index, number: int) -> None:
        """A look at the file that a process says it has written."""
        path = os.path.join(self.path, index.part_file(number))
        due = index.parts[number]
        try:
            with durable.reading(path) as (_, size):
                pass
            head = archive.read_head(path, HEAD_BYTES)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}: part {number} was written, but is not there. Is the folder on a file system that all "
                "processes share?"
            ) from error
        if size != due.nbytes or due.sha256.encode() not in head:
            raise CheckpointError(
                f"{path!r}: it is not what part {number} has written, somebody else was here"
            )


@contextlib.contextmanager
def begin(path: durable.StrPath, parts: int) -> Iterator[Save]:
    """Begin to save a checkpoint in ``parts`` parts; one process does this, the others get ``ticket``.

    The folder is made and locked; what a killed save has left in it goes. When the block ends without
    :meth:`Save.commit`, the parts of this save go, and what was at ``path`` before is still valid.

    Args:
        path: the folder of the checkpoint; the one above it must exist. A sharded checkpoint there is replaced.
        parts: 1 to 9,999.

    Raises:
        CheckpointError: the folder cannot be made, or another process saves there.

    Example:
        Two processes, played by one:

        >>> import tempfile
        >>> import numpy as np
        >>> from neon_optim.serialization.checkpoint.stored import open_checkpoint
        >>> W = np.arange(6, dtype=np.float32).reshape(3, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with begin(folder + "/a.sharded", parts=2) as save:
        ...         first = write_part(save.ticket, 0, {"fc/W": Share(W[:2], W.shape, 0)})
        ...         second = write_part(save.ticket, 1, {"fc/W": Share(W[2:], W.shape, 4)})
        ...         path = save.commit([first, second], {"epoch": 3})
        ...     with open_checkpoint(path) as stored:
        ...         stored.state, stored.arrays["fc/W"].read(3, 6).tolist()
        ({'epoch': 3}, [3.0, 4.0, 5.0])
    """
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= shard_index.MAX_PARTS:
        raise CheckpointError(
            f"parts must be an integer of 1 to {shard_index.MAX_PARTS:,}, received {shown(parts)}"
        )
    folder = os.path.abspath(os.fsdecode(path))
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise CheckpointError(
            f"cannot save {folder!r}: a sharded checkpoint is a folder, and there is a file"
        )
    durable.make_folder(folder)
    with _locked(folder) as owned:
        if not owned:
            raise CheckpointError(f"cannot save {folder!r}: another process saves there")
        with contextlib.suppress(CheckpointError, OSError):  # where the index cannot be read, all stays
            valid = _valid_save(folder)
            _remove_parts(folder, lambda save: save != valid)
        save = Save(folder, parts)
        try:
            yield save
        finally:
            if not save.committed:
                _abandon(folder, save.ticket["save"])


def write_part(ticket: Ticket, part: int, shares: Mapping[str, Share]) -> Receipt:
    """Write what this process holds, durably, as part ``part`` of a save. Any number of processes may do so at a time.

    Args:
        ticket: of :attr:`Save.ticket`.
        part: from 0 on.
        shares: name → what this process holds of that array. Names are at most 464 characters long.

    Returns:
        JSON values for :meth:`Save.commit`.

    Raises:
        CheckpointError: the values do not fit the format or the file cannot be written; nothing is left behind.
    """
    folder, save, parts = ticket["path"], ticket["save"], ticket["parts"]
    if not 0 <= part < parts:
        raise CheckpointError(f"part {part} of {parts}: parts are counted from 0")
    if not os.path.isdir(folder):
        raise CheckpointError(
            f"cannot save {folder!r}: there is no such folder. Is it on a file system that all processes share? "
            "If it is, the save was given up elsewhere."
        )
    arrays, names, values = [], {}, {}
    for number, (name, share) in enumerate(sorted(shares.items())):
        host = to_host(share.values)
        dtype = file_header.file_type(host, name)
        entry = file_header.entry_of(name, dtype, list(share.shape), "this process")
        if len(name) > shard_index.MAX_NAME:
            raise CheckpointError(f"the name {shown(name)} has more than {shard_index.MAX_NAME} characters")
        arrays.append([name, dtype, list(share.shape)])
        if share.start < share.stop:
            key = shard_index.range_entry(entry, share.start, share.stop).name
            if key in names:
                raise CheckpointError(f"two arrays have ranges with the name {key!r}")
            names[key] = [number, share.start, share.stop]
            values[key] = host.reshape(-1)
    entries, buffers = file_header.arrange(values)
    path = os.path.join(folder, shard_index.part_file(save, part, parts))
    digest = archive.write_tensors(
        path,
        entries,
        map(archive.pieces_of, buffers),
        {"save": save, "part": part, "parts": parts},
        kind="part",
    )
    ranges = [names[entry.name] for entry in entries]
    return {
        "save": save,
        "part": part,
        "nbytes": os.path.getsize(path),
        "sha256": digest,
        "arrays": arrays,
        "ranges": ranges,
    }


# ---- what is no longer needed


def delete(path: durable.StrPath) -> None:
    """Delete a sharded checkpoint: its index first, so that nobody takes the rest for a whole one.

    Raises:
        OSError: it cannot be deleted.
    """
    folder = os.fsdecode(path)
    os.unlink(shard_index.index_file(folder))
    _remove_parts(folder, lambda _: True)
    os.rmdir(folder)


def sweep(path: durable.StrPath) -> None:
    """Delete what interrupted saves and deletions have left in the folder of a checkpoint; the folder too, if empty.

    A save under way, and the parts of a valid checkpoint, stay; so does everything where the index cannot be read.
    """
    folder = os.fsdecode(path)
    with contextlib.suppress(CheckpointError, OSError), _locked(folder) as owned:
        if owned:
            valid = _valid_save(folder)
            _remove_parts(folder, lambda save: save != valid)
            if valid is None:
                os.rmdir(folder)


def _abandon(folder: str, save: str) -> None:
    """Delete the parts of a save that was given up; those before it may be needed, whatever the index says now."""
    with contextlib.suppress(CheckpointError, OSError):
        valid = _valid_save(folder)
        if valid != save:
            _remove_parts(folder, lambda other: other == save)
        if valid is None:
            os.rmdir(folder)


def _valid_save(folder: str) -> str | None:
    """The save that the index names; None: there is no index. An error where it cannot be read."""
    return shard_index.read_index(folder).save if shard_index.is_sharded(folder) else None


def _remove_parts(folder: str, unneeded: Callable[[str], bool]) -> None:
    """Delete the parts of unneeded saves and the unfinished files of processes that have ended."""
    durable.remove_leftovers(folder)
    for name in os.listdir(folder):
        save = shard_index.save_of(name)
        if save is not None and unneeded(save):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Whether nobody else saves in a folder; then nobody does until the end of the block."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"cannot save {folder!r}: {error.strerror}") from error
    _locks.add(fd)
    try:
        yield durable.try_lock(fd) and os.fstat(fd).st_nlink > 0
    finally:
        if fd in _locks:
            _locks.remove(fd)
            os.close(fd)


_locks: set[int] = set()


def _leave_locks_to_the_parent() -> None:
    """In a forked process: its copies of our locks would outlive the save."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_leave_locks_to_the_parent)
