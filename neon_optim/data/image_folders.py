"""Folders of images as datasets, a folder for each class: ``dataset: {name: images, path: pictures/}``."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from neon_optim.data.encoded_dataset import EncodedDataset, Parts
from neon_optim.data.encoded_samples import EncodedSamples, HeldRows, RowSource, StreamedRows
from neon_optim.data.encoding import Encoding, Target, learned_target, target_from_json
from neon_optim.data.learning import Split
from neon_optim.described.arguments import Name, PositiveInt
from neon_optim.described.listing import first_lines
from neon_optim.described.registry import register
from neon_optim.errors import DataError
from neon_optim.model.samples import Rows

__all__ = ["ImageEncoding", "Images"]

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_CHANNELS = {"L": 1, "RGB": 3}


class ImageEncoding(Encoding):
    """What is done with images: all of one size, pixels from 0 to 1, (C, H, W).

    Arguments:
        mode: 'L' for shades of gray, 'RGB' for colours.
        size: (H, W).
        target: the classes.
    """

    kind = "images"

    def __init__(self, mode: str, size: tuple[int, int], target: Target):
        self.mode, self.size, self.target = mode, size, target
        self.shape = (_CHANNELS[mode], *size)

    def inputs(self, data: Any) -> np.ndarray:
        """From a file, a folder of files, or an array of (samples, C, H, W) of pixels from 0 to 1."""
        if isinstance(data, (str, os.PathLike)):
            path = Path(data).expanduser()
            files = _files(path) if path.is_dir() else [path]
            if not files:
                raise DataError(f"{path}: there are no images in this folder ({', '.join(_ENDINGS)})")
            return read_images(files, self.mode, self.size)
        array = np.asarray(data)
        if array.dtype.kind not in "biuf" or array.shape[1:] != self.shape:
            raise DataError(
                f"images must be an array of (samples, {', '.join(map(str, self.shape))}), received {array.shape}"
            )
        return array.astype(np.float32)

    def samples(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Encoding.samples`: from a folder with a folder for each class."""
        files, labels = _by_class(Path(data).expanduser())
        return read_images(files, self.mode, self.size), self.target.encoded(labels)

    def inputs_of(self, rows: Rows) -> np.ndarray:
        """See :meth:`Encoding.inputs_of`."""
        pixels = rows[0].reshape(len(rows[0]), -1).astype(np.float32)
        pixels /= np.float32(255.0)
        return pixels

    def to_json(self) -> dict[str, Any]:
        """See :meth:`Encoding.to_json`."""
        return {
            "kind": self.kind,
            "mode": self.mode,
            "size": list(self.size),
            "target": self.target.to_json(),
        }

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> ImageEncoding:
        """See :meth:`Encoding.from_json`."""
        height, width = described["size"]
        return cls(described["mode"], (height, width), target_from_json(described["target"]))

    def summary(self) -> list[str]:
        """See :meth:`Encoding.summary`."""
        colours = "in colours" if self.mode == "RGB" else "in shades of gray"
        return [f"images of {self.size[0]} × {self.size[1]} pixels {colours}, from 0 to 1"]


@register(name="images")
class Images(EncodedDataset):
    """Images in folders, one for each class. Pixels are from 0 to 1; all images get the size of the smallest.

    Arguments:
        path: of the folder that holds those of the classes; relative to the current folder.
        height, width: the size that all images get; None: that of the smallest.
        color: 'gray', 'rgb', or 'auto': gray where all images are.
        validation: the share of the images that is kept for validation, of each class; or the path of another such
            folder to validate with.
        split_seed: decides which images.
        memory: what images may take of it, in bytes or as '500MB' or '4GB', a byte for each pixel and colour. More than
            that are read again in each epoch, in windows of a quarter of it.
    """

    positional: ClassVar[tuple[str, ...]] = ("path",)

    _: KW_ONLY
    path: str
    height: PositiveInt | None = None
    width: PositiveInt | None = None
    color: Literal["auto", "gray", "rgb"] = "auto"
    name: Name = "images"

    def read(self) -> Parts:
        """See :meth:`EncodedDataset.read`."""
        files, labels = _by_class(Path(self.path).expanduser())
        target = learned_target("class", labels, "classification")
        y = target.encoded(labels).astype(np.int32)
        valid = np.zeros(len(files), bool)
        if self.share is not None:
            counts = {k: int(np.count_nonzero(y == k)) for k in range(target.nout)}
            valid = Split(counts, self.share, self.split_seed).of_next(y)
        self.check_counts(int(np.count_nonzero(~valid)), int(np.count_nonzero(valid)))
        encoding = ImageEncoding(*self._form(files), target)
        parts = [self._samples(encoding, files, y, np.flatnonzero(~valid))]
        if isinstance(self.validation, str):
            files, labels = _by_class(Path(self.validation).expanduser())
            y, valid = target.encoded(labels).astype(np.int32), np.ones(len(files), bool)
        parts.append(self._samples(encoding, files, y, np.flatnonzero(valid)))
        return Parts(encoding, *parts)

    def _samples(
        self, encoding: ImageEncoding, files: list[Path], y: np.ndarray, chosen: np.ndarray
    ) -> EncodedSamples:
        stored = _StoredImages([files[k] for k in chosen.tolist()], y[chosen], encoding)
        source: RowSource = StreamedRows(stored, lambda rows: rows, None, self.memory_bytes)
        if len(files) * stored.row_bytes <= self.memory_bytes:
            source = HeldRows(stored.read(0, stored.count))
        return EncodedSamples(source, encoding, stored.digest())

    def _form(self, files: list[Path]) -> tuple[str, tuple[int, int]]:
        """The mode and the size that all images get."""
        modes, heights, widths = set(), [], []
        for file in files:
            with _opened(file) as image:
                modes.add(image.mode)
                widths.append(image.width)
                heights.append(image.height)
        gray = modes <= {"1", "L", "LA", "I;16", "I"} if self.color == "auto" else self.color == "gray"
        return ("L" if gray else "RGB"), (self.height or min(heights), self.width or min(widths))


def _by_class(folder: Path) -> tuple[list[Path], np.ndarray]:
    """The images in a folder of folders, in the order of their names, and the class of each."""
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {reason}; images lie in it in a folder for each class")
    found = {place.name: _files(place) for place in sorted(folder.iterdir()) if place.is_dir()}
    empty = [name for name, files in found.items() if not files]
    if not found or empty:
        what = f"no images in {', '.join(empty)}" if empty else "no folders in it, one for each class"
        raise DataError(f"{folder}: there are {what} ({', '.join(_ENDINGS)})")
    labels = [name for name, files in found.items() for _ in files]
    return [file for files in found.values() for file in files], np.array(labels, object)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())


def _opened(file: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "images are read by Pillow, which is not installed: pip install 'neon_optim[data]'"
        ) from error
    try:
        return Image.open(file)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{file} is no image that can be read: {error}") from error


class _StoredImages:
    """Images of one size in their files, and their classes."""

    rows_at_once = 1

    def __init__(self, files: list[Path], y: np.ndarray, encoding: ImageEncoding) -> None:
        self._files, self._y, self._encoding = files, y, encoding
        self.count = len(files)
        self.row_bytes = math.prod(encoding.shape) + y.itemsize

    def read(self, first: int, last: int) -> Rows:
        """Some images, one after the other."""
        pixels = _pixels(self._files[first:last], self._encoding.mode, self._encoding.size)
        return pixels, self._y[first:last]

    def digest(self) -> str:
        """SHA-256 of all files and classes."""
        found = hashlib.sha256(self._y.tobytes())
        for file in self._files:
            try:
                found.update(file.read_bytes())
            except OSError as error:
                raise DataError(f"{file} cannot be read: {error.strerror}") from error
        return found.hexdigest()


def read_images(files: list[Path], mode: str, size: tuple[int, int]) -> np.ndarray:
    """Images as float32 from 0 to 1, (samples, C, H, W).

    Raises:
        DataError: some cannot be read: all of them.
    """
    return _pixels(files, mode, size).astype(np.float32) / np.float32(255.0)


def _pixels(files: list[Path], mode: str, size: tuple[int, int]) -> np.ndarray:
    """Images as bytes, (samples, C, H, W)."""
    out = np.empty((len(files), _CHANNELS[mode], *size), np.uint8)
    problems: list[str] = []
    for k, file in enumerate(files):
        try:
            with _opened(file) as image:
                wanted = image.convert(mode)
                if (wanted.height, wanted.width) != size:
                    wanted = wanted.resize((size[1], size[0]))
                pixels = np.asarray(wanted, np.uint8)
        except (DataError, OSError) as error:
            problems.append(str(error) if isinstance(error, DataError) else f"{file} is damaged: {error}")
            continue
        out[k] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if problems:
        raise DataError("\n".join(first_lines(problems, indent="")))
    return out
