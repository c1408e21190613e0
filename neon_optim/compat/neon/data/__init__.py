"""neon.data: datasets, and iterators over minibatches."""

from __future__ import annotations

from neon_optim.compat.neon.data.dataiterator import ArrayIterator, NervanaDataIterator
from neon_optim.compat.neon.data.datasets import Dataset
from neon_optim.compat.neon.data.hdf5iterator import HDF5Iterator, HDF5IteratorAutoencoder, HDF5IteratorOneHot
from neon_optim.compat.neon.data.image import CIFAR10, DUMMY, MNIST

__all__ = [
    "CIFAR10",
    "DUMMY",
    "MNIST",
    "ArrayIterator",
    "Dataset",
    "HDF5Iterator",
    "HDF5IteratorAutoencoder",
    "HDF5IteratorOneHot",
    "NervanaDataIterator",
]
