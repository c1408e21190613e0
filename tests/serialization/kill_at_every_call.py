"""Kills a sharded save before each of its system calls: ``python kill_at_every_call.py FOLDER STEP [in-place]``.

In FOLDER stands a sharded checkpoint of step 1, kept by a manager that keeps one. A forked child saves STEP (1: the
same once more), in two parts, and is killed before its first system call, its second, and so on; each time the newest
checkpoint must be whole, the old or the new one, and the next save must leave nothing of the killed one. Prints counts
as JSON. With ``in-place`` files are written as most programs write them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import warnings

import numpy as np

from neon_optim.serialization import CheckpointManager, durable
from neon_optim.serialization.checkpoint.sharded import share_out, write_part
from neon_optim.serialization.checkpoint.stored import read_checkpoint

CALLS = (
    "open",
    "write",
    "fsync",
    "replace",
    "link",
    "unlink",
    "rmdir",
    "mkdir",
    "fchmod",
    "lseek",
    "readv",
    "preadv",
)


def save(folder: str, step: int, value: int) -> None:
    arrays = {"param": np.full(3000, value, np.float32), "state": np.full((20, 20), value, np.int64)}
    with CheckpointManager(folder, keep_last=1) as manager, manager.begin(step, parts=2) as saving:
        receipts = [write_part(saving.ticket, part, share_out(arrays, part, 2)) for part in range(2)]
        saving.commit(receipts, {"value": value})


def newest(folder: str) -> int:
    """The value in every element of the newest checkpoint."""
    path = CheckpointManager(folder).latest()
    assert path is not None
    contents = read_checkpoint(path)
    assert all((array == contents.state["value"]).all() for array in contents.arrays.values())
    value: int = contents.state["value"]
    return value


def kill_before(nth: int) -> None:
    """Let this process be killed before its ``nth`` call of the system."""
    calls = itertools.count()

    def counted(real):
        def call(*arguments, **named):
            if next(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


@contextlib.contextmanager
def in_place(path: str):
    """A negative control in the place of ``durable.replacing``: files are written as most programs write them."""
    with open(path, "wb", buffering=0) as file:
        yield durable.NewFile(file.fileno())


def files(folder: str) -> list[str]:
    return sorted(name for _, _, names in os.walk(folder) for name in names)


def main(folder: str, step: int, how: str) -> dict[str, int]:
    warnings.simplefilter("error")
    counts = {"calls": 0, "old": 0, "new": 0, "leftovers": 0, "unreadable": 0}
    for nth in itertools.count():
        shutil.rmtree(folder, ignore_errors=True)
        save(folder, 1, 1)
        pid = os.fork()
        if pid == 0:
            if how == "in-place":
                durable.replacing = in_place
            kill_before(nth)
            save(folder, step, 2)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        try:
            value = newest(folder)
        except Exception:
            counts["unreadable"] += 1
            if how != "in-place":
                raise
            return counts
        counts["new" if value == 2 else "old"] += 1
        counts["leftovers"] += len(files(folder)) != 4
        if status == 0:
            assert value == 2
            return counts
        counts["calls"] += 1
        save(folder, 3, 3)
        assert newest(folder) == 3
        assert len(files(folder)) == 4, files(folder)
    raise AssertionError


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:]))))
