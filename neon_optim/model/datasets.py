"""Datasets by name: what `dataset: {name: digits}` in a config stands for."""

from __future__ import annotations

import gzip
import importlib.util
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np

from neon_optim.backends.philox import permutation
from neon_optim.described.arguments import Flag, Name, NonNegativeInt
from neon_optim.described.checks import Number
from neon_optim.described.object import NervanaObject
from neon_optim.described.registry import register
from neon_optim.errors import DataError, Problem
from neon_optim.model.array_iterator import ArrayIterator

__all__ = ["Dataset", "Digits", "all_but", "folder_with", "stratified_split"]

Share = Annotated[float, Number(gt=0, lt=1)]
Arrays = tuple[np.ndarray, np.ndarray]


class Dataset(NervanaObject, kind="dataset", abstract=True):
    """Training and validation data; read when it is first needed."""

    @cached_property
    def train_iter(self) -> ArrayIterator:
        """Minibatches to train on, shuffled anew in each epoch."""
        X, y = self.load()[0]
        return ArrayIterator(X, y, nclass=self.nclass, lshape=_shape_of(X), name="train", shuffle=True)

    @cached_property
    def valid_iter(self) -> ArrayIterator:
        """Minibatches to validate with, in a fixed order."""
        X, y = self.load()[1]
        return ArrayIterator(X, y, nclass=self.nclass, lshape=_shape_of(X), name="valid")

    @property
    @abstractmethod
    def nclass(self) -> int:
        """Number of classes."""

    @abstractmethod
    def load(self) -> tuple[Arrays, Arrays]:
        """(inputs, class numbers) for training and for validation.

        Inputs are (samples, features), or (samples, C, H, W) for images.

        Raises:
            DataError: the data is not there, and how to get it.
        """


@register(name="digits")
class Digits(Dataset):
    """scikit-learn's handwritten digits: 1,797 images of 8 × 8 pixels, 10 classes; comes with scikit-learn.

    Arguments:
        validation: share of each class that is kept for validation.
        split_seed: decides which.
        normalize: scale pixels from 0..16 to 0..1.
    """

    nclass = 10

    validation: Share = 0.2
    split_seed: NonNegativeInt = 0
    normalize: Flag = True
    name: Name = "digits"

    def load(self) -> tuple[Arrays, Arrays]:
        """(inputs, class numbers) for training and for validation."""
        X, y = _read_digits()
        X = (X / 16.0 if self.normalize else X).astype(np.float32)
        train, valid = stratified_split(y, self.validation, self.split_seed)
        if not len(train) or not len(valid):
            message = (
                f"a share of {self.validation} for validation leaves no sample "
                f"{'to validate with' if len(train) else 'to train on'}"
            )
            raise DataError(message, [Problem.about("validation", message, self)])
        X = X.reshape(-1, 1, 8, 8)
        return (X[train], y[train]), (X[valid], y[valid])


def _read_digits() -> Arrays:
    """What ``sklearn.datasets.load_digits`` gives, from its own file: scikit-learn takes a second to import.

    Raises:
        DataError: scikit-learn is not installed.
    """
    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            with gzip.open(file, "rt", encoding="ascii") as lines:
                numbers = np.loadtxt(lines, delimiter=",")
            return numbers[:, :-1], numbers[:, -1].astype(int)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "the digits come with scikit-learn, which is not installed: pip install 'neon_optim[data]'"
        ) from error
    X, y = load_digits(return_X_y=True)
    return X, y


def folder_with(
    holds: Callable[[Path], bool], path: str | None, below: Sequence[str]
) -> tuple[Path | None, list[Path]]:
    """The first folder that holds some files, or None; and where it was looked for.

    Arguments:
        holds: whether a folder holds them.
        path: where to look; None: in ``$NEON_OPTIM_DATA``, ``~/nervana/data`` and ``./data``.
        below: folders in these that are looked into; '' for the folder itself.
    """
    if path is not None:
        places = [Path(path).expanduser()]
    else:
        places = [Path(place) for place in [os.environ.get("NEON_OPTIM_DATA")] if place]
        places += [Path("~/nervana/data").expanduser(), Path("data")]
    return next((f for place in places for b in below if holds(f := place / b)), None), places


def _shape_of(X: np.ndarray) -> tuple[int, ...] | None:
    return X.shape[1:] if X.ndim > 2 else None


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the samples of the two parts, each in rising order; each class gives its share to the second.

    >>> train, valid = stratified_split(np.array([0] * 8 + [1] * 4), 0.25, seed=0)
    >>> len(train), len(valid)
    (9, 3)
    """
    second = [
        members[permutation(len(members), seed, int(label), 0)[: round(share * len(members))]]
        for label in np.unique(labels)
        for members in [np.flatnonzero(labels == label)]
    ]
    return all_but(len(labels), np.sort(np.concatenate(second)))


def all_but(count: int, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the samples that are not in the second part, and those that are."""
    is_first = np.ones(count, bool)
    is_first[second] = False
    return np.flatnonzero(is_first), second
