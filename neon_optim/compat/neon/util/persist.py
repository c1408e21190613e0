"""neon.util.persist: folders of caches, and files of plain data."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neon_optim.compat import plain_pickles
from neon_optim.compat.descriptions import class_of
from neon_optim.serialization import durable

__all__ = [
    "ensure_dirs_exist",
    "get_cache_dir",
    "get_data_cache_dir",
    "get_data_cache_or_nothing",
    "load_class",
    "load_obj",
    "save_obj",
    "serialize",
]

Subfolders = str | Iterable[str] | None


def get_cache_dir(subdir: Subfolders = None) -> str:
    """The folder of neon's cache, ``$NEON_CACHE_DIR`` or that of the user, or one below it; it is made."""
    return _made(os.environ.get("NEON_CACHE_DIR") or _users_cache(), subdir)


def get_data_cache_dir(data_dir: str, subdir: Subfolders = None) -> str:
    """The folder of cached data, ``$NEON_DATA_CACHE_DIR`` or ``data_dir``, or one below it; it is made."""
    return _made(os.environ.get("NEON_DATA_CACHE_DIR") or data_dir, subdir)


def get_data_cache_or_nothing(subdir: str | None = None) -> str:
    """``$NEON_DATA_CACHE_DIR`` with ``subdir`` behind it, whose folder is made; '' where it is not set."""
    root = os.environ.get("NEON_DATA_CACHE_DIR")
    return "" if root is None else ensure_dirs_exist(os.path.join(root, subdir or ""))


def ensure_dirs_exist(path: str) -> str:
    """Make the folders above a path; returns the path."""
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    return path


def _made(folder: str, subdir: Subfolders) -> str:
    below = [subdir] if isinstance(subdir, str) else list(subdir or ())
    whole = os.path.join(folder, *below)
    os.makedirs(whole, exist_ok=True)
    return whole


def _users_cache() -> str:
    if sys.platform == "win32":
        return os.path.join(os.environ.get("LOCALAPPDATA", os.path.expanduser("~")), "neon", "neon", "Cache")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/neon")
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "neon")


def save_obj(obj: Any, save_path: str | None) -> None:
    """Write plain data and arrays as a pickle, which appears whole or not at all; no path: nothing is written.

    Raises:
        CheckpointError: there is something else in ``obj``, or the file cannot be written.
    """
    if not save_path:
        return
    path = ensure_dirs_exist(os.path.expandvars(os.path.expanduser(save_path)))
    data = plain_pickles.dumps(obj)
    with durable.replacing(path) as file:
        file.write(data)


def load_obj(load_path: Any) -> Any:
    """The plain data in a pickle, compressed by gzip or not; nothing in the file is run.

    Arguments:
        load_path: the path, or an open file.

    Raises:
        CheckpointError: damage, or something that is no plain data.
        OSError: there is no such file, or it cannot be read.
    """
    if hasattr(load_path, "read"):
        return plain_pickles.load(load_path)
    path = Path(os.path.expandvars(os.path.expanduser(load_path)))
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return plain_pickles.load(file)
        with gzip.open(file) as unpacked:
            return plain_pickles.load(unpacked)


def load_class(ctype: str) -> Any:
    """The class that neon's files mean by a name; a file can import nothing else.

    >>> load_class("neon.optimizers.optimizer.Adam").__name__
    'Adam'
    """
    return class_of(ctype)


def serialize(
    model: Any,
    callbacks: Any = None,
    datasets: Any = None,
    dump_weights: bool = True,
    keep_states: bool = True,
) -> dict[str, Any]:
    """What :meth:`Model.serialize` gives, with the descriptions of callbacks and datasets.

    Arguments:
        dump_weights: neon's; without effect, there too.
    """
    found: dict[str, Any] = model.serialize(fn=None, keep_states=keep_states)
    for name, thing in (("callbacks", callbacks), ("datasets", datasets)):
        if thing is not None:
            found[name] = thing.serialize()
    return found
