"""neon's datasets of images: MNIST, CIFAR-10, and random ones for measurements."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from typing import Any

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.data.dataiterator import ArrayIterator
from neon_optim.compat.neon.data.datasets import Dataset, plain_pickle
from neon_optim.errors import DataError
from neon_optim.serialization import durable
from neon_optim.serialization.neon.pickle_write import write_pickle_data

__all__ = ["CIFAR10", "DUMMY", "MNIST"]

Part = tuple[np.ndarray, np.ndarray]


class _Images(Dataset):
    """Two parts of labelled images: 'train' and 'valid'."""

    def load_data(self) -> tuple[Part, Part, int]:
        """(inputs, class numbers) for training and for validation, and the number of classes."""
        raise NotImplementedError

    def gen_iterators(self) -> dict[str, Any]:
        """The iterators over 'train' and 'valid'."""
        train, valid, nclass = self.load_data()
        self._data_dict = {
            name: ArrayIterator(X, y, nclass=self._nclass(nclass), lshape=self._lshape(), name=name)
            for name, (X, y) in (("train", train), ("valid", valid))
        }
        return self._data_dict

    def _lshape(self) -> tuple[int, int, int]:
        raise NotImplementedError

    def _nclass(self, nclass: int) -> int:
        return nclass

    def _share(self, part: Part) -> Part:
        count = int(len(part[0]) * self.subset_pct / 100.0)
        return part[0][:count], part[1][:count]


class MNIST(_Images):
    """Handwritten digits: 60,000 images for training and 10,000 for validation, from neon's ``mnist.pkl.gz``.

    Arguments:
        path: the folder of the file, ``~/nervana/data`` in neon's scripts.
        subset_pct: how many percent of the samples to use.
        normalize: scale pixels from 0..255 to 0..1.
        sym_range: then to -1..1.
        size: pixels of a side: images are cut at the right and the bottom, or filled up with zeros there.
        shuffle: a fixed other order of the training samples.
    """

    def __init__(
        self,
        path: str = ".",
        subset_pct: float = 100,
        normalize: bool = True,
        sym_range: bool = False,
        size: int = 28,
        shuffle: bool = False,
    ) -> None:
        super().__init__(
            "mnist.pkl.gz",
            "https://s3.amazonaws.com/img-datasets",
            15296311,
            path=path,
            subset_pct=subset_pct,
        )
        self._file_size = self.size
        self.normalize = normalize
        self.sym_range = sym_range
        self.size = size
        self.shuffle = shuffle

    def load_data(self) -> tuple[Part, Part, int]:
        """((X, y) for training, (X, y) for validation, 10); X is (samples, pixels).

        Raises:
            DataError: the file is not there, or is another.
        """
        filepath = self._valid_path_append(self.path, self.filename)
        if not os.path.exists(filepath):
            self.fetch_dataset(self.url, self.filename, filepath, self._file_size)
        try:
            with gzip.open(filepath, "rb") as file:
                content = plain_pickle(file, filepath)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{filepath} cannot be read: {error}") from error
        if np.shape(content[0][0])[1:] != (28, 28):
            raise DataError(f"{filepath} is not MNIST: images of 28 × 28 pixels are due")
        (X_train, y_train), (X_test, y_test) = map(self._share, content)
        train = self._pixels(X_train), y_train
        if self.shuffle:
            order = np.random.RandomState(0).permutation(len(y_train))
            train = train[0][order], y_train[order]
        return train, (self._pixels(X_test), y_test), 10

    def _pixels(self, images: np.ndarray) -> np.ndarray:
        side = min(self.size, 28)
        found = images[:, :side, :side]
        if self.size > 28:
            found = np.pad(found, ((0, 0), (0, self.size - 28), (0, self.size - 28)))
        found = found.reshape(-1, self.size * self.size)
        if not self.normalize:
            return found
        found = found / 255.0
        return found * 2.0 - 1.0 if self.sym_range else found

    def _lshape(self) -> tuple[int, int, int]:
        return 1, self.size, self.size


class CIFAR10(_Images):
    """Colour images of 32 × 32 pixels in 10 classes: 50,000 for training and 10,000 for validation.

    The batches are read from the folder ``cifar-10-batches-py`` or, where that is not there, from
    ``cifar-10-python.tar.gz``, which is not unpacked.

    Arguments:
        path: the folder of either.
        subset_pct: how many percent of the samples to use.
        normalize: scale by 1/255.
        contrast_normalize: give each image mean 0 and norm 55.
        whiten: ZCA whitening by the training images; the transform is kept beside the data.
        pad_classes: 16 classes instead of 10.
    """

    def __init__(
        self,
        path: str = ".",
        subset_pct: float = 100,
        normalize: bool = True,
        contrast_normalize: bool = False,
        whiten: bool = False,
        pad_classes: bool = False,
    ) -> None:
        super().__init__(
            "cifar-10-python.tar.gz",
            "http://www.cs.toronto.edu/~kriz",
            170498071,
            path=path,
            subset_pct=subset_pct,
        )
        self.normalize = normalize
        self.contrast_normalize = contrast_normalize
        self.whiten = whiten
        self.pad_classes = pad_classes

    def load_data(self) -> tuple[Part, Part, int]:
        """((X, y) for training, (X, y) for validation, 10); X is (samples, 3072), y is (samples, 1).

        Raises:
            DataError: the files are not there, or are others.
        """
        names = [f"data_batch_{number}" for number in range(1, 6)]
        batches = self._batches([*names, "test_batch"])
        parts = [
            (np.vstack([batches[name]["data"] for name in part]), _column(batches, part))
            for part in (names, ["test_batch"])
        ]
        (X_train, y_train), (X_test, y_test) = map(self._share, parts)
        if self.contrast_normalize:
            X_train, X_test = (self.global_contrast_normalize(X, scale=55.0) for X in (X_train, X_test))
        if self.normalize:
            X_train, X_test = X_train / 255.0, X_test / 255.0
        if self.whiten:
            cache = os.path.join(os.path.expanduser(self.path), "cifar-10-zca-cache.pkl")
            X_train, X_test = self.zca_whiten(X_train, X_test, cache=cache)
        return (X_train, y_train), (X_test, y_test), 10

    def _lshape(self) -> tuple[int, int, int]:
        return 3, 32, 32

    def _nclass(self, nclass: int) -> int:
        return 16 if self.pad_classes else nclass

    def _batches(self, names: list[str]) -> dict[str, Any]:
        folder, archive = self._valid_path_append(self.path, "cifar-10-batches-py", self.filename)
        if os.path.exists(os.path.join(folder, names[0])):
            found = {}
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.exists(path):
                    raise DataError(f"of CIFAR-10's batches {path} is missing")
                with open(path, "rb") as file:
                    found[name] = plain_pickle(file, path)
            return found
        if not os.path.exists(archive):
            self.fetch_dataset(self.url, self.filename, archive, self.size)
        return _batches_in(archive, names)

    @staticmethod
    def zca_whiten(train: np.ndarray, test: np.ndarray, cache: str | None = None) -> Part:
        """Both sets without the correlations between the pixels of the first.

        Arguments:
            train, test: (samples, features).
            cache: file of mean and transform: read where it is there, else written.
        """
        if cache and os.path.isfile(cache):
            with open(cache, "rb") as file:
                mean, transform = plain_pickle(file, cache)
        else:
            mean, transform = CIFAR10._compute_zca_transform(train)
            if cache:
                logger.info("keeping the ZCA transform in %s", cache)
                with durable.replacing(cache) as new:
                    new.write(write_pickle_data((mean, transform)))
        return np.dot(train - mean, transform), np.dot(test - mean, transform)

    @staticmethod
    def _compute_zca_transform(imgs: np.ndarray, filter_bias: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the images, and (covariance + filter_bias)^(-1/2)."""
        values, vectors = np.linalg.eigh(np.cov(imgs.T) + filter_bias * np.eye(imgs.shape[1]))
        if not (values > 0).all():
            raise DataError("the covariance of the images has an eigenvalue that is not above 0")
        return np.mean(imgs, 0), np.dot(vectors, np.dot(np.diag(values**-0.5), vectors.T))

    @staticmethod
    def global_contrast_normalize(X: np.ndarray, scale: float = 1.0, min_divisor: float = 1e-8) -> np.ndarray:
        """Each row less its mean, with the norm ``scale``; rows with a smaller norm than min_divisor only less it."""
        centred = X - X.mean(axis=1)[:, np.newaxis]
        norms = np.sqrt((centred**2).sum(axis=1)) / scale
        norms[norms < min_divisor] = 1.0
        return centred / norms[:, np.newaxis]


class DUMMY(_Images):
    """Random images of 224 × 224 pixels in 1,000 classes, as many as a minibatch: for measurements of speed.

    Arguments:
        path, subset_pct, normalize, contrast_normalize, whiten, pad_classes: as of CIFAR10; without effect.
        batch_size: number of images.
    """

    def __init__(
        self,
        path: str = ".",
        subset_pct: float = 100,
        normalize: bool = True,
        contrast_normalize: bool = False,
        whiten: bool = False,
        pad_classes: bool = False,
        batch_size: int = 128,
    ) -> None:
        super().__init__("dummy", "dummy", 1, path=path, subset_pct=subset_pct)
        self.normalize = normalize
        self.contrast_normalize = contrast_normalize
        self.whiten = whiten
        self.pad_classes = pad_classes
        self.batch_size = batch_size

    def load_data(self) -> tuple[Part, Part, int]:
        """The same random images for training and for validation, and the number of classes."""
        part = (
            np.random.uniform(-1, 1, (self.batch_size, 3 * 224 * 224)),
            np.random.randint(0, 1000, (self.batch_size, 1)),
        )
        return part, part, 1000

    def _lshape(self) -> tuple[int, int, int]:
        return 3, 224, 224


def _column(batches: dict[str, Any], names: list[str]) -> np.ndarray:
    return np.concatenate([np.asarray(batches[name]["labels"]) for name in names]).reshape(-1, 1)


def _batches_in(archive: str, names: list[str]) -> dict[str, Any]:
    """The batches in the archive, gone through once; nothing is unpacked to the disk."""
    found = {}
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = member.name.rpartition("/")[2]
                file = members.extractfile(member) if name in names else None
                if file is not None:
                    found[name] = plain_pickle(file, f"{archive}: {name}")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} cannot be read: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{archive} lacks {', '.join(missing)}")
    return found
