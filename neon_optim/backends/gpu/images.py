"""Compiled kernels on disk: a kernel that was compiled once needs no nvcc.

The folder is PyCUDA's: ``$PYCUDA_CACHE_DIR``, else ``pycuda`` in the user's cache folder. A file that cannot be read or
written, or is damaged, costs time, never a result.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["load_image", "save_image"]

_log = logging.getLogger(__name__)


def load_image(key: Sequence[str]) -> bytes | None:
    """What was saved under a key; None where there is nothing, or not what was written."""
    try:
        digest, _, image = _path(key).read_bytes().partition(b"\n")
    except (OSError, RuntimeError):
        return None
    return image if hashlib.sha256(image).hexdigest().encode() == digest else None


def save_image(key: Sequence[str], image: bytes) -> None:
    """Keep an image for other processes, which find all of it or nothing."""
    try:
        path = _path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(image).hexdigest().encode() + b"\n" + image)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except (OSError, RuntimeError) as error:
        _log.info("a compiled kernel cannot be kept: %s", error)


def _path(key: Sequence[str]) -> Path:
    name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
    return _folder() / f"neon_optim-{name}.cubin"


def _folder() -> Path:
    given = os.environ.get("PYCUDA_CACHE_DIR")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pycuda"
