"""neon's iterators over HDF5 files: minibatches are read from the disk, so that the data need not fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from neon_optim.compat.neon.data.dataiterator import ArrayIterator
from neon_optim.errors import DataError

__all__ = ["HDF5Iterator", "HDF5IteratorAutoencoder", "HDF5IteratorOneHot"]


class HDF5Iterator(ArrayIterator):
    """Minibatches of ``be.bsz`` samples of an HDF5 file.

    The file holds the dataset ``input``, (samples, features), with the attribute ``lshape``, the shape of a sample;
    it may hold ``output``, (samples, outputs), and ``mean``, which is taken off the inputs: a number for each feature
    or, for images, for each channel.

    The last minibatch is filled up with samples from the start; the next pass then begins behind those, unless
    ``reset()`` is called.

    Arguments:
        hdf_filename: path of the file.
        name: name of the iterator.

    Raises:
        DataError: h5py is not installed; the file is not there, is no such file, or has fewer samples than a
            minibatch.
    """

    def __init__(self, hdf_filename: str, name: Any = None) -> None:
        super(ArrayIterator, self).__init__(name=name)
        self.hdf_filename = hdf_filename
        self.hdf_file: Any = None
        self.hdf_file = opened(hdf_filename)
        try:
            self._check()
        except DataError:
            self.cleanup()
            raise
        self.inp = self.hdf_file["input"]
        self.ndata = int(self.inp.shape[0])
        self.start = 0
        self.lshape = tuple(int(n) for n in self.inp.attrs["lshape"])
        self.shape = self.lshape
        self.out = self.hdf_file.get("output")
        self.inpbuf: Any = None
        self.outbuf: Any = None
        self.mean: Any = None
        self.allocated = False

    def _check(self) -> None:
        if "input" not in self.hdf_file or "lshape" not in self.hdf_file["input"].attrs:
            raise DataError(f"{self.hdf_filename} lacks the dataset 'input' with the attribute 'lshape'")
        samples = len(self.hdf_file["input"])
        if samples < self.be.bsz:
            raise DataError(
                f"a minibatch has {self.be.bsz} samples, {self.hdf_filename} only {samples}; make the minibatch smaller"
            )

    def allocate(self) -> None:
        """Make the tensors of a minibatch, once."""
        if not self.allocated:
            self.allocate_inputs()
            self.allocate_outputs()
            self.allocated = True

    def allocate_inputs(self) -> None:
        """Make ``inpbuf``, the tensor of the inputs, and ``mean``, what is taken off them."""
        features = int(self.inp.shape[1])
        self.inpbuf = self.be.iobuf(features)
        self.mini_batch_in = np.zeros(self.inpbuf.shape, np.float32)
        if "mean" not in self.hdf_file:
            return
        mean = np.array(self.hdf_file["mean"]).reshape(-1, 1)
        channels = self.lshape[0]
        if len(mean) not in (features, channels):
            raise DataError(
                f"{self.hdf_filename}: 'mean' has {len(mean)} elements; {features} (features) or {channels} "
                "(channels) are due"
            )
        by_feature = len(mean) == features
        self.meansub_view = self.inpbuf if by_feature else self.inpbuf.reshape((channels, -1))
        self.mean = self.be.array(mean)

    def allocate_outputs(self) -> None:
        """Make ``outbuf``, the tensor of the targets; None where the file has none."""
        if self.out is not None:
            self.outbuf = self.be.iobuf(int(self.out.shape[1]))
            self.mini_batch_out = np.zeros(self.outbuf.shape, np.float32)

    def gen_input(self, mini_batch: np.ndarray) -> None:
        """Fill ``inpbuf`` from an array of (features, be.bsz)."""
        self.inpbuf[:] = mini_batch
        if self.mean is not None:
            self.meansub_view[:] = self.meansub_view - self.mean

    def gen_output(self, mini_batch: np.ndarray) -> None:
        """Fill ``outbuf`` from an array of (outputs, be.bsz)."""
        self.outbuf[:] = mini_batch

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs (inputs, targets); targets are None where the file has none."""
        self.allocate()
        size = self.be.bsz
        for first in range(self.start, self.ndata, size):
            last = min(first + size, self.ndata)
            if last == self.ndata:
                self.start = size - (last - first)
            self.gen_input(self._filled(self.mini_batch_in, self.inp, first, last))
            if self.outbuf is not None:
                self.gen_output(self._filled(self.mini_batch_out, self.out, first, last))
            yield self.inpbuf, self.outbuf

    def _filled(self, buffer: np.ndarray, source: Any, first: int, last: int) -> np.ndarray:
        """Samples ``first`` to ``last`` as columns, and behind them as many from the start as there is room for."""
        count = last - first
        buffer[:, :count] = source[first:last].T
        if count < self.be.bsz:
            buffer[:, count:] = source[: self.be.bsz - count].T
        return buffer

    def cleanup(self) -> None:
        """Close the file."""
        if self.hdf_file is not None:
            self.hdf_file.close()

    def __del__(self) -> None:
        if vars(self).get("hdf_file") is not None:
            self.cleanup()


class HDF5IteratorOneHot(HDF5Iterator):
    """An :class:`HDF5Iterator` whose ``output`` holds class numbers, (samples, 1), with the attribute ``nclass``."""

    def __init__(self, hdf_filename: str, name: Any = None) -> None:
        super().__init__(hdf_filename, name=name)
        if self.out is None:
            return
        if "nclass" not in self.out.attrs:
            self.cleanup()
            raise DataError(f"{hdf_filename}: 'output' lacks the attribute 'nclass', the number of classes")
        self.nclass = int(self.out.attrs["nclass"])
        self.out = np.array(self.out, np.int32).reshape(-1, 1)

    def allocate_outputs(self) -> None:
        """Make ``outbuf``, (classes, be.bsz)."""
        if self.out is not None:
            self.argmax_buf = self.be.iobuf(1, dtype=np.int32)
            self.mini_batch_out = np.zeros(self.argmax_buf.shape, np.int32)
            self.outbuf = self.be.iobuf(self.nclass)

    def gen_output(self, mini_batch: np.ndarray) -> None:
        """Fill ``outbuf`` from class numbers, (1, be.bsz)."""
        self.argmax_buf[:] = mini_batch
        self.be.onehot(self.argmax_buf, axis=0, out=self.outbuf)


class HDF5IteratorAutoencoder(HDF5Iterator):
    """An :class:`HDF5Iterator` whose inputs are the targets too."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs (inputs, inputs)."""
        for inputs, _ in super().__iter__():
            yield inputs, inputs


def opened(path: str) -> Any:
    """The HDF5 file of a path, to be read.

    Raises:
        DataError: h5py is not installed; the file is not there, or is no such file.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError("HDF5 files need h5py, which is not installed: pip install h5py") from error
    if not os.path.isfile(path):
        raise DataError(f"the file {path} is not there")
    try:
        return h5py.File(path, mode="r")
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5: {error}") from error
