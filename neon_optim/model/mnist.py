"""MNIST from the four IDX files of its distribution."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from neon_optim.described.arguments import Flag, Name
from neon_optim.described.registry import register
from neon_optim.errors import DataError, Problem
from neon_optim.model.datasets import Arrays, Dataset, folder_with

__all__ = ["MNIST", "read_idx"]

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "valid": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_BELOW = ("", "mnist", "MNIST/raw")
_LARGEST = 1 << 30


@register(name="mnist")
class MNIST(Dataset):
    """Handwritten digits: 60,000 images for training and 10,000 for validation, 28 × 28 pixels, 10 classes.

    Arguments:
        path: folder of the files.
        normalize: scale pixels from 0..255 to 0..1.
        sym_range: scale them to -1..1 instead.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with ``t10k``, with ``.gz`` or
    without. They are looked for in ``path``; without it in ``$NEON_OPTIM_DATA``, ``~/nervana/data`` (neon's folder) and
    ``./data``; in each of these also in the folders ``mnist`` and ``MNIST/raw`` below. Nothing is downloaded.
    """

    nclass = 10

    path: str | None = None
    normalize: Flag = True
    sym_range: Flag = False
    name: Name = "mnist"

    def load(self) -> tuple[Arrays, Arrays]:
        """(inputs, class numbers) for training and for validation."""
        folder = self._folder()
        return self._part(folder, "train"), self._part(folder, "valid")

    def _folder(self) -> Path:
        names = [name for part in _FILES.values() for name in part]
        folder, places = folder_with(lambda f: all(_existing(f / name) for name in names), self.path, _BELOW)
        if folder is not None:
            return folder
        wanted = ", ".join(names)
        message = (
            f"the MNIST files ({wanted}; each may end in .gz) were not found. Looked in: "
            f"{', '.join(str(place) for place in places)} (and mnist, MNIST/raw below). Put them into one of these "
            "folders, name theirs in $NEON_OPTIM_DATA, or use the digits that scikit-learn brings: "
            "--set dataset.name=digits"
        )
        raise DataError(message, [Problem.about("path", message, self)])

    def _part(self, folder: Path, part: str) -> Arrays:
        images, labels = (read_idx(_existing(folder / name) or folder / name) for name in _FILES[part])
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"{folder}: images of shape {images.shape} and labels of shape {labels.shape} do not go together"
            )
        X = images.reshape(len(images), 1, *images.shape[1:]).astype(np.float32)
        if self.normalize or self.sym_range:
            X /= 255.0
        return (X * 2.0 - 1.0 if self.sym_range else X), labels


def _existing(path: Path) -> Path | None:
    return next((file for file in (path, Path(f"{path}.gz")) if file.is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes from an IDX file, gzipped or not.

    Raises:
        DataError: the file cannot be read or is no such file.
    """
    try:
        opened = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # noqa: SIM115
        with opened as file:
            data = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    # Two zero bytes, the type (8: bytes), the number of axes, then the axes as big-endian integers.
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) > _LARGEST:
        raise DataError(f"{path} is no IDX file of bytes: it starts with {data[:4].hex(' ') or 'nothing'}")
    axes = data[3]
    begin = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", data[4:begin]) if len(data) >= begin else ()
    if not shape or len(data) - begin != math.prod(shape):
        raise DataError(f"{path} is cut off or damaged: {len(data):,} bytes do not hold {shape} elements")
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)
