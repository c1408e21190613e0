"""Arrays in files as datasets: ``dataset: {name: npz, path: data.npz, inputs: X, targets: y}``."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from neon_optim.data.encoded_dataset import EncodedDataset
from neon_optim.data.encoding import Classes, Encoding, Quantities, Target, standardizing, target_from_json
from neon_optim.described.arguments import Flag, Name
from neon_optim.described.registry import register
from neon_optim.described.words import closest
from neon_optim.errors import DataError, shown
from neon_optim.model.array_iterator import ArrayIterator
from neon_optim.model.datasets import Arrays

__all__ = ["ArrayEncoding", "Npy", "Npz", "encoding_of"]


class ArrayEncoding(Encoding):
    """What is done with arrays: (samples, …) of numbers.

    Arguments:
        shape: of a sample.
        target: what the model is trained to give.
        names: of the arrays of inputs and of targets in a file.
        mean, deviation: what becomes 0 and 1 of each feature; empty where inputs are taken as they are.
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
            arrays = read_arrays(Path(data))
            data = arrays[""] if "" in arrays else _named(arrays, self.names[0], data)
        return self.encoded(np.asarray(data))

    def samples(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Encoding.samples`."""
        if not isinstance(data, (str, os.PathLike)):
            raise DataError(f"inputs and targets are read from a file, received {shown(data)}")
        arrays = read_arrays(Path(data))
        X, y = (_named(arrays, name, data) for name in self.names)
        _check_counts(X, y, data)
        return self.encoded(X), self.target.encoded(y)

    def encoded(self, X: np.ndarray) -> np.ndarray:
        """The inputs, in float32."""
        if X.dtype.kind not in "biuf" or X.ndim < 1 or X.shape[1:] != self.shape:
            raise DataError(
                f"inputs must be numbers of the shape (samples, {', '.join(map(str, self.shape))}), "
                f"received an array of {X.dtype} of shape {X.shape}"
            )
        if not self._mean:
            return X.astype(np.float32)
        flat = X.reshape(len(X), -1)
        return ((flat - self._mean) / self._deviation).astype(np.float32).reshape(X.shape)

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
        how = "standardized" if self._mean else "taken as they are"
        return [f"inputs of the shape {self.shape}, {how}"]


class ArrayDataset(EncodedDataset, abstract=True):
    """Arrays of inputs, (samples, …), and of targets, (samples,) or (samples, outputs).

    Arguments:
        standardize: let each feature have the mean 0 and the deviation 1 in the samples to train on.
    """

    _: KW_ONLY
    standardize: Flag = False

    def made(
        self, arrays: Arrays, other: Arrays | None, names: tuple[str, str]
    ) -> tuple[Encoding, Arrays, Arrays]:
        """The encoding, and both parts.

        Arguments:
            other: what to validate with, where that is other data.
            names: of the arrays in a file.
        """
        X, y = arrays
        target, train, valid = self.split(names[1], y)
        mean, deviation = standardizing(X[train]) if self.standardize else ((), ())
        encoding = ArrayEncoding(X.shape[1:], target, names, mean, deviation)
        inputs, targets = encoding.encoded(X), target.encoded(y)
        if other is not None:
            return encoding, (inputs, targets), (encoding.encoded(other[0]), target.encoded(other[1]))
        return encoding, (inputs[train], targets[train]), (inputs[valid], targets[valid])


def encoding_of(dataset: Any) -> Encoding | None:
    """That of a dataset; of one without any, arrays as it gives them. None where it gives no arrays of samples."""
    known: Encoding | None = getattr(dataset, "encoding", None)
    samples = dataset.train_iter
    if known is not None or not isinstance(samples, ArrayIterator) or samples.target_steps != 1:
        return known
    shape = samples.lshape or samples.X.shape[1:]
    target: Target
    if samples.labels is not None:
        target = Classes("", tuple(range(samples.nout)))
    else:
        target = Quantities("", (0.0,) * samples.nout, (1.0,) * samples.nout)
    return ArrayEncoding(tuple(map(int, shape)), target, ("X", "y"))


@register(name="npz")
class Npz(ArrayDataset):
    """Arrays in a file that :func:`numpy.savez` wrote.

    A sample of (C, H, W) is an image, one of (F, T) a sequence of T steps.

    Arguments:
        path: of the file; relative to the current folder.
        inputs, targets: the names of the arrays in it.
        standardize: let each feature have the mean 0 and the deviation 1 in the samples to train on.
        validation: the share of the samples that is kept for validation, of each class where there are classes; or the
            path of another file to validate with.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where targets are words, truth values, or integers of
            few different values.
    """

    positional: ClassVar[tuple[str, ...]] = ("path", "inputs", "targets")

    _: KW_ONLY
    path: str
    inputs: str = "X"
    targets: str = "y"
    name: Name = "npz"

    def read(self) -> tuple[Encoding, Arrays, Arrays]:
        """See :meth:`EncodedDataset.read`."""
        other = self._arrays(self.validation) if isinstance(self.validation, str) else None
        return self.made(self._arrays(self.path), other, (self.inputs, self.targets))

    def _arrays(self, path: str) -> Arrays:
        arrays = read_arrays(Path(path))
        X, y = (_named(arrays, name, path) for name in (self.inputs, self.targets))
        _check_counts(X, y, path)
        return X, y


@register(name="npy")
class Npy(ArrayDataset):
    """Two arrays in files that :func:`numpy.save` wrote.

    Arguments:
        inputs, targets: paths of the files; relative to the current folder.
        standardize: let each feature have the mean 0 and the deviation 1 in the samples to train on.
        validation: the share of the samples that is kept for validation, of each class where there are classes.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where targets are words, truth values, or integers of
            few different values.
    """

    positional: ClassVar[tuple[str, ...]] = ("inputs", "targets")

    _: KW_ONLY
    inputs: str
    targets: str
    name: Name = "npy"

    def blamed(self, message: str) -> str:
        """See :meth:`EncodedDataset.blamed`."""
        return "targets" if message.startswith(self.targets) else "inputs"

    def read(self) -> tuple[Encoding, Arrays, Arrays]:
        """See :meth:`EncodedDataset.read`."""
        if isinstance(self.validation, str):
            raise DataError("validation must be a share of the samples (0 to 1) for a dataset of two files")
        X, y = (_only(read_arrays(Path(path)), path) for path in (self.inputs, self.targets))
        _check_counts(X, y, self.inputs)
        return self.made((X, y), None, ("X", "y"))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by their names; the one of an ``.npy`` file has the name ''. No file runs code.

    Raises:
        DataError: the file cannot be read, is none of these, or holds Python objects.
    """
    path = path.expanduser()
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        text = str(error)
        if "allow_pickle" in text or "Object arrays" in text:
            text = "it holds Python objects, which could run code; save arrays of numbers or of words"
        raise DataError(f"{path} cannot be read: {text}") from error


def _named(arrays: Mapping[str, np.ndarray], name: str, where: Any) -> np.ndarray:
    if name not in arrays:
        known = ", ".join(arrays) if list(arrays) != [""] else "one array without a name"
        raise DataError(f"{where}: there is no array {name!r}{closest(name, list(arrays))}; it holds {known}")
    return arrays[name]


def _only(arrays: Mapping[str, np.ndarray], where: Any) -> np.ndarray:
    if list(arrays) != [""]:
        raise DataError(
            f"{where} is no .npy file but an archive of {', '.join(arrays)}; dataset: {{name: npz, …}} reads it"
        )
    return arrays[""]


def _check_counts(X: np.ndarray, y: np.ndarray, where: Any) -> None:
    if not X.ndim or not y.ndim or len(X) != len(y):
        raise DataError(
            f"{where}: inputs of shape {X.shape} and targets of shape {y.shape} are not of the same number of samples"
        )
    if not len(X) or not math.prod(X.shape[1:]):
        raise DataError(f"{where}: there is no sample; the inputs have the shape {X.shape}")
    if X.dtype.kind not in "biuf":
        raise DataError(f"{where}: inputs must be numbers, received an array of {X.dtype}")
