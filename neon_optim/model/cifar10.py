"""CIFAR-10 from the binary files of its distribution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neon_optim.described.arguments import Flag, Name
from neon_optim.described.registry import register
from neon_optim.errors import DataError, Problem
from neon_optim.model.datasets import Arrays, Dataset, folder_with

__all__ = ["CIFAR10"]

_TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
_VALID = ["test_batch.bin"]
_BELOW = ("", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin", "CIFAR10")
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32


@register(name="cifar10")
class CIFAR10(Dataset):
    """Photographs of ten things: 50,000 for training and 10,000 for validation, 32 × 32 pixels in colours.

    Arguments:
        path: folder of the files.
        normalize: scale pixels from 0..255 to 0..1.

    The files are ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin`` of the "binary version" of
    cs.toronto.edu/~kriz/cifar.html. They are looked for in ``path``; without it in ``$NEON_OPTIM_DATA``,
    ``~/nervana/data`` (neon's folder) and ``./data``; in each of these also in the folders ``cifar-10-batches-bin``,
    ``cifar10`` and ``CIFAR10`` below. Nothing is downloaded.
    """

    nclass = 10

    path: str | None = None
    normalize: Flag = True
    name: Name = "cifar10"

    def load(self) -> tuple[Arrays, Arrays]:
        """(inputs, class numbers) for training and for validation."""
        wanted = [*_TRAIN, *_VALID]
        folder, places = folder_with(
            lambda folder: all((folder / n).is_file() for n in wanted), self.path, _BELOW
        )
        if folder is None:
            message = (
                f"the CIFAR-10 files ({_TRAIN[0]} to {_TRAIN[-1]}, {_VALID[0]}) were not found. Looked in: "
                f"{', '.join(map(str, places))} (and {', '.join(_BELOW[1:])} below). Put them into one of these "
                "folders, or name theirs in $NEON_OPTIM_DATA"
            )
            raise DataError(message, [Problem.about("path", message, self)])
        return self._part(folder, _TRAIN), self._part(folder, _VALID)

    def _part(self, folder: Path, names: Sequence[str]) -> Arrays:
        records = np.concatenate([_records(folder / name) for name in names])
        X = records[:, 1:].reshape(-1, *_SHAPE).astype(np.float32)
        if self.normalize:
            X /= 255.0
        return X, records[:, 0].copy()


def _records(path: Path) -> np.ndarray:
    """The images of a file: a byte for the class, then red, green and blue.

    Raises:
        DataError: the file cannot be read, or is no such file.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not data.size or data.size % _RECORD:
        raise DataError(
            f"{path} is cut off or damaged: {data.size:,} bytes are no images of {_RECORD:,} bytes each"
        )
    records = data.reshape(-1, _RECORD)
    beyond = np.flatnonzero(records[:, 0] > 9)
    if beyond.size:
        raise DataError(
            f"{path} is damaged: image {beyond[0]} is of the class {records[beyond[0], 0]}; classes are 0 to 9"
        )
    return records
