"""neon.data: datasets, and iterators over minibatches."""

from __future__ import annotations

from neon_optim.compat.neon.data.dataiterator import ArrayIterator, NervanaDataIterator
from neon_optim.compat.neon.data.datasets import Dataset
from neon_optim.compat.neon.data.hdf5iterator import HDF5Iterator, HDF5IteratorAutoencoder, HDF5IteratorOneHot
from neon_optim.compat.neon.data.image import CIFAR10, DUMMY, MNIST
from neon_optim.compat.neon.data.imagecaption import Coco, Flickr8k, Flickr30k, ImageCaption, ImageCaptionTest
from neon_optim.compat.neon.data.questionanswer import BABI, QA
from neon_optim.compat.neon.data.text import IMDB, PTB, SICK, HutterPrize, Shakespeare, Text
from neon_optim.compat.neon.data.ticker import CopyTask, PrioritySortTask, RepeatCopyTask, Ticker

__all__ = [
    "BABI",
    "CIFAR10",
    "DUMMY",
    "IMDB",
    "MNIST",
    "PTB",
    "QA",
    "SICK",
    "ArrayIterator",
    "Coco",
    "CopyTask",
    "Dataset",
    "Flickr8k",
    "Flickr30k",
    "HDF5Iterator",
    "HDF5IteratorAutoencoder",
    "HDF5IteratorOneHot",
    "HutterPrize",
    "ImageCaption",
    "ImageCaptionTest",
    "NervanaDataIterator",
    "PrioritySortTask",
    "RepeatCopyTask",
    "Shakespeare",
    "Text",
    "Ticker",
]
