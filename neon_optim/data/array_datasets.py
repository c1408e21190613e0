"""Arrays in files as datasets: ``dataset: {name: npz, path: data.npz, inputs: X, targets: y}``."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from neon_optim.data.array_encoding import ArrayEncoding, named
from neon_optim.data.array_files import ArrayInFile, Hdf5File, open_idx, open_numpy
from neon_optim.data.array_learning import ArrayLearning, StoredPairs
from neon_optim.data.encoded_dataset import EncodedDataset, Parts
from neon_optim.data.encoded_samples import EncodedSamples, HeldRows, RowSource, StreamedRows
from neon_optim.data.encoding import Classes, Encoding, Quantities, Target
from neon_optim.data.learning import Chosen
from neon_optim.described.arguments import Flag, Name
from neon_optim.described.registry import register
from neon_optim.described.words import closest
from neon_optim.errors import DataError
from neon_optim.model.array_iterator import ArrayIterator
from neon_optim.model.samples import Rows

__all__ = ["Hdf5", "Idx", "Npy", "Npz", "encoding_of"]


class ArrayDataset(EncodedDataset, abstract=True):
    """Arrays of inputs, (samples, …), and of targets, (samples,) or (samples, outputs)."""

    @abstractmethod
    def opened(self, path: str | None) -> tuple[StoredPairs, tuple[str, str]]:
        """Inputs and targets, and the names of their arrays.

        Arguments:
            path: of other data to validate with; None: the data itself.

        Raises:
            DataError: they cannot be read.
        """

    def shape_of(self, pairs: StoredPairs) -> tuple[int, ...]:
        """The shape of a sample."""
        return pairs.X.shape[1:] or (1,)

    def classes_of(self, pairs: StoredPairs) -> int | None:
        """How many classes the file says that there are; None: it does not say it."""
        return None

    def scale_of(self, pairs: StoredPairs) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """What the file says that becomes 0 and 1; None: it does not say it."""
        return None

    @property
    def _standardizes(self) -> bool:
        return bool(getattr(self, "standardize", False))

    def read(self) -> Parts:
        """See :meth:`EncodedDataset.read`."""
        pairs, names = self.opened(None)
        streams = 2 * pairs.row_bytes * pairs.count > self.memory_bytes
        learned = ArrayLearning(
            pairs,
            names[1],
            self.task,
            self.classes_of(pairs),
            self._standardizes,
            self.share,
            self.split_seed,
            self.memory_bytes // 8 if streams else None,
        )
        self.check_counts(*learned.counts)
        scale = self.scale_of(pairs) or (learned.mean, learned.deviation)
        encoding = ArrayEncoding(self.shape_of(pairs), learned.target, names, *scale)
        train = self._samples(encoding, pairs, learned.train, streams)
        if isinstance(self.validation, str):
            other, _ = self.opened(self.validation)
            encoding.check(other.X.shape[1:], other.X.dtype, f"{other.X.shape} in {self.validation}")
            for _, y in other.checked():
                encoding.targets(y)
            streams = 2 * other.row_bytes * other.count > self.memory_bytes
            return Parts(encoding, train, self._samples(encoding, other, None, streams))
        if learned.apart is not None:
            apart = _Apart(*learned.apart)
            source = StreamedRows(apart, encoding.rows, None, self.memory_bytes)
            return Parts(encoding, train, EncodedSamples(source, encoding, pairs.content))
        return Parts(encoding, train, self._samples(encoding, pairs, learned.valid, streams))

    def _samples(
        self, encoding: ArrayEncoding, pairs: StoredPairs, chosen: Chosen | None, streams: bool
    ) -> EncodedSamples:
        source: RowSource = StreamedRows(pairs, encoding.rows, chosen, self.memory_bytes)
        if not streams:
            source = HeldRows(source.all())
        return EncodedSamples(source, encoding, pairs.content)


class _Apart:
    """Samples that were set aside."""

    rows_at_once = 1

    def __init__(self, X: Any, y: Any) -> None:
        self._X, self._y = X, y
        self.count, self.row_bytes = X.count, X.row_bytes + y.row_bytes

    def read(self, first: int, last: int) -> Rows:
        """Some samples, one after the other."""
        return self._X.read(first, last), self._y.read(first, last)


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
        memory: what samples may take of it, in bytes or as '500MB' or '4GB'. More than that is read again in each
            epoch, in windows of a quarter of it; compressed arrays go to a temporary file before.
    """

    positional: ClassVar[tuple[str, ...]] = ("path", "inputs", "targets")

    _: KW_ONLY
    path: str
    inputs: str = "X"
    targets: str = "y"
    standardize: Flag = False
    name: Name = "npz"

    def opened(self, path: str | None) -> tuple[StoredPairs, tuple[str, str]]:
        """See :meth:`ArrayDataset.opened`."""
        path = path or self.path
        arrays = open_numpy(Path(path), self.memory_bytes // 2)
        names = self.inputs, self.targets
        X, y = (named(arrays, name, path) for name in names)
        return StoredPairs(X, y, path), names


class _TwoFiles(ArrayDataset, abstract=True):
    """Inputs in one file, targets in another."""

    positional: ClassVar[tuple[str, ...]] = ("inputs", "targets")

    _: KW_ONLY
    inputs: str
    targets: str

    @abstractmethod
    def array_in(self, path: str) -> ArrayInFile:
        """The array of a file."""

    def blamed(self, message: str) -> str:
        """See :meth:`EncodedDataset.blamed`."""
        return "targets" if message.startswith(self.targets) else "inputs"

    def opened(self, path: str | None) -> tuple[StoredPairs, tuple[str, str]]:
        """See :meth:`ArrayDataset.opened`."""
        _refuse_other(path)
        X, y = map(self.array_in, (self.inputs, self.targets))
        return StoredPairs(X, y, self.inputs), ("X", "y")


@register(name="npy")
class Npy(_TwoFiles):
    """Two arrays in files that :func:`numpy.save` wrote.

    Arguments:
        inputs, targets: paths of the files; relative to the current folder.
        standardize: let each feature have the mean 0 and the deviation 1 in the samples to train on.
        validation: the share of the samples that is kept for validation, of each class where there are classes.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where targets are words, truth values, or integers of
            few different values.
        memory: what samples may take of it, in bytes or as '500MB' or '4GB'. More than that is read again in each
            epoch, in windows of a quarter of it.
    """

    _: KW_ONLY
    standardize: Flag = False
    name: Name = "npy"

    def array_in(self, path: str) -> ArrayInFile:
        """See :meth:`_TwoFiles.array_in`."""
        return _only(open_numpy(Path(path), self.memory_bytes // 2), path)


@register(name="idx")
class Idx(_TwoFiles):
    """Two arrays in IDX files, as those of MNIST and its like, gzipped or not. Images of (H, W) get one channel.

    Arguments:
        inputs, targets: paths of the files; relative to the current folder.
        normalize: divide bytes by 255.
        validation: the share of the samples that is kept for validation, of each class where there are classes.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where targets are integers of few different values.
        memory: what samples may take of it, in bytes or as '500MB' or '4GB'. More than that is read again in each
            epoch, in windows of a quarter of it; gzipped arrays go to a temporary file before.
    """

    _: KW_ONLY
    normalize: Flag = True
    name: Name = "idx"

    def array_in(self, path: str) -> ArrayInFile:
        """See :meth:`_TwoFiles.array_in`."""
        return open_idx(Path(path), self.memory_bytes // 2)

    def shape_of(self, pairs: StoredPairs) -> tuple[int, ...]:
        """See :meth:`ArrayDataset.shape_of`."""
        shape = pairs.X.shape[1:]
        return (1, *shape) if len(shape) == 2 else shape or (1,)

    def scale_of(self, pairs: StoredPairs) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """See :meth:`ArrayDataset.scale_of`."""
        return ((0.0,), (255.0,)) if self.normalize and pairs.X.dtype == np.uint8 else None


@register(name="hdf5")
class Hdf5(ArrayDataset):
    """Arrays in an HDF5 file, laid out as for neon's HDF5Iterator.

    The inputs are (samples, features), with an attribute ``lshape`` where a sample has a shape, (C, H, W) for images;
    an array or attribute ``mean`` of as many numbers as there are features or channels is subtracted. The
    targets are (samples,) or (samples, outputs); with an attribute ``nclass`` they are class numbers.

    Arguments:
        path: of the file; relative to the current folder.
        inputs, targets: the names of the arrays in it.
        standardize: let each feature have the mean 0 and the deviation 1 in the samples to train on, whatever ``mean``
            says.
        validation: the share of the samples that is kept for validation, of each class where there are classes; or the
            path of another file to validate with.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where the file says so with ``nclass``, or targets are
            words, truth values, or integers of few different values.
        memory: what samples may take of it, in bytes or as '500MB' or '4GB'. More than that is read again in each
            epoch, in windows of a quarter of it.
    """

    positional: ClassVar[tuple[str, ...]] = ("path", "inputs", "targets")

    _: KW_ONLY
    path: str
    inputs: str = "input"
    targets: str = "output"
    standardize: Flag = False
    name: Name = "hdf5"

    def opened(self, path: str | None) -> tuple[StoredPairs, tuple[str, str]]:
        """See :meth:`ArrayDataset.opened`."""
        file = Hdf5File(Path(path or self.path))
        if path is None:
            self._file = file
        for name in (self.inputs, self.targets):
            if name not in file.names:
                known = ", ".join(file.names) or "no arrays at all"
                raise DataError(
                    f"{file.path}: there is no array {name!r}{closest(name, file.names)}; it holds {known}"
                )
        names = self.inputs, self.targets
        X, y = (file.array(name) for name in names)
        return StoredPairs(X, y, str(file.path)), names

    def shape_of(self, pairs: StoredPairs) -> tuple[int, ...]:
        """See :meth:`ArrayDataset.shape_of`."""
        given = self._file.attribute(self.inputs, "lshape")
        if given is None:
            return super().shape_of(pairs)
        shape = tuple(int(size) for size in np.ravel(given))
        if math.prod(shape) != pairs.features:
            raise DataError(
                f"{pairs.X.where}: lshape is {shape}, {math.prod(shape)} numbers, but a sample has {pairs.features}"
            )
        return shape

    def classes_of(self, pairs: StoredPairs) -> int | None:
        """See :meth:`ArrayDataset.classes_of`."""
        given = self._file.attribute(self.targets, "nclass")
        return None if given is None or self.task == "regression" else int(given)

    def scale_of(self, pairs: StoredPairs) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """See :meth:`ArrayDataset.scale_of`."""
        mean = self._file.attribute(self.inputs, "mean")
        if mean is None and "mean" in self._file.names:
            stored = self._file.array("mean")
            mean = stored.read(0, stored.shape[0])
        if mean is None or self.standardize:
            return None
        found = np.ravel(mean).astype(np.float64)
        channels = self.shape_of(pairs)[0]
        if len(found) == channels != pairs.features:
            found = np.repeat(found, pairs.features // channels)
        if len(found) != pairs.features:
            raise DataError(
                f"{self._file.path}: mean has {len(found)} numbers, but a sample has {pairs.features} in {channels} "
                "channels"
            )
        return tuple(found.tolist()), (1.0,) * len(found)


def _only(arrays: Mapping[str, ArrayInFile], where: Any) -> ArrayInFile:
    if list(arrays) != [""]:
        raise DataError(
            f"{where} is no .npy file but an archive of {', '.join(arrays)}; dataset: {{name: npz, …}} reads it"
        )
    return arrays[""]


def _refuse_other(path: str | None) -> None:
    if path is not None:
        raise DataError("validation must be a share of the samples (0 to 1) for a dataset of two files")
