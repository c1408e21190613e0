"""The HDF5 file that neon's callbacks share; numbers of minibatches are written to it many at a time."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from neon_optim.errors import NeonOptimError

__all__ = ["open_callback_file"]


def open_callback_file(name: str, path: str | os.PathLike[str] | None = None) -> Any:
    """A new ``h5py.File`` with a method ``put``.

    Arguments:
        name: of the file where it is in memory alone.
        path: where the file is to be, instead of one that is there; None: in memory.

    Raises:
        NeonOptimError: h5py is not installed.
    """
    if path is None:
        return _file_class()(name, "w", driver="core", backing_store=False)
    return _file_class()(path, "w")


@cache
def _file_class() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise NeonOptimError(
            "neon's callbacks keep what they find in an HDF5 file, which needs h5py: pip install h5py"
        ) from error

    class CallbackFile(h5py.File):
        """An HDF5 file that takes numbers one by one, and writes them before anybody looks."""

        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options)
            self._waiting: dict[str, tuple[int, list[Any]]] = {}

        def put(self, dataset: str, at: int, value: Any) -> None:
            """Let ``dataset[at]`` be a value."""
            begin, values = self._waiting.get(dataset, (at, []))
            if at != begin + len(values):
                self.write_waiting()
                begin, values = at, []
            values.append(value)
            self._waiting[dataset] = begin, values

        def write_waiting(self) -> None:
            """Write what has been put."""
            if self._waiting:
                waiting, self._waiting = self._waiting, {}
                for dataset, (begin, values) in waiting.items():
                    super().__getitem__(dataset)[begin : begin + len(values)] = values

        def __getitem__(self, name: Any) -> Any:
            self.write_waiting()
            return super().__getitem__(name)

        def flush(self) -> None:
            self.write_waiting()
            super().flush()

        def close(self) -> None:
            if self:
                self.write_waiting()
            super().close()

    return CallbackFile
