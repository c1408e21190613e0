"""Arrays as inputs: as they are, standardized, divided by a number, or less a mean."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.data.array_files import ArrayInFile, Hdf5File, open_idx, open_numpy
from neon_optim.data.array_learning import StoredPairs
from neon_optim.data.encoding import Classes, Encoding, Target, target_from_json
from neon_optim.described.words import closest
from neon_optim.errors import DataError, shown
from neon_optim.model.samples import Rows

__all__ = ["HDF5_ENDINGS", "ArrayEncoding", "named"]

HDF5_ENDINGS = (".h5", ".hdf5")
"""How the names of HDF5 files end."""


class ArrayEncoding(Encoding):
    """What is done with arrays: (samples, …) of numbers.

    Arguments:
        shape: of a sample.
        target: what the model is trained to give.
        names: of the arrays of inputs and of targets in a file.
        mean, deviation: what becomes 0 and 1 of each feature, or of all; empty where inputs are taken as they are.
    """

    kind = "arrays"

    def __init__(
        self,
        shape: tuple[int, ...],
        target: Target,
        names: tuple[str, str],
        mean: tuple[float, ...] = (),
        deviation: tuple[float, ...] = (),
    ):
        self.shape, self.target, self.names = shape, target, names
        self._mean, self._deviation = mean, deviation

    def inputs(self, data: Any) -> np.ndarray:
        """See :meth:`Encoding.inputs`."""
        if isinstance(data, (str, os.PathLike)):
            arrays = _arrays_of(data)
            data = whole(arrays[""] if "" in arrays else named(arrays, self.names[0], data))
        return self.encoded(np.asarray(data))

    def samples(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Encoding.samples`."""
        if not isinstance(data, (str, os.PathLike)):
            raise DataError(f"inputs and targets are read from a file, received {shown(data)}")
        arrays = _arrays_of(data)
        stored = [named(arrays, name, data) for name in self.names]
        pairs = StoredPairs(stored[0], stored[1], str(data))
        X, y = (np.concatenate(parts) for parts in zip(*pairs.checked(), strict=True))
        return self.encoded(X), self.targets(y)

    def encoded(self, X: np.ndarray) -> np.ndarray:
        """The inputs, in float32."""
        self.check(X.shape[1:] if X.ndim else (), X.dtype, f"an array of {X.dtype} of shape {X.shape}")
        flat = X.reshape(len(X), math.prod(self.shape))
        return self.ready(flat).astype(np.float32, copy=False).reshape(len(X), *self.shape)

    def check(self, shape: tuple[int, ...], dtype: Any, received: str) -> None:
        """Refuse samples of another size.

        Raises:
            DataError: they are no numbers or do not fit.
        """
        fits = shape == self.shape or (math.prod(shape) == math.prod(self.shape) and len(shape) <= 2)
        if dtype.kind not in "biuf" or not fits or not shape:
            raise DataError(
                f"inputs must be numbers of the shape (samples, {', '.join(map(str, self.shape))}), received {received}"
            )

    def ready(self, X: np.ndarray) -> np.ndarray:
        """Inputs of (samples, features) as they wait to be used: in 4 bytes or less."""
        if self._mean:
            return ((X - np.array(self._mean)) / np.array(self._deviation)).astype(np.float32)
        return X if X.dtype.itemsize <= 4 else X.astype(np.float32)

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Targets as the model sees them."""
        if isinstance(self.target, Classes):
            return self.target.encoded(y.reshape(len(y))).astype(np.int32)
        return self.target.encoded(y)

    def rows(self, raw: Any) -> Rows:
        """What waits to be used of inputs and targets."""
        X, y = raw
        return self.ready(X.reshape(len(X), -1 if len(X) else math.prod(self.shape))), self.targets(y)

    def inputs_of(self, rows: Rows) -> np.ndarray:
        """See :meth:`Encoding.inputs_of`."""
        return rows[0].astype(np.float32, copy=False)

    def to_json(self) -> dict[str, Any]:
        """See :meth:`Encoding.to_json`."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "target": self.target.to_json(),
            "names": list(self.names),
            "mean": list(self._mean),
            "deviation": list(self._deviation),
        }

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> ArrayEncoding:
        """See :meth:`Encoding.from_json`."""
        shape, names, mean, deviation = (tuple(described[k]) for k in ("shape", "names", "mean", "deviation"))
        return cls(shape, target_from_json(described["target"]), names, mean, deviation)

    def summary(self) -> list[str]:
        """See :meth:`Encoding.summary`."""
        if not self._mean:
            how = "taken as they are"
        elif len(self._mean) == 1:
            how = f"divided by {self._deviation[0]:g}"
        else:
            how = "standardized" if set(self._deviation) != {1.0} else "less their mean"
        return [f"inputs of the shape {self.shape}, {how}"]


def _arrays_of(data: str | os.PathLike[str]) -> dict[str, ArrayInFile]:
    path = Path(data)
    if path.suffix.lower() in HDF5_ENDINGS:
        file = Hdf5File(path)
        return {name: file.array(name) for name in file.names}
    name = path.name.removesuffix(".gz")
    if name.endswith(("ubyte", ".idx")) or "-idx" in name:
        return {"": open_idx(path, 1 << 62)}
    return open_numpy(path, 1 << 62)


def whole(array: ArrayInFile) -> np.ndarray:
    """All of an array."""
    return array.read(0, array.shape[0]) if array.shape else np.empty(())


def named(arrays: Mapping[str, ArrayInFile], name: str, where: Any) -> ArrayInFile:
    """The array of a name.

    Raises:
        DataError: there is none.
    """
    if name not in arrays:
        known = ", ".join(arrays) if list(arrays) != [""] else "one array without a name"
        raise DataError(f"{where}: there is no array {name!r}{closest(name, list(arrays))}; it holds {known}")
    return arrays[name]
