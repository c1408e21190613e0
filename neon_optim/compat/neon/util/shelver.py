"""neon.util.shelver: a dict in a file, for one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import Any

from neon_optim.compat.neon.util.persist import load_obj, save_obj

__all__ = ["atomic_shelve"]


@contextlib.contextmanager
def atomic_shelve(filename: str) -> Iterator[dict[Any, Any]]:
    """The dict in a file of plain data, which is written back at the end; other processes wait until then.

    An error leaves the file as it was. It is no file of Python's ``shelve``, which runs what it reads.
    """
    with open(f"{filename}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held: dict[Any, Any] = load_obj(filename) if os.path.exists(filename) else {}
        yield held
        save_obj(held, filename)
